"""One client on the status socket.

Owner: the event loop.
Ref: our choice; protocol in rcb/control.py.
"""

import socket
from collections.abc import Callable
from functools import partial
from typing import cast

from meta1g.base import failure, unixsock
from meta1g.base.errors import ProtocolError, TempError
from meta1g.base.log import Log
from meta1g.mcp.commands import Request
from meta1g.mcp.limits import STATUS_TIMEOUT_S
from meta1g.mcp.loop import Loop
from meta1g.mcp.rcbconn import LoopConn
from meta1g.rcb.connection import RcbEvent
from meta1g.rcb.control import PROTOCOL, CommandResult, ControlCommand


class StatusConn:
    """One connection.

    Args:
        loop: the event loop.
        sock: its socket; the connection closes it.
        answer: answers a command.
        on_close: is told of the end.
        log: gives the log for clients that speak nonsense; a reload may change it.

    Owner: the event loop.
    """

    def __init__(
        self,
        loop: Loop,
        sock: socket.socket,
        answer: Callable[[Request], object],
        on_close: Callable[["StatusConn"], object],
        log: Callable[[], Log],
    ) -> None:
        self._loop = loop
        self._answer = answer
        self._on_close = on_close
        self._log = log
        self._uid = unixsock.peer_of(sock).uid
        self._conn = LoopConn(loop, sock, PROTOCOL, server=True, on_event=self._command, on_end=self._ended)
        self._limit = loop.call_later(STATUS_TIMEOUT_S, self.close)

    def close(self) -> None:
        """Ends the connection; does nothing the second time."""
        if not self._conn.closed:
            self._conn.close()
            self._forget()

    def _ended(self, error: ProtocolError | OSError) -> None:
        if isinstance(error, ProtocolError):
            self._log().warn("mcp.status_peer", error.cause)
        self._forget()

    def _forget(self) -> None:
        self._limit.cancel()
        self._on_close(self)

    def _command(self, event: RcbEvent) -> None:
        with failure.item(self._log(), "mcp.status", lambda error: self.close()):
            self._limit.cancel()
            words = cast("ControlCommand", event.msg).words
            self._answer(Request(words, self._uid, partial(self._reply, event.request_id)))

    def _reply(self, request_id: int, result: CommandResult) -> None:
        """Sends an answer, if somebody still waits for it."""
        try:
            self._conn.rcb.reply(request_id, result)
        except TempError:
            return
        self._limit.cancel()
        self._limit = self._loop.call_later(STATUS_TIMEOUT_S, self.close)
        self.send()

    def send(self) -> None:
        """Sends what waits; a client that does not read is left."""
        self._conn.send()
