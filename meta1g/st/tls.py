"""TLS over a descriptor object: after the handshake st_read, st_write and the others work as before.

    NetFd in clear -- st_tls_accept or st_tls_connect --> NetFd under TLS, or one that can only be closed

st_netfd_close() tells the peer that this is the end (close_notify) and does not wait for its answer.

The server begins when the first record of the client is there: libssl takes 40 KiB for a handshake, and who sends nothing, or
half a hello, does not get them.

Invariants: after a handshake that failed nothing is sent or received any more, least of all in clear.  One thread at a time
makes a step of a handshake, and others have a turn after each step: many handshakes at once do not hold up other sessions.

Owner: the process (one native thread).
Ref: RFC 8446; RFC 3207 4 (STARTTLS); MeTA1 design, "Functional Specification: SMTPS, STARTTLS" (modelled on).
"""

import contextlib
import errno
import socket
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn, TypeAlias

from meta1g.base.tlsfacts import TlsInfo, TlsSettings, TlsWanted
from meta1g.st import libssl
from meta1g.st.errors import StError, fail
from meta1g.st.event import st_utime
from meta1g.st.io import WantError
from meta1g.st.netfd import READ, NetFd, wait_fd
from meta1g.st.sched import ST_UTIME_NO_TIMEOUT, st_usleep
from meta1g.st.sync import st_mutex_lock, st_mutex_new, st_mutex_unlock

if TYPE_CHECKING:
    from meta1g.st import pyssl

TlsContext: TypeAlias = "libssl.Context | pyssl.Context"
_AnyConnection: TypeAlias = "libssl.TlsConnection | pyssl.TlsConnection"
#: Gives the context for the server name that a client asked for, empty for none; None to stay with the one in use.
#: It may switch.
ChooseContext: TypeAlias = "Callable[[str], TlsContext | None]"

#: What Python's ssl cannot do.
LOST: Final = (
    "certificates of clients, verification of servers, certificates by server name, shared ticket keys, DANE, tls-exporter"
)
_steps = st_mutex_new()
#: A record: type, version, length (RFC 8446 5.1).
_HEAD_BYTES: Final = 5
_LENGTH_AT: Final = 3
_HANDSHAKE: Final = 22
_RECORD_MAX_BYTES: Final = 1 << 14


class _Deadline:
    """The end of a handshake's time.

    Args:
        timeout_us: from now on; ST_UTIME_NO_TIMEOUT for none.

    Owner: one thread.
    """

    __slots__ = ("_end_us",)

    def __init__(self, timeout_us: int) -> None:
        self._end_us = None if timeout_us < 0 else st_utime() + timeout_us

    def left_us(self) -> int:
        """Gives what is left.

        Raises:
            StError: ETIME.
        """
        if self._end_us is None:
            return ST_UTIME_NO_TIMEOUT
        left_us = self._end_us - st_utime()
        if left_us <= 0:
            fail(errno.ETIME)
        return left_us


def tls_trouble() -> str:
    """Says why not all of TLS can be used here, and what is lost; empty if all is well."""
    why = libssl.why_not()
    return f"{why}; without it there is no: {LOST}" if why else ""


def tls_context(settings: TlsSettings, *, server: bool) -> TlsContext:
    """Makes what connections have in common.

    Args:
        settings: certificates, versions, ciphers.
        server: for st_tls_accept(), else for st_tls_connect().

    Raises:
        StError: a file cannot be read, is no certificate or key, or they do not belong together; the text names it.
    """
    if libssl.why_not():
        from meta1g.st import pyssl

        return pyssl.Context(settings, server=server)
    return libssl.Context(settings, server=server)


def cert_file_seconds_left(path: Path) -> int | None:
    """Gives how long a certificate is valid, in seconds, negative if it is no more; None if that cannot be told here.

    Args:
        path: its file, PEM.

    Raises:
        StError: it cannot be read; the text names it.
    """
    return None if libssl.why_not() else libssl.cert_file_seconds_left(path)


def st_tls_accept(nfd: NetFd, context: TlsContext, timeout_us: int, choose: "ChooseContext | None" = None) -> TlsInfo:
    """Makes the server's side of a handshake.

    Args:
        nfd: a connected socket in clear; what it received so far has to be used or dropped by the caller.
        context: certificate and settings.
        timeout_us: for the whole handshake, microseconds.
        choose: another context for some server names.

    Raises:
        StError: EPROTO with the reason, ETIME, EINTR, or the system's error; then nfd can only be closed.

    Switches: yes.
    """
    return _start(nfd, context, None, _Deadline(timeout_us), choose)


