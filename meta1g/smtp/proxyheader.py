"""The header that a proxy puts before a connection: PROXY protocol, version 1 (a line) and 2 (binary).

    command    family, transport    what holds
    LOCAL      any                  nobody is spoken for: the proxy itself is the client, as for a check of its own
    PROXY      TCP4, TCP6           addresses and ports of the client and of the socket that it connected to
    PROXY      others that exist    UNKNOWN, UNSPEC, UDP, Unix: the proxy itself is the client
    anything else                   no header of these versions: the connection is to be closed

Of version 2 the fields behind the addresses (TLV) are skipped once their sizes are right; a checksum among them is checked.

Pure.  Ref: HAProxy, doc/proxy-protocol.txt 2.1, 2.2; RFC 3720 12.1 (CRC-32C).
"""

import ipaddress
import re
import struct
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Final

from meta1g.base.dataclass import dataclass

_V1_START: Final = b"PROXY "
#: The longest line that version 1 knows, with its CR LF.
V1_MAX_BYTES: Final = 107
_V1_LINE: Final = re.compile(
    rb"PROXY (?:(TCP[46]) ([0-9A-Fa-f:.]+) ([0-9A-Fa-f:.]+) ([0-9]{1,5}) ([0-9]{1,5})|UNKNOWN(?: [^\r\n]*)?)"
)
_V1_ADDRESS: Final[Mapping[bytes, type[ipaddress.IPv4Address] | type[ipaddress.IPv6Address]]] = {
    b"TCP4": ipaddress.IPv4Address,
    b"TCP6": ipaddress.IPv6Address,
}
PORT_MAX: Final = 65535

_V2_START: Final = b"\r\n\r\n\x00\r\nQUIT\n"
_V2_FIXED_BYTES: Final = 16
#: The longest header of version 2 that is read; our choice: room for a certificate among its fields.
V2_MAX_BYTES: Final = 16 << 10
_LOCAL: Final = 0x20
_PROXY: Final = 0x21
_FAMILIES: Final = 4
_TRANSPORTS: Final = 3
#: Family and transport to the form of the addresses; others that exist have no client in them that counts here.
_V2_FORMS: Final[Mapping[int, struct.Struct]] = {0x11: struct.Struct("!4s4sHH"), 0x21: struct.Struct("!16s16sHH")}
#: Sizes of the addresses of families, datagrams and streams alike; those without have none that is known.
_V2_ADDRESS_BYTES: Final[Mapping[int, int]] = {1: 12, 2: 36, 3: 216}
_FIELD: Final = struct.Struct("!BH")
_CRC_TYPE: Final = 0x03
_CRC_BYTES: Final = 4


class ProxyHeaderError(Exception):
    """What came is no header of a proxy; the text says what is wrong with it."""


@dataclass(frozen=True, slots=True)
class SocketEnd:
    """An address in text form, as short as possible, and a TCP port."""

    addr: str
    port: int


@dataclass(frozen=True, slots=True)
class ProxyHeader:
    """A whole header.

    Args:
        size_bytes: its size: what follows is the client's.
        client: the client that the proxy speaks for, None if it speaks for itself.
        local: what the client connected to, None likewise.
    """

    size_bytes: int
    client: SocketEnd | None = None
    local: SocketEnd | None = None


def parse_proxy_header(data: bytes) -> ProxyHeader | None:
    """Reads the header at the beginning of a connection.

    Args:
        data: what has come so far.

    Returns:
        The header; None if more is needed, and then all of data belongs to it.

    Raises:
        ProxyHeaderError: it is none.
    """
    if _begins(data, _V1_START):
        return _parse_v1(data)
    if _begins(data, _V2_START):
        return _parse_v2(data)
    raise ProxyHeaderError("there is no PROXY header")


def _begins(data: bytes, start: bytes) -> bool:
    return data[: len(start)] == start[: len(data)]


# version 1


def _parse_v1(data: bytes) -> ProxyHeader | None:
    end = data.find(b"\r\n", 0, V1_MAX_BYTES)
    if end < 0:
        if len(data) >= V1_MAX_BYTES:
            raise ProxyHeaderError(f"the line of the PROXY header does not end within {V1_MAX_BYTES} bytes")
        return None
    match = _V1_LINE.fullmatch(data, 0, end)
    if match is None:
        raise ProxyHeaderError("the line of the PROXY header has a wrong form")
    if match[1] is None:
        return ProxyHeader(end + 2)
    make = _V1_ADDRESS[match[1]]
    client, local = (_endpoint_v1(make, match[part], match[part + 2]) for part in (2, 3))
    return ProxyHeader(end + 2, client, local)


