"""A request by https that cannot take longer, or be larger, than it may: the file of a policy, the delivery of a report.

The standard library does it: http.client reads the answer, ssl checks the certificate.  Addresses come from our own resolver,
redirections are not followed, and every wait has the time that is left of the whole.

Ref: RFC 8461 3.3 (how a policy is fetched), RFC 8460 5.4 (how a report is sent).
"""

import contextlib
import http.client
import io
import socket
import ssl
import time
from collections.abc import Callable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Final, ParamSpec, TypeVar

from meta1g.base.dataclass import dataclass
from meta1g.base.errors import Module, TempError
from meta1g.base.tlsbytes import TLS_FEED_BYTES, TlsBytes

_Args = ParamSpec("_Args")
_Result = TypeVar("_Result")

HTTPS_PORT: Final = 443
#: Bytes of an answer beside its content.  Our choice: handshake, status line, header, the frames of chunks and records.
_OVERHEAD_BYTES: Final = 256 * 1024
#: Longest wait for one address, in seconds.  Our choice: another one may answer.
_CONNECT_S: Final = 10.0
#: The system's authorities are read again after so long, in seconds.  Our choice: reading them costs as much as some requests.
_CONTEXT_S: Final = 3600.0
#: What is encrypted at a time.  Our choice: some records.
_SEND_BYTES: Final = 64 * 1024
_OK: Final = range(200, 300)
#: What is told of an error.  Our choice: it may have words of the server in it.
_TEXT_MAX_CHARS: Final = 200


class HttpsFailure(StrEnum):
    """What kept us from an answer."""

    REACH = "cannot be reached"
    CERTIFICATE = "has no certificate that can be trusted"
    ANSWER = "gives no usable answer"


class HttpsError(TempError):
    """There is no answer; the cause says why."""

    def __init__(self, kind: HttpsFailure, cause: str) -> None:
        super().__init__(Module.SMAR, cause)
        self.kind = kind


@dataclass(frozen=True, slots=True)
class HttpsServer:
    """Who is asked.

    Args:
        host: its name, which its certificate has to have.
        addresses: its IP addresses, tried in this order.
        port: its port.
    """

    host: str
    addresses: tuple[str, ...]
    port: int = HTTPS_PORT


@dataclass(frozen=True, slots=True)
class HttpsAnswer:
    """What it said.

    Args:
        status: code, 200 to 299.
        media_type: type of the content in lower case, without parameters; empty if it is not told.
        content: the content.
    """

    status: int
    media_type: str
    content: bytes


