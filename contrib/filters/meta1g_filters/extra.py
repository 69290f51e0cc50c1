"""What programs of filters need beside the gateway: the extra `filters`.

Ref: setup.cfg, options.extras_require.
"""

import sys
from importlib.util import find_spec
from typing import Final

from meta1g.base import sysexits

_NEEDED: Final = ("cryptography", "publicsuffixlist")


def require(program: str) -> None:
    """Ends the process with one line on standard error if the extra is not installed; before anything imports it.

    Args:
        program: whose process it is.
    """
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        sys.stderr.write(f"{program}: {', '.join(missing)} is not installed; run pip install 'meta1g[filters]'\n")
        raise SystemExit(sysexits.EX_UNAVAILABLE)
