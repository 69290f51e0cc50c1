"""The addresses of this machine's interfaces, as the kernel tells them now.

Ref: rtnetlink(7) (RTM_GETADDR); RFC 3549 3.1.2.
"""

import os
import socket
import struct
from collections.abc import Iterator
from typing import Final

_NETLINK_ROUTE: Final = 0
_RTM_GETADDR: Final = 22
_RTM_NEWADDR: Final = 20
_NLM_F_DUMP_REQUEST: Final = 0x301
_NLMSG_ERROR: Final = 2
_NLMSG_DONE: Final = 3
_IFA_ADDRESS: Final = 1
_IFA_LOCAL: Final = 2
_HEADER: Final = struct.Struct("=IHHII")  # length, type, flags, sequence number, port
_ADDRESS: Final = struct.Struct("=BBBBI")  # family, prefix length, flags, scope, interface
_ATTRIBUTE: Final = struct.Struct("=HH")  # length, type
_SIZES: Final = {socket.AF_INET: 4, socket.AF_INET6: 16}
_TIMEOUT_S: Final = 1.0
_READ_BYTES: Final = 64 << 10


def own_addresses() -> frozenset[str]:
    """Gives the addresses of all interfaces in text form, without zones.

    Raises:
        OSError: the kernel does not tell.

    Blocks: no; the kernel has the answer ready.
    """
    found: set[str] = set()
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_ROUTE) as sock:
        sock.settimeout(_TIMEOUT_S)
        question = _ADDRESS.pack(socket.AF_UNSPEC, 0, 0, 0, 0)
        sock.send(_HEADER.pack(_HEADER.size + len(question), _RTM_GETADDR, _NLM_F_DUMP_REQUEST, 1, 0) + question)
        while True:
            for kind, body in _messages(sock.recv(_READ_BYTES)):
                if kind == _NLMSG_DONE:
                    return frozenset(found)
                if kind == _NLMSG_ERROR:
                    code = -struct.unpack_from("=i", body)[0]
                    raise OSError(code, os.strerror(code))
                if kind == _RTM_NEWADDR:
                    found.update(_address(body))


def _messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Gives type and body of each message of a packet."""
    at = 0
    while at + _HEADER.size <= len(data):
        length, kind, *_ = _HEADER.unpack_from(data, at)
        yield kind, data[at + _HEADER.size : at + length]
        at += max(_aligned(length), _HEADER.size)


def _address(body: bytes) -> Iterator[str]:
    """Gives the address of one interface: of a link between two points the end that is ours."""
    family = body[0]
    size = _SIZES.get(socket.AddressFamily(family)) if family in tuple(_SIZES) else None
    if size is None:
        return
    values: dict[int, bytes] = {}
    at = _ADDRESS.size
    while at + _ATTRIBUTE.size <= len(body):
        length, kind = _ATTRIBUTE.unpack_from(body, at)
        values[kind] = body[at + _ATTRIBUTE.size : at + length]
        at += max(_aligned(length), _ATTRIBUTE.size)
    value = values.get(_IFA_LOCAL) or values.get(_IFA_ADDRESS)
    if value is not None and len(value) == size:
        yield socket.inet_ntop(family, value)


def _aligned(length: int) -> int:
    return (length + 3) & ~3
