"""Listening for clients, on an address or on a Unix socket, and what to do where that cannot be.

Owner: none, functions without state.
Ref: meta1.conf(5), `listen_socket`.
"""

import errno
import socket
from pathlib import Path
from typing import Final

from meta1g.base import unixsock
from meta1g.base.cli import CliError
from meta1g.base.sysexits import EX_NOPERM, EX_OSERR

#: Clients of a `listen_socket` that may wait to be accepted; the kernel cuts it to net.core.somaxconn.  Our choice.
CLIENTS_BACKLOG: Final = 1024

SocketPlace = Path | tuple[str, int]


def listen(place: SocketPlace, *, mode: int, backlog: int, gid: int | None = None) -> socket.socket:
    """Makes a listening socket.

    Args:
        place: a Unix socket, or an address and a port; no address stands for all of both families.
        mode: permission bits of a Unix socket.
        backlog: connections that may wait to be accepted.
        gid: group of a Unix socket, None to leave it.

    Raises:
        OSError: the system's error, or one of unixsock.listen().
    """
    if isinstance(place, Path):
        return unixsock.listen(place, mode=mode, backlog=backlog, gid=gid)
    if not place[0] and socket.has_dualstack_ipv6():
        return socket.create_server(place, family=socket.AF_INET6, dualstack_ipv6=True, backlog=backlog)
    family = socket.AF_INET6 if ":" in place[0] else socket.AF_INET
    return socket.create_server(place, family=family, backlog=backlog)


def name_of(place: SocketPlace) -> str:
    """Names a place for a reader of messages."""
    return f"socket {place}" if isinstance(place, Path) else f"{place[0] or '*'} port {place[1]}"


def refused(place: SocketPlace, error: OSError, where: str = "") -> CliError:
    """Gives the error of a `listen_socket` that cannot be, with what to do.

    Args:
        place: what listen() was asked for.
        error: what it said.
        where: file and line of the section, as `FILE:LINE: `.
    """
    code = EX_NOPERM if error.errno in (errno.EACCES, errno.EPERM) else EX_OSERR
    return CliError(f"{where}cannot listen on {name_of(place)}: {_advice(place, error)}", code)


def _advice(place: SocketPlace, error: OSError) -> str:
    if isinstance(place, tuple) and (error.errno or 0) < 0:  # a number of getaddrinfo(3)
        return f"{place[0]} is no address; write numbers in listen_socket"
    option = "path" if isinstance(place, Path) else "port"
    denied = "permission denied; start mcp as root with start_action = pass, or choose a port above 1023"
    texts = {
        errno.EADDRINUSE: f"another program uses it; stop that one or choose another {option} in listen_socket",
        errno.EACCES: denied,
        errno.EPERM: denied,
        errno.EADDRNOTAVAIL: "this machine has no such address; mend address in listen_socket",
        errno.ENAMETOOLONG: f"the path is longer than {unixsock.PATH_MAX_BYTES} bytes; choose a shorter one",
        errno.EEXIST: "a file that is no socket has this name; remove it or choose another path in listen_socket",
        errno.ENOENT: "its directory does not exist; make it or mend path in listen_socket",
        errno.EAFNOSUPPORT: "this machine does not speak that kind of address; mend address in listen_socket",
    }
    return texts.get(error.errno or 0) or error.strerror or str(error)
