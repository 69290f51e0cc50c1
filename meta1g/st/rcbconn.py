"""RCB connections of state threads: one reader thread, one waiter a question.

    ask -> Pending -- wait --> reply

Frames made in one turn of the run queue leave in one send; frames of one receive are handled in one go.

Invariants: callbacks of one connection run one at a time, in the order in which the peer sent.  Every Pending is answered
or failed exactly once.  What is not sent yet is bounded (I4).

Owner: the process (one native thread).
Ref: MeTA1 design, "Implementation: RCB communication" (modelled on).
"""

import errno
import itertools
import socket
from collections.abc import Callable
from typing import Any, Final

from meta1g.base.errors import Module, ProtocolError, TempError
from meta1g.base.log import Log
from meta1g.rcb.codec import decode, encode
from meta1g.rcb.framing import Splitter, preamble
from meta1g.rcb.schema import Message, Protocol, Role
from meta1g.st.errors import StError
from meta1g.st.io import st_read
from meta1g.st.limits import READ_BYTES, WRITE_MAX_BYTES
from meta1g.st.netfd import WRITE, st_netfd_close, st_netfd_open_socket
from meta1g.st.sched import StThread, ThreadState, block, runtime, st_checkpoint, st_thread_self, wake

OnMessage = Callable[["RcbConn", int, Message], None]

_ID_MAX: Final = 0xFFFF_FFFF


class Pending:
    """A question on its way.

    Attributes:
        on_answer: called with the reply by the reader, before it handles the next message; None for nothing.

    Owner: the thread that asked; the reader of the connection answers it.
    """

    __slots__ = ("_conn", "_id", "_reply", "_thread", "on_answer")

    def __init__(self, conn: "RcbConn", request_id: int) -> None:
        self._conn = conn
        self._id = request_id
        self._reply: Message | None = None
        self._thread: StThread | None = None
        self.on_answer: Callable[[Message], None] | None = None

    @property
    def done(self) -> bool:
        """Whether wait() will not wait."""
        return self._reply is not None or self._conn.closed

    def wait(self, timeout_us: int) -> Message:
        """Waits for the reply; a reply that comes after an error is dropped.

        Args:
            timeout_us: microseconds, ST_UTIME_NO_TIMEOUT for as long as the connection lasts.

        Raises:
            TempError: the connection is broken.
            StError: ETIME, EINTR.

        Switches: yes, unless the reply is there.
        """
        if not self.done:
            self._thread = me = st_thread_self()
            try:
                block(me, ThreadState.COND_WAIT, timeout_us)
            except StError as error:
                if error.errno != errno.ETIME or not self.done:  # else the reply came in the last moment
                    self._conn.forget(self._id)
                    raise
            finally:
                self._thread = None
        if self._reply is None:
            raise TempError(Module.RCB, f"{self._conn.name}: connection lost: {self._conn.close_reason}")
        return self._reply

    def answer(self, reply: Message | None) -> None:
        """Gives the reply, or None when the connection is gone, to the waiter.  Switches: no."""
        self._reply = reply
        if self._thread is not None:
            wake(self._thread)
        if self.on_answer is not None and reply is not None:
            self.on_answer(reply)


