"""Keys of maps that are well formed, and those that no look-up ever asks for.

A check takes the key in lower case, without its tag, and says what is wrong and what to write instead; nothing if it is right.
What is asked for stands in maps/lookup.py: a key of another form is never found.

Pure.  Ref: MeTA1 README, "Lookup Orders in Maps" (orders modelled on).
"""

import ipaddress
import re
from typing import Final

from meta1g.conf.access import RESOLVED
from meta1g.conf.values import shown, suggest
from meta1g.smtp.address import AddressError, check_literal, parse_path

_LABEL: Final = re.compile(r"[\w-]+")
_PREFIX4: Final = re.compile(r"\d+(?:\.\d+){0,3}", re.ASCII)
_PREFIX6: Final = re.compile(r"[0-9a-f]{1,4}(?::[0-9a-f]{1,4}){0,7}", re.ASCII)
_OCTET_MAX: Final = 255
_IPV4_PARTS: Final = 4
_IPV6_PARTS: Final = 8
_DOMAIN_MAX_CHARS: Final = 255
_ANY: Final = "*"


def domain_problem(key: str) -> str:
    """Checks a domain, or `.domain` for its subdomains."""
    if key.startswith("*."):
        return f"{shown(key)}: a * stands for no subdomain; write {key[1:]}"
    name = key.removeprefix(".")
    if not name or len(key) > _DOMAIN_MAX_CHARS or not all(_LABEL.fullmatch(label) for label in name.split(".")):
        return f"{shown(key)} is not a domain; write example.org, or .example.org for its subdomains"
    if name.rpartition(".")[2].isdigit():
        return f"{shown(key)} is no domain, since it ends in a number; an IP address belongs behind cltaddr:"
    return ""


def route_problem(key: str) -> str:
    """Checks a key of the mailertable: a domain, `.domain`, `.` for everything else, or an address literal."""
    if key == ".":
        return ""
    if key in (_ANY, "*.*"):
        return f"{key} is never asked for; write . for everything else"
    if key.startswith("["):
        return _literal(key)
    if "@" in key:
        return f"{shown(key)}: the mailertable has domains, not addresses; write {key.rpartition('@')[2] or 'the domain'}"
    if (number := _address4(key)) is not None:
        return f"{shown(key)}: an address is asked for in brackets; write [{number}]"
    return domain_problem(key)


def _literal(key: str) -> str:
    try:
        if not key.endswith("]"):
            raise AddressError("no ]")
        check_literal(key)
    except AddressError:
        return f"{shown(key)} is no address literal; write [192.0.2.1] or [IPv6:2001:db8::1]"
    return ""


def _address4(text: str) -> str | None:
    try:
        return str(ipaddress.IPv4Address(text))
    except ValueError:
        return None


def address_problem(key: str, delimiter: str = "+", *, null: bool = False) -> str:
    """Checks a key of the access map that stands for mail addresses.

    Args:
        key: `user@domain`, `user@`, a domain, `.domain`, or `<>`.
        delimiter: separates user and detail.
        null: the key is for senders, which may be empty.
    """
    if key == "<>":
        return "" if null else "<> is never asked for here; only a sender can be empty"
    if key.startswith("<") or key.endswith(">"):
        return f"{shown(key)}: addresses have no < > here; write {shown(key.strip('<>'))}"
    local, at, domain = key.rpartition("@")
    if not at:
        return domain_problem(key) if key != _ANY else f"{key} is never asked for; name domains"
    if not local:
        return f"{shown(key)} is never asked for; write {domain} for all addresses of a domain" if domain else "@ is no address"
    return user_problem(local, domain or "x.org", key, delimiter)


def mailbox_problem(key: str, delimiter: str = "+", *, catch_all: bool) -> str:
    """Checks a key of the aliases or of local users.

    Args:
        key: `user@domain`, or a local part alone.
        delimiter: separates user and detail.
        catch_all: `@domain` is asked for, too.
    """
    local, at, domain = key.rpartition("@")
    if not at:
        local, domain = key, "x.org"
    elif not domain:
        return f"{shown(key)} is never asked for; write {local} for the user in local domains, or {local}@DOMAIN"
    elif not local:
        if not catch_all:
            return f"{shown(key)} is never asked for; name each user"
        return domain_problem(domain) or (
            f"{shown(key)}: parents of a domain are not asked for; name each domain" if domain[0] == "." else ""
        )
    return user_problem(local, domain, key, delimiter)


def user_problem(local: str, domain: str, key: str, delimiter: str) -> str:
    """Checks the two parts of an address in a key; `user+*` stands for all details."""
    if local.startswith('"'):
        return f"{shown(key)}: a local part stands without quotation marks here"
    at = local.find(delimiter, 1) if delimiter else -1
    detail = at >= 0 and local[at + len(delimiter) :] == _ANY
    if _ANY in local and not detail:
        advice = "name the user" if not delimiter else f"it stands for a detail only, as in user{delimiter}*"
        return f"{shown(key)}: * is never asked for here; {advice}"
    if domain.startswith(("*", ".")):
        return f"{shown(key)}: the domain of an address has no parents or *; write each, or only {domain.lstrip('*')}"
    if "@" in local:
        return f"{shown(key)} is no address: it has more than one @"
    quoted = local if _atoms(local) else '"' + local.replace("\\", "\\\\").replace('"', '\\"') + '"'
    try:
        parse_path(f"{quoted}@{domain}", utf8=True)
    except AddressError as error:
        return f"{shown(key)} is no address: {error}; write user@example.org"
    return ""


def _atoms(local: str) -> bool:
    try:
        parse_path(f"{local}@x.org", utf8=True)
    except AddressError:
        return False
    return True


def client_problem(key: str) -> str:
    """Checks an IP address, or the begin of one up to a dot or colon."""
    if "/" in key:
        return f"{shown(key)}: networks stand in a map of type cidr; write the begin of the address, such as 192.0.2"
    if key.startswith("["):
        return f"{shown(key)}: the address has no brackets here; write {shown(key.strip('[]').removeprefix('ipv6:'))}"
    if _PREFIX4.fullmatch(key) and not (key.isdigit() and int(key[:_IPV4_PARTS]) > _OCTET_MAX):
        return _prefix4(key)
    try:
        address = ipaddress.ip_address(key)
    except ValueError:
        return _prefix6(key) if _PREFIX6.fullmatch(key) else f"{shown(key)} is not an IP address or the begin of one"
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    wanted = str(mapped or address)
    return "" if key == wanted else f"{key} is never asked for in this form; write {wanted}"


def _prefix4(key: str) -> str:
    parts = [int(part[:_IPV4_PARTS]) for part in key.split(".")]
    if max(parts) > _OCTET_MAX:
        return f"{shown(key)} is not an IP address or the begin of one: numbers go up to {_OCTET_MAX}"
    wanted = ".".join(map(str, parts))
    return "" if key == wanted else f"{key} is never asked for in this form; write {wanted}"


def _prefix6(key: str) -> str:
    parts = [part.lstrip("0") or "0" for part in key.split(":")]
    wanted = str(ipaddress.IPv6Address(key)) if len(parts) == _IPV6_PARTS else ":".join(parts)
    return "" if key == wanted else f"{key} is never asked for in this form; write {wanted}"


def resolve_problem(key: str) -> str:
    """Checks the result of a look-up of a client's name."""
    return "" if key in RESOLVED else f"{shown(key)} is no result of a look-up; {suggest(key, RESOLVED)}"
