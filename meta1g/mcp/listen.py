"""Binds the listening sockets, or takes over those that systemd has bound.

mcp keeps them open while components restart, so that no connection is refused meanwhile.

Owner: the process.
Ref: meta1.conf(5), `listen_socket`; sd_listen_fds(3).
"""

import contextlib
import os
import socket
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from meta1g.base import listening, unixsock
from meta1g.base.cli import CliError
from meta1g.mcp.service import BINDS, Listen, Service

_FIRST_SYSTEMD_FD: Final = 3
_SOCKET_MODE_DEFAULT: Final = 0o666


class Sockets:
    """All listening sockets of the system by the text of their `listen_socket`.

    Args:
        queue_directory: paths of Unix sockets are relative to it.
        inherited: sockets that somebody else has bound, by text; used before a new one is bound.

    Owner: the process.
    """

    def __init__(self, queue_directory: Path, inherited: Mapping[str, socket.socket] | None = None) -> None:
        self._queue = queue_directory
        self._inherited = dict(inherited or {})
        self.open: dict[str, socket.socket] = {}

    def of(self, service: Service) -> list[socket.socket]:
        """Gives the sockets of a service in the order of the file."""
        return [self.open[listen.text] for listen in service.listens]

    def bind(self, services: Iterable[Service]) -> "Sockets":
        """Gives the sockets that these services need: those that are open already, and new ones for the rest.

        This object stays as it is, so that a failure changes nothing; the caller closes what only the old one has.

        Raises:
            CliError: one cannot be bound, the text says which and what to do; new ones are closed again.
        """
        made = Sockets(self._queue, self._inherited)
        with contextlib.ExitStack() as undo:
            undo.callback(made.close_but, self)
            for service in services:
                for listen in service.listens if service.start_action in BINDS else ():
                    if listen.text not in made.open:
                        made.open[listen.text] = self._take(listen)
            undo.pop_all()
        return made

    def _take(self, listen: Listen) -> socket.socket:
        found = self.open.get(listen.text) or self._inherited.get(_key(listen, self._queue))
        if found is not None:
            return found
        try:
            return bind(listen, self._queue)
        except CliError as error:
            own = self._own(listen)
            if not own:
                raise
            text = f"mcp itself serves {own}; to change the address, stop mcp and start it again"
            raise CliError(f"{listen.where}: cannot listen on {listen.text}: {text}", error.exit_code) from error

    def _own(self, listen: Listen) -> str:
        """Gives a socket of ours that takes the same port at another address; nothing if there is none."""
        taken = (text for text in self.open if listen.port and text.endswith(f" port {listen.port}"))
        return next(taken, "")

    def close_but(self, keep: "Sockets | None" = None) -> None:
        """Closes all sockets that `keep` does not have; files of closed Unix sockets are removed."""
        kept = set(keep.open.values()) if keep else set()
        for sock in {*self.open.values()} - kept - {*self._inherited.values()}:
            _close(sock)
        if not keep:
            for sock in self._inherited.values():
                sock.close()


def _close(sock: socket.socket) -> None:
    if isinstance(sock, unixsock.UnixListener):
        sock.unlink()
    sock.close()


def bind(listen: Listen, queue_directory: Path) -> socket.socket:
    """Binds one socket and listens.

    Raises:
        CliError: it cannot be bound.
    """
    place: listening.SocketPlace = queue_directory / listen.path if listen.path else (listen.address, listen.port)
    mode = _SOCKET_MODE_DEFAULT if listen.permissions is None else listen.permissions
    try:
        return listening.listen(place, mode=mode, backlog=listening.CLIENTS_BACKLOG)
    except OSError as error:
        raise listening.refused(place, error, f"{listen.where}: ") from error


def systemd_sockets() -> dict[str, socket.socket]:
    """Gives the sockets that systemd hands over (LISTEN_PID, LISTEN_FDS), by family, address and port.

    They belong to this process from now on; the variables are removed.
    """
    pid, count = os.environ.pop("LISTEN_PID", ""), os.environ.pop("LISTEN_FDS", "")
    os.environ.pop("LISTEN_FDNAMES", None)
    if pid != str(os.getpid()) or not (count.isascii() and count.isdigit()):
        return {}
    found = {}
    for fd in range(_FIRST_SYSTEMD_FD, _FIRST_SYSTEMD_FD + int(count)):
        with contextlib.suppress(OSError):
            sock = socket.socket(fileno=fd)
            sock.set_inheritable(False)
            found[_socket_key(sock)] = sock
    return found


def _socket_key(sock: socket.socket) -> str:
    name = sock.getsockname()
    if sock.family == socket.AF_UNIX:
        return os.fsdecode(name)
    return f"{'' if name[0] in ('::', '0.0.0.0') else name[0]} {name[1]}"


def _key(listen: Listen, queue_directory: Path) -> str:
    if listen.path:
        return str(queue_directory / listen.path)
    return f"{'' if listen.address in ('::', '0.0.0.0') else listen.address} {listen.port}"
