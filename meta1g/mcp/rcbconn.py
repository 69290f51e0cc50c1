"""One RCB connection of mcp: the socket of a rcb/connection.py in the event loop.

Owner: the event loop.
Ref: MeTA1 design, "Implementation: RCB communication" (modelled on).
"""

import socket
from collections.abc import Callable

from meta1g.base.errors import ProtocolError
from meta1g.mcp.loop import Loop
from meta1g.rcb.connection import PEER_CLOSED, Buffer, Connection, Endpoint, RcbEvent
from meta1g.rcb.schema import Protocol

_OnEnd = Callable[[ProtocolError | OSError], object]


class LoopConn(Endpoint):
    """A connection.

    Args:
        loop: the event loop.
        sock: the connected socket, which does not block; the connection closes it.
        protocol: the messages of the pair.
        server: whether this is the listening side.
        on_event: called with each message.
        on_end: called with the error that ended the connection, or with a ConnectionError when the peer has closed; not after
            close().

    Attributes:
        rcb: the protocol; what is queued there leaves with send().

    Owner: the event loop.
    """

    __slots__ = ("_loop", "_on_end", "_on_event", "_sock", "rcb")

    def __init__(
        self,
        loop: Loop,
        sock: socket.socket,
        protocol: Protocol,
        *,
        server: bool,
        on_event: Callable[[RcbEvent], object],
        on_end: _OnEnd,
    ) -> None:
        self.rcb = Connection(protocol, server=server)
        super().__init__(self.rcb)
        self._loop = loop
        self._sock = sock
        self._on_event = on_event
        self._on_end = on_end
        loop.add_reader(sock.fileno(), self._readable)

    def close(self) -> None:
        """Ends the connection; does nothing the second time."""
        if not self.closed:
            self.rcb.close("")
            self._loop.remove(self._sock.fileno())
            self._sock.close()

    def _readable(self) -> None:
        try:
            for event in self.rcb.take(self._sock.recv):
                self._on_event(event)
            if self.rcb.ended:
                raise ConnectionAbortedError(PEER_CLOSED)
        except BlockingIOError:
            return
        except (OSError, ProtocolError) as error:
            self._end(error)

    def send(self, write: Callable[[socket.socket, Buffer], int] = socket.socket.send) -> None:
        """Sends what waits; a peer whose socket does not take all of it does not read, and is left."""
        try:
            self.rcb.give(lambda data: write(self._sock, data))
            if self.rcb.blocked:
                raise BlockingIOError("the peer does not read")
        except OSError as error:
            self._end(error)

    def _end(self, error: ProtocolError | OSError) -> None:
        if not self.closed:
            self.close()
            self._on_end(error)
