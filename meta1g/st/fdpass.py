"""Receives listening sockets over a Unix socket: mcp binds them, an unprivileged server uses them.

Owner: the process (one native thread).
Ref: MeTA1 design, "Functional Specification: Supervisor" (start_action = pass, modelled on).
"""

from pathlib import Path

from meta1g.base import paths, unixsock
from meta1g.base.cli import CliError
from meta1g.base.errors import PermError, TempError
from meta1g.base.log import Log
from meta1g.base.sysexits import EX_OSERR
from meta1g.st.acceptor import accept_all
from meta1g.st.errors import StError
from meta1g.st.fdconn import FdConn, Take
from meta1g.st.limits import PASS_FD_BACKLOG
from meta1g.st.netfd import NetFd, st_netfd_open_socket
from meta1g.st.sched import st_thread_create


def serve_pass_fd(path: Path, take: Take, log: Log) -> NetFd:
    """Listens for descriptors.

    Args:
        path: the socket, made with mode 0660; one that an earlier process left is removed.
        take: called as take(sock, message) with each socket; what it raises is the answer.
        log: for refused senders and broken connections.

    Returns:
        The listening descriptor; closing it ends the service.

    Raises:
        CliError: the socket cannot be made.
    """
    try:
        sock = unixsock.listen(path, mode=paths.SOCKET_MODE, backlog=PASS_FD_BACKLOG)
    except OSError as error:
        raise CliError(f"cannot listen on {path}: {error.strerror}", EX_OSERR) from error
    nfd = st_netfd_open_socket(sock)
    st_thread_create(lambda _arg: accept_all(nfd, lambda one, _address: _serve_one(one, take, log), log, "st.fdpass"))
    return nfd


def _serve_one(nfd: NetFd, take: Take, log: Log) -> None:
    """Serves one sender.  Switches: yes."""
    sender = FdConn(nfd, take, log)
    try:
        sender.serve()
    except (TempError, PermError, StError) as error:
        log.warn("st.fdpass", str(error))
    finally:
        sender.close()
