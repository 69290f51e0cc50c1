"""One end of an RCB connection on plain sockets, for tests: blocking, with a deadline on every wait."""

import contextlib
import socket
from pathlib import Path

from meta1g.rcb import codec, framing
from meta1g.rcb.schema import Message, Protocol

DEADLINE_S = 20.0


class RcbPeer:
    """A connected peer.

    Args:
        sock: the connection.
        pair: its protocol.
        listening: whether this end is the server of the pair.
    """

    def __init__(self, sock: socket.socket, pair: Protocol, *, listening: bool) -> None:
        self.sock = sock
        sock.settimeout(DEADLINE_S)
        self._table = pair.from_client if listening else pair.from_server
        self._splitter = framing.Splitter(pair)
        self._ready: list[tuple[int, Message]] = []
        sock.sendall(framing.preamble(pair))

    @classmethod
    def connect(cls, path: Path, pair: Protocol) -> "RcbPeer":
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.settimeout(DEADLINE_S)
        sock.connect(str(path))
        return cls(sock, pair, listening=False)

    def send(self, msg: Message, request_id: int = 0) -> None:
        self.sock.sendall(codec.encode(msg, request_id))

    def receive(self) -> tuple[int, Message]:
        """Gives the next message; EOFError at the end of the connection, TimeoutError if nothing comes."""
        while not self._ready:
            data = self.sock.recv(1 << 16)
            if not data:
                raise EOFError("peer closed the connection")
            self._ready += [codec.decode(self._table, body) for body in self._splitter.feed(data)]
        return self._ready.pop(0)

    def expect(self, cls: type[Message]) -> tuple[int, Message]:
        """Gives the next message of a class; others are dropped."""
        while True:
            request_id, msg = self.receive()
            if isinstance(msg, cls):
                return request_id, msg

    def request(self, msg: Message, request_id: int = 1) -> Message:
        """Sends a request and gives its reply."""
        self.send(msg, request_id)
        while True:
            answered, reply = self.receive()
            if answered == request_id:
                return reply

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)
        self.sock.close()


def listen(path: Path) -> socket.socket:
    """Listens on a Unix socket."""
    path.parent.mkdir(parents=True, exist_ok=True)
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    server.bind(str(path))
    server.listen(8)
    server.settimeout(DEADLINE_S)
    return server


def accept(server: socket.socket, pair: Protocol) -> RcbPeer:
    """Takes one connection."""
    return RcbPeer(server.accept()[0], pair, listening=True)
