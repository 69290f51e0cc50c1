"""Right-hand sides of maps: replacement of macros.

    ${user} ${detail} ${domain} ${key}    parts of the key that was asked for; ${1} ... groups of a regex map

Pure.  Ref: MeTA1 README, "Macro Replacements in RHS" (idea modelled on; the names are ours).
"""

import re
from collections.abc import Mapping
from typing import Final

_MACRO: Final = re.compile(r"\$\{([A-Za-z0-9_]++)\}")


def replace(value: str, macros: Mapping[str, str]) -> str:
    """Replaces `${name}`; a name that is not known stays as it is, so that a later step may replace it."""
    if "${" not in value:
        return value
    return _MACRO.sub(lambda match: macros.get(match[1], match[0]), value)


def macros_in(value: str) -> list[str]:
    """Gives the names of the macros in a value."""
    return _MACRO.findall(value)


def address_macros(local: str, domain: str, delimiter: str = "+") -> dict[str, str]:
    """Gives the macros of an address."""
    user, _, detail = local.partition(delimiter) if delimiter else (local, "", "")
    return {"user": user, "detail": detail, "domain": domain, "key": f"{local}@{domain}" if domain else local}
