"""A map server for tests: speaks netstrings on a Unix or TCP socket of the loopback."""

import contextlib
import socket
import threading
from collections.abc import Callable
from pathlib import Path

WAIT_S = 20


class MapServer:
    """Answers each request by answer(text), which gives the text of the answer, raw bytes, or None for silence.

    A context manager.  `requests` and `connections` tell what came.
    """

    def __init__(self, answer: Callable[[str], str | bytes | None], path: Path | None = None) -> None:
        self.answer = answer
        self.requests: list[str] = []
        self.connections = 0
        self._conns: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        if path is None:
            self._listener = socket.create_server(("127.0.0.1", 0))
        else:
            self._listener = socket.socket(socket.AF_UNIX)
            self._listener.bind(str(path))
            self._listener.listen(16)

    @property
    def target(self) -> str | tuple[str, int]:
        return self._listener.getsockname()

    def drop(self) -> None:
        """Closes all connections."""
        for conn in self._conns:
            with contextlib.suppress(OSError):
                conn.shutdown(socket.SHUT_RDWR)

    def __enter__(self):
        self._spawn(self._accept)
        return self

    def __exit__(self, *exc: object) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.drop()
        for thread in self._threads:
            thread.join(WAIT_S)

    def _spawn(self, function: Callable, *arguments: object) -> None:
        thread = threading.Thread(target=function, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                conn, _ = self._listener.accept()
                self.connections += 1
                self._conns.append(conn)
                self._spawn(self._serve, conn)

    def _serve(self, conn: socket.socket) -> None:
        with conn, contextlib.suppress(OSError):
            stream = conn.makefile("rb")
            with stream:
                while (length := _length(stream)) is not None:
                    text = stream.read(length).decode("utf-8", "surrogateescape")
                    stream.read(1)
                    self.requests.append(text)
                    answer = self.answer(text)
                    if isinstance(answer, str):
                        data = answer.encode("utf-8", "surrogateescape")
                        answer = b"%d:%b," % (len(data), data)
                    if answer is not None:
                        conn.sendall(answer)


def _length(stream) -> int | None:
    digits = b""
    while (byte := stream.read(1)) not in (b":", b""):
        digits += byte
    return int(digits) if byte else None