def st_tls_connect(nfd: NetFd, context: TlsContext, wanted: TlsWanted, timeout_us: int) -> TlsInfo:
    """Makes the client's side of a handshake.

    Args:
        nfd: a connected socket in clear.
        context: trusted certificates and settings.
        wanted: of the server; whether it has it is told, and for the caller to judge.
        timeout_us: for the whole handshake, microseconds.

    Raises:
        StError: EPROTO with the reason, ETIME, EINTR, or the system's error; then nfd can only be closed.

    Switches: yes.
    """
    return _start(nfd, context, wanted, _Deadline(timeout_us), None)


def _start(
    nfd: NetFd, context: TlsContext, wanted: TlsWanted | None, deadline: _Deadline, choose: "ChooseContext | None"
) -> TlsInfo:
    """Switches: yes."""
    if nfd.sock is None:
        fail(errno.ENOTSOCK)
    if nfd.fd < 0:
        fail(errno.EBADF)
    nfd.recv = nfd.send = _refuse
    if wanted is None:
        _await_hello(nfd, nfd.sock, deadline)
    connection = context.connection(nfd.fd, wanted)
    nfd.layer = connection
    _handshake(nfd, connection, deadline, choose)
    if nfd.fd < 0:  # another thread has closed it meanwhile
        fail(errno.EBADF)
    nfd.recv, nfd.send, nfd.buffered = connection.recv, connection.send, connection.pending
    return connection.info()


def _await_hello(nfd: NetFd, sock: socket.socket, deadline: _Deadline) -> None:
    """Waits for the head of the first record, then for all of it; what is no hello is not waited for.  Switches: yes.

    Unix sockets do not know how much is waited for.
    """
    if sock.family == socket.AF_UNIX:
        return
    try:
        _await_bytes(nfd, sock, _HEAD_BYTES, deadline)
        head = _seen(sock, _HEAD_BYTES, socket.MSG_PEEK)
        size = int.from_bytes(head[_LENGTH_AT:], "big")
        if len(head) == _HEAD_BYTES and head[0] == _HANDSHAKE and size <= _RECORD_MAX_BYTES:
            _await_bytes(nfd, sock, _HEAD_BYTES + size, deadline)
    except StError:
        _seen(sock, _RECORD_MAX_BYTES, 0)  # with bytes that nobody has read the end would be a reset
        raise
    _set_least(sock, 1)


def _await_bytes(nfd: NetFd, sock: socket.socket, count: int, deadline: _Deadline) -> None:
    """Waits until so many bytes are there, or no more will come.  Switches: yes."""
    _set_least(sock, count)
    wait_fd(nfd, READ, deadline.left_us())


def _seen(sock: socket.socket, count: int, flags: int) -> bytes:
    """Gives what is there; nothing after an error, which libssl meets again."""
    try:
        return sock.recv(count, flags)
    except OSError:
        return b""


def _set_least(sock: socket.socket, count: int) -> None:
    """Lets the kernel call a socket readable when so many bytes are there."""
    with contextlib.suppress(OSError):  # not known: then less is enough
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, count)


def _handshake(nfd: NetFd, connection: _AnyConnection, deadline: _Deadline, choose: "ChooseContext | None") -> None:
    """Switches: yes."""
    while True:
        try:
            if _step(nfd, connection):
                return
            chosen = choose(connection.hello or "") if choose is not None else None
            if chosen is not None and nfd.fd >= 0:
                connection.use(chosen)  # type: ignore[arg-type] # both are of the module that tls_context() chose
        except WantError as want:
            wait_fd(nfd, want.how, deadline.left_us())


def _step(nfd: NetFd, connection: _AnyConnection) -> bool:
    """Makes one step and lets others run.  Switches: yes."""
    st_mutex_lock(_steps)
    try:
        if nfd.fd < 0:
            fail(errno.EBADF)
        return connection.handshake()
    finally:
        try:
            st_usleep(0)
        finally:
            st_mutex_unlock(_steps)


def _refuse(_argument: object) -> NoReturn:
    fail(errno.EPROTO, "TLS: the handshake failed")


def st_tls_exporter(nfd: NetFd) -> bytes | None:
    """Gives the channel binding tls-exporter (RFC 9266); None if there is none."""
    return None if nfd.layer is None or nfd.buffered is None else nfd.layer.exporter()
