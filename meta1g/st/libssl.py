"""TLS by the system's libssl: contexts, and connections whose calls never wait.

    Context --connection()--> TlsConnection: handshake() until it returns, then recv() and send(), shutdown(), close()

A call that would have to wait raises WantError.  A certificate that cannot be verified ends nothing: the fact is told, whoever
asked decides.  Python's ssl cannot do that, nor share ticket keys between processes, nor use TLSA records.

Invariant: the queue of OpenSSL's errors is emptied before each call and read after it, without a switch between.

Owner: the process (one native thread).
Ref: OpenSSL 3.0 manual pages; RFC 8446; RFC 5929 and 9266 (channel bindings).
"""

import errno
import hashlib
import os
import zlib
from pathlib import Path
from typing import Any, Final, NoReturn

from meta1g.base.plainfile import open_plain
from meta1g.base.tlsfacts import TICKET_KEYS_BYTES, KeyPair, TlsInfo, TlsSettings, TlsWanted
from meta1g.st.errors import StError
from meta1g.st.io import WantError
from meta1g.st.netfd import READ, WRITE

try:
    from meta1g.st._libssl import ffi, lib
except ImportError:  # no compiler or no headers when it was installed
    ffi = lib = None

try:
    import _ssl  # the module ssl takes ten times as long to load

    _PYTHONS: str = _ssl.OPENSSL_VERSION
except ImportError:  # a Python without TLS
    _PYTHONS = "none"

_CHUNK_BYTES: Final = 65536
#: What one call reads of a peer, and the record that it is in.  Our choice: the longest record; others have a turn after it.
_METER_BYTES: Final = 1 << 14
_CRL: Final = b"-----BEGIN X509 CRL-----"
_NO_CERTIFICATE: Final = "no certificate in PEM"
_ERROR_TEXT_BYTES: Final = 256
_EXPORTER: Final = b"EXPORTER-Channel-Binding"
_EXPORTER_BYTES: Final = 32
#: RFC 7672 3.1.3: usages 0 and 1 are not for SMTP.
_DANE_USAGES: Final = (2, 3)
_DAY_S: Final = 86400


def _is_stale(source: Path) -> bool:
    """Tells whether the binding was built from another state of its source; a package without the source is as it was built."""
    try:
        return bool(zlib.crc32(source.read_bytes()) != getattr(lib, "made_from", None))
    except FileNotFoundError:
        return False


_STALE: Final = lib is not None and _is_stale(Path(__file__).with_name("libssl_build.py"))


def why_not() -> str:
    """Says why this module cannot serve; empty if it can."""
    if lib is None:
        return "the binding of libssl was not built: install gcc and libssl-dev, then install meta1g again"
    if _STALE:
        return "the binding of libssl was built from another version of meta1g: install meta1g again"
    ours = ffi.string(lib.OpenSSL_version(0)).decode()
    if ours != _PYTHONS:
        return f"the binding uses {ours}, Python {_PYTHONS}: two libraries in one process are not used"
    return ""


def _clear() -> None:
    lib.ERR_clear_error()


def _reason() -> str:
    """Gives the text of the oldest error that OpenSSL keeps; empty if there is none."""
    number = lib.ERR_get_error()
    if not number:
        return ""
    text = lib.ERR_reason_error_string(number)
    if text == ffi.NULL:
        buffer = ffi.new("char[]", _ERROR_TEXT_BYTES)
        lib.ERR_error_string_n(number, buffer, _ERROR_TEXT_BYTES)
        return str(ffi.string(buffer).decode(errors="replace"))
    return str(ffi.string(text).decode(errors="replace"))


def _refuse(what: object, why: str = "not accepted") -> NoReturn:
    """Raises the error of something that OpenSSL does not take; its own reason is hard to understand alone."""
    reason = _reason()
    raise StError(errno.EINVAL, f"{what}: {why} ({reason})" if reason else f"{what}: {why}")


def _made(thing: Any) -> Any:
    """Gives what OpenSSL has made.

    Raises:
        StError: ENOMEM.
    """
    if thing == ffi.NULL:
        raise StError(errno.ENOMEM, f"TLS: {_reason() or os.strerror(errno.ENOMEM)}")
    return thing


