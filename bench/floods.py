"""Clients that flood an SMTP server at full loopback speed, one process each, for bench/fairness and the system tests.

    python -m bench.floods KIND PORT SECONDS ADDRESS

A flood reads all replies, so that nothing but the server's own fairness slows it down; when it is cut off it comes again.
ADDRESS is the local address that it comes from.  At the end it prints how many bytes it sent and how often it connected.
"""

import contextlib
import select
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
WAIT_S = 30
_ENVELOPE = (b"EHLO flood.example\r\n", b"MAIL FROM:<flood@flood.example>\r\n", b"RCPT TO:<r@sink.example>\r\n")


@dataclass(frozen=True)
class Flood:
    """What a flood says: lines whose replies are waited for, then a block without end."""

    first: tuple[bytes, ...]
    block: bytes
    packet_bytes: int = 1 << 30  # no more by one send


FLOODS: dict[str, Flood] = {
    # recipients that the resolver refuses
    "refused-rcpt": Flood(_ENVELOPE, b"RCPT TO:<nobody@local.example>\r\n" * 2000),
    # recipients beyond max_recipients
    "rcpt-limit": Flood((*_ENVELOPE, *[b"RCPT TO:<r@sink.example>\r\n"] * 9), b"RCPT TO:<r@sink.example>\r\n" * 2000),
    # content that is refused already: a bare LF is in its first block
    "refused-content": Flood((*_ENVELOPE, b"DATA\r\n"), b"a\nb\r\n" + (b"x" * 998 + b"\r\n") * 1000),
    "endless-header": Flood((*_ENVELOPE, b"DATA\r\n"), b"X-Header: and so on, and so on, and so on\r\n" * 20_000),
    "noop": Flood((b"EHLO flood.example\r\n",), b"NOOP\r\n" * 10_000),
    "wrong-commands": Flood((b"EHLO flood.example\r\n",), b"NONSENSE\r\n" * 10_000),
    "half-lines": Flood((b"EHLO flood.example\r\n",), b"x" * 1_000_000),
    "tiny-packets": Flood((*_ENVELOPE, b"DATA\r\n"), b"x" * 70 + b"\r\n", 2),
    "connections": Flood((), b""),
}
#: What the smtps and smar sections of the flooded server have to say.
SMTPS_OPTIONS = "max_recipients = 10; max_message_size = 10MB;"
SMAR_OPTIONS = 'local_user_map { file = "users.db"; flags = { localpart }; }'
LOCAL_DOMAINS = "local.example lmtp:"


def run(kind: str, port: int, seconds: float, address: str) -> tuple[int, int]:
    """Floods; gives the bytes sent and the number of connections."""
    end = time.monotonic() + seconds
    sent = connections = 0
    while time.monotonic() < end:
        connections += 1
        with contextlib.suppress(OSError), _connected(port, address) as sock:
            if _begin(sock, FLOODS[kind].first):
                for count in _pour(sock, FLOODS[kind], end):
                    sent += count
    return sent, connections


def _connected(port: int, address: str) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", port), WAIT_S, (address, 0))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def _begin(sock: socket.socket, lines: tuple[bytes, ...]) -> bool:
    """Waits for the greeting and for the reply to each line; tells whether all were positive."""
    with sock.makefile("rb") as replies:
        for line in (b"", *lines):
            sock.sendall(line)
            while (reply := replies.readline())[3:4] == b"-":
                pass
            if reply[:1] not in (b"2", b"3"):
                return False
    return True


def _pour(sock: socket.socket, flood: Flood, end: float) -> Iterator[int]:
    """Sends a block again and again and throws the replies away, until the end or until the server closes."""
    sock.setblocking(False)
    view, offset = memoryview(flood.block), 0
    while view and (left := end - time.monotonic()) > 0:
        readable, writable, _ = select.select([sock], [sock], [], left)
        if readable and not sock.recv(1 << 20):
            return
        if writable:
            count = sock.send(view[offset : offset + flood.packet_bytes])
            offset = (offset + count) % len(view)
            yield count


@contextlib.contextmanager
def flooding(kind: str, count: int, port: int, seconds: float) -> Iterator[None]:
    """Runs count floods of a kind as processes, each from an address of its own, and ends them."""
    command = [sys.executable, "-m", "bench.floods", kind, str(port), str(seconds)]
    floods = [
        subprocess.Popen([*command, f"127.0.1.{number + 1}"], cwd=ROOT, stdout=subprocess.PIPE) for number in range(count)
    ]
    try:
        for flood in floods:
            assert flood.stdout is not None
            flood.stdout.readline()  # it has begun
        yield
    finally:
        for flood in floods:
            flood.terminate()
        for flood in floods:
            flood.wait(WAIT_S)
            if flood.stdout is not None:
                flood.stdout.close()


def main(argv: list[str]) -> int:
    """Reads the command line and floods."""
    kind, port, seconds, address = argv
    print("begins", flush=True)
    sent, connections = run(kind, int(port), float(seconds), address)
    print(f"{sent} bytes in {connections} connections", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
