"""A web server under TLS for tests, on a port of the loopback: gives policies, takes reports, misbehaves as told.

server.pages["/.well-known/mta-sts.txt"] = Page(b"version: STSv1 ...")       of all hosts; "HOST PATH" is of one
server.asked                                                       what was asked for: (method, Host, path, headers, body)
"""

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

WAIT_S = 20


@dataclass
class Page:
    """What is said to a request: an answer in good form, or whatever `act` does with the connection."""

    content: bytes = b""
    status: str = "200 OK"
    fields: dict[str, str] = field(default_factory=lambda: {"Content-Type": "text/plain"})
    act: Callable[[ssl.SSLSocket], None] | None = None

    def say(self, conn: ssl.SSLSocket) -> None:
        if self.act is not None:
            self.act(conn)
            return
        fields = {"Content-Length": str(len(self.content)), **self.fields}
        head = "".join(f"{name}: {value}\r\n" for name, value in fields.items() if value)
        conn.sendall(f"HTTP/1.1 {self.status}\r\n{head}\r\n".encode() + self.content)


class PolicyServer:
    """The server; a context manager.  Certificates by server name, the first one for all others."""

    def __init__(self, pairs: dict[str, tuple[object, object]]) -> None:
        self.pages: dict[str, Page] = {}
        self.asked: list[tuple[str, str, str, dict[str, str], bytes]] = []
        self._changed = threading.Condition()
        self._contexts = {name: _context(*pair) for name, pair in pairs.items()}
        first = next(iter(self._contexts.values()))
        first.sni_callback = self._choose
        self._first = first
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._conns: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []

    def _choose(self, conn: ssl.SSLSocket, name: str | None, _first: ssl.SSLContext) -> None:
        if name in self._contexts:
            conn.context = self._contexts[name]

    def wait_for(self, count: int) -> list[tuple[str, str, str, dict[str, str], bytes]]:
        """Waits until so many requests have come."""
        end_s = time.monotonic() + WAIT_S
        with self._changed:
            while len(self.asked) < count:
                assert time.monotonic() < end_s, f"{len(self.asked)} of {count} requests came"
                self._changed.wait(end_s - time.monotonic())
            return list(self.asked)

    def __enter__(self):
        self._spawn(self._accept)
        return self

    def __exit__(self, *exc: object) -> None:
        for sock in (self._listener, *self._conns):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()
        for thread in self._threads:
            thread.join(WAIT_S)

    def _spawn(self, function: Callable, *args: object) -> None:
        thread = threading.Thread(target=function, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                conn, _ = self._listener.accept()
                self._conns.add(conn)
                self._spawn(self._serve, conn)

    def _serve(self, raw: socket.socket) -> None:
        with contextlib.suppress(OSError, ValueError), raw:
            raw.settimeout(WAIT_S)
            with self._first.wrap_socket(raw, server_side=True) as conn:
                self._conns.add(conn)
                request = _request(conn)
                with self._changed:
                    self.asked.append(request)
                    self._changed.notify_all()
                named = f"{request[1].partition(':')[0]} {request[2]}"  # of one host, or of all
                page = self.pages.get(named) or self.pages.get(request[2]) or Page(b"not here", "404 Not Found")
                page.say(conn)
                conn.unwrap()


def _context(cert: object, key: object) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    return context


def _request(conn: ssl.SSLSocket) -> tuple[str, str, str, dict[str, str], bytes]:
    data = b""
    while b"\r\n\r\n" not in data:
        data += _some(conn)
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    fields = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    while len(body) < int(fields.get("content-length", 0)):
        body += _some(conn)
    method, path, _ = first.split(" ")
    return method, fields.get("host", ""), path, fields, body


def _some(conn: ssl.SSLSocket) -> bytes:
    data = conn.recv(65536)
    if not data:
        raise OSError("client has gone")
    return data
