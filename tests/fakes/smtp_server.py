"""A scripted SMTP server in a thread: real sockets, every reply chosen by the test."""

import contextlib
import socket
import ssl
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True)
class End:
    """The last that a connection hears: a text, then it is closed in order, reset, or nothing is said any more."""

    text: str = ""
    how: str = "close"  # close, reset, silence


Answer = str | End | None
Replies = dict[str, Answer | list[Answer]]

EHLO = "250-fake\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SIZE 1000000\r\n"
DEFAULT: Replies = {
    "banner": "220 fake\r\n", "EHLO": EHLO, "HELO": "250 fake\r\n", "LHLO": EHLO, "MAIL": "250 2.1.0 ok\r\n",
    "RCPT": "250 2.1.5 ok\r\n", "DATA": "354 go\r\n", "BDAT": "250 kept\r\n", "dot": "250 2.0.0 kept\r\n",
    "RSET": "250 ok\r\n", "QUIT": "221 bye\r\n",
}  # fmt: skip


@dataclass
class Seen:
    """What one connection brought."""

    commands: list[str] = field(default_factory=list)
    contents: list[bytes] = field(default_factory=list)
    groups: list[bytes] = field(default_factory=list)
    last: str = ""
    lmtp: bool = False
    accepted: int = 0
    partial: bytes = b""  # what came of a chunk that did not come as a whole
    tls: int = 0  # how many commands came before the handshake

    def note(self, verb: str) -> None:
        """Counts the recipients of the transaction."""
        self.lmtp = self.lmtp or verb == "LHLO"
        if verb == "MAIL":
            self.accepted = 0
        elif verb == "RCPT":
            self.accepted += self.last.startswith("2")


class _Incoming:
    """What a client sends, taken to pieces; the end of the connection is an EOFError."""

    def __init__(self, conn: socket.socket) -> None:
        self._conn = conn
        self._buffer = b""

    def until(self, end: bytes, groups: list[bytes] | None = None, before: bytes = b"") -> bytes:
        """Gives what comes before an end, with `before` in front; groups gets each piece as it came."""
        self._buffer = before + self._buffer
        while end not in self._buffer:
            data = self._more()
            if groups is not None:
                groups.append(data)
        found, _, self._buffer = self._buffer.partition(end)
        return found

    def octets(self, size: int, seen: Seen) -> bytes:
        """Gives so many octets; `partial` gets what came if that is less."""
        try:
            while len(self._buffer) < size:
                self._more()
        except EOFError:
            seen.partial = self._buffer
            raise
        found, self._buffer = self._buffer[:size], self._buffer[size:]
        return found

    def _more(self) -> bytes:
        data = self._conn.recv(65536)
        if not data:
            raise EOFError
        self._buffer += data
        return data


class ScriptedServer:
    """Answers each verb with its text; a list gives one text after the other; None closes the connection; "" is silence.

    After LHLO the usual answer to the dot is given for each recipient that was accepted.  Use as a context manager; the thread
    ends with it.
    """

    def __init__(
        self,
        replies: Replies | None = None,
        on_connection: Callable[[socket.socket], None] | None = None,
        tls: ssl.SSLContext | None = None,
        port: int = 0,
        address: str = "127.0.0.1",
    ) -> None:
        self.tls = tls
        self._address = address
        said = {**DEFAULT, **(replies or {})}
        self.replies: Replies = {verb: [*one] if isinstance(one, list) else one for verb, one in said.items()}
        self._on_connection = on_connection
        self._server = socket.create_server((address, port))
        self.port: int = self._server.getsockname()[1]
        self.connections: list[Seen] = []
        self._open: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._stopping = False
        self.changed = threading.Condition()

    @property
    def contents(self) -> list[bytes]:
        """All messages that came."""
        return [content for seen in self.connections for content in seen.contents]

    def __enter__(self) -> "ScriptedServer":
        self._start(self._accept)
        return self

    def __exit__(self, *exc: object) -> None:
        self._stopping = True
        socket.create_connection((self._address, self.port)).close()
        for conn in self._open:  # its thread may close it at the same time
            with contextlib.suppress(OSError):
                conn.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)
            assert not thread.is_alive()
        self._server.close()

    def _start(self, target: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            conn, _ = self._server.accept()
            if self._stopping:
                conn.close()
                return
            conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # what was said has left before a reset
            self._open.append(conn)
            seen = Seen()
            self.connections.append(seen)
            self._start(self._serve, conn, seen)

    def _serve(self, conn: socket.socket, seen: Seen) -> None:
        try:
            with conn:
                if self._on_connection is not None:
                    self._on_connection(conn)
                else:
                    self._talk(conn, seen)
        except (OSError, EOFError):
            pass

    def _talk(self, conn: socket.socket, seen: Seen, *, greets: bool = True) -> None:
        """Answers commands until the end of the connection, which comes as EOFError, or of what is to be said."""
        incoming = _Incoming(conn)
        if greets and not self._answer(conn, "banner", seen):
            return
        while True:
            line = incoming.until(b"\r\n", seen.groups)
            seen.commands.append(line.decode())
            with self.changed:
                self.changed.notify_all()
            verb = line.partition(b" ")[0].decode().upper()
            if verb == "BDAT":
                seen.contents.append(incoming.octets(int(line.split()[1]), seen))
            if not self._answer(conn, verb, seen) or verb == "QUIT":
                return
            seen.note(verb)
            if verb == "STARTTLS" and seen.last.startswith("2") and self.tls is not None:
                seen.tls = len(seen.commands)
                with self.tls.wrap_socket(conn, server_side=True) as under:
                    self._open.append(under)
                    self._talk(under, seen, greets=False)
                return
            if verb == "DATA" and seen.last.startswith("3"):
                content = incoming.until(b"\r\n.\r\n", before=b"\r\n")
                seen.contents.append((content + b"\r\n").replace(b"\r\n.", b"\r\n")[2:])
                if not self._answer(conn, "dot", seen):
                    return

    def _answer(self, conn: socket.socket, verb: str, seen: Seen) -> bool:
        reply = self.replies.get(verb, "500 5.5.1 what?\r\n")
        if isinstance(reply, list):
            reply = reply.pop(0) if len(reply) > 1 else reply[0]
        if isinstance(reply, End):
            self._end(conn, reply)
            return False
        seen.last = reply or ""
        if reply is None:
            return False
        if seen.lmtp and reply in (DEFAULT["dot"], DEFAULT["BDAT"]):
            reply *= seen.accepted
        conn.sendall(reply.encode("latin-1"))
        return True

    @staticmethod
    def _end(conn: socket.socket, end: End) -> None:
        """Says the last word, and reads what still comes unless the connection is to be reset."""
        conn.sendall(end.text.encode("latin-1"))
        if end.how == "reset":
            conn.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            return
        if end.how == "close":
            conn.shutdown(socket.SHUT_WR)
        while conn.recv(65536):
            pass
