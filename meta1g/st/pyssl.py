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
from typing import NoReturn, ParamSpec, TypeVar

from meta1g.base.tlsbytes import TLS_FEED_BYTES, TlsBytes
from meta1g.base.tlsfacts import TlsInfo, TlsSettings, TlsWanted
from meta1g.st.errors import StError
from meta1g.st.io import WantError
from meta1g.st.libssl import readable
from meta1g.st.netfd import READ, WRITE

_Args = ParamSpec("_Args")
_Result = TypeVar("_Result")


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
    context.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF  # an end without close_notify is none
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

    __slots__ = ("_bytes", "_owed", "_sock", "hello")

    def __init__(self, context: Context, fd: int, wanted: TlsWanted | None) -> None:
        self.hello: str | None = None
        self._owed = 0  # bytes of the caller that are in the output, but not sent yet
        name = _encodable(wanted.server_name) if wanted else None
        try:
            self._bytes = TlsBytes(context.context, server=context.server, name=name)
        except OSError as error:
            _fail(error)
        self._sock = socket.socket(fileno=fd)
        self._sock.setblocking(False)

    def use(self, context: Context) -> None:
        """Does nothing: there is no hello that could be answered."""

    def handshake(self) -> bool:
        """Makes the next step of the handshake, see libssl.TlsConnection.handshake."""
        self._do(self._bytes.tls.do_handshake)
        return True

    def recv(self, nbyte: int) -> bytes:
        """Reads, see libssl.TlsConnection.recv."""
        return self._do(self._bytes.tls.read, nbyte)

    def send(self, data: bytes | bytearray | memoryview) -> int:
        """Writes, see libssl.TlsConnection.send; after WantError it has to be called with the same data."""
        if not self._owed and len(data):
            self._flush()
            self._owed = self._made(self._bytes.tls.write, memoryview(data)[:TLS_FEED_BYTES])
        self._flush()
        sent, self._owed = self._owed, 0
        return sent

    def _do(self, call: Callable[_Args, _Result], *args: _Args.args, **kwargs: _Args.kwargs) -> _Result:
        """Makes a call of the TLS layer with what is there, once more with what has come meanwhile."""
        self._flush()
        try:
            result = self._made(call, *args, **kwargs)
        except WantError:
            self._bytes.feed(self._received())
            result = self._made(call, *args, **kwargs)
        with contextlib.suppress(WantError):  # it goes with the next call
            self._flush()
        return result

    def _made(self, call: Callable[_Args, _Result], *args: _Args.args, **kwargs: _Args.kwargs) -> _Result:
        """Makes a call of the TLS layer and translates its errors."""
        try:
            return self._bytes.attempt(call, *args, **kwargs)
        except ssl.SSLWantReadError:
            self._flush()  # the peer may wait for it
            raise WantError(READ) from None
        except OSError as error:
            with contextlib.suppress(OSError):  # the peer is told why
                self._flush()
            _fail(error)

    def _received(self) -> bytes:
        try:
            return self._sock.recv(TLS_FEED_BYTES)
        except BlockingIOError:
            raise WantError(READ) from None
        except OSError as error:
            _fail(error)

    def _flush(self) -> None:
        """Sends what has to be sent.

        Raises:
            WantError: it does not all go now.
        """
        output = self._bytes.output
        while output:
            try:
                count = self._sock.send(output)
            except BlockingIOError:
                raise WantError(WRITE) from None
            except OSError as error:
                _fail(error)
            del output[:count]

    def pending(self) -> int:
        """Tells how many bytes can be read without waiting."""
        return self._bytes.pending()

    def shutdown(self) -> None:
        """Tells the peer that this is the end, if that goes without waiting."""
        with contextlib.suppress(OSError, ValueError):  # it does not answer yet, or is gone
            self._made(self._bytes.tls.unwrap)
        with contextlib.suppress(OSError):
            self._flush()

    def close(self) -> None:
        """Frees everything; the descriptor stays open."""
        self._sock.detach()

    def exporter(self) -> bytes | None:
        """Gives None: Python's ssl has no such call."""
        return None

    def info(self) -> TlsInfo:
        """Gives what was agreed on."""
        tls = self._bytes.tls
        cipher, _protocol, bits = tls.cipher() or ("", "", 0)
        cert = tls.getpeercert(binary_form=True)
        reason = "no certificate" if cert is None else "not checked"
        version, resumed = tls.version() or "", bool(tls.session_reused)
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


def _fail(error: OSError) -> NoReturn:
    number = errno.EPROTO if isinstance(error, ssl.SSLError) else error.errno or errno.EPROTO
    raise StError(number, _reason(error)) from error


def _reason(error: OSError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"TLS: certificate: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"TLS: {(getattr(error, 'reason', None) or str(error) or 'connection lost').lower().replace('_', ' ')}"
    return error.strerror or str(error)
