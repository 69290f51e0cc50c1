"""Kills processes of a gateway at random moments while mail flows, then counts what was acknowledged and what arrived.

`python -m tests.system.crash --messages 2000 --kills 20 --seed 1` is the long form of tests/system/test_crash.py.  With
--guarded clients speak TLS and a filter adds a field to each message; the filter is killed too, and started again.
"""

import argparse
import contextlib
import random
import socket
import ssl
import sys
import tempfile
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from contrib.lib.gateway import Gateway, wait_until
from tests.fakes.milter import FakeMilter
from tests.system.conftest import FAST_RETRY, KeepingSink, orphans_go_soon

VICTIMS = ("qmgr", "smtps", "smtpc", "smar", "mcp")
FILTER = "filter"
#: What the filter adds.
FIELD = b"\nX-Filter: seen\r\n"


@dataclass
class Source:
    """Sends numbered messages until all have been acknowledged; every failure is tried again, as a real client would."""

    port: int
    messages: int
    tls: ssl.SSLContext | None = None
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
        if not self._ok(file, b"220") or not self._hello(conn, file):
            return number
        if self.tls is not None:
            conn.sendall(b"STARTTLS\r\n")
            if not self._ok(file, b"220"):
                return number
            conn = self.tls.wrap_socket(conn)
            file = conn.makefile("rb")
            if not self._hello(conn, file):
                return number
        with conn:
            return self._messages(conn, file, number)

    @staticmethod
    def _hello(conn: socket.socket, file) -> bool:
        conn.sendall(b"EHLO crash.example\r\n")
        while (line := file.readline()).startswith(b"250-"):
            pass
        return bool(line.startswith(b"250 "))

    def _messages(self, conn: socket.socket, file, number: int | None) -> int | None:
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
    unfiltered: int = 0

    @property
    def bad(self) -> bool:
        """Whether anything is as it must not be."""
        return bool(self.lost) or any(self.leftovers.values()) or self.unfiltered > 0


def arrived_numbers(sink: KeepingSink) -> list[int]:
    """Numbers of all messages that came, with repeats."""
    return [int(rcpt.partition("@")[0][1:]) for e in sink.envelopes() for rcpt in e["rcpts"]]


class Guard:
    """A filter that adds a field, and is there again after it was killed; a context manager."""

    def __init__(self, directory: Path) -> None:
        self.filter = FakeMilter(directory)
        self.filter.script(answers={"BODYEOB": [["ADDHEADER", "X-Filter", "seen"], ["CONTINUE"]]})

    def __enter__(self) -> "Guard":
        self.filter.path.unlink(missing_ok=True)
        self.filter.__enter__()
        self._drain = threading.Thread(target=self._read, args=(self.filter.process.stdout,), daemon=True)
        self._drain.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.filter.process.kill()
        self.filter.process.wait(30)
        self._drain.join(30)

    @staticmethod
    def _read(heard: IO[str]) -> None:
        """Reads what the filter tells of its sessions, which nobody wants to know."""
        with heard:
            for _ in heard:
                pass

    def kill(self) -> None:
        """Kills the filter and starts it again."""
        self.__exit__()
        self.__enter__()


def client_context() -> ssl.SSLContext:
    """Gives a context that believes any certificate."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def run(directory: Path, messages: int, kills: int, seed: int, *, guarded: bool = False) -> Report:
    """Runs one crash test; everything it starts has ended when it returns."""
    with contextlib.ExitStack() as stack:
        guard = stack.enter_context(Guard(directory)) if guarded else None
        sink = stack.enter_context(KeepingSink(directory / "maildir"))
        options = {"qmgr": FAST_RETRY, "smtps": f"milter f {{ {guard.filter.conf} }}" if guard else ""}
        soon = orphans_go_soon(directory / "soon")
        gateway = Gateway(directory / "gateway", f". {sink.port}^[127.0.0.1]", options, env=soon, tls=guarded)
        stack.callback(gateway.stop)
        gateway.setup()
        gateway.start()
        source = Source(gateway.port, messages, client_context() if guarded else None)
        return killed(gateway, sink, source, guard, kills, random.Random(seed))


def killed(gateway: Gateway, sink: KeepingSink, source: Source, guard: Guard | None, kills: int, rng: random.Random) -> Report:
    """Sends mail and kills processes meanwhile; gives what became of it when all queues are empty."""
    messages, started, done = source.messages, source.start(8), list[str]()
    victims = (*VICTIMS, FILTER) if guard else VICTIMS
    try:
        step = messages // (kills + 1)
        for number in range(1, kills + 1):
            goal = min(messages, number * step + rng.randrange(max(step // 2, 1)))
            wait_until(lambda goal=goal: len(source.acknowledged) >= goal, 120, f"{goal} messages; {gateway.last_words()}")
            victim = victims[(number - 1) % len(victims)]
            done.append(f"{victim} after {len(source.acknowledged)}")
            if victim == FILTER and guard:
                guard.kill()
            else:
                gateway.kill(victim)
            if victim == "mcp":
                gateway.start(60)
        wait_until(lambda: len(source.acknowledged) >= messages, 180, f"all acknowledged; {gateway.last_words()}")
        gateway.wait_ready(60)
        gateway.wait_empty(120)
        numbers = arrived_numbers(sink)
        lost = sorted(source.acknowledged - set(numbers))
        without = sum(FIELD not in sink.content(one) for one in sink.envelopes()) if guard else 0
        again = len(numbers) - len(set(numbers))
        return Report(len(source.acknowledged), len(numbers), lost, again, gateway.leftovers(), done, without)
    finally:
        source.stop.set()
        for thread in started:
            thread.join(30)


def main(argv: list[str]) -> int:
    """Runs one crash test and prints its report."""
    parser = argparse.ArgumentParser(description="Kill processes while mail flows; count what was acknowledged and arrived.")
    parser.add_argument("--messages", type=int, default=2000)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--guarded", action="store_true", help="clients speak TLS, and a filter changes each message")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="meta1g-crash-") as name:
        report = run(Path(name), options.messages, options.kills, options.seed, guarded=options.guarded)
    print(report)
    return 1 if report.bad else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
