"""RCB connections to a server in the event-thread system: connecting, connecting again.

    link -- connect, retry --> RcbCom -- closed --> link

Ref: MeTA1 design, "Implementation: RCB communication" (modelled on).
"""

from collections.abc import Callable
from pathlib import Path

from meta1g.base import failure, unixsock
from meta1g.base.errors import Module, TempError
from meta1g.base.log import Log
from meta1g.pt.evthr import Evthr
from meta1g.pt.limits import RETRY_FIRST_S, RETRY_MAX_S, SOCKET_BUFFER_BYTES
from meta1g.pt.rcbcalls import OnReply
from meta1g.pt.rcbconn import OnClose, OnComMessage, RcbCom
from meta1g.pt.task import Ev, Result, Task
from meta1g.rcb.schema import Message, Protocol


def connect(
    evthr: Evthr,
    path: Path,
    protocol: Protocol,
    *,
    on_message: OnComMessage | None = None,
    on_close: OnClose | None = None,
    log: Log,
) -> RcbCom:
    """Connects to a listener.

    Raises:
        TempError: nobody listens there now.
    """
    conn = _open(evthr, path, protocol, log)
    if on_message is not None:
        conn.on_message = on_message
    if on_close is not None:
        conn.on_close = on_close
    conn.start()
    return conn


def _open(evthr: Evthr, path: Path, protocol: Protocol, log: Log) -> RcbCom:
    try:
        sock = unixsock.connect(path, nonblocking=True, buffer_bytes=SOCKET_BUFFER_BYTES)
    except OSError as error:
        raise TempError(Module.RCB, f"cannot connect to {path}: {error.strerror}") from error
    return RcbCom(evthr, sock, protocol, server=False, log=log, peer=unixsock.peer_of(sock))


class RcbComLink:
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
        on_up: Callable[[RcbCom], None] | None = None,
        on_down: Callable[[], None] | None = None,
        on_message: OnComMessage | None = None,
        log: Log,
    ) -> None:
        self.path = path
        self.conn: RcbCom | None = None
        self._evthr = evthr
        self._protocol = protocol
        self._on_up = on_up
        self._on_down = on_down
        self._on_message = on_message
        self._log = log
        self._pause_s = RETRY_FIRST_S
        self._was_up: RcbCom | None = None
        self._closing = False
        self._told = False
        self._task = evthr.task_new(self._on_event, events=Ev.NONE, run=True, name=f"{protocol.name} link")

    def request(self, msg: Message, on_reply: OnReply, *, timeout_s: float | None = None) -> None:
        """Sends a request, see RcbCom.request.

        Raises:
            TempError: the link is down.
        """
        self._up().request(msg, on_reply, timeout_s=timeout_s)

    def post(self, msg: Message) -> None:
        """Sends a message without reply.

        Raises:
            TempError: the link is down.
        """
        self._up().post(msg)

    @property
    def up(self) -> bool:
        """Whether there is a connection now."""
        conn = self.conn
        return conn is not None and not conn.closed

    def close(self) -> None:
        """Closes the connection and does not connect again; on_down is still called."""
        self._closing = True
        conn = self.conn
        if conn is not None:
            conn.close("closed by us")
        self._task.wakeup()

    def _up(self) -> RcbCom:
        conn = self.conn
        if conn is None or conn.closed:
            raise TempError(Module.RCB, f"{self._protocol.name}: no connection to {self.path} now")
        return conn

    def _on_event(self, task: Task) -> Result:
        if self._was_up is not None:
            if self.conn is not None:  # woken for nothing
                return Result.SLPQ
            self._was_up = None
            if self._on_down is not None:
                with failure.item(self._log, "rcb.down", path=str(self.path)):
                    self._on_down()
        if self._closing:
            return Result.DEL
        try:
            conn = _open(self._evthr, self.path, self._protocol, self._log)
        except TempError as error:
            return self._retry(task, error)
        self._pause_s = RETRY_FIRST_S
        self._told = False
        self._start(conn)
        return Result.SLPQ

    def _retry(self, task: Task, error: TempError) -> Result:
        if not self._told:
            self._told = True
            self._log.info("rcb.waits", error.cause, path=str(self.path))
        task.sleep_for(self._pause_s)
        self._pause_s = min(self._pause_s * 2, RETRY_MAX_S)
        return Result.SLPQ

    def _start(self, conn: RcbCom) -> None:
        if self._on_message is not None:
            conn.on_message = self._on_message
        conn.on_close = self._on_close
        self._was_up = self.conn = conn
        try:
            if self._on_up is not None:
                self._on_up(conn)
        except BaseException:
            self._was_up = self.conn = None
            conn.discard()
            raise
        conn.start()
        self._log.info("rcb.connect", "ok", path=str(self.path), pid=conn.peer.pid)
        if self._closing:
            conn.close("closed by us")

    def _on_close(self, conn: RcbCom) -> None:
        self.conn = None
        self._log.notice("rcb.down", conn.close_reason, path=str(self.path))
        self._task.wakeup()
