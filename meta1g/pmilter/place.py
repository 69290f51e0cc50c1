"""Where a filter listens.

Pure.  Ref: MeTA1 pmilter API (sm_pmfi_setconn modelled on).
"""

from pathlib import Path
from typing import Final

from meta1g.base import sysexits
from meta1g.base.cli import CliError
from meta1g.base.listening import SocketPlace

_PORT_MAX: Final = 65535
FORMS: Final = "unix:PATH, inet:PORT@ADDRESS or inet6:PORT@ADDRESS"


def parse_place(text: str) -> SocketPlace:
    """Reads where a filter listens, as sm_pmfi_setconn() takes it.

    Args:
        text: `unix:PATH`, `inet:PORT@ADDRESS`, `inet6:PORT@ADDRESS`; `local:` is the same as `unix:`.

    Raises:
        CliError: it is none of these.
    """
    kind, _, rest = text.partition(":")
    if kind in ("unix", "local") and rest:
        return Path(rest)
    port, _, address = rest.partition("@")
    if kind in ("inet", "inet6") and port.isascii() and port.isdigit() and 0 < int(port) <= _PORT_MAX and address:
        return address.strip("[]"), int(port)
    raise CliError(f"{text}: not {FORMS}", sysexits.EX_USAGE)
