"""One client on the status socket: the socket of a rcb/connection.py in the event loop of mcp.

Owner: the event loop.
Ref: our choice; protocol in rcb/control.py.
"""

import socket
from collections.abc import Callable
from functools import partial
from typing import Final, cast

from meta1g.base import failure, unixsock
from meta1g.base.errors import ProtocolError, TempError
from meta1g.base.log import Log
from meta1g.mcp.commands import Request
from meta1g.mcp.limits import STATUS_TIMEOUT_S
from meta1g.mcp.loop import Loop
from meta1g.rcb.connection import Connection
from meta1g.rcb.control import PROTOCOL, CommandResult, ControlCommand

_READ_BYTES: Final = 4096


class StatusConn:
    """One connection.

    Args:
        loop: the event loop.
        conn: its socket; the connection closes it.
        answer: answers a command.
        on_close: is told of the end.
        log: gives the log for clients that speak nonsense; a reload may change it.

    Owner: the event loop.
    """

    def __init__(
        self,
        loop: Loop,
        conn: socket.socket,
        answer: Callable[[Request], object],
        on_close: Callable[["StatusConn"], object],
        log: Callable[[], Log],
    ) -> None:
        self._loop = loop
        self._conn = conn
        self._answer = answer
        self._on_close = on_close
        self._log = log
        self._uid = unixsock.peer_of(conn).uid
        self._rcb = Connection(PROTOCOL, server=True)
        self._limit = loop.call_later(STATUS_TIMEOUT_S, self.close)
        loop.add_reader(conn.fileno(), self._readable)

    def close(self) -> None:
        """Ends the connection; does nothing the second time."""
        if not self._rcb.closed:
            self._rcb.close("")
            self._limit.cancel()
            self._loop.remove(self._conn.fileno())
            self._conn.close()
            self._on_close(self)

    def _readable(self) -> None:
        with failure.item(self._log(), "mcp.status", lambda error: self.close()):
            try:
                data = self._conn.recv(_READ_BYTES)
                for msg, request_id, _ in self._rcb.receive(data):
                    self._limit.cancel()
                    self._answer(Request(cast("ControlCommand", msg).words, self._uid, partial(self._reply, request_id)))
            except BlockingIOError:
                return
            except ProtocolError as error:
                self._log().warn("mcp.status_peer", error.cause)
                data = b""
            except OSError:
                data = b""
            if not data:
                self.close()

    def _reply(self, request_id: int, result: CommandResult) -> None:
        """Sends an answer, if somebody still waits for it."""
        try:
            self._rcb.reply(request_id, result)
        except TempError:
            return
        self._limit.cancel()
        self._limit = self._loop.call_later(STATUS_TIMEOUT_S, self.close)
        self.send()

    def send(self) -> None:
        """Sends what waits; a client whose socket does not take all of it does not read, and is left."""
        try:
            self._rcb.give(self._conn.send)
        except OSError:
            self.close()
        if self._rcb.blocked:
            self.close()
