"""One RCB connection as a task: reads frames and hands messages on, collects frames and sends them.

Invariants: callbacks of one connection run one at a time, in the order in which the peer sent; every on_reply is called
exactly once, with None if no answer comes; on_close is called exactly once, last.  Frames leave in the order of the
calls that made them.

A callback that fails costs the message that it was called for, not the others of the connection, which belong to other
sessions: on_failure gives the answer that is owed.  A request that nobody answers closes the connection, so that its peer
does not wait.  What the peer may not send closes the connection as well.

Ref: MeTA1 design, "Implementation: RCB communication" (modelled on).
"""

import heapq
import itertools
import socket
import threading
from collections import deque
from collections.abc import Callable
from time import monotonic
from typing import Any, Final

from meta1g.base import failure
from meta1g.base.errors import ProtocolError, UnsendableError
from meta1g.base.log import Log
from meta1g.base.unixsock import Peer
from meta1g.pt import batch
from meta1g.pt.evthr import Evthr
from meta1g.pt.limits import DEADLINES_SPARE, FLUSH_BYTES, READ_BYTES, READS_PER_RUN, TURN_S, WRITE_MAX_BYTES
from meta1g.pt.task import Ev, Result, Task
from meta1g.rcb.codec import decode, encode
from meta1g.rcb.framing import Splitter, preamble
from meta1g.rcb.schema import Message, Protocol, Role

OnReply = Callable[[Message | None], None]
OnMessage = Callable[["RcbCom", int, Message], None]
OnClose = Callable[["RcbCom"], None]
OnFailure = Callable[["RcbCom", int, Message], bool]

_ID_MAX: Final = 0xFFFF_FFFF
_WR: Final = int(Ev.WR)
_RD: Final = int(Ev.RD)
_CL: Final = int(Ev.CL)
_SL: Final = int(Ev.SL)


def _ignore_message(conn: "RcbCom", request_id: int, msg: Message) -> None:
    raise ProtocolError(f"{conn.name}: {type(msg).__name__} is not expected here")


def _ignore_close(conn: "RcbCom") -> None:
    """Stands for a missing on_close."""


def _no_answer(conn: "RcbCom", request_id: int, msg: Message) -> bool:
    """Stands for a missing on_failure."""
    return False


