"""Listening sockets, one state thread for each connection, and the orderly end.

Ref: MeTA1 design, "Functional Specification: SMTPS" (one thread a connection, modelled on); RFC 5321 3.1.
"""

import errno
import socket
from typing import Any, Final

from meta1g.smtps.context import Context
from meta1g.smtps.limits import ACCEPT_PAUSE_US, STOP_GRACE_S, US
from meta1g.smtps.session import Session
from meta1g.st import (
    ST_UTIME_NO_TIMEOUT,
    NetFd,
    StError,
    StThread,
    st_accept,
    st_netfd_close,
    st_netfd_open_socket,
    st_thread_create,
    st_thread_interrupt,
    st_usleep,
)

_MAPPED: Final = "::ffff:"
_POLL_US: Final = US // 20
#: The address of a client that came by a Unix socket.
_LOCAL_CLIENT: Final = "127.0.0.1"


def client_address(addr: Any) -> str:
    """Gives the address of a client in text form: IPv4 if it is one behind an IPv6 socket, no zone."""
    if not isinstance(addr, tuple):
        return _LOCAL_CLIENT
    text = str(addr[0]).partition("%")[0]
    return text[len(_MAPPED) :] if text.startswith(_MAPPED) and "." in text else text


def socket_name(sock: socket.socket) -> str:
    """Gives the address of a listening socket as `address:port`, `[address]:port` or a path."""
    name = sock.getsockname()
    if not isinstance(name, tuple):
        return str(name)
    return f"[{name[0]}]:{name[1]}" if sock.family == socket.AF_INET6 else f"{name[0]}:{name[1]}"


class Server:
    """All listeners and sessions of the process.

    Args:
        context: what they share.

    Owner: the process (state threads of it).
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._listeners: dict[StThread, NetFd] = {}
        self._sessions: set[Session] = set()

    def serve(self, sock: socket.socket) -> str:
        """Starts to accept connections on a listening socket.  Switches: no.

        Returns:
            The name of the socket, which is logged too.
        """
        name = socket_name(sock)
        if sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # accepted sockets inherit it
        nfd = st_netfd_open_socket(sock)
        thread = st_thread_create(self._accept, nfd)
        self._listeners[thread] = nfd
        self._context.log.info("smtps.listen", "ok", listen=name)
        return name

    def _accept(self, listener: NetFd) -> None:
        while not self._context.stopping:
            try:
                nfd, addr = st_accept(listener, ST_UTIME_NO_TIMEOUT)
            except StError as error:
                self._accept_failed(error)
                continue
            st_thread_create(self._run, Session(self._context, nfd, client_address(addr)))

    def _accept_failed(self, error: StError) -> None:
        if error.errno in (errno.ECONNABORTED, errno.EINTR):
            return
        self._context.log.error("smtps.accept", str(error), count=len(self._sessions))
        st_usleep(ACCEPT_PAUSE_US)

    def _run(self, session: Session) -> None:
        self._sessions.add(session)
        try:
            session.run()
        finally:
            self._sessions.discard(session)

    def stop(self) -> None:
        """Stops accepting, lets open transactions end, at most STOP_GRACE_S.  Switches: yes (waits)."""
        context = self._context
        if context.stopping:
            return
        context.stopping = True
        context.log.notice("smtps.stop", "stopping", count=len(self._sessions))
        for thread, nfd in self._listeners.items():
            st_thread_interrupt(thread)
            st_netfd_close(nfd)
        end_s = context.clock.monotonic() + STOP_GRACE_S
        for session in tuple(self._sessions):
            session.stop(now=False)
        while self._sessions and context.clock.monotonic() < end_s:
            st_usleep(_POLL_US)
        for session in tuple(self._sessions):
            session.stop(now=True)
        end_s = context.clock.monotonic() + 1
        while self._sessions and context.clock.monotonic() < end_s:
            st_usleep(_POLL_US)
