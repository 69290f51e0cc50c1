"""A record of SPF: read as a whole before anything is evaluated, so that an error anywhere in it is found.

    v=spf1 a:mail.example.org ip4:192.0.2.0/24 include:example.net -all
           directive: qualifier, mechanism, target, lengths of prefixes; modifier: name=text

Pure.  Ref: RFC 7208 4.5 (selection), 4.6.1, 5, 6, 12 (grammar).
"""

import ipaddress
import re
from collections.abc import Callable, Sequence
from enum import StrEnum
from ipaddress import IPv4Network, IPv6Network
from typing import Final

from meta1g.base.dataclass import dataclass
from meta1g_filters.spf.macros import MacroText, SpfSyntaxError, domain_spec, macro_text

#: Longest record that is read.  Our choice: RFC 7208 3.4 wants answers of 512 octets; this bounds what expansion can cost.
RECORD_MAX_BYTES: Final = 16 * 1024
_VERSION: Final = re.compile(rb"v=spf1(?: |\Z)", re.IGNORECASE)
_MODIFIER: Final = re.compile(r"([A-Za-z][A-Za-z0-9._-]*)=(.*)", re.DOTALL)
_DIRECTIVE: Final = re.compile(r"([+?~-]?)([A-Za-z][A-Za-z0-9._-]*)(.*)", re.DOTALL)
_TARGET: Final = re.compile(r"(?::(.*?))?(?:/(0|[1-9][0-9]?))?(?://(0|[1-9][0-9]{0,2}))?\Z", re.DOTALL)
_NETWORK: Final = re.compile(r":([0-9A-Fa-f:.]+)(?:/(0|[1-9][0-9]{0,2}))?\Z")


class SpfCode(StrEnum):
    """Results of SPF.  Ref: RFC 7208 2.6."""

    NONE = "none"
    NEUTRAL = "neutral"
    PASS = "pass"
    FAIL = "fail"
    SOFTFAIL = "softfail"
    TEMPERROR = "temperror"
    PERMERROR = "permerror"


_QUALIFIERS: Final = {"": SpfCode.PASS, "+": SpfCode.PASS, "-": SpfCode.FAIL, "~": SpfCode.SOFTFAIL, "?": SpfCode.NEUTRAL}


@dataclass(frozen=True, slots=True)
class SpfDirective:
    """One directive.

    Args:
        code: what the result is if it matches.
        mechanism: its name, in lower case.
        target: the domain it names, None for the one whose record it is.
        ip4_bits: of a prefix of IPv4, 0 to 32.
        ip6_bits: of a prefix of IPv6, 0 to 128.
        network: of ip4 and ip6.
        text: as it stands in the record.
    """

    code: SpfCode
    mechanism: str
    target: MacroText | None
    ip4_bits: int
    ip6_bits: int
    network: IPv4Network | IPv6Network | None
    text: str


@dataclass(frozen=True, slots=True)
class SpfRecord:
    """A record.

    Args:
        directives: in their order.
        redirect: where it goes on if none of them matches.
        exp: where the explanation of a failure stands.
    """

    directives: tuple[SpfDirective, ...]
    redirect: MacroText | None
    exp: MacroText | None


def selected(texts: Sequence[bytes]) -> bytes | None:
    """Gives the record of SPF among the TXT records of a name, None without.

    Raises:
        SpfSyntaxError: there are several.
    """
    found = [text for text in texts if _VERSION.match(text)]
    if len(found) > 1:
        raise SpfSyntaxError(f"{len(found)} records")
    return found[0] if found else None


def parse_record(record: bytes) -> SpfRecord:
    """Reads a record that selected() gave.

    Raises:
        SpfSyntaxError: something in it is not allowed.
    """
    if len(record) > RECORD_MAX_BYTES:
        raise SpfSyntaxError(f"a record of {len(record)} bytes")
    try:
        terms = [term for term in record.decode("ascii").split(" ")[1:] if term]
    except UnicodeDecodeError as error:
        raise SpfSyntaxError(f"an octet {record[error.start]:#x} in the record") from error
    modifiers: dict[str, MacroText] = {}
    directives: list[SpfDirective] = []
    for term in terms:
        modifier = _MODIFIER.fullmatch(term)
        if modifier is None:
            directives.append(_directive(term))
        elif (name := modifier[1].lower()) not in ("redirect", "exp"):
            macro_text(modifier[2])
        elif name in modifiers:
            raise SpfSyntaxError(f"{name}= stands twice")
        else:
            modifiers[name] = domain_spec(modifier[2])
    return SpfRecord(tuple(directives), modifiers.get("redirect"), modifiers.get("exp"))


def _directive(term: str) -> SpfDirective:
    found = _DIRECTIVE.fullmatch(term)
    reader = None if found is None else _MECHANISMS.get(found[2].lower())
    if found is None or reader is None:
        raise SpfSyntaxError(f"{term[:80]!r} is neither a mechanism nor a modifier")
    target, ip4_bits, ip6_bits, network = reader(found[3], found[2].lower())
    return SpfDirective(_QUALIFIERS[found[1]], found[2].lower(), target, ip4_bits, ip6_bits, network, term)


#: What stands behind the name of a mechanism.
_Parts = tuple[MacroText | None, int, int, IPv4Network | IPv6Network | None]


def _nothing(rest: str, name: str) -> _Parts:
    if rest:
        raise SpfSyntaxError(f"{name} takes no argument: {rest[:80]!r}")
    return None, 32, 128, None


def _domain(rest: str, name: str) -> _Parts:
    if not rest.startswith(":"):
        raise SpfSyntaxError(f"{name} needs a domain: {rest[:80]!r}")
    return domain_spec(rest[1:]), 32, 128, None


def _maybe_domain(rest: str, name: str) -> _Parts:
    return _domain(rest, name) if rest else _nothing(rest, name)


def _domain_and_prefixes(rest: str, name: str) -> _Parts:
    found = _TARGET.match(rest)
    if found is None:
        raise SpfSyntaxError(f"{name}: {rest[:80]!r} is neither a domain nor a length of a prefix")
    ip4_bits, ip6_bits = int(found[2] or 32), int(found[3] or 128)
    if ip4_bits > 32 or ip6_bits > 128:
        raise SpfSyntaxError(f"{name}: {rest[:80]!r} has a prefix that is too long")
    return None if found[1] is None else domain_spec(found[1]), ip4_bits, ip6_bits, None


def _network(rest: str, name: str) -> _Parts:
    found = _NETWORK.match(rest)
    make = ipaddress.IPv4Network if name == "ip4" else ipaddress.IPv6Network
    try:
        if found is None:
            raise ValueError(rest)
        network = make(f"{found[1]}/{found[2]}" if found[2] else found[1], strict=False)
    except ValueError as error:
        raise SpfSyntaxError(f"{name}: {rest[:80]!r} is no network") from error
    return None, 32, 128, network


_MECHANISMS: Final[dict[str, Callable[[str, str], _Parts]]] = {
    "all": _nothing,
    "include": _domain,
    "a": _domain_and_prefixes,
    "mx": _domain_and_prefixes,
    "ptr": _maybe_domain,
    "ip4": _network,
    "ip6": _network,
    "exists": _domain,
}
