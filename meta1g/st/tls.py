"""TLS over a descriptor object: after the handshake st_read, st_write and the others work as before.

    NetFd in clear -- st_tls_accept or st_tls_connect --> NetFd under TLS, or one that can only be closed

Invariant: after a handshake that failed nothing is sent or received any more, least of all in clear.

Owner: the process (one native thread).
Ref: RFC 8446; RFC 3207 4 (STARTTLS); MeTA1 design, "Functional Specification: SMTPS, STARTTLS" (modelled on).
"""

import contextlib
import errno
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from meta1g.base.dataclass import dataclass
from meta1g.st.errors import StError, fail
from meta1g.st.event import st_utime
from meta1g.st.io import WantError
from meta1g.st.netfd import READ, WRITE, NetFd, st_netfd_close, wait_fd
from meta1g.st.sched import ST_UTIME_NO_TIMEOUT, st_checkpoint

#: Gives the context for the server name that a client asked for, None to stay with the one in use.
ChooseContext = Callable[[str | None], ssl.SSLContext | None]


@dataclass(frozen=True, slots=True)
class TlsInfo:
    """What was agreed on.

    Args:
        version: `TLSv1.3` or older.
        cipher: name of the cipher suite.
        bits: strength of its key.
        peer_cert: the peer's certificate, DER; None if it has none.
        verified: the certificate was checked against trusted ones.
    """

    version: str
    cipher: str
    bits: int
    peer_cert: bytes | None
    verified: bool


def server_context(cert_file: Path, key_file: Path, choose: ChooseContext | None = None) -> ssl.SSLContext:
    """Makes the context of a server, TLS 1.2 and newer.

    Args:
        cert_file: certificate and chain, PEM.
        key_file: its key, PEM.
        choose: for clients that name a server (RFC 6066 3).

    Raises:
        StError: a file cannot be read or is no certificate or key, or they do not belong together.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    _load(context, cert_file, key_file)
    if choose is not None:
        set_choice(context, choose)
    return context


def client_context(ca_file: Path | None = None) -> ssl.SSLContext:
    """Makes the context of a client, TLS 1.2 and newer; without trusted certificates the server's is not checked.

    Raises:
        StError: the file cannot be read.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if ca_file is None:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context
    try:
        context.load_verify_locations(ca_file)
    except OSError as error:
        raise StError(error.errno or errno.EINVAL, f"{ca_file}: {_reason(error)}") from error
    return context


def _load(context: ssl.SSLContext, cert_file: Path, key_file: Path) -> None:
    try:
        context.load_cert_chain(cert_file, key_file)
    except OSError as error:
        raise StError(error.errno or errno.EINVAL, f"{cert_file}, {key_file}: {_reason(error)}") from error


def set_choice(context: ssl.SSLContext, choose: ChooseContext) -> None:
    """Lets choose(name) pick the context, and so the certificate, for a client that names a server."""

    def on_name(sock: Any, name: str | None, _context: ssl.SSLContext) -> None:
        chosen = choose(name)
        if chosen is not None:
            sock.context = chosen

    context.sni_callback = on_name


def st_tls_accept(nfd: NetFd, context: ssl.SSLContext, timeout_us: int) -> TlsInfo:
    """Makes the server's side of a handshake.

    Args:
        nfd: a connected socket in clear; what it received so far has to be used or dropped by the caller.
        context: certificate and settings.
        timeout_us: for the whole handshake, microseconds.

    Raises:
        StError: EPROTO with the reason, ETIME, EINTR, or the system's error; then nfd can only be closed.

    Switches: yes.
    """
    return _start(nfd, timeout_us, context, server_side=True)


def st_tls_connect(nfd: NetFd, context: ssl.SSLContext, server_name: str | None, timeout_us: int) -> TlsInfo:
    """Makes the client's side of a handshake.

    Args:
        nfd: a connected socket in clear.
        context: trusted certificates and settings.
        server_name: sent to the server and, if the context says so, looked for in its certificate; None for neither.
        timeout_us: for the whole handshake, microseconds.

    Raises:
        StError: EPROTO with the reason, ETIME, EINTR, or the system's error; then nfd can only be closed.

    Switches: yes.
    """
    return _start(nfd, timeout_us, context, server_side=False, server_hostname=server_name)


def _start(nfd: NetFd, timeout_us: int, context: ssl.SSLContext, **arguments: Any) -> TlsInfo:
    """Switches: yes."""
    if nfd.sock is None:
        fail(errno.ENOTSOCK)
    if nfd.fd < 0:
        fail(errno.EBADF)
    nfd.recv = nfd.send = _refuse
    try:
        sock = context.wrap_socket(nfd.sock, do_handshake_on_connect=False, **arguments)
    except OSError as error:
        _fail(error)
    nfd.sock = sock  # the same descriptor
    _handshake(nfd, sock, timeout_us)
    nfd.recv = lambda nbyte: _try(sock.recv, nbyte)
    nfd.send = lambda data: _try(sock.send, data)
    nfd.buffered = sock.pending
    return _info(sock)


def _handshake(nfd: NetFd, sock: ssl.SSLSocket, timeout_us: int) -> None:
    """Switches: yes."""
    deadline_us = st_utime() + timeout_us
    while True:
        st_checkpoint()
        try:
            _try(sock.do_handshake)
            return
        except WantError as want:
            how = want.how
        except StError:
            raise
        except OSError as error:
            _fail(error)
        left_us = ST_UTIME_NO_TIMEOUT if timeout_us < 0 else max(0, deadline_us - st_utime())
        wait_fd(nfd, how, left_us)


def _try(function: Callable[..., Any], *args: Any) -> Any:
    """Calls a function of the TLS layer and translates its errors."""
    try:
        return function(*args)
    except ssl.SSLWantReadError:
        raise WantError(READ) from None
    except ssl.SSLWantWriteError:
        raise WantError(WRITE) from None
    except ssl.SSLError as error:
        _fail(error)


def _fail(error: OSError) -> NoReturn:
    number = errno.EPROTO if isinstance(error, ssl.SSLError) else error.errno or errno.EPROTO
    raise StError(number, _reason(error)) from error


def _reason(error: OSError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"TLS: certificate: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"TLS: {(error.reason or 'connection lost').lower().replace('_', ' ')}"
    return error.strerror or str(error)


def _refuse(_argument: object) -> NoReturn:
    fail(errno.EPROTO, "TLS: the handshake failed")


def _info(sock: ssl.SSLSocket) -> TlsInfo:
    cipher, _protocol, bits = sock.cipher() or ("", "", 0)
    cert = sock.getpeercert(binary_form=True)
    verified = cert is not None and sock.context.verify_mode is not ssl.CERT_NONE
    return TlsInfo(sock.version() or "", cipher, bits, cert, verified)


def st_tls_close(nfd: NetFd) -> None:
    """Tells the peer that this is the end, without waiting for its answer, and closes."""
    if nfd.buffered is not None and isinstance(nfd.sock, ssl.SSLSocket):
        with contextlib.suppress(OSError, ValueError):  # it does not answer yet, or is gone
            nfd.sock.unwrap()
    st_netfd_close(nfd)
