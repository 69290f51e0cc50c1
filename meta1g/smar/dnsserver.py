"""One name server: its sockets, each with a random source port, its health, and the questions it is asked.

Ref: RFC 5452 9.2 (random source ports against forged answers).
"""

import contextlib
import os
import socket
from collections.abc import Callable
from dataclasses import field

from meta1g.base.dataclass import dataclass
from meta1g.pt.task import Ev, Task
from meta1g.smar.dnsaddress import ServerAddress
from meta1g.smar.dnstcp import TcpQuestion
from meta1g.smar.dnswire import DnsAnswer, RRType
from meta1g.smar.limits import PORT_QUESTIONS

OnDnsAnswer = Callable[[DnsAnswer], None]
Key = tuple[str, RRType]


class Question:
    """One open question.  Locking: caller holds the lock of the resolver."""

    __slots__ = (
        "attempt", "callbacks", "channel", "done", "edns", "key", "name", "number", "renamed", "rrtype", "secure", "server",
        "tcp", "tries", "zone",
    )  # fmt: skip

    def __init__(self, key: Key, zone: str, on_answer: OnDnsAnswer) -> None:
        self.key = key
        self.name, self.rrtype = key  # the name changes when a CNAME record leads on
        self.zone = zone
        self.callbacks = [on_answer]
        self.tries = 0
        self.attempt = 0  # number of the attempt under way, 0 if there is none
        self.renamed = 0
        self.secure = True  # what led to the name was validated
        self.number = 0
        self.edns = False
        self.channel: Channel | None = None
        self.tcp: TcpQuestion | None = None
        self.server: NameServer | None = None
        self.done = False


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
        while (number := int.from_bytes(os.urandom(2))) in self.open_questions:
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
