"""RCB connections to a server in the event-thread system: connecting, connecting again.

    link -- connect, retry --> RcbCom -- closed --> link

Ref: MeTA1 design, "Implementation: RCB communication" (modelled on).
"""

from collections.abc import Callable
from pathlib import Path

from meta1g.base import failure, unixsock
from meta1g.base.log import Log
from meta1g.pt.evthr import Evthr
from meta1g.pt.limits import SOCKET_BUFFER_BYTES
from meta1g.pt.rcbcalls import OnComMessage
from meta1g.pt.rcbconn import RcbCom
from meta1g.pt.task import Ev, Result, Task
from meta1g.rcb.again import Again
from meta1g.rcb.schema import Protocol


class RcbComLink(Again[RcbCom]):
    """A client connection that comes back by itself, for ever.

    Args:
        evthr: the system it runs in.
        path: socket of the server.
        protocol: the messages of the pair.
        on_up: called as on_up(conn) for each new connection before it starts; a hello request is sent there.
        on_down: called when the connection is gone, after all its on_reply; not before the first on_up.
        on_message: called as on_message(conn, request_id, msg) for what the server asks or posts.
        log: ups and downs are logged here.

    on_up and on_down run one after the other, in worker threads.

    Locking: own lock LEAF (that of the system); `conn` may change at any time.
    """

    def __init__(
        self,
        evthr: Evthr,
        path: Path,
        protocol: Protocol,
        *,
        on_up: Callable[[RcbCom], None] = lambda conn: None,
        on_down: Callable[[], None] = lambda: None,
        on_message: OnComMessage | None = None,
        log: Log,
    ) -> None:
        super().__init__(path, protocol, log)
        self._evthr = evthr
        self._on_up = on_up
        self._on_down = on_down
        self._on_message = on_message
        self._was_up = False
        self._closing = False
        self._task = evthr.task_new(self._on_event, events=Ev.NONE, run=True, name=f"{protocol.name} link")

    def close(self) -> None:
        """Closes the connection and does not connect again; on_down is still called."""
        self._closing = True
        conn = self.conn
        if conn is not None:
            conn.close("closed by us")
        self._task.wakeup()

    def _on_event(self, task: Task) -> Result:
        if self._was_up:
            if self.conn is not None:  # woken for nothing
                return Result.SLPQ
            self._was_up = False
            with failure.item(self._log, "rcb.down", path=str(self.path)):
                self._on_down()
        if self._closing:
            return Result.DEL
        try:
            sock = unixsock.connect(self.path, nonblocking=True, buffer_bytes=SOCKET_BUFFER_BYTES)
        except OSError as error:
            self._failed(error)
            task.sleep_for(self._next_pause_s())
        else:
            self._start(RcbCom(self._evthr, sock, self._protocol, server=False, log=self._log))
        return Result.SLPQ

    def _start(self, conn: RcbCom) -> None:
        if self._on_message is not None:
            conn.on_message = self._on_message
        conn.on_close = self._on_close
        self.conn, self._was_up = conn, True
        try:
            self._on_up(conn)
        except BaseException:
            self.conn, self._was_up = None, False
            conn.discard()
            raise
        conn.start()
        self._came_up(conn.peer.pid)
        if self._closing:
            conn.close("closed by us")

    def _on_close(self, conn: RcbCom) -> None:
        self._went_down(conn.close_reason)
        self._task.wakeup()
