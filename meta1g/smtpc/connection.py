"""One connection to a server: replies in, commands out, each within its time limit.

The limits hold for the whole of a reply or of a piece of content, however the bytes trickle.  What a server says unasked
takes no memory: a reply that is there before its command is sent is no answer to it, so the session is out of step and ends.

Ref: RFC 5321 4.2, 4.5.3.2; RFC 2033 (LMTP over local sockets).
"""

import errno
import os
import socket
from collections import deque
from typing import TYPE_CHECKING, Final

from meta1g.base.errors import Module, TempError
from meta1g.base.failure import is_shortage
from meta1g.base.reply import Reply
from meta1g.base.tlsfacts import TlsInfo
from meta1g.base.tlspolicy import TlsPolicy
from meta1g.rcb.common import ServerAddr
from meta1g.smtp.reply import ReplyError, ReplyParser
from meta1g.smtpc.demands import wanted
from meta1g.smtpc.limits import MICROSECONDS, READ_BYTES, UNASKED_REPLIES_MAX
from meta1g.smtpc.sources import ANY_SOURCE, Sources, bind_source
from meta1g.smtpc.status import SessionError, origin_of, where
from meta1g.st import (
    POLLOUT,
    NetFd,
    StError,
    st_connect,
    st_netfd_close,
    st_netfd_open_socket,
    st_netfd_poll,
    st_read,
    st_utime,
    st_write,
)

if TYPE_CHECKING:
    from meta1g.st.tls import TlsContext

_HANDSHAKE: Final = "TLS handshake"
_UNIX: Final = "unix:"


def lost(server: ServerAddr, doing: str, error: OSError) -> SessionError:
    """Makes the failure of a connection that broke or timed out.

    Args:
        server: the other end.
        doing: what was going on, for the text.
        error: what the system said.
    """
    timed_out = error.errno in (errno.ETIME, errno.ETIMEDOUT)
    text = "timed out" if timed_out else (error.strerror or str(error))
    ecode = "4.4.1" if doing == "connecting" else "4.4.2"
    return SessionError(Reply(451, ecode, f"{where(server)}: {doing}: {text}"))


