"""TLS by Python's ssl, where the binding of libssl could not be built; the same calls as libssl.py.

What is lost (tls.LOST): certificates of clients, which would have to be valid, other certificates for other server names,
ticket keys that several processes share, TLSA records, channel bindings, names of certificates.

Owner: the process (one native thread).
Ref: Python's ssl module; RFC 8446.
"""

import contextlib
import errno
import socket
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

from meta1g.base.tlsfacts import TlsInfo, TlsSettings, TlsWanted
from meta1g.st.errors import StError
from meta1g.st.io import WantError
from meta1g.st.libssl import readable
from meta1g.st.netfd import READ, WRITE


class Context:
    """What the connections of a server or a client have in common.  Arguments and errors as those of libssl.Context."""

    def __init__(self, settings: TlsSettings, *, server: bool) -> None:
        self.server = server
        self.context = _context(settings, server=server)

    def seconds_left(self) -> list[int]:
        """Gives nothing: Python's ssl does not tell."""
        return []

    def set_ticket_keys(self, keys: bytes) -> None:
        """Does nothing: Python's ssl has keys of its own."""

    def connection(self, fd: int, wanted: TlsWanted | None) -> "TlsConnection":
        """Begins a connection, see libssl.Context.connection."""
        return TlsConnection(self, fd, wanted)


def _context(settings: TlsSettings, *, server: bool) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3 if settings.tls13_only else ssl.TLSVersion.TLSv1_2
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    with _named(f"ciphers {settings.ciphers}"):
        context.set_ciphers(settings.ciphers)
    for pair in settings.pairs:
        with _named(pair.cert_file, pair.key_file):
            context.load_cert_chain(pair.cert_file, pair.key_file, password=lambda: b"")
    if server and settings.dh_file is not None:
        with _named(settings.dh_file):
            context.load_dh_params(str(settings.dh_file))
    if settings.system_ca:
        context.set_default_verify_paths()
    for path in (settings.ca_file, settings.crl_file):
        if path is not None:
            with _named(path):
                context.load_verify_locations(path)
    if settings.ca_directory is not None:
        with _named(settings.ca_directory):
            context.load_verify_locations(capath=settings.ca_directory)
    if settings.crl_file is not None:
        context.verify_flags |= ssl.VERIFY_CRL_CHECK_CHAIN
    return context


@contextlib.contextmanager
def _named(*what: str | Path) -> Iterator[None]:
    """Names in errors what is loaded, and looks whether it can be read."""
    for one in what:
        if isinstance(one, Path):
            readable(one)
    try:
        yield
    except OSError as error:
        raise StError(error.errno or errno.EINVAL, f"{', '.join(map(str, what))}: {_reason(error)}") from error


class TlsConnection:
    """One connection, see libssl.TlsConnection.

    Attributes:
        hello: None; this module does not tell it.
    """

    __slots__ = ("_sock", "hello")

    def __init__(self, context: Context, fd: int, wanted: TlsWanted | None) -> None:
        self.hello: str | None = None
        name = _encodable(wanted.server_name) if wanted else None
        sock = socket.socket(fileno=fd)
        sock.setblocking(False)
        try:
            self._sock = context.context.wrap_socket(
                sock, server_side=context.server, do_handshake_on_connect=False, server_hostname=name
            )
        except OSError as error:
            sock.detach()
            _fail(error)

    def use(self, context: Context) -> None:
        """Does nothing: there is no hello that could be answered."""

    def handshake(self) -> bool:
        """Makes the next step of the handshake, see libssl.TlsConnection.handshake."""
        _try(self._sock.do_handshake)
        return True

    def recv(self, nbyte: int) -> bytes:
        """Reads, see libssl.TlsConnection.recv."""
        return bytes(_try(self._sock.recv, nbyte))

    def send(self, data: bytes | bytearray | memoryview) -> int:
        """Writes, see libssl.TlsConnection.send."""
        return int(_try(self._sock.send, data)) if len(data) else 0

    def pending(self) -> int:
        """Tells how many bytes can be read without waiting."""
        return self._sock.pending()

    def shutdown(self) -> None:
        """Tells the peer that this is the end, if that goes without waiting."""
        with contextlib.suppress(OSError, ValueError):  # it does not answer yet, or is gone
            self._sock.unwrap()

    def close(self) -> None:
        """Frees everything; the descriptor stays open."""
        self._sock.detach()

    def exporter(self) -> bytes | None:
        """Gives None: Python's ssl has no such call."""
        return None

    def info(self) -> TlsInfo:
        """Gives what was agreed on."""
        cipher, _protocol, bits = self._sock.cipher() or ("", "", 0)
        cert = self._sock.getpeercert(binary_form=True)
        reason = "no certificate" if cert is None else "not checked"
        version, resumed = self._sock.version() or "", bool(self._sock.session_reused)
        return TlsInfo(
            version,
            cipher,
            cipher if cipher.startswith("TLS_") else "",
            bits,
            bits,
            cert,
            reason=reason,
            resumed=resumed,
        )


def _encodable(name: str) -> str | None:
    """Gives a server name, None if there is none or it is none that can be sent."""
    try:
        return name if name.encode("idna") else None
    except UnicodeError:
        return None


def _try(function: Callable[..., Any], *args: Any) -> Any:
    """Calls a function of the TLS layer and translates its errors."""
    try:
        return function(*args)
    except ssl.SSLWantReadError:
        raise WantError(READ) from None
    except ssl.SSLWantWriteError:
        raise WantError(WRITE) from None
    except OSError as error:
        _fail(error)


def _fail(error: OSError) -> NoReturn:
    number = errno.EPROTO if isinstance(error, ssl.SSLError) else error.errno or errno.EPROTO
    raise StError(number, _reason(error)) from error


def _reason(error: OSError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"TLS: certificate: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"TLS: {(getattr(error, 'reason', None) or str(error) or 'connection lost').lower().replace('_', ' ')}"
    return error.strerror or str(error)
