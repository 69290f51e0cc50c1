"""Clients that flood an SMTP server at full loopback speed, one process each, for bench/fairness and the system tests.

    python -m bench.floods KIND PORT SECONDS ADDRESS

A flood reads all replies, so that nothing but the server's own fairness slows it down; when it is cut off it comes again.
ADDRESS is the local address that it comes from.  At the end it prints how many bytes it sent and how often it connected.
"""

import contextlib
import select
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from tests.fakes.key_updates import key_updates

ROOT = Path(__file__).parents[1]
WAIT_S = 30
_STARTTLS = (b"EHLO flood.example\r\n", b"STARTTLS\r\n")
_CLIENT = ssl.create_default_context()
_CLIENT.check_hostname = False
_CLIENT.verify_mode = ssl.CERT_NONE
_ENVELOPE = (b"EHLO flood.example\r\n", b"MAIL FROM:<flood@flood.example>\r\n", b"RCPT TO:<r@sink.example>\r\n")


@dataclass(frozen=True)
class Flood:
    """What a flood says: lines whose replies are waited for, then a block without end, all of it under TLS if told."""

    first: tuple[bytes, ...]
    block: bytes
    packet_bytes: int = 1 << 30  # no more by one send
    tls: bool = False
    keys: int = 0  # the client changes its keys so often, and says nothing
    filter: str = ""  # the filter that its messages pass, and nobody else's


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
    "hellos": Flood((), b"EHLO flood.example\r\n" * 5000),
    "mails": Flood((b"EHLO flood.example\r\n",), b"MAIL FROM:<flood@flood.example>\r\nRSET\r\n" * 3000),
    "questions": Flood((b"EHLO flood.example\r\n",), b"VRFY nobody@local.example\r\nHELP\r\nEXPN list\r\n" * 3000),
    "empty-chunks": Flood(_ENVELOPE, b"BDAT 0\r\n" * 5000),
    "tiny-chunks": Flood(_ENVELOPE, b"BDAT 1\r\nx" * 5000),
    "refused-chunks": Flood((b"EHLO flood.example\r\n",), b"BDAT 1000\r\n" + b"x" * 1000),
    "cancelled-logins": Flood((b"EHLO flood.example\r\n",), b"AUTH PLAIN\r\n*\r\n" * 3000),
    "messages": Flood((b"EHLO flood.example\r\n",), b"".join(_ENVELOPE[1:]) + b"DATA\r\n\r\n.\r\n"),
    "connections": Flood((), b""),
    # passwords that are wrong: each is looked at, until the client has had too many
    "guesses": Flood((b"EHLO flood.example\r\n",), b"AUTH PLAIN AHVzZXIAd3Jvbmc=\r\n" * 1000),
    "tls-connections": Flood((), b"", tls=True),
    "tls-keys": Flood((), b"", keys=20_000),
    # a record for each two bytes
    "tls-tiny-records": Flood((*_ENVELOPE, b"DATA\r\n"), b"x" * 70 + b"\r\n", 2, tls=True),
}
#: What also can be said under TLS.
UNDER_TLS = ("refused-rcpt", "refused-content", "endless-header", "noop", "wrong-commands", "half-lines", "guesses")
FLOODS |= {f"tls-{kind}": replace(FLOODS[kind], tls=True) for kind in UNDER_TLS}
#: Filters that break: the step at which they do, and how (tests/fakes/milter.py).
FILTERS = {
    "silent": ("MAIL", "hang"),
    "dies": ("RCPT", "die"),
    "slow": ("BODYEOB", "busy"),
    "progress": ("BODYEOB", "restless"),
    "changes": ("BODYEOB", "flood"),
}
FLOODS |= {f"filter-{name}": replace(FLOODS["messages"], filter=name) for name in FILTERS}
#: What the smtps and smar sections of the flooded server have to say.
SMTPS_OPTIONS = """\
max_recipients = 10; max_message_size = 10MB;
tls { cert_file = gateway.example.pem; key_file = gateway.example.key; }
auth { password_file = passwords; flags = { plaintext_without_tls }; }
"""
SMAR_OPTIONS = 'local_user_map { file = "users.db"; flags = { localpart }; }'
LOCAL_DOMAINS = "local.example lmtp:"
FILTER_OPTIONS = "reply_timeout = 1s; end_timeout = 1s;"


def network(kind: str) -> str:
    """Gives the first three bytes of the addresses that a flood comes from; those of each filter are its own."""
    name = FLOODS[kind].filter
    return f"127.0.{2 + list(FILTERS).index(name)}" if name else "127.0.1"


def run(kind: str, port: int, seconds: float, address: str) -> tuple[int, int]:
    """Floods; gives the bytes sent and the number of connections."""
    end = time.monotonic() + seconds
    sent = connections = 0
    while time.monotonic() < end:
        connections += 1
        with contextlib.suppress(OSError), _connected(port, address) as sock:
            sent += sum(_flood(sock, FLOODS[kind], end))
    return sent, connections


def _flood(sock: socket.socket, flood: Flood, end: float) -> Iterator[int]:
    """Floods over one connection; gives the bytes that went."""
    if flood.keys:
        if _begin(sock, _STARTTLS):
            sock.setblocking(True)
            records = key_updates(sock, flood.keys)
            yield from _pour(sock, records, len(records), end, once=True)
    elif not flood.tls:
        if _begin(sock, flood.first):
            yield from _pour(sock, flood.block, flood.packet_bytes, end)
    elif _begin(sock, _STARTTLS):
        with _CLIENT.wrap_socket(sock) as under:
            if _begin(under, flood.first, greeted=True):
                yield from _pour(under, flood.block, flood.packet_bytes, end)


def _connected(port: int, address: str) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", port), WAIT_S, (address, 0))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def _begin(sock: socket.socket, lines: tuple[bytes, ...], *, greeted: bool = False) -> bool:
    """Waits for the greeting and for the reply to each line; tells whether all were positive."""
    with sock.makefile("rb") as replies:
        for line in lines if greeted else (b"", *lines):
            sock.sendall(line)
            while (reply := replies.readline())[3:4] == b"-":
                pass
            if reply[:1] not in (b"2", b"3"):
                return False
    return True


def _pour(sock: socket.socket, block: bytes, packet_bytes: int, end: float, *, once: bool = False) -> Iterator[int]:
    """Sends a block again and again and throws the replies away, until the end or until the server closes."""
    sock.setblocking(False)
    view, offset = memoryview(block), 0
    while view and (left := end - time.monotonic()) > 0:
        readable, writable, _ = select.select([sock], [sock], [], left)
        with contextlib.suppress(ssl.SSLWantReadError, ssl.SSLWantWriteError):
            if readable and not sock.recv(1 << 20):
                return
        with contextlib.suppress(ssl.SSLWantReadError, ssl.SSLWantWriteError):
            if writable:
                count = sock.send(view[offset : offset + packet_bytes])
                offset = (offset + count) % len(view)
                yield count
                if once and not offset:
                    return


@contextlib.contextmanager
def flooding(kind: str, count: int, port: int, seconds: float) -> Iterator[None]:
    """Runs count floods of a kind as processes, each from an address of its own, and ends them."""
    command = [sys.executable, "-m", "bench.floods", kind, str(port), str(seconds)]
    floods = [
        subprocess.Popen([*command, f"{network(kind)}.{number + 1}"], cwd=ROOT, stdout=subprocess.PIPE)
        for number in range(count)
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
