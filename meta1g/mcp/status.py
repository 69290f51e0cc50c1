"""The status socket: control clients connect here; the commands are in commands.py.

Invariant: a client can cost one of STATUS_CLIENTS_MAX connections for STATUS_TIMEOUT_S, nothing else (invariant I4); who waits
for a reload may wait as long as that takes.

Owner: the event loop.
Ref: our choice; protocol in rcb/control.py.
"""

from collections.abc import Callable
from pathlib import Path

from meta1g.base import failure, paths, unixsock
from meta1g.base.cli import CliError
from meta1g.base.log import Log
from meta1g.base.sysexits import EX_OSERR
from meta1g.mcp.commands import Request
from meta1g.mcp.limits import STATUS_CLIENTS_MAX, STATUS_PAUSE_S
from meta1g.mcp.loop import Loop, Timer
from meta1g.mcp.statusconn import StatusConn


class StatusServer:
    """Listens on the status socket.

    Args:
        loop: the event loop.
        queue: the queue directory; the socket gets the group of its directory, mode 0660.
        answer: answers a command.
        log: for clients that speak nonsense.

    Raises:
        CliError: the socket cannot be made.

    Owner: the event loop.
    """

    def __init__(self, loop: Loop, queue: Path, answer: Callable[[Request], object], log: Log) -> None:
        self._loop = loop
        self._path = queue / paths.MCP_STATUS_SOCKET
        self._answer = answer
        self.log = log
        self._pause: Timer | None = None
        self._clients: set[StatusConn] = set()
        self._sock = self._bind()
        self._listen()

    def _bind(self) -> unixsock.UnixListener:
        try:
            gid = self._path.parent.stat().st_gid
            sock = unixsock.listen(self._path, mode=paths.SOCKET_MODE, gid=gid, backlog=STATUS_CLIENTS_MAX)
        except OSError as error:
            raise CliError(f"cannot listen on {self._path}: {error.strerror}", EX_OSERR) from error
        sock.setblocking(False)
        return sock

    def close(self) -> None:
        """Ends all connections and removes the socket."""
        for client in list(self._clients):
            client.close()
        if self._pause is not None:
            self._pause.cancel()
        self._loop.remove(self._sock.fileno())
        self._sock.unlink()
        self._sock.close()

    def _accept(self) -> None:
        try:
            conn, _address = self._sock.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        except OSError as error:  # no descriptor is left: whoever asks waits a moment
            self.log.error("mcp.status", error.strerror or str(error))
            self._loop.remove(self._sock.fileno())
            self._pause = self._loop.call_later(STATUS_PAUSE_S, self._listen)
            return
        if len(self._clients) >= STATUS_CLIENTS_MAX:
            conn.close()
            return
        with failure.item(self.log, "mcp.status", lambda error: conn.close()):
            conn.setblocking(False)
            client = StatusConn(self._loop, conn, self._answer, self._clients.discard, lambda: self.log)
            self._clients.add(client)
            client.send()

    def _listen(self) -> None:
        self._loop.add_reader(self._sock.fileno(), self._accept)
