"""Asks spamd about a message: a connection for each one, several servers one after the other.

Ref: SpamAssassin, spamd/PROTOCOL; spamc(1) (fail-over modelled on).
"""

import contextlib
import socket
from collections.abc import Iterable
from typing import Final

from meta1g.base.clock import Clock
from meta1g.base.dataclass import dataclass
from meta1g_filters.spamd.protocol import HEAD_MAX_BYTES, Method, SpamdError, SpamdReply, parse_reply, request_head

_PIECE_BYTES: Final = 64 * 1024
#: What a report may add to a message.
_ADDED_MAX_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class SpamdServer:
    """A spamd: the path of its Unix socket, or its IP address and port."""

    address: str
    port: int = 0

    @property
    def name(self) -> str:
        """Names it in the log."""
        return f"{self.address}:{self.port}" if self.port else self.address


@dataclass(frozen=True, slots=True)
class SpamdQuestion:
    """One question.

    Args:
        method: what is asked for.
        user: whose preferences hold, empty for the usual ones.
        size_bytes: of the message.
    """

    method: Method
    user: str
    size_bytes: int


class SpamdClient:
    """Asks one spamd about one message.

    Args:
        server: the spamd.
        clock: gives the time.
        connect_timeout_s: patience with the connection.
        until_s: when all has to be done, by the monotonic clock.

    Owner: the callback that asks.
    """

    def __init__(self, server: SpamdServer, clock: Clock, connect_timeout_s: float, until_s: float) -> None:
        self._server = server
        self._clock = clock
        self._connect_timeout_s = connect_timeout_s
        self._until_s = until_s

    def ask(self, question: SpamdQuestion, pieces: Iterable[bytes]) -> SpamdReply:
        """Asks.  Blocks: yes (network, until until_s at most).

        Args:
            question: what is asked.
            pieces: the message.

        Raises:
            SpamdError: there is no answer.
        """
        try:
            with self._connected() as sock:
                self._send(sock, request_head(question.method, question.size_bytes, question.user))
                for piece in pieces:
                    self._send(sock, piece)
                with contextlib.suppress(OSError):  # it may have answered and closed already
                    sock.shutdown(socket.SHUT_WR)
                return parse_reply(question.method, self._received(sock, question.size_bytes))
        except TimeoutError as error:
            raise SpamdError("no answer in time") from error
        except OSError as error:
            raise SpamdError((error.strerror or str(error)).lower()) from error

    def _left_s(self) -> float:
        left_s = self._until_s - self._clock.monotonic()
        if left_s <= 0:
            raise TimeoutError
        return left_s

    def _connected(self) -> socket.socket:
        server = self._server
        family = socket.AF_INET6 if ":" in server.address else socket.AF_INET
        sock = socket.socket(family if server.port else socket.AF_UNIX)
        try:
            sock.settimeout(min(self._connect_timeout_s, self._left_s()))
            sock.connect((server.address, server.port) if server.port else server.address)
        except BaseException:
            sock.close()
            raise
        return sock

    def _send(self, sock: socket.socket, data: bytes) -> None:
        sock.settimeout(self._left_s())
        sock.sendall(data)

    def _received(self, sock: socket.socket, size_bytes: int) -> bytes:
        data = bytearray()
        limit = HEAD_MAX_BYTES + 2 * size_bytes + _ADDED_MAX_BYTES
        while True:
            sock.settimeout(self._left_s())
            piece = sock.recv(_PIECE_BYTES)
            if not piece:
                return bytes(data)
            data += piece
            if len(data) > limit:
                raise SpamdError(f"a reply of more than {limit} bytes")
