"""Sends single messages through a relay and takes the times: until the 250 after the dot, and until the message arrives.

The prober's messages go to a domain of their own, whose server is in the prober and notes when each arrives.
"""

import contextlib
import re
import socket
import threading
import time
from dataclasses import dataclass

DOMAIN = "probe.example"
TIMEOUT_S = 60.0
_TEXT = b"Subject: probe %d\r\n\r\n" + b"0123456789" * 8 + b"\r\n"
_LINES = b"0123456789abcdef" * 4 + b"\r\n"
_NUMBER = re.compile(rb"(?m)^Subject: probe (\d+)")


@dataclass(frozen=True, slots=True)
class Latency:
    """Times of one message in seconds: from the connection to the 250, and to its arrival."""

    accepted_s: float
    delivered_s: float


class Arrivals:
    """An SMTP server that notes when the prober's messages arrive."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._changed = threading.Condition()
        self._times: dict[int, float] = {}
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with client, contextlib.suppress(ConnectionError), client.makefile("rb") as lines:
            client.sendall(b"220 probe.example\r\n")
            for line in lines:
                verb = line[:4].upper()
                if verb == b"DATA":
                    client.sendall(b"354 go\r\n")
                    self._note(b"".join(iter(lines.readline, b".\r\n")))
                client.sendall(
                    {b"EHLO": b"250-probe.example\r\n250 PIPELINING\r\n", b"QUIT": b"221 bye\r\n"}.get(verb, b"250 ok\r\n")
                )

    def _note(self, content: bytes) -> None:
        found = _NUMBER.search(content)
        with self._changed:
            if found:
                self._times[int(found[1])] = time.monotonic()
            self._changed.notify_all()

    def wait(self, number: int) -> float:
        """Gives the monotonic time at which a message arrived.

        Raises:
            TimeoutError: it has not within TIMEOUT_S.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: number in self._times, TIMEOUT_S):
                raise TimeoutError(f"message {number} has not arrived within {TIMEOUT_S:g} s")
            return self._times.pop(number)

    def close(self) -> None:
        """Stops listening."""
        self._listener.close()


def probe(port: int, arrivals: Arrivals, count: int, size: int = 5000) -> list[Latency]:
    """Sends messages one after the other and gives their times."""
    found = []
    for number in range(count):
        start = time.monotonic()
        send(port, "probe@probe.example", number, size)
        accepted_s = time.monotonic() - start
        found.append(Latency(accepted_s, arrivals.wait(number) - start))
    return found


def send(port: int, rcpt: str, number: int, size: int) -> None:
    """Sends one message.

    Raises:
        RuntimeError: it is not accepted.
    """
    with socket.create_connection(("127.0.0.1", port), TIMEOUT_S) as client, client.makefile("rb") as replies:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

        def say(line: bytes) -> None:
            client.sendall(line)
            while (reply := replies.readline())[3:4] == b"-":
                pass
            if reply[:1] not in (b"2", b"3"):
                raise RuntimeError(f"relay answers {reply!r} to {line[:40]!r}")

        say(b"")
        say(b"EHLO probe.example\r\n")
        say(b"MAIL FROM:<probe@source.example>\r\n")
        say(f"RCPT TO:<{rcpt}>\r\n".encode())
        say(b"DATA\r\n")
        say(_TEXT % number + _LINES * (size // len(_LINES)) + b".\r\n")
        client.sendall(b"QUIT\r\n")
