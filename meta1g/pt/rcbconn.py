"""One RCB connection as a task: the socket of a rcb/connection.py among the event threads, its receiving half.

Invariants: callbacks of one connection run one at a time, in the order in which the peer sent; every on_reply is called
exactly once, with None if no answer comes; on_close is called exactly once, last.  What the peer may not send closes the
connection, and so does a request that nobody answers: its peer must not wait.

Ref: MeTA1 design, "Implementation: RCB communication" (modelled on).
"""

import socket
from collections.abc import Iterator
from time import monotonic

from meta1g.base import failure
from meta1g.base.errors import ProtocolError
from meta1g.base.log import Log
from meta1g.base.unixsock import Peer, peer_of
from meta1g.pt.evthr import Evthr
from meta1g.pt.limits import READS_PER_RUN, TURN_S
from meta1g.pt.rcbcalls import OnReply
from meta1g.pt.rcbsend import RcbSender
from meta1g.pt.task import Ev, Result, Task
from meta1g.rcb.connection import PEER_CLOSED, Connection, RcbEvent, reason_of
from meta1g.rcb.schema import Protocol

_RD, _WR, _CL, _SL = int(Ev.RD), int(Ev.WR), int(Ev.CL), int(Ev.SL)


class RcbCom(RcbSender):
    """A connection; it is closed when too many bytes cannot be sent (invariant I4).

    Args:
        evthr: the system it runs in.
        sock: the connected socket; the connection closes it.
        protocol: the messages of the pair.
        server: whether this is the listening side.
        log: protocol errors are logged here.
        peer: who is at the other end, if that is known already.

    Locking: own lock LEAF; the public methods may be called from any thread, with any lock held.
    """

    def __init__(
        self, evthr: Evthr, sock: socket.socket, protocol: Protocol, *, server: bool, log: Log, peer: Peer | None = None
    ) -> None:
        super().__init__(evthr, sock, Connection(protocol, server=server), log, peer or peer_of(sock))
        self._todo: Iterator[RcbEvent] | None = None  # what was read and not handed on; owned by the task

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
            task.want_write(False)
            self._give(task)
        if seen & _RD or self._todo is not None:
            return self._read()
        return Result.WAITQ

    def _read(self) -> Result:
        """Reads and hands on for a turn; what is left then waits until other tasks had theirs (invariant I10)."""
        end_s = monotonic() + TURN_S
        try:
            for _ in range(READS_PER_RUN):
                if not self._hand_on_all(end_s):
                    return Result.RUNQ
                if self._rcb.ended:
                    self._drop(PEER_CLOSED)
                if self._rcb.drained or self.closed:
                    break
        except BlockingIOError:
            self._todo = None
        except (ProtocolError, OSError) as error:
            self._fail(reason_of(error))
        except Exception as error:  # noqa: BLE001  not a callback, but what stands between two messages
            failure.contained(self._log, "rcb.read", error, peer=self.name, pid=self.peer.pid)
            self._fail("reading failed")
        return Result.DEL if self.closed else Result.WAITQ

    def _hand_on_all(self, end_s: float) -> bool:
        """Hands on what was read, or is read now, until the turn is over; tells whether that was all."""
        todo = self._todo = self._todo or self._rcb.take(self._sock.recv)
        for msg, request_id, on_reply in todo:
            if on_reply is not None:
                self._tell(on_reply, msg)
            elif not self._hand_on(request_id, msg):
                self._fail(f"{type(msg).__name__} failed, and cannot be answered")
            if monotonic() >= end_s and not self.closed:
                return False
        self._todo = None
        return True

    def _finish(self, reason: str) -> None:
        """Ends the connection: the last call of the task."""
        with self._lock:
            waiting: list[OnReply] = self._rcb.close(reason)
        self._todo = None
        failure.steps(self._log, "rcb.end", self._sock.close, lambda: self._tell_none(waiting), lambda: self.on_close(self))
