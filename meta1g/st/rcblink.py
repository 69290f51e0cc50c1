"""A client connection of state threads that comes back by itself.

    connect -> hello -> on_up -> messages -> closed -> on_down -> connect -> ...

Invariant: one on_down for each on_up, after it and before the next.

Owner: the process (one native thread).
Ref: MeTA1 design, "Implementation: RCB communication" (modelled on).
"""

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Final

from meta1g.base import unixsock
from meta1g.base.log import Log
from meta1g.rcb.again import Again
from meta1g.rcb.schema import Message, Protocol
from meta1g.st.errors import StError
from meta1g.st.limits import HELLO_TIMEOUT_US, SOCKET_BUFFER_BYTES
from meta1g.st.rcbconn import OnMessage, RcbConn
from meta1g.st.sched import ST_UTIME_NO_TIMEOUT, StThread, st_thread_create, st_thread_interrupt, st_usleep

_US: Final = 1_000_000


class RcbLink(Again[RcbConn]):
    """A client connection that comes back by itself until close().

    Args:
        path: socket of the server.
        protocol: the messages of the pair.
        hello: the first question of each connection.
        on_up: called as on_up(reply) with the answer to hello, before any message that follows it is handled.
        on_down: called when a connection that was up is gone; all its questions have failed.
        on_message: called as on_message(conn, request_id, msg) for what the server asks or posts.
        log: ups and downs are logged here.

    The callbacks run in the link's thread and must not switch.  They are part of the frame: what they raise ends the thread.

    Attributes:
        conn: the connection, None while there is none or its hello is not answered.

    Owner: the process.
    """

    def __init__(
        self,
        path: Path,
        protocol: Protocol,
        hello: Message,
        on_up: Callable[[Message], None],
        on_down: Callable[[], None],
        on_message: OnMessage,
        log: Log,
    ) -> None:
        super().__init__(path, protocol, log)
        self._hello = hello
        self._on_up = on_up
        self._on_down = on_down
        self._on_message = on_message
        self._thread: StThread | None = None
        self._trying: RcbConn | None = None
        self._closing = False

    def start(self) -> None:
        """Starts connecting."""
        self._thread = st_thread_create(self._run)

    def close(self) -> None:
        """Closes the connection and does not connect again; on_down is still called if it was up."""
        self._closing = True
        if self._trying is not None:
            self._trying.close()
        if self._thread is not None:
            st_thread_interrupt(self._thread)

    def _run(self, _arg: object) -> None:
        """Connects and reads, again and again.  Switches: yes."""
        while not self._closing:
            conn = self._open()
            if conn is None or not self._serve(conn):
                self._sleep()
        self._thread = None

    def _sleep(self) -> None:
        """Switches: yes."""
        try:
            st_usleep(int(self._next_pause_s() * _US))
        except StError as error:
            if error.errno != errno.EINTR:
                raise

    def _open(self) -> RcbConn | None:
        try:
            sock = unixsock.connect(self.path, nonblocking=True, buffer_bytes=SOCKET_BUFFER_BYTES)
        except OSError as error:
            self._failed(error)
            return None
        return RcbConn(sock, self._protocol, self._on_message, self._log)

    def _serve(self, conn: RcbConn) -> bool:
        """Says hello and reads until the connection is closed; tells whether it was up.  Switches: yes."""
        self._trying = conn
        conn.ask(self._hello).on_answer = lambda reply: self._answered(conn, reply)
        while not conn.closed:
            conn.receive(HELLO_TIMEOUT_US if self.conn is None else ST_UTIME_NO_TIMEOUT)
            if self._closing:
                conn.close()
        self._trying = None
        if self.conn is None:
            return False
        self._went_down(conn.close_reason)
        self._on_down()
        return True

    def _answered(self, conn: RcbConn, reply: Message) -> None:
        self.conn = conn
        self._came_up()
        self._on_up(reply)
