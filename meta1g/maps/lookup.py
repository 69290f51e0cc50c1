"""Orders of look-ups: the variants of a key from most to least specific.

    address   user+detail@dom  user+*@dom  user@dom
    domain    a.b.c  .b.c  .c                     (mailertable: then `.`)
    with IDN  bücher.example  xn--bcher-kva.example  .example: each step first as the domain came, then in the other labels
    client    192.0.2.1  192.0.2  192.0  192      2001:db8:0:0:0:0:0:1 by its compressed form, then 2001:db8:0:0 ...

Pure.  Ref: MeTA1 README, "Lookup Orders in Maps" (orders modelled on; a leading dot for parents is our choice, as in
the mailertable).
"""

import ipaddress
from collections.abc import Iterable, Iterator
from typing import Final

from meta1g.base.idn import forms
from meta1g.maps.base import NOTFOUND, Map, MapResult

IPV6: Final = 6


def user_keys(local: str, delimiter: str = "+") -> tuple[str, ...]:
    """Gives the variants of a local part: as it is, with `*` for the detail, without it.

    Args:
        local: local part in lower case.
        delimiter: separates user and detail; empty for none.
    """
    at = local.find(delimiter, 1) if delimiter else -1
    if at < 0:
        return (local,)
    return local, f"{local[:at]}{delimiter}*", local[:at]


def domain_keys(domain: str) -> Iterator[str]:
    """Gives a domain and its parents, these with a leading dot."""
    if not domain.isascii() or "xn--" in domain:
        yield from _idn_keys(domain)
        return
    yield domain
    at = domain.find(".")
    while at >= 0:
        yield domain[at:]
        at = domain.find(".", at + 1)


def _idn_keys(domain: str) -> Iterator[str]:
    """Gives the same for a domain that can be written in two ways."""
    written = [form.split(".") for form in forms(domain)]
    for start in range(len(written[0])):
        dot = "." if start else ""
        yield from dict.fromkeys(dot + ".".join(labels[start:]) for labels in written)


def address_keys(local: str, domain: str, delimiter: str = "+") -> Iterator[str]:
    """Gives the full forms of an address, with and without its detail."""
    written = forms(domain)
    for user in user_keys(local, delimiter):
        for form in written:
            yield f"{user}@{form}"


def access_keys(local: str, domain: str, delimiter: str = "+") -> Iterator[str]:
    """Gives full forms, the user at any domain as `user@`, then the domain and its parents; `<>` for the null path."""
    if not local and not domain:
        yield "<>"
        return
    if domain:
        yield from address_keys(local, domain, delimiter)
    for user in user_keys(local, delimiter):
        yield f"{user}@"
    if domain:
        yield from domain_keys(domain)


def client_keys(address: str) -> Iterator[str]:
    """Gives an IP address and its prefixes, cut at dots or colons from the right."""
    yield address
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:  # a local socket has no prefixes
        return
    if parsed.version == IPV6:
        groups = [group.lstrip("0") or "0" for group in parsed.exploded.split(":")]
        for count in range(len(groups) - 1, 0, -1):
            yield ":".join(groups[:count])
        return
    at = address.rfind(".")
    while at > 0:
        yield address[:at]
        at = address.rfind(".", 0, at)


def search(table: Map, keys: Iterable[str], tag: str = "") -> tuple[str, MapResult]:
    """Asks a map for the variants of a key until one ends the search.

    Args:
        table: the map.
        keys: variants, most specific first.
        tag: put before each key, with its colon.

    Returns:
        The variant that ended the search (empty if none) and its result.  Blocks: if the map does.
    """
    for key in keys:
        result = table.lookup(tag + key)
        if result.ends_search:
            return key, result
    return "", NOTFOUND
