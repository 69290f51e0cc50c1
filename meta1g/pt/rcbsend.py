"""The sending half of an RCB connection among the event threads: any thread queues, a batch sends.

Invariants: frames leave in the order of the calls that made them; those of one batch leave in one send.

Ref: MeTA1 design, "Implementation: RCB communication" (modelled on).
"""

import socket
import threading
from contextlib import suppress

from meta1g.base import failure
from meta1g.base.errors import TempError
from meta1g.base.log import Log
from meta1g.base.unixsock import Peer
from meta1g.pt import batch
from meta1g.pt.evthr import Evthr
from meta1g.pt.limits import FLUSH_BYTES
from meta1g.pt.rcbcalls import OnReply, RcbCalls
from meta1g.pt.task import Task
from meta1g.rcb.connection import Connection
from meta1g.rcb.schema import Message


class RcbSender(RcbCalls):
    """What a connection offers to those who send; see RcbCom.

    Locking: own lock LEAF; the public methods may be called from any thread, with any lock held.
    """

    def __init__(self, evthr: Evthr, sock: socket.socket, rcb: Connection, log: Log, peer: Peer) -> None:
        super().__init__(rcb, log)
        self.peer = peer
        self._evthr = evthr
        self._sock = sock
        self._lock = threading.Lock()  # guards the protocol, as its docstring asks for
        self._noted = False  # stands in a batch
        self._task: Task | None = None

    def request(self, msg: Message, on_reply: OnReply, *, timeout_s: float | None = None) -> None:
        """Sends a request.

        Args:
            msg: the request.
            on_reply: called in a worker thread with the reply, or with None when the connection is gone or the time is
                over; never from inside this call.
            timeout_s: how long to wait, None for as long as the connection lasts.
        """
        when = None if timeout_s is None else self._evthr.clock.monotonic() + timeout_s
        try:
            with self._lock:
                self._rcb.request(msg, on_reply, when)
                if when is not None and when == self._rcb.next_deadline_s and self._task is not None:
                    self._task.sleep_until(when)
        except TempError:
            self._evthr.call_soon(lambda: on_reply(None), name=self.name)
        self._queued()

    def _expire(self, task: Task) -> None:
        """Answers the requests whose time is over with None."""
        with self._lock:
            late: list[OnReply] = self._rcb.expire(self._evthr.clock.monotonic())
            task.sleep_until(self._rcb.next_deadline_s)
        self._tell_none(late)

    def post(self, msg: Message) -> None:
        """Sends a message that gets no reply; on a closed connection it is dropped."""
        with suppress(TempError), self._lock:
            self._rcb.post(msg)
        self._queued()

    def reply(self, request_id: int, msg: Message) -> None:
        """Answers a request of the peer; on a closed connection the answer is dropped."""
        with suppress(TempError), self._lock:
            self._rcb.reply(request_id, msg)
        self._queued()

    def _queued(self) -> None:
        if self._rcb.unsent_bytes >= FLUSH_BYTES:
            self.flush()
        elif not self._noted:
            self._noted = True
            batch.later(self)

    def flush(self) -> None:
        """Gives what is collected to the socket, as much as it takes."""
        self._noted = False  # first: who queues a frame after this is taken along, or notes us anew
        if self._task is not None and not self._rcb.blocked:  # start() and the task do the rest
            self._give(self._task)
        if self._rcb.overfull:
            self._fail(f"the peer does not read: {self._rcb.unsent_bytes} bytes wait")

    def _give(self, task: Task) -> None:
        try:
            with self._lock:
                self._rcb.give(self._sock.send)
                if self._rcb.blocked:
                    task.want_write(True)
            return
        except OSError as error:
            reason = f"cannot send: {error.strerror}"
        except Exception as error:  # noqa: BLE001  what was taken out is lost, and so is the order of the frames
            failure.contained(self._log, "rcb.send", error, peer=self.name, pid=self.peer.pid)
            reason = "sending failed"
        self._fail(reason)

    def _fail(self, reason: str) -> None:
        """Closes after an error."""
        if not self.closed:
            self._log.notice("rcb.close", reason, peer=self.name, pid=self.peer.pid)
        self._drop(reason)

    def close(self, reason: str = "") -> None:
        """Closes the connection; on_reply and on_close are called in a worker thread soon.

        What is collected is given to the socket first; what the socket does not take is lost.
        """
        self.flush()
        self._drop(reason)

    def _drop(self, reason: str) -> None:
        """Closes without sending what is collected."""
        with self._lock:
            open_till_now = self._rcb.shut(reason)
        if open_till_now and self._task is not None:
            self._task.delete()
