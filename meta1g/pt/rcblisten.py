"""Listening for RCB connections in the event-thread system: on a Unix socket, or for policy milters on a port.

    listener -- accept, credentials --> RcbCom

Ref: MeTA1 design, "Implementation: RCB communication" (modelled on); "Architecture: security model" (credentials).
"""

import errno
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Final

from meta1g.base import failure, listening, unixsock
from meta1g.base.accounts import Access
from meta1g.base.errors import Module, PermError
from meta1g.base.log import Log
from meta1g.base.paths import SOCKET_MODE
from meta1g.pt.evthr import Evthr
from meta1g.pt.limits import ACCEPT_PAUSE_S, ACCEPTS_PER_RUN, LISTEN_BACKLOG, SOCKET_BUFFER_BYTES
from meta1g.pt.rcbconn import RcbCom
from meta1g.pt.task import Ev, Result, Task
from meta1g.rcb.schema import Protocol

#: What accept() says of a connection that is gone already, or that the system forbids.
_NOT_TO_BE: Final = (errno.ECONNABORTED, errno.EPERM, errno.EPROTO)


class RcbListener:
    """Listens on a Unix socket and makes a connection of each client.

    Args:
        evthr: the system it runs in.
        place: the Unix socket, of which a stale one is removed first, or an address and a port, where everybody may connect
            whom the network lets in.
        protocol: the messages of the pair.
        on_connect: called in a worker as on_connect(conn) before the connection starts; sets on_message, on_close, user.
        access: group of the socket and accounts that may connect, None for all that its mode lets in.
        log: connections refused are logged here.

    Raises:
        PermError: another process listens there, or the socket cannot be made.

    Locking: own lock LEAF (that of the system).
    """

    def __init__(
        self,
        evthr: Evthr,
        place: listening.SocketPlace,
        protocol: Protocol,
        *,
        on_connect: Callable[[RcbCom], None],
        access: Access | None = None,
        log: Log,
    ) -> None:
        self.name = str(place) if isinstance(place, Path) else "{}:{}".format(*place)
        self._evthr = evthr
        self._protocol = protocol
        self._on_connect = on_connect
        self._allowed_uids = None if access is None else access.uids
        self._log = log
        self._short = False
        try:
            gid = None if access is None else access.gid
            self._sock = listening.listen(place, mode=SOCKET_MODE, backlog=LISTEN_BACKLOG, gid=gid)
        except OSError as error:
            raise PermError(Module.RCB, f"cannot listen on {self.name}: {error.strerror}") from error
        self._sock.setblocking(False)
        self._task = evthr.task_new(
            self._on_event, fd=self._sock.fileno(), events=Ev.RD | Ev.CL, name=f"{protocol.name} listener", frame=True
        )

    def close(self) -> None:
        """Stops listening and removes the socket; connections stay."""
        if isinstance(self._sock, unixsock.UnixListener):
            self._sock.unlink()
        self._task.delete()

    def _on_event(self, task: Task) -> Result:
        if task.seen_bits & Ev.CL:
            self._sock.close()
            return Result.DEL
        for _ in range(ACCEPTS_PER_RUN):
            try:
                sock, _address = self._sock.accept()
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno in _NOT_TO_BE:
                    continue
                if not failure.is_shortage(error):
                    raise  # the listener itself is broken
                return self._pause(task, error)
            self._short = False
            self._serve(sock)
        return Result.WAITQ

    def _pause(self, task: Task, error: OSError) -> Result:
        """Lets clients wait until there are descriptors or memory again; logs the first time of a row."""
        if not self._short:
            failure.contained(self._log, "rcb.accept", error, path=self.name)
        self._short = True
        task.sleep_for(ACCEPT_PAUSE_S)
        return Result.SLPQ

    def _serve(self, sock: socket.socket) -> None:
        """Takes a client; a failure costs this one."""
        with failure.item(self._log, "rcb.accept", lambda error: sock.close(), path=self.name):
            self._take(sock)

    def _take(self, sock: socket.socket) -> None:
        peer = unixsock.peer_of(sock)
        if self._allowed_uids is not None and peer.uid not in self._allowed_uids:
            self._log.warn("rcb.accept", f"refused: user id {peer.uid} may not connect", path=self.name, pid=peer.pid)
            sock.close()
            return
        if sock.family is socket.AF_UNIX:
            unixsock.enlarge_buffers(sock, SOCKET_BUFFER_BYTES)
        else:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        conn = RcbCom(self._evthr, sock, self._protocol, server=True, log=self._log, peer=peer)
        try:
            self._on_connect(conn)
        except BaseException:
            conn.discard()
            raise
        conn.start()
