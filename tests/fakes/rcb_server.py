"""A small server that speaks the real record protocol on a Unix socket, in a thread of the test."""

import contextlib
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

from meta1g.rcb import codec
from meta1g.rcb.framing import Splitter, preamble
from meta1g.rcb.schema import Message, Protocol

WAIT_S = 20


class FakeConn:
    """One connection of a client."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._lock = threading.Lock()

    def send(self, msg: Message, request_id: int = 0) -> None:
        with self._lock, contextlib.suppress(OSError):
            self.sock.sendall(codec.encode(msg, request_id))

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)


class RcbServer:
    """Listens at path; handler(conn, request_id, msg) may answer; all messages are kept in order.

    Use as a context manager: leaving it closes everything and joins its threads.
    """

    def __init__(self, path: Path, protocol: Protocol, handler: Callable[[FakeConn, int, Message], None]) -> None:
        self.path = path
        self.protocol = protocol
        self.messages: list[Message] = []
        self.changed = threading.Condition()
        self.conns: list[FakeConn] = []
        self._handler = handler
        self._listener: socket.socket | None = None
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            self.path.unlink()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self.path))
        self._listener.listen(16)
        self._spawn(self._accept, self._listener)

    def stop(self) -> None:
        """Closes the listener and all connections, as a killed process does."""
        if self._listener is not None:
            with contextlib.suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None
            self.path.unlink(missing_ok=True)
        self.drop()
        for thread in self._threads:
            thread.join(WAIT_S)
        self._threads.clear()

    def drop(self) -> None:
        """Closes all connections."""
        with self.changed:
            conns, self.conns = self.conns, []
        for conn in conns:
            conn.close()

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def send(self, msg: Message) -> None:
        """Sends a post on all connections."""
        for conn in list(self.conns):
            conn.send(msg)

    def of(self, cls: type) -> list:
        """Gives the messages of a class received so far."""
        with self.changed:
            return [msg for msg in self.messages if isinstance(msg, cls)]

    def wait_for(self, cls: type, count: int = 1) -> list:
        """Waits until count messages of a class have come; fails after WAIT_S."""
        end = time.monotonic() + WAIT_S
        with self.changed:
            while len(found := [msg for msg in self.messages if isinstance(msg, cls)]) < count:
                left = end - time.monotonic()
                assert left > 0, f"{cls.__name__}: {len(found)} of {count} came; all: {self.messages}"
                self.changed.wait(left)
            return found

    def _spawn(self, function: Callable, *args: object) -> None:
        thread = threading.Thread(target=function, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = listener.accept()
                conn = FakeConn(sock)
                with self.changed:
                    self.conns.append(conn)
                self._spawn(self._serve, conn)
                if self._listener is not listener:  # stopped meanwhile, perhaps after it had closed all others
                    conn.close()

    def _serve(self, conn: FakeConn) -> None:
        splitter = Splitter(self.protocol)
        try:
            conn.sock.sendall(preamble(self.protocol))
            while data := conn.sock.recv(65536):
                for body in splitter.feed(data):
                    request_id, msg = codec.decode(self.protocol.from_client, body)
                    with self.changed:
                        self.messages.append(msg)
                        self.changed.notify_all()
                    self._handler(conn, request_id, msg)
        except OSError:
            pass
        finally:
            conn.sock.close()
            with self.changed, contextlib.suppress(ValueError):
                self.conns.remove(conn)
