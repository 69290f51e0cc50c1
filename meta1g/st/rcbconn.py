"""One RCB connection of state threads: the socket of a rcb/connection.py, with one reader thread.

Frames made in one turn of the run queue leave in one send; frames of one receive are handled in one go.

Invariants: callbacks of one connection run one at a time, in the order in which the peer sent.  Every Pending is answered
or failed exactly once.  What is not sent yet is bounded (I4).

Owner: the process (one native thread).
Ref: MeTA1 design, "Implementation: RCB communication" (modelled on).
"""

import errno
import socket
from collections.abc import Callable
from typing import Any

from meta1g.base.errors import ProtocolError
from meta1g.base.log import Log
from meta1g.rcb.connection import PEER_CLOSED, Connection
from meta1g.rcb.schema import Message, Protocol
from meta1g.st.errors import StError
from meta1g.st.io import st_read
from meta1g.st.limits import LATE_MAX_BYTES, LATE_S, READ_BYTES, WRITE_MAX_BYTES
from meta1g.st.netfd import READ, WRITE, st_netfd_close, st_netfd_open_socket, wait_fd
from meta1g.st.rcbpending import Pending
from meta1g.st.sched import runtime, st_checkpoint

OnMessage = Callable[["RcbConn", int, Message], None]


class RcbConn:
    """A connected stream of messages.

    Args:
        sock: the connected socket; the connection closes it.
        protocol: the messages of the pair; this is the client's side.
        on_message: called as on_message(conn, request_id, msg) for what the server asks or posts; must not switch.  It is part
            of the frame: what it raises ends the thread that receives; work for one peer contains itself.
        log: protocol errors are logged here.

    The methods that send raise TempError if the connection is closed.

    Owner: the process.
    """

    __slots__ = ("_drained", "_fd", "_flushing", "_log", "_on_message", "_patience", "_rcb", "_writer", "name")

    def __init__(self, sock: socket.socket, protocol: Protocol, on_message: OnMessage, log: Log) -> None:
        self.name = protocol.name
        self._rcb = Connection(protocol, server=False, write_max_bytes=WRITE_MAX_BYTES)
        self._fd = st_netfd_open_socket(sock)
        self._on_message = on_message
        self._log = log
        self._flushing = False
        self._drained = True  # the last read emptied the socket
        self._writer: Any = None
        self._patience: Any = None  # timer of what was posted late; runs out by itself
        self._queued()

    @property
    def closed(self) -> bool:
        """Whether no message comes or goes any more."""
        return self._rcb.closed

    @property
    def close_reason(self) -> str:
        """Why it is closed."""
        return self._rcb.reason

    def ask(self, msg: Message) -> Pending:
        """Sends a question."""
        pending = Pending(self._rcb, msg)
        self._queued()
        return pending

    def post(self, msg: Message) -> None:
        """Sends a message that gets no reply."""
        self._rcb.post(msg)
        self._queued()

    def post_late(self, msg: Message) -> None:
        """Sends a message that nobody waits for: with the next one, or when LATE_S are over."""
        self._rcb.post(msg)
        if self._rcb.unsent_bytes >= LATE_MAX_BYTES:
            self._queued()
        elif not self._flushing:
            if self._patience is None:
                self._patience = runtime.loop.timer(LATE_S)
            if not self._patience.active:
                self._patience.start(self._queued)

    def send_now(self) -> None:
        """Sends what was posted late at the end of this turn."""
        if self._rcb.unsent_bytes:
            self._queued()

    def reply(self, request_id: int, msg: Message) -> None:
        """Answers a question of the server."""
        self._rcb.reply(request_id, msg)
        self._queued()

    def _queued(self) -> None:
        if self._rcb.overfull:
            self._fail(f"the peer does not read: {self._rcb.unsent_bytes} bytes wait")
        elif not self._flushing and not self._rcb.blocked:
            self._flushing = True
            runtime.loop.run_callback(self._flush)

    def _flush(self) -> None:
        """Sends what is collected, behind what the socket did not take before.  Runs in the hub."""
        self._flushing = False
        try:
            self._rcb.give(self._fd.send)
        except OSError as error:
            self._fail(f"cannot send: {error.strerror}")
        if self._rcb.blocked and self._writer is None:
            self._writer = runtime.loop.io(self._fd.fd, WRITE)
            self._writer.start(self._flush)
        elif self._writer is not None and not self._rcb.blocked:
            self._drop_writer()

    def _drop_writer(self) -> None:
        if self._writer is not None:
            self._writer.stop()
            self._writer.close()
            self._writer = None

    def receive(self, timeout_us: int) -> None:
        """Reads once and handles all complete messages; closes the connection on any error.

        Args:
            timeout_us: how long to wait for bytes.

        Switches: yes.
        """
        try:
            if self._drained:  # a look would be in vain
                wait_fd(self._fd, READ, timeout_us)
            data = st_read(self._fd, READ_BYTES, timeout_us)
            self._drained = len(data) < READ_BYTES
            for msg, request_id, pending in self._rcb.receive(data):
                if pending is not None:
                    pending.answer(msg)
                else:
                    self._on_message(self, request_id, msg)
                st_checkpoint()
            if not data:
                self.close(PEER_CLOSED)
        except StError as error:
            if error.errno == errno.ETIME:
                self._fail("the peer does not answer")
            elif error.errno != errno.EINTR and not self.closed:
                self._fail(f"cannot receive: {error.strerror}")
        except ProtocolError as error:
            self._fail(error.cause)

    def _fail(self, reason: str) -> None:
        """Closes after an error."""
        if not self.closed:
            self._log.notice("rcb.close", reason, peer=self.name)
        self.close(reason)

    def close(self, reason: str = "closed by us") -> None:
        """Sends what the socket takes, closes, and fails all questions."""
        if not self.closed and not self._rcb.blocked:
            self._flush()
        self._end(reason)

    def _end(self, reason: str) -> None:
        if self.closed:  # the last flush failed, or the second time
            return
        waiting = self._rcb.close(reason)
        self._drop_writer()
        if self._patience is not None:
            self._patience.stop()
            self._patience.close()
            self._patience = None
        st_netfd_close(self._fd)
        for pending in waiting:
            pending.answer(None)
