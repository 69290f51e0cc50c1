"""A map that a server answers over a socket: netstrings `MAPNAME KEY` and `STATUS [DATA]`.

Connections are kept in a pool; a look-up takes one out of it, so that any number of threads may ask at the same time.
A server that cannot be asked is a temporary error, never "not found".

Ref: MeTA1 socket map (status words OK NOTFOUND NOMORE TEMP TIMEOUT PERM).
"""

import contextlib
import socket
import time
from collections import deque
from collections.abc import Callable
from typing import Final

from meta1g.maps.base import NOMORE, NOTFOUND, MapResult, ok, perm, temp
from meta1g.maps.limits import ANSWER_MAX_BYTES, LENGTH_MAX_DIGITS, READ_BYTES, SOCKET_IDLE_MAX, SOCKET_TIMEOUT_S

#: A path of a Unix socket, or address and port.
_Target = str | tuple[str, int]

#: The six status words and what becomes of the text behind them.
STATUS_WORDS: Final[dict[str, Callable[[str], MapResult]]] = {
    "OK": ok,
    "NOTFOUND": lambda data: NOTFOUND,
    "NOMORE": lambda data: NOMORE,
    "TEMP": temp,
    "TIMEOUT": temp,
    "PERM": perm,
}


class NetstringError(ValueError):
    """A peer sent something else than a netstring."""


def netstring(text: str) -> bytes:
    """Gives `LENGTH:TEXT,`."""
    data = text.encode("utf-8", "surrogateescape")
    return b"%d:%b," % (len(data), data)


def take_netstring(buffer: bytes | bytearray) -> tuple[bytes, int] | None:
    """Takes one netstring from the start of a buffer.

    Returns:
        Its text and how many bytes it took, or None if more bytes are needed.

    Raises:
        NetstringError: it is none, or is longer than ANSWER_MAX_BYTES.
    """
    colon = buffer.find(b":", 0, LENGTH_MAX_DIGITS + 1)
    if colon < 0:
        if len(buffer) > LENGTH_MAX_DIGITS or (buffer and not bytes(buffer).isdigit()):
            raise NetstringError("no length")
        return None
    digits = bytes(buffer[:colon])
    if not digits.isdigit() or int(digits) > ANSWER_MAX_BYTES:
        raise NetstringError("wrong length")
    end = colon + 1 + int(digits)
    if len(buffer) <= end:
        return None
    if buffer[end : end + 1] != b",":
        raise NetstringError("no comma at the end")
    return bytes(buffer[colon + 1 : end]), end + 1


def parse_answer(data: bytes) -> MapResult:
    """Reads `STATUS [DATA]`; an unknown status is a temporary error."""
    word, _, rest = data.decode("utf-8", "surrogateescape").partition(" ")
    make = STATUS_WORDS.get(word)
    return temp(f"unknown status {word[:20]!r}") if make is None else make(rest)


class SocketMap:
    """A map server.

    Args:
        name: names it in logs.
        target: path of its Unix socket, or address and port.
        mapname: the name the server knows the map by.
        timeout_s: seconds for one answer, connecting included.
        idle_max: connections kept open while nobody asks.

    Locking: none needed; the pool is a deque, whose ends are safe to use from several threads.
    """

    blocking = True

    def __init__(
        self,
        name: str,
        target: _Target,
        mapname: str,
        *,
        timeout_s: float = SOCKET_TIMEOUT_S,
        idle_max: int = SOCKET_IDLE_MAX,
    ) -> None:
        self.name = name
        self._target = target
        self._mapname = mapname
        self._timeout_s = timeout_s
        self._idle: deque[socket.socket] = deque(maxlen=None)
        self._idle_max = idle_max

    def lookup(self, key: str) -> MapResult:
        """Asks the server.  Blocks: yes (answer of the server, at most the time-out)."""
        request = netstring(f"{self._mapname} {key}")
        end_s = time.monotonic() + self._timeout_s
        while True:
            sock = self._take()
            fresh = sock is None
            try:
                if sock is None:
                    sock = self._connect(end_s)
                result = self._ask(sock, request, end_s)
            except (OSError, NetstringError) as error:
                if sock is not None:
                    sock.close()
                if fresh or isinstance(error, TimeoutError):
                    return temp(f"map server {self._target_text()}: {str(error) or 'no answer in time'}")
                continue  # a kept connection may have been closed by the server: try the next one
            self._give_back(sock)
            return result

    def version(self) -> int:
        """Gives 0: nothing is kept."""
        return 0

    def tags(self) -> frozenset[str] | None:
        """Gives None: what its keys begin with is not known."""
        return None

    def close(self) -> None:
        """Closes the connections: the idle ones now, those with a question on the way when it is answered."""
        self._idle_max = 0
        self._trim()

    def _trim(self) -> None:
        while len(self._idle) > self._idle_max and (sock := self._take()) is not None:
            sock.close()

    def _target_text(self) -> str:
        return self._target if isinstance(self._target, str) else f"{self._target[0]}:{self._target[1]}"

    def _take(self) -> socket.socket | None:
        with contextlib.suppress(IndexError):
            return self._idle.pop()
        return None

    def _give_back(self, sock: socket.socket) -> None:
        self._idle.append(sock)
        self._trim()

    def _connect(self, end_s: float) -> socket.socket:
        timeout_s = _left(end_s)
        if not isinstance(self._target, str):
            return socket.create_connection(self._target, timeout_s)
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.settimeout(timeout_s)
            sock.connect(self._target)
        except BaseException:
            sock.close()
            raise
        return sock

    def _ask(self, sock: socket.socket, request: bytes, end_s: float) -> MapResult:
        sock.settimeout(_left(end_s))
        sock.sendall(request)
        buffer = bytearray()
        while (taken := take_netstring(buffer)) is None:
            sock.settimeout(_left(end_s))
            data = sock.recv(READ_BYTES)
            if not data:
                raise ConnectionError("connection closed by the server")
            buffer += data
        text, used = taken
        if used != len(buffer):
            raise NetstringError("more than one answer")
        return parse_answer(text)


def _left(end_s: float) -> float:
    left_s = end_s - time.monotonic()
    if left_s <= 0:
        raise TimeoutError("no answer in time")
    return left_s