def _endpoint_v1(make: type[ipaddress.IPv4Address] | type[ipaddress.IPv6Address], address: bytes, port: bytes) -> SocketEnd:
    number = int(port)
    if number > PORT_MAX or str(number).encode("ascii") != port:
        raise ProxyHeaderError("the line of the PROXY header has a wrong port")
    try:
        return SocketEnd(plain_address(make(address.decode("ascii"))), number)
    except ValueError:
        raise ProxyHeaderError("the line of the PROXY header has a wrong address") from None


def plain_address(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str:
    """Gives an address in text form; an IPv4 address inside an IPv6 address as what it is."""
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)


# version 2


def _parse_v2(data: bytes) -> ProxyHeader | None:
    if len(data) < _V2_FIXED_BYTES:
        return None
    version_command, family, rest_bytes = struct.unpack_from("!BBH", data, len(_V2_START))
    if version_command not in (_LOCAL, _PROXY):
        raise ProxyHeaderError(f"the PROXY header has version and command {version_command:#04x}, which is not known")
    size = _V2_FIXED_BYTES + rest_bytes
    if size > V2_MAX_BYTES:
        raise ProxyHeaderError(f"the PROXY header has {size} bytes; {V2_MAX_BYTES} are read")
    if version_command == _PROXY and (family >> 4 >= _FAMILIES or family & 0x0F >= _TRANSPORTS):
        raise ProxyHeaderError(f"the PROXY header has family and transport {family:#04x}, which is not known")
    if len(data) < size:
        return None
    if version_command == _LOCAL:
        return ProxyHeader(size)
    header = data[:size]
    _check_fields(header, family >> 4)
    form = _V2_FORMS.get(family)
    if form is None:
        return ProxyHeader(size)
    source, target, source_port, target_port = form.unpack_from(header, _V2_FIXED_BYTES)
    client, local = (plain_address(ipaddress.ip_address(address)) for address in (source, target))
    return ProxyHeader(size, SocketEnd(client, source_port), SocketEnd(local, target_port))


def _check_fields(header: bytes, family: int) -> None:
    """Checks sizes and checksum of what follows the addresses."""
    address_bytes = _V2_ADDRESS_BYTES.get(family)
    if address_bytes is None:
        return  # whether there are addresses, and of which size, is not said
    begin = _V2_FIXED_BYTES + address_bytes
    if begin > len(header):
        raise ProxyHeaderError("the PROXY header is too short for its addresses")
    for kind, start, end in _fields(header, begin):
        if kind == _CRC_TYPE:
            if end - start != _CRC_BYTES:
                raise ProxyHeaderError("the checksum of the PROXY header has a wrong size")
            without = header[:start] + bytes(_CRC_BYTES) + header[end:]
            if crc32c(without).to_bytes(_CRC_BYTES, "big") != header[start:end]:
                raise ProxyHeaderError("the checksum of the PROXY header is wrong")


def _fields(header: bytes, begin: int) -> Iterator[tuple[int, int, int]]:
    """Gives type, begin and end of each field."""
    while begin < len(header):
        if begin + _FIELD.size > len(header):
            raise ProxyHeaderError("the PROXY header ends inside a field")
        kind, size = _FIELD.unpack_from(header, begin)
        start = begin + _FIELD.size
        begin = start + size
        if begin > len(header):
            raise ProxyHeaderError("a field of the PROXY header is longer than the header")
        yield kind, start, begin


@cache
def _crc_table() -> tuple[int, ...]:
    table = []
    for byte in range(256):
        crc = byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
        table.append(crc)
    return tuple(table)


def crc32c(data: bytes) -> int:
    """Gives the CRC-32C (Castagnoli) of data."""
    crc, table = 0xFFFFFFFF, _crc_table()
    for byte in data:
        crc = table[(crc ^ byte) & 0xFF] ^ crc >> 8
    return crc ^ 0xFFFFFFFF
