"""A question on an RCB connection of state threads, and the wait for its reply.

    ask -> Pending -- wait --> reply

Owner: the process (one native thread).
"""

import errno
from collections.abc import Callable

from meta1g.base.errors import Module, TempError
from meta1g.rcb.connection import Connection
from meta1g.rcb.schema import Message
from meta1g.st.errors import StError
from meta1g.st.sched import StThread, ThreadState, block, st_thread_self, wake


class Pending:
    """A question on its way.

    Args:
        rcb: the connection it is asked on.
        msg: the question.

    Raises:
        TempError: the connection is closed.

    Attributes:
        on_answer: called with the reply by the reader, before it handles the next message; None for nothing.

    Owner: the thread that asked; the reader of the connection answers it.
    """

    __slots__ = ("_id", "_rcb", "_reply", "_thread", "on_answer")

    def __init__(self, rcb: Connection, msg: Message) -> None:
        self._rcb = rcb
        self._reply: Message | None = None
        self._thread: StThread | None = None
        self.on_answer: Callable[[Message], None] | None = None
        self._id = rcb.request(msg, self)

    @property
    def done(self) -> bool:
        """Whether wait() will not wait."""
        return self._reply is not None or self._rcb.closed

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
                    self._rcb.forget(self._id)
                    raise
            finally:
                self._thread = None
        if self._reply is None:
            raise TempError(Module.RCB, f"{self._rcb.name}: connection lost: {self._rcb.reason}")
        return self._reply

    def answer(self, reply: Message | None) -> None:
        """Gives the reply, or None when the connection is gone, to the waiter."""
        self._reply = reply
        if self._thread is not None:
            wake(self._thread)
        if self.on_answer is not None and reply is not None:
            self.on_answer(reply)
