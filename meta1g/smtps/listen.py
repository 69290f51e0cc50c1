"""Binds the sockets of a section when no supervisor hands them over.

Ref: MeTA1 README, `listen_socket` (option names as in meta1.conf).
"""

import errno
import os
import socket
from collections.abc import Callable
from pathlib import Path

from meta1g.base import unixsock
from meta1g.base.cli import CliError
from meta1g.base.dataclass import dataclass
from meta1g.base.sysexits import EX_NOPERM, EX_OSERR
from meta1g.conf.load import Section
from meta1g.smtps.limits import LISTEN_BACKLOG


@dataclass(frozen=True, slots=True)
class Door:
    """What is special of the sessions that come by one listening socket.

    Args:
        implicit_tls: they begin with a handshake.
    """

    implicit_tls: bool = False


def doors_of(section: Section) -> list[Door]:
    """Gives what is special of each listen_socket of a section, in its order."""
    return [Door(implicit_tls=sub.get("implicit_tls")) for sub in section.subs("listen_socket")]


def bind_all(section: Section, queue_directory: Path) -> list[socket.socket]:
    """Binds every listen_socket of a section and listens.

    Raises:
        CliError: one cannot be bound; the text says which and what to do.
    """
    return [_bind(sub, queue_directory) for sub in section.subs("listen_socket")]


def _bind(sub: Section, queue_directory: Path) -> socket.socket:
    path = sub.get("path")
    if sub.get("type") == "unix" or path:
        where = str(queue_directory / path)
        return _listening(lambda: unixsock.listen(Path(where), mode=sub.get("permissions"), backlog=LISTEN_BACKLOG), where)
    address, port = sub.get("address") or "", sub.get("port")
    return _listening(lambda: _inet(address, port), f"{address or '*'} port {port}")


def _inet(address: str, port: int) -> socket.socket:
    """Binds to an address; without one, to all addresses of both families."""
    if not address and socket.has_dualstack_ipv6():
        return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=LISTEN_BACKLOG)
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return socket.create_server((address, port), family=family, backlog=LISTEN_BACKLOG)


def _listening(make: Callable[[], socket.socket], where: str) -> socket.socket:
    try:
        sock = make()
        sock.listen(LISTEN_BACKLOG)
    except OSError as error:
        raise CliError(f"cannot listen on {where}: {_advice(error)}", _exit_code(error)) from error
    return sock


def _advice(error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return "another program uses it; stop that one or choose another port or path in listen_socket"
    if error.errno in (errno.EACCES, errno.EPERM):
        return "permission denied; ports below 1024 need mcp with start_action = pass"
    return error.strerror or os.strerror(error.errno or 0)


def _exit_code(error: OSError) -> int:
    return EX_NOPERM if error.errno in (errno.EACCES, errno.EPERM) else EX_OSERR
