"""Exit codes of all programs, and what mcp makes of them.

Ref: sysexits.h; which codes stop a restart is modelled on MeTA1's mcp.
"""

from typing import Final

EX_OK: Final = 0
EX_USAGE: Final = 64
EX_DATAERR: Final = 65
EX_NOINPUT: Final = 66
EX_NOUSER: Final = 67
EX_UNAVAILABLE: Final = 69
EX_SOFTWARE: Final = 70
EX_OSERR: Final = 71
EX_CANTCREAT: Final = 73
EX_IOERR: Final = 74
EX_TEMPFAIL: Final = 75
EX_NOPERM: Final = 77
EX_CONFIG: Final = 78

#: Codes after which mcp does not start a component again: the operator has to change something first.
NO_RESTART: Final = frozenset({EX_USAGE, EX_NOPERM, EX_CONFIG})
