"""Addresses of this machine that connections come from.

Ref: bind(2), ip(7) IP_BIND_ADDRESS_NO_PORT; our choice.
"""

import errno
import socket
from typing import Final

from meta1g.base.dataclass import dataclass
from meta1g.base.errors import Module, TempError


@dataclass(frozen=True, slots=True)
class Sources:
    """Addresses of this machine that connections come from, by family; empty for the system's choice."""

    ipv4: str = ""
    ipv6: str = ""


ANY_SOURCE: Final = Sources()


def bind_source(sock: socket.socket, source: str) -> None:
    """Lets a socket connect from an address.

    Raises:
        TempError: it is no address of this machine.
        OSError: the system refuses.
    """
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_BIND_ADDRESS_NO_PORT, 1)  # a port is not used up for all servers
    try:
        sock.bind((source, 0))
    except OSError as error:
        if error.errno != errno.EADDRNOTAVAIL:
            raise
        raise TempError(Module.SMTPC, f"source address {source} is no address of this machine") from error


def check_source(source: str) -> None:
    """Looks whether connections can come from an address.

    Raises:
        TempError: it is none of ours.
        OSError: the system does not know its family.
    """
    with socket.socket(socket.AF_INET6 if ":" in source else socket.AF_INET, socket.SOCK_STREAM) as sock:
        bind_source(sock, source)