class ServerConnection:
    """A connected stream to a server.

    Attributes:
        server: the other end; what it says has its name as origin.
        spare: other addresses of the server that may be reached, for all that is known.
        until_us: no wait goes beyond this time of st_utime(), whatever its own limit is; None for no such limit.

    Owner: one state thread (the session's).
    """

    __slots__ = ("_asked", "_ended", "_netfd", "_parser", "_replies", "server", "spare", "until_us")

    def __init__(self, netfd: NetFd, server: ServerAddr) -> None:
        self._netfd = netfd
        self._parser = ReplyParser(origin_of(server))
        self._ended = False
        self._replies: deque[Reply] = deque()
        self._asked = 1  # the greeting
        self.server = server
        self.spare: tuple[ServerAddr, ...] = ()
        self.until_us: int | None = None

    @property
    def netfd(self) -> NetFd:
        """The descriptor object, to wait on."""
        return self._netfd

    @property
    def source(self) -> str:
        """Our address, empty if there is none, or no connection any more."""
        try:
            address = self._netfd.sock.getsockname() if self._netfd.sock is not None else ""
        except OSError:
            return ""
        return str(address[0]) if isinstance(address, tuple) else ""

    @property
    def in_step(self) -> bool:
        """Whether nothing is at hand that was not asked for, and the server has not closed."""
        return not self._replies and not self._ended

    @classmethod
    def open(cls, server: ServerAddr, timeout_s: int, sources: Sources = ANY_SOURCE) -> "ServerConnection":
        """Connects.

        Args:
            server: address and port, or `unix:PATH`.
            timeout_s: for the connection attempt.
            sources: where the connection comes from.

        Raises:
            SessionError: no connection.
            TempError: there is no descriptor or memory for one now, or the source is none of our addresses; nothing is wrong
                with the server.

        Switches: yes (st_connect).
        """
        try:
            sock, address = socket_for(server, sources)
            netfd = st_netfd_open_socket(sock)
            try:
                st_connect(netfd, address, timeout_s * MICROSECONDS)
            except BaseException:
                st_netfd_close(netfd)
                raise
        except (OSError, ValueError, TypeError, OverflowError) as error:
            raise not_connected(server, error) from error
        return cls(netfd, server)

    # -- sending -------------------------------------------------------------------------------------------------------

    def ask(self, data: bytes, timeout_s: int, doing: str, replies: int = 1) -> None:
        """Sends commands, or the end of a message.

        Args:
            data: what is sent.
            timeout_s: for all of it.
            doing: what is going on, for the text of a failure.
            replies: how many replies the server owes for it.

        Raises:
            SessionError: the connection broke, the server did not take it in time, or it answers what was not asked.

        Switches: yes (st_write).
        """
        if self._replies:
            raise self._out_of_step(doing, self._replies[0])
        self._asked = replies
        self.send(data, timeout_s, doing)

    def send(self, data: bytes, timeout_s: int, doing: str) -> None:
        """Sends bytes to which no reply is expected yet, all of them within timeout_s.

        Raises:
            SessionError: the connection broke or the server did not take them in time.

        Switches: yes (st_write).
        """
        deadline_us = self._deadline_us(timeout_s)
        try:
            left = self._write(data)
            while left:
                st_netfd_poll(self._netfd, POLLOUT, _left_us(deadline_us))
                left = self._write(memoryview(data)[len(data) - left :])
        except OSError as error:
            raise self._last_words(doing) or lost(self.server, doing, error) from error

    def _last_words(self, doing: str) -> SessionError | None:
        """Gives what a server said before it took no more, if it said why."""
        try:
            reply = self.unasked(doing)
        except SessionError:
            return None
        return SessionError(reply) if reply is not None else None

    def _write(self, data: bytes | memoryview) -> int:
        """Sends what goes without waiting; gives the number of bytes left.  Switches: yes."""
        try:
            st_write(self._netfd, data, 0)
        except StError as error:
            if error.errno != errno.ETIME:
                raise
            return error.resid
        return 0

    # -- receiving -----------------------------------------------------------------------------------------------------

    def reply(self, timeout_s: int, doing: str, late_s: int = 0) -> Reply:
        """Gives the next reply; the whole of it has to arrive within timeout_s.

        Args:
            timeout_s: how long to wait.
            doing: what is going on, for the text of a failure.
            late_s: not 0 if nothing worse can happen than no reply: a line that is none is passed over, if the reply comes
                within this time after it, and of a reply that breaks off its code counts.

        Raises:
            SessionError: the connection broke, the time is over, or what came is no reply.

        Switches: yes (st_read).
        """
        deadline_us = self._deadline_us(timeout_s)
        while not self._replies:
            try:
                self._parser.check()
                data = st_read(self._netfd, READ_BYTES, _left_us(deadline_us))
                if not data:
                    raise StError(errno.ECONNRESET, "server closed the connection")
                self._take(data, liberal=late_s > 0)
            except OSError as error:
                return self._half_reply(late_s, doing, error)
            except ReplyError as error:
                raise self._nonsense(doing, error.cause) from error
            if self._parser.nonsense:
                deadline_us = min(deadline_us, self._deadline_us(late_s))
        self._asked, self._parser.nonsense = max(self._asked - 1, 0), ""
        return self._replies.popleft()

    def _half_reply(self, late_s: int, doing: str, error: OSError) -> Reply:
        """Gives the reply that a broken connection has left incomplete, if it may be used."""
        reply = self._parser.rest() if late_s else None
        if reply is None:
            nonsense = self._parser.nonsense
            raise (self._nonsense(doing, nonsense) if nonsense else lost(self.server, doing, error)) from error
        self._ended = True
        return reply

    def _nonsense(self, doing: str, what: str) -> SessionError:
        return SessionError(Reply(451, "4.5.0", f"{where(self.server)}: {doing}: {what}"))

    def _take(self, data: bytes, *, liberal: bool = False) -> None:
        """Keeps the replies that were asked for, and of others no more than their bound."""
        room = self._asked + UNASKED_REPLIES_MAX - len(self._replies)
        self._replies.extend(self._parser.feed(data, liberal=liberal)[: max(room, 0)])

    def unasked(self, doing: str) -> Reply | None:
        """Gives a refusal that has come before its time, None if nothing has come.  Looks once and does not wait.

        Raises:
            SessionError: the server has closed, or has agreed to what it was not asked: the session is out of step.
        """
        try:
            if not self._replies:
                self._parser.check()
                data = self._netfd.recv(READ_BYTES)
                if not data:
                    raise StError(errno.ECONNRESET, "server closed the connection")
                self._take(data)
        except BlockingIOError:
            return None
        except OSError as error:
            raise lost(self.server, doing, error) from error
        except ReplyError as error:
            raise self._nonsense(doing, error.cause) from error
        if self._replies and not _is_refusal(self._replies[0]):
            raise self._out_of_step(doing, self._replies[0])
        return self._replies.popleft() if self._replies else None

    def _out_of_step(self, doing: str, reply: Reply) -> SessionError:
        if _is_refusal(reply):  # a server that gives up need not wait for a command
            return SessionError(reply)
        return self._nonsense(doing, f"a reply that nobody asked for: {reply}")

    # -- TLS -----------------------------------------------------------------------------------------------------------

    def secure(self, context: "TlsContext", policy: TlsPolicy, timeout_s: int) -> TlsInfo:
        """Makes the handshake; the server has agreed to it.

        Args:
            context: trusted certificates and settings.
            policy: what it has to fulfil; whether it does is told, and for the caller to judge.
            timeout_s: for the whole handshake.

        Raises:
            SessionError: it failed, or the server said something in clear that belongs behind it; the connection is lost.

        Switches: yes (network).
        """
        from meta1g.st.tls import st_tls_connect

        if self._replies or self._parser.has_more:  # somebody in between may have written it (RFC 3207 5)
            raise self._nonsense(_HANDSHAKE, "the server said more behind its reply to STARTTLS")
        asked = wanted(policy, _host_name(self.server))
        try:
            return st_tls_connect(self._netfd, context, asked, _left_us(self._deadline_us(timeout_s)))
        except StError as error:
            raise lost(self.server, _HANDSHAKE, error) from error

    @property
    def binding(self) -> bytes | None:
        """The channel binding tls-exporter, None if there is none; only under TLS."""
        from meta1g.st.tls import st_tls_exporter

        return st_tls_exporter(self._netfd)

    @property
    def is_local(self) -> bool:
        """Whether what is sent does not leave this machine by a network."""
        return self.server.addr.startswith(_UNIX)

    # -- the end -------------------------------------------------------------------------------------------------------

    def limit(self, seconds: int) -> None:
        """Lets no wait from now on last longer than so many seconds from now."""
        self.until_us = self._deadline_us(seconds)

    def extend(self, seconds: int) -> None:
        """Lets the limit of all waits be so many seconds from now at least."""
        if self.until_us is not None:
            self.until_us = max(self.until_us, st_utime() + seconds * MICROSECONDS)

    def _deadline_us(self, timeout_s: int) -> int:
        deadline_us = st_utime() + timeout_s * MICROSECONDS
        return deadline_us if self.until_us is None else min(deadline_us, self.until_us)

    def close(self) -> None:
        """Closes the connection."""
        st_netfd_close(self._netfd)


