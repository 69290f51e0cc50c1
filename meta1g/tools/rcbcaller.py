"""The client's end of a blocking RCB connection, for programs that wait for each answer.

Owner: the program.
Ref: MeTA1 design, "Implementation: RCB communication" (modelled on).
"""

import errno
import socket

from meta1g.base import unixsock
from meta1g.base.listening import SocketPlace
from meta1g.rcb.connection import Connection, RcbEvent
from meta1g.rcb.schema import Message, Protocol


class RcbCaller:
    """A connection.

    Args:
        place: the Unix socket, or address and port, of the server.
        protocol: the messages of the pair.
        timeout_s: patience with the server, for each wait.

    Raises:
        OSError: nobody listens there, or it may not be used.

    Owner: the program.
    """

    def __init__(self, place: SocketPlace, protocol: Protocol, timeout_s: float) -> None:
        self._rcb = Connection(protocol, server=False)
        if isinstance(place, tuple):
            self._sock = socket.create_connection(place, timeout=timeout_s)
        else:
            self._sock = unixsock.connect(place, timeout_s=timeout_s)

    def close(self) -> None:
        """Closes the connection."""
        self._sock.close()

    def post(self, msg: Message) -> None:
        """Sends a message that gets no answer.  Blocks: yes (until it is sent).

        Raises:
            OSError: the connection broke, or the time is over.
        """
        self._rcb.post(msg)
        self._flush()

    def ask(self, msg: Message) -> Message:
        """Sends a request and gives its answer.  Blocks: yes (until it is there).

        Raises:
            OSError: the connection broke, or the time is over.
            UnsendableError: a value of the request does not fit its kind; nothing is sent.
            ProtocolError: the server sent what it must not.
        """
        self._rcb.request(msg, msg)
        self._flush()
        answers: list[RcbEvent] = []
        while not answers:
            answers = list(self._rcb.take(self._sock.recv))
            if self._rcb.ended:
                raise ConnectionResetError(errno.ECONNRESET, "closed the connection; see its log")
        return answers[0].msg

    def _flush(self) -> None:
        while self._rcb.unsent_bytes:
            self._rcb.give(self._sock.send)