class RcbConn:
    """A connected stream of messages.

    Args:
        sock: the connected socket; the connection closes it.
        protocol: the messages of the pair; this is the client's side.
        on_message: called as on_message(conn, request_id, msg) for what the server asks or posts; must not switch.  It is part
            of the frame: what it raises ends the thread that receives; work for one peer contains itself.
        log: protocol errors are logged here.

    Attributes:
        closed: no message comes or goes any more.
        close_reason: why.

    Owner: the process.
    """

    __slots__ = (
        "_fd", "_flushing", "_ids", "_log", "_mute", "_on_message", "_out", "_rest", "_splitter", "_table", "_waiting",
        "_writer", "close_reason", "closed", "name",
    )  # fmt: skip

    def __init__(self, sock: socket.socket, protocol: Protocol, on_message: OnMessage, log: Log) -> None:
        self.name = protocol.name
        self.closed = False
        self.close_reason = ""
        self._fd = st_netfd_open_socket(sock)
        self._on_message = on_message
        self._log = log
        self._table = protocol.from_server
        self._splitter = Splitter(protocol)
        self._ids = itertools.count(1)
        self._waiting: dict[int, Pending] = {}
        self._out = bytearray()
        self._flushing = False
        self._rest = memoryview(b"")  # what the socket did not take
        self._mute = False  # the peer reads no more; what it sent before is still taken
        self._writer: Any = None
        self._send(preamble(protocol))

    # -- sending -------------------------------------------------------------------------------------------------------

    def ask(self, msg: Message) -> Pending:
        """Sends a question.  Switches: no.

        Raises:
            TempError: the connection is closed.
        """
        request_id = next(self._ids) & _ID_MAX or next(self._ids) & _ID_MAX
        self._send(encode(msg, request_id))
        pending = self._waiting[request_id] = Pending(self, request_id)
        return pending

    def post(self, msg: Message) -> None:
        """Sends a message that gets no reply.  Switches: no.

        Raises:
            TempError: the connection is closed.
        """
        self._send(encode(msg))

    def reply(self, request_id: int, msg: Message) -> None:
        """Answers a question of the server.  Switches: no.

        Raises:
            TempError: the connection is closed.
        """
        self._send(encode(msg, request_id))

    def forget(self, request_id: int) -> None:
        """Drops a question whose reply nobody wants any more.  Switches: no."""
        self._waiting.pop(request_id, None)

    def _send(self, frame: bytes) -> None:
        if self.closed or self._mute:
            reason = self.close_reason or "the peer closed the connection"
            raise TempError(Module.RCB, f"{self.name}: connection lost: {reason}")
        self._out += frame
        if len(self._out) + len(self._rest) > WRITE_MAX_BYTES:
            self._fail(f"the peer does not read: {len(self._out) + len(self._rest)} bytes wait")
        elif not self._flushing:
            self._flushing = True
            runtime.loop.run_callback(self._flush)

    def _flush(self) -> None:
        """Sends what is collected, behind what the socket did not take before.  Runs in the hub."""
        self._flushing = False
        if self.closed or self._mute or self._rest:
            return
        self._write(self._take_out())

    def _take_out(self) -> memoryview:
        out, self._out = self._out, bytearray()
        return memoryview(out)

    def _write(self, data: memoryview) -> None:
        """Sends data.  A peer that has closed is no error yet: its last messages are read first, then comes the end."""
        try:
            sent = self._fd.send(data)
        except BlockingIOError:
            sent = 0
        except (BrokenPipeError, ConnectionResetError):
            self._mute = True
            sent = len(data)
        except OSError as error:
            self._fail(f"cannot send: {error.strerror}")
            return
        self._rest = data[sent:]
        if self._rest and self._writer is None:
            self._writer = runtime.loop.io(self._fd.fd, WRITE)
            self._writer.start(self._on_writable)

    def _on_writable(self) -> None:
        """Sends the rest.  Runs in the hub."""
        self._write(self._rest)
        if not self._rest and self._out and not self.closed:
            self._write(self._take_out())
        if not self._rest:
            self._drop_writer()

    def _drop_writer(self) -> None:
        if self._writer is not None:
            self._writer.stop()
            self._writer.close()
            self._writer = None

    # -- receiving -----------------------------------------------------------------------------------------------------

    def receive(self, timeout_us: int) -> None:
        """Reads once and handles all complete messages; closes the connection on any error.

        Args:
            timeout_us: how long to wait for bytes.

        Switches: yes.
        """
        try:
            data = st_read(self._fd, READ_BYTES, timeout_us)
            if data:
                self._take(data)
            else:
                self.close("the peer closed the connection")
        except StError as error:
            if error.errno == errno.ETIME:
                self._fail("the peer does not answer")
            elif error.errno != errno.EINTR and not self.closed:
                self._fail(f"cannot receive: {error.strerror}")
        except ProtocolError as error:
            self._fail(error.cause)

    def _take(self, data: bytes) -> None:
        for body in self._splitter.feed(data):
            st_checkpoint()
            if self.closed:
                return
            request_id, msg = decode(self._table, body)
            if msg.PLAN.role is Role.REPLY:
                pending = self._waiting.pop(request_id, None)
                if pending is not None:  # else its time was over
                    pending.answer(msg)
            else:
                self._on_message(self, request_id, msg)

    # -- the end -------------------------------------------------------------------------------------------------------

    def _fail(self, reason: str) -> None:
        """Closes after an error."""
        if not self.closed:
            self._log.notice("rcb.close", reason, peer=self.name)
        self.close(reason)

    def close(self, reason: str = "closed by us") -> None:
        """Sends what the socket takes, closes, and fails all questions.  Switches: no."""
        if self.closed:
            return
        if self._out and not self._rest:
            self._flush()
        self._end(reason)

    def _end(self, reason: str) -> None:
        if self.closed:  # the last flush failed
            return
        self.closed = True
        self.close_reason = reason
        self._drop_writer()
        st_netfd_close(self._fd)
        self._out, self._rest = bytearray(), memoryview(b"")
        waiting, self._waiting = self._waiting, {}
        for pending in waiting.values():
            pending.answer(None)