class Context:
    """What the connections of a server or a client have in common.

    Args:
        settings: see TlsSettings.
        server: of a server, else of a client.

    Raises:
        StError: a file cannot be read, is no certificate or key, or they do not belong together; the text names it.
    """

    def __init__(self, settings: TlsSettings, *, server: bool) -> None:
        _clear()
        asks = settings.request_cert or not server
        self._certs: list[Any] = []  # ours
        self._kinds: set[int] = set()  # of their keys
        self.tickets = ffi.new("struct tickets *")
        method = lib.TLS_server_method() if server else lib.TLS_client_method()
        self.ctx = ffi.gc(_made(lib.SSL_CTX_new(method)), lib.SSL_CTX_free)
        lib.ask_nobody(self.ctx)
        self._set_common(settings)
        for pair in settings.pairs:
            self._load(pair)
        self._trust(settings)
        lib.accept_any(self.ctx, lib.SSL_VERIFY_PEER if asks else lib.SSL_VERIFY_NONE)
        if server:
            self._set_server(settings)
        else:
            lib.SSL_CTX_dane_enable(self.ctx)
            lib.SSL_CTX_set_session_cache_mode(self.ctx, lib.SSL_SESS_CACHE_OFF)

    def _set_common(self, settings: TlsSettings) -> None:
        ctx = self.ctx
        lib.SSL_CTX_set_min_proto_version(ctx, lib.TLS1_3_VERSION if settings.tls13_only else lib.TLS1_2_VERSION)
        lib.SSL_CTX_set_options(ctx, lib.SSL_OP_NO_RENEGOTIATION | lib.SSL_OP_NO_COMPRESSION)
        modes = lib.SSL_MODE_ENABLE_PARTIAL_WRITE | lib.SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | lib.SSL_MODE_RELEASE_BUFFERS
        lib.SSL_CTX_set_mode(ctx, modes)
        lib.SSL_CTX_clear_mode(ctx, lib.SSL_MODE_AUTO_RETRY)  # a record without data ends a call, so that others have a turn
        if not lib.SSL_CTX_set_cipher_list(ctx, settings.ciphers.encode()):
            _refuse(f"ciphers {settings.ciphers}", "none is known to OpenSSL; see openssl ciphers")

    def _set_server(self, settings: TlsSettings) -> None:
        ctx = self.ctx
        lib.SSL_CTX_set_options(ctx, lib.SSL_OP_CIPHER_SERVER_PREFERENCE)
        lib.SSL_CTX_set_dh_auto(ctx, int(settings.dh_file is None))
        if settings.dh_file is not None:
            readable(settings.dh_file)
            if lib.use_dh_file(ctx, bytes(settings.dh_file)) != 1:
                _refuse(settings.dh_file, "no Diffie-Hellman parameters in PEM; openssl dhparam makes them")
        lib.keep_hello(ctx)
        lib.SSL_CTX_set_session_cache_mode(ctx, lib.SSL_SESS_CACHE_OFF)  # tickets only: they need no memory here
        name = _session_name(settings)
        lib.SSL_CTX_set_session_id_context(ctx, name, len(name))
        lib.SSL_CTX_set_num_tickets(ctx, 1)
        if settings.ticket_keys:
            self.set_ticket_keys(settings.ticket_keys)
            lib.take_tickets(ctx)

    def _load(self, pair: KeyPair) -> None:
        """Loads a pair; each one is checked, as a key of another kind would silently take another place."""
        readable(pair.cert_file)
        readable(pair.key_file)
        if lib.SSL_CTX_use_certificate_chain_file(self.ctx, bytes(pair.cert_file)) != 1:
            _refuse(pair.cert_file, _NO_CERTIFICATE)
        if lib.SSL_CTX_use_PrivateKey_file(self.ctx, bytes(pair.key_file), lib.SSL_FILETYPE_PEM) != 1:
            _refuse(pair.key_file, "no private key in PEM without a passphrase, or not that of the certificate")
        if lib.SSL_CTX_check_private_key(self.ctx) != 1:
            _refuse(f"{pair.cert_file}, {pair.key_file}", "the key does not belong to the certificate")
        cert = lib.SSL_CTX_get0_certificate(self.ctx)
        lib.X509_up_ref(cert)
        self._certs.append(ffi.gc(cert, lib.X509_free))
        kind = lib.EVP_PKEY_get_base_id(lib.X509_get0_pubkey(cert))
        if kind in self._kinds:
            raise StError(errno.EINVAL, f"{pair.cert_file}: its key is of the same kind as that of the other certificate")
        self._kinds.add(kind)

    def _trust(self, settings: TlsSettings) -> None:
        if settings.system_ca:
            lib.SSL_CTX_set_default_verify_paths(self.ctx)
        for path, load in (
            (settings.ca_file, lib.SSL_CTX_load_verify_file),
            (settings.ca_directory, lib.SSL_CTX_load_verify_dir),
        ):
            if path is not None:
                readable(path)
                if load(self.ctx, bytes(path)) != 1:
                    _refuse(path, _NO_CERTIFICATE)
        if settings.crl_file is not None:
            readable(settings.crl_file)
            store = lib.SSL_CTX_get_cert_store(self.ctx)
            loaded = lib.X509_STORE_load_file(store, bytes(settings.crl_file)) == 1
            if not loaded or _CRL not in settings.crl_file.read_bytes():  # certificates would do for OpenSSL
                _refuse(settings.crl_file, "no list of revoked certificates in PEM")
            lib.X509_STORE_set_flags(store, lib.X509_V_FLAG_CRL_CHECK | lib.X509_V_FLAG_CRL_CHECK_ALL)

    def seconds_left(self) -> list[int]:
        """Gives how long each of our certificates is valid, in seconds; negative if it is no more."""
        return list(map(_seconds_left, self._certs))

    def set_ticket_keys(self, keys: bytes) -> None:
        """Makes tickets with the first of these keys from now on, and takes those of all of them; of others no more.

        Args:
            keys: TICKET_KEYS_BYTES, once or twice.
        """
        for number in range(len(keys) // TICKET_KEYS_BYTES):
            ffi.memmove(self.tickets.keys[number], keys[number * TICKET_KEYS_BYTES :], TICKET_KEYS_BYTES)
            self.tickets.sets = number + 1

    def connection(self, fd: int, wanted: TlsWanted | None) -> "TlsConnection":
        """Begins a connection over a descriptor, which stays the caller's.

        Args:
            fd: non-blocking.
            wanted: of a client; None for a server.
        """
        return TlsConnection(self, fd, wanted)


class TlsConnection:
    """One connection.  Owner: the threads that use its descriptor, one call at a time.

    Attributes:
        hello: a server has read the hello and waits for use() or for the next handshake(); the name that the client asked
            for, None as long as it has not come.
    """

    __slots__ = ("_done", "_hello", "_left", "_server", "_ssl", "_tickets", "hello")

    def __init__(self, context: Context, fd: int, wanted: TlsWanted | None) -> None:
        _clear()
        self._server = wanted is None
        self._ssl: Any = ffi.gc(_made(lib.SSL_new(context.ctx)), lib.SSL_free)
        self._done = ffi.new("size_t *")
        self._hello: Any = None
        self.hello: str | None = None
        if lib.SSL_set_fd(self._ssl, fd) != 1:
            _refuse("descriptor")
        self._left = ffi.new("long *", _METER_BYTES)
        lib.set_meter(self._ssl, self._left)
        if wanted is None:
            self._hello = ffi.new("struct hello *")
            self._tickets = self._hello.tickets = context.tickets
            lib.set_hello(self._ssl, self._hello)
            lib.SSL_set_accept_state(self._ssl)
        else:
            self._want(wanted)
            lib.SSL_set_connect_state(self._ssl)

    def _want(self, wanted: TlsWanted) -> None:
        name = wanted.server_name.encode()
        usable = [record for record in wanted.tlsa if record.usage in _DANE_USAGES]
        if usable:
            lib.SSL_dane_enable(self._ssl, name or ffi.NULL)
            lib.SSL_dane_set_flags(self._ssl, lib.DANE_FLAG_NO_DANE_EE_NAMECHECKS)
            for record in usable:
                lib.SSL_dane_tlsa_add(self._ssl, record.usage, record.selector, record.kind, record.data, len(record.data))
        if name:
            lib.SSL_set_tlsext_host_name(self._ssl, name)
        lib.SSL_set_hostflags(self._ssl, lib.X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS)
        for index, one in enumerate(wanted.names):
            (lib.SSL_add1_host if index else lib.SSL_set1_host)(self._ssl, one.encode())

    def use(self, context: Context) -> None:
        """Lets a server go on with the certificate of another context."""
        lib.SSL_set_SSL_CTX(self._ssl, context.ctx)

    def _begin(self) -> None:
        """Makes ready for a call."""
        _clear()
        self._left[0] = _METER_BYTES

    def handshake(self) -> bool:
        """Makes the next step of the handshake.

        Returns:
            Whether it is over; if not, `hello` has come and the context may be chosen.

        Raises:
            WantError: it has to wait.
            StError: it failed; the connection can only be closed.
        """
        self._begin()
        result = lib.SSL_do_handshake(self._ssl)
        if result == 1:
            return True
        if self._hello is not None and lib.SSL_get_error(self._ssl, result) == lib.SSL_ERROR_WANT_CLIENT_HELLO_CB:
            self.hello = bytes(ffi.buffer(self._hello.name, self._hello.length)).decode("ascii", "replace").lower()
            return False
        raise self._error(result)

    def recv(self, nbyte: int) -> bytes:
        """Reads at most nbyte bytes; empty after the peer's close_notify.

        Raises:
            WantError: nothing is there.
            StError: the connection is broken, or ended without close_notify.
        """
        size = min(nbyte, _CHUNK_BYTES)
        self._begin()
        result = lib.SSL_read_ex(self._ssl, _buffer(), size, self._done)
        if result == 1:
            return bytes(ffi.buffer(_buffer(), self._done[0]))
        if lib.SSL_get_error(self._ssl, result) == lib.SSL_ERROR_ZERO_RETURN:
            return b""
        raise self._error(result)

    def send(self, data: bytes | bytearray | memoryview) -> int:
        """Writes what goes without waiting; gives the number of bytes.

        Raises:
            WantError: nothing goes.
            StError: the connection is broken.
        """
        if not len(data):
            return 0
        self._begin()
        result = lib.SSL_write_ex(self._ssl, ffi.from_buffer(data), len(data), self._done)
        if result == 1:
            return int(self._done[0])
        raise self._error(result)

    def pending(self) -> int:
        """Tells how many bytes can be read without waiting."""
        return int(lib.SSL_pending(self._ssl))

    def shutdown(self) -> None:
        """Tells the peer that this is the end, if that goes without waiting."""
        _clear()
        lib.SSL_shutdown(self._ssl)
        _clear()

    def close(self) -> None:
        """Frees everything; the descriptor stays open."""
        ssl_, self._ssl = self._ssl, None
        if ssl_ is not None:
            ffi.release(ssl_)

    def _error(self, result: int) -> OSError:
        system = ffi.errno
        kind = lib.SSL_get_error(self._ssl, result)
        if kind == lib.SSL_ERROR_WANT_READ:
            return WantError(READ)
        if kind == lib.SSL_ERROR_WANT_WRITE:
            return WantError(WRITE)
        if kind == lib.SSL_ERROR_SYSCALL and system:
            return StError(system, os.strerror(system))
        return StError(errno.EPROTO, f"TLS: {_reason() or 'connection lost'}")

    def exporter(self) -> bytes | None:
        """Gives the channel binding tls-exporter (RFC 9266), None before TLS 1.3."""
        if ffi.string(lib.SSL_get_version(self._ssl)) != b"TLSv1.3":
            return None
        out = ffi.new("unsigned char[]", _EXPORTER_BYTES)
        size, length = _EXPORTER_BYTES, len(_EXPORTER)
        done = lib.SSL_export_keying_material(self._ssl, out, size, _EXPORTER, length, b"", 0, 1)
        return bytes(ffi.buffer(out)) if done == 1 else None

    def info(self) -> TlsInfo:
        """Gives what was agreed on."""
        cipher, bits = lib.SSL_get_current_cipher(self._ssl), ffi.new("int *")
        used = lib.SSL_CIPHER_get_bits(cipher, bits)
        dane = not self._server and lib.SSL_get0_dane_authority(self._ssl, ffi.NULL, ffi.NULL) >= 0
        version, name = lib.SSL_get_version(self._ssl), lib.SSL_CIPHER_get_name(cipher)
        return TlsInfo(
            version=ffi.string(version).decode(),
            cipher=ffi.string(name).decode(),
            suite=ffi.string(lib.SSL_CIPHER_standard_name(cipher)).decode(),
            bits=used,
            algorithm_bits=bits[0],
            dane=dane,
            resumed=bool(lib.SSL_session_reused(self._ssl)),
            server_name=self.hello or "",
            **self._peer(),
        )

    def _peer(self) -> dict[str, Any]:
        """Gives what is known of the peer's certificate."""
        cert = lib.SSL_get1_peer_certificate(self._ssl)
        if cert == ffi.NULL:
            return {"peer_cert": None}
        try:
            result = lib.SSL_get_verify_result(self._ssl)
            subject, issuer = lib.X509_get_subject_name(cert), lib.X509_get_issuer_name(cert)
            return {
                "peer_cert": _der(cert),
                "subject": _text(lib.name_text, subject),
                "issuer": _text(lib.name_text, issuer),
                "common_name": _text(lib.name_part, subject, lib.NID_commonName),
                "issuer_common_name": _text(lib.name_part, issuer, lib.NID_commonName),
                "verified": result == lib.X509_V_OK,
                "reason": "" if result == lib.X509_V_OK else ffi.string(lib.X509_verify_cert_error_string(result)).decode(),
            }
        finally:
            lib.X509_free(cert)


_shared: list[Any] = []


def _buffer() -> Any:
    """Gives the buffer that all connections read into: nothing of it lasts longer than a call."""
    if not _shared:
        _shared.append(ffi.new("unsigned char[]", _CHUNK_BYTES))
    return _shared[0]


def _session_name(settings: TlsSettings) -> bytes:
    """Gives what sessions have to have in common to go on with each other's tickets: whom they trust.

    A ticket tells that a certificate was verified, and nobody looks at that again: it must not count where others are trusted,
    nor when a certificate was revoked since.
    """
    digest = hashlib.sha256(repr((settings.request_cert, settings.system_ca)).encode())
    try:
        for path in (settings.ca_file, settings.crl_file):
            digest.update(b"-" if path is None else hashlib.sha256(path.read_bytes()).digest())
        if settings.ca_directory is not None:
            for entry in sorted(os.scandir(settings.ca_directory), key=lambda one: one.name):
                status = entry.stat()
                digest.update(repr((entry.name, status.st_size, status.st_mtime_ns)).encode())
    except OSError as error:
        raise StError(error.errno or errno.EINVAL, f"{error.filename}: {error.strerror}") from error
    return digest.digest()


def _seconds_left(cert: Any) -> int:
    days, seconds = ffi.new("int *"), ffi.new("int *")
    lib.ASN1_TIME_diff(days, seconds, ffi.NULL, lib.X509_get0_notAfter(cert))
    return int(days[0]) * _DAY_S + int(seconds[0])


def cert_file_seconds_left(path: Path) -> int:
    """Gives how long the certificate in a file is valid, in seconds; negative if it is no more.

    Raises:
        StError: it cannot be read; the text names it.
    """
    _clear()
    readable(path)
    ctx = ffi.gc(_made(lib.SSL_CTX_new(lib.TLS_server_method())), lib.SSL_CTX_free)
    if lib.SSL_CTX_use_certificate_chain_file(ctx, bytes(path)) != 1:
        _refuse(path, _NO_CERTIFICATE)
    return _seconds_left(lib.SSL_CTX_get0_certificate(ctx))


def _der(cert: Any) -> bytes:
    size = lib.i2d_X509(cert, ffi.NULL)
    out = ffi.new("unsigned char[]", size)
    lib.i2d_X509(cert, ffi.new("unsigned char **", out))
    return bytes(ffi.buffer(out))


def _text(write: Any, *name: Any) -> str:
    dn = ffi.new("struct dn *")
    write(*name, dn)
    return bytes(ffi.buffer(dn.text, dn.length)).decode("utf-8", "replace")


def readable(path: Path) -> None:
    """Looks whether a file or directory can be read, since OpenSSL's reasons are hard to understand.

    Raises:
        StError: why not.
    """
    try:
        with os.scandir(path) if path.is_dir() else open_plain(path):
            pass
    except OSError as error:
        raise StError(error.errno or errno.EINVAL, f"{path}: {error.strerror}") from error
