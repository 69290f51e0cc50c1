"""A text file of networks: the most specific one that contains the address gives the value.

    cltaddr:192.0.2.0/25   reject        in an access map, with the tag that the key has when it is asked for
    192.0.2.0/25           value

Ref: our choice; form as in Postfix cidr tables, but the order of lines does not matter.
"""

import ipaddress
import re
from pathlib import Path
from typing import Final

from meta1g.base.clock import Clock
from meta1g.base.errors import Module, PermError
from meta1g.maps.base import NOTFOUND, MapResult, ok
from meta1g.maps.filemap import FileMap
from meta1g.maps.textmap import read_entries
from meta1g.maps.watch import Loader

AnyAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
_Table = dict[tuple[int, int], dict[int, str]]
#: A word with a letter that no IPv6 address has, and a colon.
_TAG: Final = re.compile(r"(?=[0-9a-f]*[g-z_])[a-z0-9_]+:", re.IGNORECASE)


def parse_address(text: str) -> AnyAddress:
    """Reads an address; an IPv4 address inside an IPv6 one is taken as IPv4.

    Raises:
        ValueError: it is none.
    """
    address = ipaddress.ip_address(text)
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return address if mapped is None else mapped


class NetworkTable:
    """Networks with values, most specific first.

    Locking: none needed; look-ups change nothing, and it is filled before it is used.
    """

    __slots__ = ("_lengths", "_table")

    def __init__(self) -> None:
        self._table: _Table = {}
        self._lengths: dict[int, list[int]] = {4: [], 6: []}

    def add(self, text: str, value: str) -> None:
        """Enters a network or address.

        Raises:
            ValueError: it is none, or has bits set beyond its length.
        """
        network = ipaddress.ip_network(text)
        slot = self._table.setdefault((network.version, network.prefixlen), {})
        slot[int(network.network_address)] = value
        lengths = self._lengths[network.version]
        if network.prefixlen not in lengths:
            lengths.append(network.prefixlen)
            lengths.sort(reverse=True)

    def find(self, address: AnyAddress) -> str | None:
        """Gives the value of the most specific network that contains the address."""
        number, version, bits = int(address), address.version, address.max_prefixlen
        for length in self._lengths[version]:
            shift = bits - length
            value = self._table[version, length].get(number >> shift << shift)
            if value is not None:
                return value
        return None


def split_tag(key: str) -> tuple[str, str]:
    """Gives the tag of a key in lower case, with its colon, and the rest; a tag begins with what is no IPv6 address."""
    match = _TAG.match(key)
    return ("", key) if match is None else (match[0].lower(), key[match.end() :])


def read_networks(path: Path) -> dict[str, NetworkTable]:
    """Reads the file; gives a table for each tag.

    Raises:
        PermError: a line does not start with a network; the error names file and line.
    """
    tables: dict[str, NetworkTable] = {}
    for number, key, value in read_entries(path, tagged=True):
        tag, network = split_tag(key)
        try:
            tables.setdefault(tag, NetworkTable()).add(network, value)
        except ValueError as error:
            raise PermError(Module.MAP, f"{path}:{number}: {error}") from error
    return tables


class CidrMap(FileMap[dict[str, NetworkTable]]):
    """A file of networks.

    Args:
        name: names it in logs.
        path: the file.
        clock: for tests.
        loader: where a changed file is read.

    Raises:
        PermError: the file cannot be read or has a wrong network.

    Locking: none needed; the tables are replaced as a whole.
    """

    def __init__(self, name: str, path: Path, clock: Clock | None = None, loader: Loader | None = None) -> None:
        super().__init__(name, path, read_networks, clock, loader)

    def lookup(self, key: str) -> MapResult:
        """Looks an address up, with or without a tag; anything else is not found."""
        tag, address = split_tag(key)
        table = self.content.get(tag)
        if table is None:
            return NOTFOUND
        try:
            value = table.find(parse_address(address))
        except ValueError:
            return NOTFOUND
        return NOTFOUND if value is None else ok(value)