class RcbCom:
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
        self.name = protocol.name
        self.peer = Peer() if peer is None else peer
        self.on_message: OnMessage = _ignore_message
        self.on_failure: OnFailure = _no_answer
        self.on_close: OnClose = _ignore_close
        self.user: Any = None
        self.closed = False
        self.close_reason = ""
        self._evthr = evthr
        self._sock = sock
        self._log = log
        self._table = protocol.from_client if server else protocol.from_server
        self._splitter = Splitter(protocol)
        self._todo: deque[bytes] = deque()  # what was read and not handed on; owned by the task
        self._drained = True  # the last read emptied the socket
        self._write_max_bytes = write_max_bytes
        self._lock = threading.Lock()  # guards sending, and the step from open to closed
        self._out: list[bytes] = [preamble(protocol)]  # frames not yet given to the socket; append only, see flush()
        self._out_bytes = 0  # about how much stands in it
        self._noted = False  # stands in a batch
        self._rest = bytearray()  # what the socket did not take
        self._mute = False  # the peer reads no more; what it sent before is still taken
        self._ids = itertools.count(1)
        self._waiting: dict[int, OnReply] = {}
        self._deadlines: list[tuple[float, int]] = []
        self._task: Task | None = None

    @property
    def peer_pid(self) -> int:
        """Process id of the other end, -1 if unknown."""
        return self.peer.pid

    @property
    def peer_uid(self) -> int:
        """User id of the other end, -1 if unknown."""
        return self.peer.uid

    def start(self) -> None:
        """Starts reading; what was queued before leaves now.  Blocks: no.

        Raises:
            OSError: the socket cannot be watched; it is closed, and all callbacks are called as after close().
        """
        try:
            self._sock.setblocking(False)
            task = self._evthr.task_new(self._on_event, fd=self._sock.fileno(), events=Ev.CL, name=self.name)
        except OSError as error:
            self.close_reason = f"cannot be watched: {error.strerror}"
            self._finish()
            raise
        with self._lock:
            self._task = task
            if self._deadlines:
                task.sleep_until(self._deadlines[0][0])
        self.flush()
        task.want_read(True)
        if self.closed:
            task.delete()

    def discard(self) -> None:
        """Closes a connection that was never started; none of its callbacks is called."""
        self.closed = True
        self._sock.close()

    # -- sending -------------------------------------------------------------------------------------------------------

    def request(self, msg: Message, on_reply: OnReply, *, timeout_s: float | None = None) -> int:
        """Sends a request.

        Args:
            msg: the request.
            on_reply: called in a worker thread with the reply, or with None when the connection is gone or the time is
                over; never from inside this call.
            timeout_s: how long to wait, None for as long as the connection lasts.

        Returns:
            The request id.

        Blocks: no.
        """
        request_id = next(self._ids) & _ID_MAX or next(self._ids) & _ID_MAX
        frame = encode(msg, request_id)
        with self._lock:
            gone = self.closed
            if not gone:
                self._waiting[request_id] = on_reply
                if timeout_s is not None:
                    self._note_deadline(timeout_s, request_id)
        if gone:
            self._evthr.call_soon(lambda: on_reply(None), name=self.name)
            return request_id
        self._send(frame)
        return request_id

    def post(self, msg: Message) -> None:
        """Sends a message that gets no reply; on a closed connection it is dropped.  Blocks: no."""
        self._send(encode(msg))

    def reply(self, request_id: int, msg: Message) -> None:
        """Answers a request of the peer; on a closed connection the answer is dropped.  Blocks: no."""
        self._send(encode(msg, request_id))

    def close(self, reason: str = "") -> None:
        """Closes the connection; on_reply and on_close are called in a worker thread soon.

        What is collected is given to the socket first; what the socket does not take is lost.  Blocks: no.
        """
        self.flush()
        with self._lock:
            if self.closed:
                return
            self.closed = True
            self.close_reason = reason
        if self._task is not None:
            self._task.delete()

    def pending(self) -> int:
        """Gives the number of requests without reply yet."""
        return len(self._waiting)

    def _send(self, frame: bytes) -> None:
        if self.closed or self._mute:
            return
        self._out.append(frame)
        self._out_bytes += len(frame)
        if self._out_bytes >= FLUSH_BYTES:
            self.flush()
        elif not self._noted:
            self._noted = True
            batch.later(self)

    def flush(self) -> None:
        """Gives what is collected to the socket, as much as it takes.  Blocks: no."""
        if self._task is None:  # start() flushes
            self._noted = False
            return
        try:
            reason = self._give()
        except Exception as error:  # noqa: BLE001  what was taken out is lost, and so is the order of the frames
            failure.contained(self._log, "rcb.send", error, peer=self.name, pid=self.peer.pid)
            reason = "sending failed"
        if reason:
            self._fail(reason)

    def _give(self) -> str:
        """Does the work of flush(); gives an error text or nothing."""
        reason = ""
        with self._lock:
            # A frame appended after the next line is either in the copy, or its thread sees the mark gone and notes us anew.
            self._noted = False
            frames = self._out[:]
            del self._out[: len(frames)]
            self._out_bytes = 0
            if self.closed or self._mute or not frames:
                return ""
            if self._rest:
                self._rest += b"".join(frames)
            else:
                reason = self._write(frames[0] if len(frames) == 1 else b"".join(frames))
            if len(self._rest) > self._write_max_bytes:
                reason = f"the peer does not read: {len(self._rest)} bytes wait"
        return reason

    def _write(self, data: bytes | bytearray) -> str:
        """Sends data and keeps what the socket does not take; gives an error text or nothing.  Caller holds the lock.

        A peer that has closed is no error yet: its last messages are read first, then comes the end of the connection.
        """
        try:
            sent = self._sock.send(data)
        except BlockingIOError:
            sent = 0
        except (BrokenPipeError, ConnectionResetError):
            self._mute = True
            return ""
        except OSError as error:
            return f"cannot send: {error.strerror}"
        if sent < len(data):
            self._rest = bytearray(memoryview(data)[sent:])
            if self._task is not None:
                self._task.want_write(True)
        return ""

    def _on_writable(self) -> None:
        with self._lock:
            rest, self._rest = self._rest, bytearray()
            reason = self._write(rest) if rest and not self.closed else ""
            if not self._rest and self._task is not None:
                self._task.want_write(False)
        if reason:
            self._fail(reason)

    def _fail(self, reason: str) -> None:
        """Closes after an error."""
        if not self.closed:
            self._log.notice("rcb.close", reason, peer=self.name, pid=self.peer.pid)
        self._drop(reason)

    def _drop(self, reason: str) -> None:
        """Closes without sending what is collected."""
        with self._lock:
            self._out.clear()
            self._rest.clear()
        self.close(reason)

    # -- receiving -----------------------------------------------------------------------------------------------------

    def _on_event(self, task: Task) -> Result:
        """Serves the task."""
        seen = task.seen_bits
        if seen & _CL:
            self._finish()
            return Result.DEL
        if seen & _SL:
            self._expire()
        if seen & _WR:
            self._on_writable()
        if seen & _RD or self._todo:
            return self._read()
        return Result.WAITQ

    def _read(self) -> Result:
        """Reads and hands on for a turn; what is left then waits until other tasks had theirs (invariant I10)."""
        end_s = monotonic() + TURN_S
        try:
            for _ in range(READS_PER_RUN):
                if not self._todo and not self._receive():
                    return Result.DEL if self.closed else Result.WAITQ
                if not self._take(end_s):
                    return Result.RUNQ
                if self.closed or self._drained:
                    break
        except ProtocolError as error:
            self._fail(error.cause)
            return Result.DEL
        except Exception as error:  # noqa: BLE001  not a callback, but what stands between two messages
            failure.contained(self._log, "rcb.read", error, peer=self.name, pid=self.peer.pid)
            self._fail("reading failed")
            return Result.DEL
        return Result.WAITQ

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
            self._drop("the peer closed the connection")
            return False
        self._drained = len(data) < READ_BYTES
        self._todo.extend(self._splitter.feed(data))
        return True

    def _take(self, end_s: float) -> bool:
        """Hands on what was read until the turn is over; tells whether that was all."""
        todo = self._todo
        while todo and not self.closed:
            request_id, msg = decode(self._table, todo.popleft())
            if msg.PLAN.role is Role.REPLY:
                on_reply = self._waiting.pop(request_id, None)
                if on_reply is not None:  # else its time was over
                    self._tell(on_reply, msg)
            else:
                self._hand_on(request_id, msg)
            if monotonic() >= end_s:
                break
        return not todo or self.closed

    def _tell(self, on_reply: OnReply, msg: Message | None) -> None:
        """Calls whoever waits for a reply; the others hear theirs even if it fails."""
        try:
            on_reply(msg)
        except Exception as error:  # noqa: BLE001  contained to this waiter
            failure.contained(self._log, "rcb.reply", error, peer=self.name, name=type(msg).__name__)

    def _tell_all(self, waiting: list[OnReply]) -> None:
        """Tells that no answer comes."""
        for on_reply in waiting:
            self._tell(on_reply, None)

    def _hand_on(self, request_id: int, msg: Message) -> None:
        """Calls the owner with a message of the peer; one that fails costs this message, and gets its answer.

        Raises:
            ProtocolError: the owner does not expect it.
        """
        try:
            self.on_message(self, request_id, msg)
            return
        except Exception as error:
            if isinstance(error, ProtocolError) and not isinstance(error, UnsendableError):
                raise
            failure.contained(self._log, "rcb.message", error, peer=self.name, name=type(msg).__name__)
        if msg.PLAN.role is Role.REQUEST and not self._answered(request_id, msg):
            self._fail(f"{type(msg).__name__} failed, and cannot be answered")

    def _answered(self, request_id: int, msg: Message) -> bool:
        try:
            return self.on_failure(self, request_id, msg)
        except Exception as error:  # noqa: BLE001  as above
            failure.contained(self._log, "rcb.message", error, peer=self.name, name=type(msg).__name__)
            return False

    # -- time-outs and the end -----------------------------------------------------------------------------------------

    def _note_deadline(self, timeout_s: float, request_id: int) -> None:
        """Enters a deadline; those of requests that were answered go when they are the greater part.  Caller holds the lock."""
        if len(self._deadlines) > 2 * len(self._waiting) + DEADLINES_SPARE:
            self._deadlines = [entry for entry in self._deadlines if entry[1] in self._waiting]
            heapq.heapify(self._deadlines)
        when = self._evthr.clock.monotonic() + timeout_s
        heapq.heappush(self._deadlines, (when, request_id))
        if self._task is not None and self._deadlines[0][1] == request_id:
            self._task.sleep_until(when)

    def _expire(self) -> None:
        """Answers the requests whose time is over with None."""
        now = self._evthr.clock.monotonic()
        late: list[OnReply] = []
        with self._lock:
            heap = self._deadlines
            while heap and (heap[0][0] <= now or heap[0][1] not in self._waiting):
                on_reply = self._waiting.pop(heapq.heappop(heap)[1], None)
                if on_reply is not None:
                    late.append(on_reply)
            if self._task is not None:
                self._task.sleep_until(heap[0][0] if heap else None)
        self._tell_all(late)

    def _finish(self) -> None:
        """Ends the connection: the last call of the task."""
        with self._lock:
            self.closed = True
            waiting, self._waiting = self._waiting, {}
            self._out.clear()
            self._rest.clear()
        self._todo.clear()
        failure.steps(
            self._log,
            "rcb.end",
            self._sock.close,
            lambda: self._tell_all(list(waiting.values())),
            lambda: self.on_close(self),
        )
