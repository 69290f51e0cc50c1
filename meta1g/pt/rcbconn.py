"""One RCB connection as a task: the socket of a rcb/connection.py among the event threads, its receiving half.

Invariants: callbacks of one connection run one at a time, in the order in which the peer sent; every on_reply is called
exactly once, with None if no answer comes; on_close is called exactly once, last.  What the peer may not send closes the
connection, and so does a request that nobody answers: its peer must not wait.

Ref: MeTA1 design, "Implementation: RCB communication" (modelled on).
"""

import socket
from collections.abc import Callable, Iterator
from functools import partial
from time import monotonic
from typing import Any, Final

from meta1g.base import failure
from meta1g.base.errors import ProtocolError
from meta1g.base.log import Log
from meta1g.base.unixsock import Peer
from meta1g.pt.evthr import Evthr
from meta1g.pt.limits import READ_BYTES, READS_PER_RUN, TURN_S
from meta1g.pt.rcbcalls import OnReply, hand_on, tell
from meta1g.pt.rcbsend import RcbSender
from meta1g.pt.task import Ev, Result, Task
from meta1g.rcb.connection import PEER_CLOSED, WRITE_MAX_BYTES, Connection, RcbEvent
from meta1g.rcb.schema import Message, Protocol

OnComMessage = Callable[["RcbCom", int, Message], None]
OnClose = Callable[["RcbCom"], None]
OnFailure = Callable[["RcbCom", int, Message], bool]

_WR: Final = int(Ev.WR)
_RD: Final = int(Ev.RD)
_CL: Final = int(Ev.CL)
_SL: Final = int(Ev.SL)


def _unexpected(conn: "RcbCom", request_id: int, msg: Message) -> None:
    raise ProtocolError(f"{conn.name}: {type(msg).__name__} is not expected here")


class RcbCom(RcbSender):
    """A connection.

    Args:
        evthr: the system it runs in.
        sock: the connected socket; the connection closes it.
        protocol: the messages of the pair.
        server: whether this is the listening side.
        log: protocol errors are logged here.
        peer: who is at the other end.
        write_max_bytes: the connection is closed when so many bytes cannot be sent (invariant I4).

    Attributes set by the owner before start(): on_message(conn, request_id, msg) for requests and posts of the peer,
    on_failure(conn, request_id, msg) to answer a request whose on_message failed, which tells whether it did, on_close(conn),
    user (free).

    Locking: own lock LEAF; the public methods may be called from any thread, with any lock held.
    """

    def __init__(
        self,
        evthr: Evthr,
        sock: socket.socket,
        protocol: Protocol,
        *,
        server: bool,
        log: Log,
        peer: Peer | None = None,
        write_max_bytes: int = WRITE_MAX_BYTES,
    ) -> None:
        rcb = Connection(protocol, server=server, write_max_bytes=write_max_bytes)
        super().__init__(evthr, sock, rcb, log, protocol.name, Peer() if peer is None else peer)
        self.on_message: OnComMessage = _unexpected
        self.on_failure: OnFailure = lambda conn, request_id, msg: False
        self.on_close: OnClose = lambda conn: None
        self.user: Any = None
        self._todo: Iterator[RcbEvent] | None = None  # what was read and not handed on; owned by the task
        self._drained = True  # the last read emptied the socket

    def start(self) -> None:
        """Starts reading; what was queued before leaves now.

        Raises:
            OSError: the socket cannot be watched; it is closed, and all callbacks are called as after close().
        """
        try:
            self._sock.setblocking(False)
            task = self._evthr.task_new(self._on_event, fd=self._sock.fileno(), events=Ev.RD | Ev.CL, name=self.name)
        except OSError as error:
            self._finish(f"cannot be watched: {error.strerror}")
            raise
        with self._lock:
            self._task = task
            task.sleep_until(self._rcb.next_deadline_s)
        self.flush()
        if self.closed:
            task.delete()

    def discard(self) -> None:
        """Closes a connection that was never started; none of its callbacks is called."""
        self._rcb.close("")
        self._sock.close()

    def _on_event(self, task: Task) -> Result:
        """Serves the task."""
        seen = task.seen_bits
        if seen & _CL:
            self._finish("")
            return Result.DEL
        if seen & _SL:
            self._expire(task)
        if seen & _WR:
            self._on_writable(task)
        if seen & _RD or self._todo is not None:
            return self._read()
        return Result.WAITQ

    def _read(self) -> Result:
        """Reads and hands on for a turn; what is left then waits until other tasks had theirs (invariant I10)."""
        end_s = monotonic() + TURN_S
        try:
            for _ in range(READS_PER_RUN):
                if self._todo is None and not self._receive():
                    break
                if not self._hand_on(end_s):
                    return Result.RUNQ
                if self._drained or self.closed:
                    break
        except ProtocolError as error:
            self._fail(error.cause)
        except Exception as error:  # noqa: BLE001  not a callback, but what stands between two messages
            failure.contained(self._log, "rcb.read", error, peer=self.name, pid=self.peer.pid)
            self._fail("reading failed")
        return Result.DEL if self.closed else Result.WAITQ

    def _receive(self) -> bool:
        """Reads once; tells whether anything came.  The end of the connection closes it."""
        try:
            data = self._sock.recv(READ_BYTES)
        except BlockingIOError:
            return False
        except OSError as error:
            self._fail(f"cannot receive: {error.strerror}")
            return False
        if not data:
            self._drop(PEER_CLOSED)
            return False
        self._drained = len(data) < READ_BYTES
        self._todo = self._rcb.receive(data)
        return True

    def _hand_on(self, end_s: float) -> bool:
        """Hands on what was read until the turn is over; tells whether that was all."""
        for msg, request_id, on_reply in self._todo or ():
            if on_reply is not None:
                tell(self._log, self.name, on_reply, msg)
            else:
                on_message = partial(self.on_message, self, request_id, msg)
                on_failure = partial(self.on_failure, self, request_id, msg)
                if not hand_on(self._log, self.name, msg, on_message, on_failure):
                    self._fail(f"{type(msg).__name__} failed, and cannot be answered")
            if monotonic() >= end_s and not self.closed:
                return False
        self._todo = None
        return True

    def _expire(self, task: Task) -> None:
        """Answers the requests whose time is over with None."""
        with self._lock:
            late: list[OnReply] = self._rcb.expire(self._evthr.clock.monotonic())
            task.sleep_until(self._rcb.next_deadline_s)
        for on_reply in late:
            tell(self._log, self.name, on_reply, None)

    def _finish(self, reason: str) -> None:
        """Ends the connection: the last call of the task."""
        with self._lock:
            waiting: list[OnReply] = self._rcb.close(reason)
        self._todo = None

        def tell_all() -> None:
            for on_reply in waiting:
                tell(self._log, self.name, on_reply, None)

        failure.steps(self._log, "rcb.end", self._sock.close, tell_all, lambda: self.on_close(self))
