"""Kills processes of a gateway at random moments while mail flows, then counts what was acknowledged and what arrived.

`python -m tests.system.crash --messages 2000 --kills 20 --seed 1` is the long form of tests/system/test_crash.py.
"""

import argparse
import contextlib
import random
import socket
import sys
import tempfile
import threading
from dataclasses import dataclass, field
from pathlib import Path

from contrib.lib.gateway import Gateway, wait_until
from tests.system.conftest import FAST_RETRY, KeepingSink, orphans_go_soon

VICTIMS = ("qmgr", "smtps", "smtpc", "smar", "mcp")


@dataclass
class Source:
    """Sends numbered messages until all have been acknowledged; every failure is tried again, as a real client would."""

    port: int
    messages: int
    stop: threading.Event = field(default_factory=threading.Event)
    acknowledged: set[int] = field(default_factory=set)
    lock: threading.Lock = field(default_factory=threading.Lock)
    numbers: list[int] = field(default_factory=list)

    def start(self, threads: int) -> list[threading.Thread]:
        """Starts the sending threads."""
        self.numbers = list(range(self.messages, 0, -1))
        started = [threading.Thread(target=self._run, daemon=True) for _ in range(threads)]
        for thread in started:
            thread.start()
        return started

    def _next(self) -> int | None:
        with self.lock:
            return self.numbers.pop() if self.numbers else None

    def _run(self) -> None:
        number = self._next()
        while number is not None and not self.stop.is_set():
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 20) as conn:
                conn.settimeout(20)
                number = self._session(conn, number)
            if number is not None:
                self.stop.wait(0.02)

    def _session(self, conn: socket.socket, number: int | None) -> int | None:
        """Sends messages over one connection until it breaks; gives the number that is not acknowledged yet."""
        file = conn.makefile("rb")
        if not self._ok(file, b"220"):
            return number
        conn.sendall(b"EHLO crash.example\r\n")
        while (line := file.readline()).startswith(b"250-"):
            pass
        if not line.startswith(b"250 "):
            return number
        while number is not None and not self.stop.is_set():
            try:
                for command, expected in self._dialogue(number):
                    conn.sendall(command)
                    if not self._ok(file, expected):
                        return number
            except OSError:  # the number at hand, not the one that the connection began with, is tried again
                return number
            with self.lock:
                self.acknowledged.add(number)
            number = self._next()
        return number

    @staticmethod
    def _dialogue(number: int) -> list[tuple[bytes, bytes]]:
        content = b"Subject: %d\r\n\r\n" % number + (b"x" * 98 + b"\r\n") * 10 + b".\r\n"
        return [
            (b"MAIL FROM:<s@crash.example>\r\n", b"250"),
            (b"RCPT TO:<m%d@sink.example>\r\n" % number, b"250"),
            (b"DATA\r\n", b"354"),
            (content, b"250"),
        ]

    @staticmethod
    def _ok(file, expected: bytes) -> bool:
        return bool(file.readline().startswith(expected))


@dataclass(frozen=True)
class Report:
    """What became of a run."""

    acknowledged: int
    arrived: int
    lost: list[int]
    duplicates: int
    leftovers: dict[str, int]
    kills: list[str]


def arrived_numbers(sink: KeepingSink) -> list[int]:
    """Numbers of all messages that came, with repeats."""
    return [int(rcpt.partition("@")[0][1:]) for e in sink.envelopes() for rcpt in e["rcpts"]]


def run(directory: Path, messages: int, kills: int, seed: int, threads: int = 8) -> Report:
    """Runs one crash test; everything it starts has ended when it returns."""
    rng = random.Random(seed)
    sink = KeepingSink(directory / "maildir")
    gateway = Gateway(
        directory / "gateway", f". {sink.port}^[127.0.0.1]", {"qmgr": FAST_RETRY}, env=orphans_go_soon(directory / "soon")
    )
    gateway.setup()
    gateway.start()
    source = Source(gateway.port, messages)
    started = source.start(threads)
    done: list[str] = []
    try:
        step = messages // (kills + 1)
        for number in range(1, kills + 1):
            goal = min(messages, number * step + rng.randrange(max(step // 2, 1)))
            wait_until(lambda goal=goal: len(source.acknowledged) >= goal, 120, f"{goal} messages; {gateway.last_words()}")
            victim = VICTIMS[(number - 1) % len(VICTIMS)]
            done.append(f"{victim} after {len(source.acknowledged)}")
            gateway.kill(victim)
            if victim == "mcp":
                gateway.start(60)
        wait_until(lambda: len(source.acknowledged) >= messages, 180, f"all acknowledged; {gateway.last_words()}")
        gateway.wait_ready(60)
        gateway.wait_empty(120)
        numbers = arrived_numbers(sink)
        lost = sorted(source.acknowledged - set(numbers))
        return Report(len(source.acknowledged), len(numbers), lost, len(numbers) - len(set(numbers)), gateway.leftovers(), done)
    finally:
        source.stop.set()
        for thread in started:
            thread.join(30)
        gateway.stop()
        sink.stop()


def main(argv: list[str]) -> int:
    """Runs one crash test and prints its report."""
    parser = argparse.ArgumentParser(description="Kill processes while mail flows; count what was acknowledged and arrived.")
    parser.add_argument("--messages", type=int, default=2000)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="meta1g-crash-") as name:
        report = run(Path(name), options.messages, options.kills, options.seed)
    print(report)
    return 1 if report.lost or any(report.leftovers.values()) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
