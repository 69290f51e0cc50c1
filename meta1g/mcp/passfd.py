"""start_action = pass: hands listening sockets to a child through its `pass_fd_socket`.

The child listens there a while after it was started, so connecting is tried again until it does.  Who listens is asked
of the kernel: nobody but the child's own account gets a socket.

Owner: the event loop.
Ref: MeTA1 design, "Functional Specification: Supervisor" (modelled on); unix(7), SCM_RIGHTS, SO_PEERCRED.
"""

import errno
import socket
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final, cast

from meta1g.base import failure, unixsock
from meta1g.base.errors import ProtocolError
from meta1g.mcp.limits import PASS_RETRY_S, PASS_TIMEOUT_S
from meta1g.mcp.loop import Loop, Timer
from meta1g.mcp.rcbconn import LoopConn
from meta1g.rcb.connection import Buffer, RcbEvent
from meta1g.rcb.mcp_child import PROTOCOL, FdTaken, PassFd

#: The child is not there yet, or has not come so far.
_NOT_YET: Final = frozenset({errno.ENOENT, errno.ECONNREFUSED, errno.EAGAIN})

_Done = Callable[[str], object]


class Passing:
    """One hand-over to one child; it begins at once.

    Args:
        loop: the event loop.
        path: the child's socket.
        uid: user id that the child runs under.
        siblings: ids of other processes of the same section; a socket of theirs is not yet the child's.
        sockets: name and listening socket, in the order of the configuration file.
        done: called once with an empty text when the child has taken all, with what went wrong otherwise.
    """

    def __init__(
        self,
        loop: Loop,
        path: Path,
        uid: int,
        siblings: frozenset[int],
        sockets: Sequence[tuple[str, socket.socket]],
        done: _Done,
    ) -> None:
        self._loop = loop
        self._path = path
        self._uid = uid
        self._siblings = siblings
        self._sockets = sockets
        self._done: _Done | None = done
        self._conn: LoopConn | None = None
        self._retry: Timer | None = loop.call_later(0, self._try)
        self._limit: Timer = loop.call_later(PASS_TIMEOUT_S, self._too_late)

    def close(self) -> None:
        """Ends the hand-over without calling done()."""
        self._done = None
        self._limit.cancel()
        if self._retry is not None:
            self._retry.cancel()
        self._drop()

    def _drop(self) -> None:
        if self._conn is not None:
            self._conn.close()
            self._conn = None

    def _finish(self, error: str) -> None:
        done = self._done
        self.close()
        if done is not None:
            done(error)

    def _too_late(self) -> None:
        self._finish(f"{self._path}: sockets not taken within {PASS_TIMEOUT_S:g} s")

    def _again(self) -> None:
        self._drop()
        self._retry = self._loop.call_later(PASS_RETRY_S, self._try)

    def _try(self) -> None:
        try:
            sock = unixsock.connect(self._path, nonblocking=True)
        except OSError as error:
            if error.errno in _NOT_YET or failure.is_shortage(error):
                self._again()
            else:
                self._broken(error)
            return
        peer = unixsock.peer_of(sock)
        self._conn = LoopConn(self._loop, sock, PROTOCOL, server=False, on_event=self._answer, on_end=self._broken)
        if peer.uid != self._uid:
            self._finish(f"{self._path}: served by user id {peer.uid}, not by the child's {self._uid}; no socket passed")
        elif peer.pid in self._siblings:
            self._again()
        else:
            self._send(self._conn)

    def _send(self, conn: LoopConn) -> None:
        for number, (name, sock) in enumerate(self._sockets):
            if not conn.closed:
                conn.rcb.request(PassFd(name=name, index=number, count=len(self._sockets)), name)
                conn.send(partial(_send_beside, sock.fileno()))

    def _broken(self, error: ProtocolError | OSError) -> None:
        what = error.cause if isinstance(error, ProtocolError) else error.strerror or str(error)
        self._finish(f"{self._path}: {what}")

    def _answer(self, event: RcbEvent) -> None:
        msg = cast("FdTaken", event.msg)
        if msg.status:
            self._finish(f"{self._path}: socket refused: {msg.text}")
        elif self._conn is not None and not self._conn.rcb.pending:
            self._finish("")


def _send_beside(fd: int, conn: socket.socket, frame: Buffer) -> int:
    """Sends a frame, and the descriptor beside it."""
    return socket.send_fds(conn, [frame], [fd])
