"""One connection to a server: replies in, commands out, each within its time limit.

Ref: RFC 5321 4.2, 4.5.3.2; RFC 2033 (LMTP over local sockets).
"""

import errno
import os
import socket
from collections import deque
from typing import Final

from meta1g.rcb.common import ServerAddr
from meta1g.smtp.reply import ReplyError, ReplyParser, SmtpReply
from meta1g.smtpc.limits import MICROSECONDS, READ_BYTES
from meta1g.smtpc.status import Outcome, SessionError
from meta1g.st import NetFd, StError, st_connect, st_netfd_close, st_netfd_open_socket, st_read, st_utime, st_write

_UNIX: Final = "unix:"


def outcome_of(reply: SmtpReply) -> Outcome:
    """Turns a reply into what QMGR gets; a missing enhanced code is made from the class of the reply."""
    return Outcome(reply.code, reply.ecode or f"{min(reply.code // 100, 5)}.0.0", reply.one_line)


def where(server: ServerAddr) -> str:
    """Names a server for logs and reports: `host[address]:port`, or the socket."""
    return server.addr if server.addr.startswith(_UNIX) else f"{server.host}[{server.addr}]:{server.port}"


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
    return SessionError(Outcome(451, ecode, f"{where(server)}: {doing}: {text}"))


class Connection:
    """A connected stream to a server.

    Owner: one state thread (the session's).
    """

    __slots__ = ("_netfd", "_parser", "_replies", "server")

    def __init__(self, netfd: NetFd, server: ServerAddr) -> None:
        self._netfd = netfd
        self._parser = ReplyParser()
        self._replies: deque[SmtpReply] = deque()
        self.server = server

    @property
    def netfd(self) -> NetFd:
        """The descriptor object, to wait on."""
        return self._netfd

    @classmethod
    def open(cls, server: ServerAddr, timeout_s: int, source_address: str = "") -> "Connection":
        """Connects.

        Args:
            server: address and port, or `unix:PATH`.
            timeout_s: for the connection attempt.
            source_address: local address to use, or empty.

        Raises:
            SessionError: no connection.

        Switches: yes (st_connect).
        """
        try:
            sock, address = _socket_for(server, source_address)
        except (OSError, ValueError) as error:
            raise SessionError(Outcome(451, "4.4.1", f"{where(server)}: {error}")) from error
        netfd = st_netfd_open_socket(sock)
        try:
            st_connect(netfd, address, timeout_s * MICROSECONDS)
        except OSError as error:
            st_netfd_close(netfd)
            raise lost(server, "connecting", error) from error
        return cls(netfd, server)

    def send(self, data: bytes, timeout_s: int, doing: str) -> None:
        """Sends bytes.

        Raises:
            SessionError: the connection broke or the server did not take them in time.

        Switches: yes (st_write).
        """
        try:
            st_write(self._netfd, data, timeout_s * MICROSECONDS)
        except OSError as error:
            raise lost(self.server, doing, error) from error

    def reply(self, timeout_s: int, doing: str) -> SmtpReply:
        """Gives the next reply; the whole of it has to arrive within timeout_s.

        Raises:
            SessionError: the connection broke, the time is over, or what came is no reply.

        Switches: yes (st_read).
        """
        if self._replies:
            return self._replies.popleft()
        deadline_us = st_utime() + timeout_s * MICROSECONDS
        while not self._replies:
            left_us = deadline_us - st_utime()
            try:
                if left_us <= 0:
                    raise StError(errno.ETIME, os.strerror(errno.ETIME))
                data = st_read(self._netfd, READ_BYTES, left_us)
                if not data:
                    raise StError(errno.ECONNRESET, "server closed the connection")
                self._replies.extend(self._parser.feed(data))
            except OSError as error:
                raise lost(self.server, doing, error) from error
            except ReplyError as error:
                raise SessionError(Outcome(451, "4.5.0", f"{where(self.server)}: {doing}: {error.cause}")) from error
        return self._replies.popleft()

    def pending_reply(self) -> SmtpReply | None:
        """Gives a reply that has come already, without waiting; None if there is none."""
        try:
            while data := st_read(self._netfd, READ_BYTES, 0):
                self._replies.extend(self._parser.feed(data))
        except (OSError, ReplyError):
            pass
        return self._replies.popleft() if self._replies else None

    def close(self) -> None:
        """Closes the connection."""
        st_netfd_close(self._netfd)


def _socket_for(server: ServerAddr, source_address: str) -> tuple[socket.socket, object]:
    if server.addr.startswith(_UNIX):
        return socket.socket(socket.AF_UNIX, socket.SOCK_STREAM), server.addr[len(_UNIX) :]
    family = socket.AF_INET6 if ":" in server.addr else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if source_address and (":" in source_address) == (family == socket.AF_INET6):
            sock.bind((source_address, 0))
    except OSError:
        sock.close()
        raise
    return sock, (server.addr, server.port)
