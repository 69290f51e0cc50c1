"""The sending half of an RCB connection of state threads: what is made in one turn of the run queue leaves in one send.

Invariant: what is not sent yet is bounded (I4).

Owner: the process (one native thread).
Ref: MeTA1 design, "Implementation: RCB communication" (modelled on).
"""

from abc import ABC, abstractmethod
from typing import Any

from meta1g.rcb.connection import Connection, Endpoint
from meta1g.rcb.schema import Message
from meta1g.st.limits import LATE_MAX_BYTES, LATE_S
from meta1g.st.netfd import WRITE, NetFd
from meta1g.st.rcbpending import Pending
from meta1g.st.sched import runtime


class RcbOut(Endpoint, ABC):
    """What a connection offers to those who send; see RcbConn.

    The methods that send raise TempError if the connection is closed.

    Owner: the process.
    """

    __slots__ = ("_fd", "_flushing", "_patience", "_writer")

    def __init__(self, rcb: Connection, nfd: NetFd) -> None:
        super().__init__(rcb)
        self._fd = nfd
        self._flushing = False
        self._writer: Any = None  # watcher, while the socket does not take all
        self._patience: Any = None  # timer, while something posted late waits for its time
        self.send_now()

    def ask(self, msg: Message) -> Pending:
        """Sends a question."""
        pending = Pending(self._rcb, msg)
        self.send_now()
        return pending

    def post(self, msg: Message) -> None:
        """Sends a message that gets no reply."""
        self._rcb.post(msg)
        self.send_now()

    def post_late(self, msg: Message) -> None:
        """Sends a message that nobody waits for: with the next one, or when LATE_S are over."""
        self._rcb.post(msg)
        if self._rcb.unsent_bytes >= LATE_MAX_BYTES:
            self.send_now()
        elif not self._flushing and self._patience is None:
            self._patience = runtime.timer(LATE_S)  # a new one each time: a timer that has run out has no time left
            self._patience.start(self._send_late)

    def _send_late(self) -> None:
        """Sends what was posted late.  Runs in the hub."""
        self._drop(self._patience)
        self._patience = None
        self.send_now()

    def reply(self, request_id: int, msg: Message) -> None:
        """Answers a question of the server."""
        self._rcb.reply(request_id, msg)
        self.send_now()

    def send_now(self) -> None:
        """Sends what waits, at the end of this turn."""
        if self._rcb.overfull:
            self._fail(f"the peer does not read: {self._rcb.unsent_bytes} bytes wait")
        elif self._rcb.unsent_bytes and not self._flushing and not self._rcb.blocked:
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
            self._drop(self._writer)
            self._writer = None

    @staticmethod
    def _drop(watcher: Any) -> None:
        if watcher is not None:
            watcher.stop()
            watcher.close()

    def _end_sending(self) -> None:
        """Gives back what the event loop keeps for this half."""
        self._drop(self._writer)
        self._drop(self._patience)
        self._writer = self._patience = None

    @abstractmethod
    def _fail(self, reason: str) -> None:
        """Closes after an error."""
