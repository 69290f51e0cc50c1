"""One RCB connection of state threads: the socket of a rcb/connection.py, with one reader thread.

Frames of one receive are handled in one go.

Invariants: callbacks of one connection run one at a time, in the order in which the peer sent.  Every Pending is answered
or failed exactly once.

Owner: the process (one native thread).
Ref: MeTA1 design, "Implementation: RCB communication" (modelled on).
"""

import errno
import socket
from collections.abc import Callable

from meta1g.base.errors import ProtocolError
from meta1g.base.log import Log
from meta1g.rcb.connection import PEER_CLOSED, Connection, reason_of
from meta1g.rcb.schema import Message, Protocol
from meta1g.st.errors import StError
from meta1g.st.io import st_read
from meta1g.st.limits import WRITE_MAX_BYTES
from meta1g.st.netfd import READ, st_netfd_close, st_netfd_open_socket, wait_fd
from meta1g.st.rcbsend import RcbOut
from meta1g.st.sched import st_checkpoint

OnMessage = Callable[["RcbConn", int, Message], None]


class RcbConn(RcbOut):
    """A connected stream of messages.

    Args:
        sock: the connected socket; the connection closes it.
        protocol: the messages of the pair; this is the client's side.
        on_message: called as on_message(conn, request_id, msg) for what the server asks or posts; must not switch.  It is part
            of the frame: what it raises ends the thread that receives; work for one peer contains itself.
        log: protocol errors are logged here.

    Owner: the process.
    """

    __slots__ = ("_log", "_on_message")

    def __init__(self, sock: socket.socket, protocol: Protocol, on_message: OnMessage, log: Log) -> None:
        self._on_message = on_message
        self._log = log
        rcb = Connection(protocol, server=False, write_max_bytes=WRITE_MAX_BYTES)
        super().__init__(rcb, st_netfd_open_socket(sock))

    def receive(self, timeout_us: int) -> None:
        """Reads once and handles all complete messages; closes the connection on any error.

        Args:
            timeout_us: how long to wait for bytes.

        Switches: yes.
        """
        rcb = self._rcb
        try:
            if rcb.drained:  # a look would be in vain
                wait_fd(self._fd, READ, timeout_us)
            for msg, request_id, pending in rcb.take(lambda count: st_read(self._fd, count, timeout_us)):
                if pending is not None:
                    pending.answer(msg)
                else:
                    self._on_message(self, request_id, msg)
                st_checkpoint()
            if rcb.ended:
                self.close(PEER_CLOSED)
        except StError as error:
            if error.errno == errno.ETIME:
                self._fail("the peer does not answer")
            elif error.errno != errno.EINTR and not self.closed:
                self._fail(reason_of(error))
        except ProtocolError as error:
            self._fail(reason_of(error))

    def _fail(self, reason: str) -> None:
        if not self.closed:
            self._log.notice("rcb.close", reason, peer=self.name)
        self.close(reason)

    def close(self, reason: str = "closed by us") -> None:
        """Sends what the socket takes, closes, and fails all questions."""
        if not self.closed and not self._rcb.blocked:
            self._flush()
        if self.closed:  # the last flush failed, or the second time
            return
        waiting = self._rcb.close(reason)
        self._end_sending()
        st_netfd_close(self._fd)
        for pending in waiting:
            pending.answer(None)
