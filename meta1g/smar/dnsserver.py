"""One name server: its sockets, each with a random source port, and its health.

Ref: RFC 5452 9.2 (random source ports against forged answers).
"""

import contextlib
import ipaddress
import secrets
import socket
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from meta1g.base.errors import Module, PermError
from meta1g.pt.task import Ev, Task
from meta1g.smar.limits import DNS_PORT, PORT_QUESTIONS

if TYPE_CHECKING:
    from meta1g.smar.resolver import Question


@dataclass(frozen=True, slots=True)
class ServerAddress:
    """Address and port of a name server.  Immutable."""

    address: str
    port: int = DNS_PORT

    def __str__(self) -> str:
        return f"{self.address}@{self.port}"

    @property
    def family(self) -> socket.AddressFamily:
        """The socket family."""
        return socket.AF_INET6 if ":" in self.address else socket.AF_INET


def parse_server(text: str) -> ServerAddress:
    """Reads `ADDRESS`, `ADDRESS@PORT` or `[V6]@PORT`.

    Raises:
        PermError: it is none of these.
    """
    address, at, port = text.partition("@")
    address = address.strip("[]")
    try:
        ipaddress.ip_address(address.partition("%")[0])
        number = int(port) if at else DNS_PORT
        if not 0 < number <= 0xFFFF:
            raise ValueError(port)
    except ValueError:
        raise PermError(Module.DNS, f"nameserver {text}: write an IP address or ADDRESS@PORT") from None
    return ServerAddress(address, number)


class Channel:
    """One connected UDP socket, that is one source port, with the questions sent from it.

    Locking: caller holds the lock of the resolver.
    """

    __slots__ = ("open_questions", "sent", "server", "sock", "task")

    def __init__(self, server: "NameServer") -> None:
        self.server = server
        self.sent = 0
        self.open_questions: dict[int, Question] = {}
        self.task: Task | None = None
        self.sock = socket.socket(server.where.family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        try:
            self.sock.connect((server.where.address, server.where.port))
        except OSError:
            self.sock.close()
            raise

    def new_id(self) -> int:
        """Gives a random id that no open question of this channel has."""
        while (number := secrets.randbelow(0x10000)) in self.open_questions:
            pass
        return number

    @property
    def worn(self) -> bool:
        """Whether its port has been used long enough."""
        return self.sent >= PORT_QUESTIONS

    def close(self) -> None:
        """Deletes the task; the last call of the task closes the socket."""
        if self.task is not None:
            self.task.delete()
        else:
            with contextlib.suppress(OSError):
                self.sock.close()


@dataclass(slots=True)
class NameServer:
    """A name server.  Locking: caller holds the lock of the resolver."""

    where: ServerAddress
    edns: bool = True
    bad_until_s: float = 0.0
    logged_s: float = -1e9
    channels: list[Channel] = field(default_factory=list)
    current: Channel | None = None


CHANNEL_EVENTS = Ev.RD | Ev.CL
