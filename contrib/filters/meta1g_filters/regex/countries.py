"""Countries of addresses, by the lists of the regional Internet registries: what they have given to whom.

    ripencc|DE|ipv4|192.0.2.0|256|20120404|allocated
    apnic|JP|ipv6|2001:db8::|32|20040902|assigned

The lists are read as a whole; an address is found by halving.

Ref: RIR statistics exchange format; milter-regex(8), "country" (the condition is its).
"""

import bisect
import ipaddress
import re
from array import array
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from meta1g.base.dataclass import dataclass
from meta1g.base.errors import Module, PermError

#: Greatest list; our choice: ten times what all registries together have.
FILE_MAX_BYTES: Final = 500 << 20
_ENTRY: Final = re.compile(r"[^|]*\|([A-Z]{2})\|(ipv4|ipv6)\|([0-9a-fA-F.:]+)\|([0-9]{1,10})\|")
_V6_HALF_BITS: Final = 64


@dataclass(frozen=True, slots=True)
class _Range:
    """Addresses that were given to one country; of IPv6 the upper half of the bits."""

    first: int
    last: int
    country: str


class CountryTable:
    """Countries of addresses.

    Args:
        ranges4: of IPv4.
        ranges6: of IPv6.

    Owner: the ruleset.  Immutable.
    """

    __slots__ = ("_tables",)

    def __init__(self, ranges4: Iterable[_Range] = (), ranges6: Iterable[_Range] = ()) -> None:
        self._tables = {4: _Sorted(ranges4), 6: _Sorted(ranges6)}

    def country(self, address: str) -> str:
        """Gives the two letters of a country, empty if it is not known."""
        if not address:
            return ""
        ip = ipaddress.ip_address(address)
        if isinstance(ip, ipaddress.IPv6Address):
            mapped = ip.ipv4_mapped
            return self._tables[6].find(int(ip) >> _V6_HALF_BITS) if mapped is None else self._tables[4].find(int(mapped))
        return self._tables[4].find(int(ip))


class _Sorted:
    """Ranges in order.  Immutable."""

    __slots__ = ("_countries", "_firsts", "_lasts", "_names")

    def __init__(self, ranges: Iterable[_Range]) -> None:
        ordered = sorted(ranges, key=lambda one: one.first)
        self._firsts = array("Q", (one.first for one in ordered))
        self._lasts = array("Q", (one.last for one in ordered))
        self._names = sorted({one.country for one in ordered})
        numbers = {name: number for number, name in enumerate(self._names)}
        self._countries = array("H", (numbers[one.country] for one in ordered))

    def find(self, address: int) -> str:
        at = bisect.bisect_right(self._firsts, address) - 1
        return self._names[self._countries[at]] if at >= 0 and address <= self._lasts[at] else ""


def read_countries(paths: Iterable[Path]) -> CountryTable:
    """Reads lists; each may have addresses of both kinds.  Blocks: yes (disk).

    Raises:
        PermError: one cannot be read, or is no such list.
    """
    ranges: dict[str, list[_Range]] = {"ipv4": [], "ipv6": []}
    for path in paths:
        count = 0
        for kind, one in _entries(path):
            ranges[kind].append(one)
            count += 1
        if count == 0:
            raise PermError(Module.CONF, f"{path}: no list of a registry: no line is registry|COUNTRY|ipv4|ADDRESS|COUNT|...")
    return CountryTable(ranges["ipv4"], ranges["ipv6"])


def _entries(path: Path) -> Iterator[tuple[str, _Range]]:
    try:
        with path.open(encoding="ascii", errors="replace") as file:
            if path.stat().st_size > FILE_MAX_BYTES:
                raise PermError(Module.CONF, f"{path}: is larger than {FILE_MAX_BYTES >> 20} MB; name a list of a registry")
            for number, line in enumerate(file, 1):
                found = _ENTRY.match(line)
                if found is not None:
                    try:
                        yield found[2], _range(found[1], found[2], found[3], int(found[4]))
                    except ValueError as error:
                        raise PermError(Module.CONF, f"{path}:{number}: {error}; get the list anew") from error
    except OSError as error:
        raise PermError(Module.CONF, f"{path}: cannot read the list: {(error.strerror or str(error)).lower()}") from error


def _range(country: str, kind: str, start: str, size: int) -> _Range:
    """Reads an entry.

    Raises:
        ValueError: it is wrong.
    """
    if kind == "ipv4":
        first = int(ipaddress.IPv4Address(start))
        if not 0 < size <= 2**32 - first:
            raise ValueError(f"{start} is not followed by {size} addresses")
        return _Range(first, first + size - 1, country)
    if not 0 < size <= _V6_HALF_BITS:
        raise ValueError(f"{size} is no length of a prefix that a registry gives")
    first = int(ipaddress.IPv6Address(start)) >> _V6_HALF_BITS
    return _Range(first, first | (1 << (_V6_HALF_BITS - size)) - 1, country)
