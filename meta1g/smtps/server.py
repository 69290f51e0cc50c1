"""Listening sockets, one state thread for each connection, and the orderly end.

Ref: MeTA1 design, "Functional Specification: SMTPS" (one thread a connection, modelled on); RFC 5321 3.1.
"""

import socket
from functools import partial
from typing import Any, Final

from meta1g.base import failure
from meta1g.smtps.context import Context
from meta1g.smtps.limits import FAREWELLS_MAX, LAST_GRACE_S, STOP_GRACE_S
from meta1g.smtps.listen import Door
from meta1g.smtps.session import ServerSession
from meta1g.st import NetFd, StThread, st_netfd_close, st_netfd_open_socket, st_thread_create, st_thread_interrupt
from meta1g.st.acceptor import accept_all

_MAPPED: Final = "::ffff:"
_PLAIN: Final = Door()
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
        self._sessions: set[ServerSession] = set()
        self._opened = False
        context.gate.on_down = self._hold
        self._full = False

    def serve(self, sock: socket.socket, door: Door = _PLAIN) -> str:
        """Starts to accept connections on a listening socket.

        Args:
            sock: the socket.
            door: what is special of its sessions.

        Returns:
            The name of the socket, which is logged too.
        """
        name = socket_name(sock)
        if sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # accepted sockets inherit it
        nfd = st_netfd_open_socket(sock)
        thread = st_thread_create(lambda _arg: self._accept(nfd, door))
        self._listeners[thread] = nfd
        self._context.log.info("smtps.listen", "ok", listen=name)
        return name

    def _accept(self, listener: NetFd, door: Door) -> None:
        """Lets clients in, as many as can be served, when the links have been up; the others wait in the kernel's queue.

        Switches: yes.
        """
        accept_all(listener, partial(self._take, door), self._context.log, "smtps.accept", self._may_accept)

    def _may_accept(self) -> bool:
        """Waits for the links, at the start as long as it takes, and for room; tells whether to accept.

        Switches: yes, if it waits.
        """
        context = self._context
        if not context.gate.links_up():
            end_s = context.gate.deadline() if self._opened else None
            context.gate.wait(lambda: context.stopping or context.gate.links_up(), end_s)
            self._opened = True
        if context.sessions >= context.sessions_max + FAREWELLS_MAX and not context.stopping:
            if not self._full:
                self._full = True
                context.log.warn("smtps.full", "no room; clients wait", count=context.sessions, limit=context.sessions_max)
            context.gate.wait(lambda: context.stopping or context.sessions < context.sessions_max)
            self._full = False
        return not context.stopping

    def _hold(self) -> None:
        """Takes the listeners out of their calls, so that who comes now waits in the kernel's queue."""
        for thread in self._listeners:
            st_thread_interrupt(thread)

    def _take(self, door: Door, nfd: NetFd, addr: Any) -> None:
        session = ServerSession(self._context, nfd, client_address(addr), door)
        self._sessions.add(session)
        self._context.sessions = len(self._sessions)
        st_thread_create(self._run, session)

    def _run(self, session: ServerSession) -> None:
        """Switches: yes."""
        try:
            session.run()
        finally:
            self._sessions.discard(session)
            self._context.sessions = len(self._sessions)
            self._context.gate.tell()

    def stop(self) -> None:
        """Stops accepting, lets open transactions end, at most STOP_GRACE_S.  Switches: yes (waits)."""
        context = self._context
        if context.stopping:
            return
        context.stopping = True
        context.log.notice("smtps.stop", "stopping", count=len(self._sessions))
        context.gate.close()
        closing = [lambda nfd=nfd: st_netfd_close(nfd) for nfd in self._listeners.values()]
        failure.steps(context.log, "smtps.stop", *closing, lambda: self._end(now=False), lambda: self._end(now=True))

    def _end(self, *, now: bool) -> None:
        """Asks all sessions to end and waits for them.  Switches: yes (waits)."""
        for session in tuple(self._sessions):
            session.stop(now=now)
        clock = self._context.clock
        end_s = clock.monotonic() + (LAST_GRACE_S if now else STOP_GRACE_S)
        self._context.gate.wait(lambda: not self._sessions, end_s)