def _host_name(server: ServerAddr) -> str:
    """Gives the name of a server, empty if it has none but an address or a path (RFC 6066 3: no literals)."""
    host = server.host.rstrip(".")
    return "" if "/" in host or ":" in host or host.rpartition(".")[2].isdigit() else host


def _is_refusal(reply: Reply) -> bool:
    return reply.is_temp or reply.is_perm


def _left_us(deadline_us: int) -> int:
    """Gives how long a wait may last.

    Raises:
        StError: ETIME, the time is over.
    """
    left_us = deadline_us - st_utime()
    if left_us <= 0:
        raise StError(errno.ETIME, os.strerror(errno.ETIME))
    return left_us


def not_connected(server: ServerAddr, error: Exception) -> Exception:
    """Makes the failure of an attempt to connect: a shortage here is not held against the server."""
    if not isinstance(error, OSError):  # an address or port that no socket takes
        return SessionError(Reply(451, "4.4.1", f"{where(server)}: connecting: {error}"))
    if is_shortage(error) and error.errno != errno.EAGAIN:  # EAGAIN: the queue of a local server is full
        return TempError(Module.SMTPC, f"cannot connect now: {error.strerror}")
    return lost(server, "connecting", error)


def socket_for(server: ServerAddr, sources: Sources) -> tuple[socket.socket, str | tuple[str, int]]:
    """Gives a socket for a server, and what it is connected to.

    Raises:
        TempError: the source is no address of this machine.
        OSError, ValueError, TypeError, OverflowError: there is none, or no socket takes this address and port.
    """
    if server.addr.startswith(_UNIX):
        return socket.socket(socket.AF_UNIX, socket.SOCK_STREAM), server.addr[len(_UNIX) :]
    family = socket.AF_INET6 if ":" in server.addr else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if source := sources.ipv6 if family == socket.AF_INET6 else sources.ipv4:
            bind_source(sock, source)
    except BaseException:
        sock.close()
        raise
    return sock, (server.addr, server.port)