class HttpsClient:
    """Makes requests.

    Args:
        ca_file: the authorities that are trusted, PEM; None for those of the system.

    Locking: none needed: a context that is made twice is the same one.
    """

    def __init__(self, ca_file: Path | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._ca_file = ca_file
        self._clock = clock
        self._context: tuple[float, ssl.SSLContext] | None = None

    def context(self) -> ssl.SSLContext:
        """Gives what TLS is done with.

        Raises:
            HttpsError: the file of the authorities cannot be used.

        Blocks: yes (disk, some 50 ms, once in a while).
        """
        now = self._clock()
        known = self._context
        if known is None or now - known[0] > _CONTEXT_S:
            try:
                context = ssl.create_default_context(cafile=self._ca_file)
            except OSError as error:
                why = "no certificate in PEM" if isinstance(error, ssl.SSLError) else error.strerror or str(error)
                raise HttpsError(HttpsFailure.CERTIFICATE, f"{self._ca_file}: {why}") from error
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            context.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF  # an end without close_notify may be an answer cut short
            self._context = known = (now, context)
        return known[1]

    def request(
        self,
        server: HttpsServer,
        path: str,
        *,
        timeout_s: float,
        max_bytes: int,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> HttpsAnswer:
        """Asks by GET, or sends a body by POST.

        Args:
            server: who is asked.
            path: path and query, percent-encoded.
            timeout_s: how long it may take in all, seconds.
            max_bytes: how long the content of the answer may be.
            body: what is sent.
            headers: further fields of the header.

        Raises:
            HttpsError: no answer of 200 to 299 came.

        Blocks: yes (network, timeout_s).
        """
        context, until_s = self.context(), self._clock() + timeout_s
        timed = _connected(server, context, until_s, self._clock, max_bytes + _OVERHEAD_BYTES)
        with contextlib.closing(timed.sock):
            connection = http.client.HTTPConnection(server.host, server.port)
            connection.default_port = HTTPS_PORT  # names no port in Host: that is the usual one
            connection.sock = timed
            try:
                fields = {"User-Agent": "meta1g", "Connection": "close", **(headers or {})}
                connection.request("GET" if body is None else "POST", path, body, fields)
                response = connection.getresponse()
                if response.status not in _OK:
                    raise _error(server, HttpsFailure.ANSWER, f"answers {response.status}, not 200")
                content = response.read(max_bytes + 1)
                if response.length and len(content) <= max_bytes:
                    raise _error(server, HttpsFailure.ANSWER, "its answer is cut short")
            except (http.client.HTTPException, OSError, ValueError) as error:
                raise _error(server, HttpsFailure.ANSWER, _text(error)) from error
            if len(content) > max_bytes:
                raise _error(server, HttpsFailure.ANSWER, f"sends more than {max_bytes} bytes")
            kind = response.getheader("Content-Type", "")
            return HttpsAnswer(response.status, kind.partition(";")[0].strip().lower(), content)


class _Timed:
    """A connection under TLS whose waits all end at the same time, as http.client wants one.

    Whatever the server sends, a call does not outlast the time, nor take more than the bytes.

    Args:
        sock: connected.
        tls: of this connection.
        until_s: the end of its time, by the clock.
        clock: the clock.
        max_bytes: what it may send, as it comes.

    Owner: the request.
    """

    def __init__(self, sock: socket.socket, tls: TlsBytes, until_s: float, clock: Callable[[], float], max_bytes: int) -> None:
        self.sock = sock
        self._tls = tls
        self._until_s = until_s
        self._clock = clock
        self._max_bytes = max_bytes

    def _limit(self) -> None:
        """Gives the next wait the time that is left.

        Raises:
            TimeoutError: there is none.
        """
        left_s = self._until_s - self._clock()
        if left_s <= 0:
            raise TimeoutError("takes too long")
        self.sock.settimeout(left_s)

    def _do(self, call: Callable[_Args, _Result], *args: _Args.args, **kwargs: _Args.kwargs) -> _Result:
        """Makes a call of the TLS layer, as often as it needs further bytes.  Blocks: yes."""
        while True:
            try:
                result = self._tls.attempt(call, *args, **kwargs)
            except ssl.SSLWantReadError:
                self._send()
                self._receive()
                continue
            except OSError:
                with contextlib.suppress(OSError):  # the server is told why
                    self._send()
                raise
            self._send()
            return result

    def _send(self) -> None:
        output = self._tls.output
        while output:
            self._limit()
            del output[: self.sock.send(output)]

    def _receive(self) -> None:
        self._limit()
        data = self.sock.recv(TLS_FEED_BYTES)
        self._max_bytes -= len(data)
        if self._max_bytes < 0:
            raise ValueError("sends too much")
        self._tls.feed(data)

    def handshake(self) -> None:
        """Begins TLS.  Blocks: yes."""
        self._do(self._tls.tls.do_handshake)

    def sendall(self, data: bytes) -> None:
        """Sends data.  Blocks: yes."""
        view = memoryview(data)
        for start in range(0, len(view), _SEND_BYTES):
            self._do(self._tls.tls.write, view[start : start + _SEND_BYTES])

    def makefile(self, _mode: str) -> io.BufferedReader:
        """Gives what the answer is read from."""
        return io.BufferedReader(_Reader(self))

    def read_into(self, room: memoryview) -> int:
        """Reads what comes next.  Blocks: yes."""
        data = self._do(self._tls.tls.read, len(room))
        room[: len(data)] = data
        return len(data)

    def close(self) -> None:
        """Does nothing: http.client says it when it has sent the request; the answer is still to come."""


class _Reader(io.RawIOBase):
    """The answer as a stream.  Owner: the request."""

    def __init__(self, timed: _Timed) -> None:
        self._timed = timed

    def readable(self) -> bool:
        return True

    def readinto(self, room: memoryview) -> int:  # type: ignore[override]
        return self._timed.read_into(room)


def _connected(
    server: HttpsServer, context: ssl.SSLContext, until_s: float, clock: Callable[[], float], max_bytes: int
) -> "_Timed":
    """Gives a connection under TLS with the first address that can be reached.  Blocks: yes.

    Raises:
        HttpsError: none can, or its certificate is not right.
    """
    error = _error(server, HttpsFailure.REACH, "has no address")
    for address in server.addresses:
        left_s = until_s - clock()
        if left_s <= 0:
            break
        try:
            sock = socket.create_connection((address, server.port), min(left_s, _CONNECT_S))
        except OSError as refused:
            error = _error(server, HttpsFailure.REACH, f"{address}: {_text(refused)}")
            continue
        try:
            return _secured(server, sock, context, until_s, clock, max_bytes)
        except HttpsError:
            sock.close()
            raise
    raise error


def _secured(
    server: HttpsServer,
    sock: socket.socket,
    context: ssl.SSLContext,
    until_s: float,
    clock: Callable[[], float],
    max_bytes: int,
) -> _Timed:
    """Begins TLS.  Blocks: yes.

    Raises:
        HttpsError: it failed.
    """
    try:
        timed = _Timed(sock, TlsBytes(context, server=False, name=server.host), until_s, clock, max_bytes)
        timed.handshake()
    except ssl.SSLCertVerificationError as error:
        raise _error(server, HttpsFailure.CERTIFICATE, error.verify_message or _text(error)) from error
    except (OSError, ValueError) as error:  # ValueError: a name that cannot be sent
        raise _error(server, HttpsFailure.REACH, _text(error)) from error
    return timed


def _error(server: HttpsServer, kind: HttpsFailure, text: str) -> HttpsError:
    return HttpsError(kind, f"{server.host}: {text}")


def _text(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "takes too long"
    text = (error.strerror if isinstance(error, OSError) else "") or str(error) or type(error).__name__
    return "".join(one if " " <= one <= "~" else "?" for one in text)[:_TEXT_MAX_CHARS]
