"""A text file of networks: the most specific one that contains the address gives the value.

Ref: our choice; form as in Postfix cidr tables, but the order of lines does not matter.
"""

import ipaddress
from pathlib import Path

from meta1g.base.clock import Clock
from meta1g.base.errors import Module, PermError
from meta1g.maps.base import NOTFOUND, MapResult, ok
from meta1g.maps.filemap import FileMap
from meta1g.maps.textmap import read_entries
from meta1g.maps.watch import Loader

AnyAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
_Table = dict[tuple[int, int], dict[int, str]]


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


def read_networks(path: Path) -> NetworkTable:
    """Reads the file.

    Raises:
        PermError: a line does not start with a network; the error names file and line.
    """
    table = NetworkTable()
    for number, key, value in read_entries(path, tagged=True):
        try:
            table.add(key, value)
        except ValueError as error:
            raise PermError(Module.MAP, f"{path}:{number}: {error}") from error
    return table


class CidrMap(FileMap[NetworkTable]):
    """A file of networks.

    Args:
        name: names it in logs.
        path: the file.
        clock: for tests.
        loader: where a changed file is read.

    Raises:
        PermError: the file cannot be read or has a wrong network.

    Locking: none needed; the table is replaced as a whole.
    """

    def __init__(self, name: str, path: Path, clock: Clock | None = None, loader: Loader | None = None) -> None:
        super().__init__(name, path, read_networks, clock, loader)

    def lookup(self, key: str) -> MapResult:
        """Looks an address up; anything else is not found."""
        try:
            value = self.content.find(parse_address(key))
        except ValueError:
            return NOTFOUND
        return NOTFOUND if value is None else ok(value)
