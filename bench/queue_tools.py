"""A long queue under its operator's hand: a gateway of real processes whose queue bench.fill_queue has filled.

start       from the start of mcp until a message is accepted, and the memory of qmgr then
selectors   the slowest `mailq` with one condition each, and one `qmgrctl` of each kind, on 10,000 recipients
removals    10,000 recipients by one command
waits       (with --waits, and nothing else) how long `status` takes while commands go through or change everything
pages       `mailq --json` through everything, while clients send mail: their rate before, meanwhile and afterwards
"""

import argparse
import contextlib
import json
import os
import resource
import smtplib
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from bench.fill_queue import fill
from bench.results import percentile, record
from contrib.lib.gateway import Gateway

SELECTORS = (
    "all", "to77.example", "sender=sender5@*", "recipient=user77@*", "destination=mx1.example", "age=1d", "status=mailbox full",
    "state=deferred",
)  # fmt: skip
VERBS = (
    ("hold", "to7.example"),
    ("release", "all"),
    ("bounce", "to8.example"),
    ("requeue", "to9.example"),
    ("retry", "to6.example"),
)
#: What goes through everything, with the tool that does it.
COMMANDS = (
    ("mailq", "--json"),
    ("mailq", "--counts", "domain"),
    ("mailq", "destination=mx1.example"),
    ("qmgrctl", "hold", "all"),
    ("qmgrctl", "release", "all"),
    ("qmgrctl", "retry", "all"),
    ("qmgrctl", "requeue", "to9.example"),
    ("qmgrctl", "remove", "all"),
)
CLIENTS = 4
INTRO = """\
A queue with so many deferred recipients in a gateway of real processes.  Selectors and removals were tried on 10,000; times
contain the start of the program.  The rate is that of messages accepted from 4 clients, before and while `mailq --json` goes
through all."""


class Load:
    """Clients that send mail as fast as they can.  Owner: the caller."""

    def __init__(self, port: int) -> None:
        self.sent = [0] * CLIENTS
        self._port = port
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._send, args=(number,)) for number in range(CLIENTS)]

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _send(self, number: int) -> None:
        with smtplib.SMTP("127.0.0.1", self._port, timeout=60) as client:
            while not self._stop.is_set():
                client.sendmail("a@from.example", "r@nowhere.example", b"Subject: x\r\n\r\nx\r\n")
                self.sent[number] += 1

    def rate(self, seconds: float) -> float:
        """Gives how many messages a second were accepted in the next so many seconds."""
        before, begin_s = sum(self.sent), time.monotonic()
        self._stop.wait(seconds)
        return (sum(self.sent) - before) / (time.monotonic() - begin_s)


def tool(gateway: Gateway, name: str, *words: str) -> tuple[str, float]:
    """Runs a tool; gives its output and how long it took, seconds."""
    begin_s = time.monotonic()
    command = [sys.executable, "-c", f"from meta1g.tools.{name} import run; run()", "-f", str(gateway.conf), *words]
    result = subprocess.run(command, capture_output=True, text=True, env=gateway.environment(), check=True)
    return result.stdout, time.monotonic() - begin_s


def memory_mb(gateway: Gateway) -> int:
    """Gives the resident memory of qmgr, MB."""
    (pid,) = gateway.pids()["qmgr"]
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize() >> 20


@contextlib.contextmanager
def filled(directory: Path, count: int):  # noqa: ANN201  a generator
    """Gives a running gateway with a filled queue, and how long it took to accept a message, seconds."""
    gateway = Gateway(directory, mailertable=". 9^[127.0.0.1]", options={"qmgr": "min_retry_delay = 1d; max_retry_delay = 1d;"})
    gateway.setup()
    fill(gateway.queue, count, content=100 if count <= 10_000 else 0)
    begin_s = time.monotonic()
    gateway.start()
    try:
        with smtplib.SMTP("127.0.0.1", gateway.port, timeout=60) as client:
            client.sendmail("a@from.example", "r@nowhere.example", b"Subject: x\r\n\r\nx\r\n")
        yield gateway, time.monotonic() - begin_s
    finally:
        gateway.stop()


def short_queue(directory: Path, count: int) -> dict[str, str]:
    """Tries selectors and removals."""
    with filled(directory, count) as (gateway, _):
        looking = max(tool(gateway, "mailq", one)[1] for one in SELECTORS)
        changing = max(tool(gateway, "qmgrctl", *words)[1] for words in VERBS)
        text, removing = tool(gateway, "qmgrctl", "--json", "remove", "all")
        removed = json.loads(text)["removed"]
    return {
        "slowest selector": f"{looking:.1f} s",
        "slowest change": f"{changing:.1f} s",
        "removed": f"{removed} in {removing:.1f} s",
    }


def long_queue(directory: Path, count: int, seconds: float) -> dict[str, str]:
    """Goes through all of a long queue while mail comes in."""
    with filled(directory, count) as (gateway, start_s), Load(gateway.port) as load:
        before = load.rate(seconds)
        listed: list[tuple[int, float]] = []

        def look() -> None:
            text, took_s = tool(gateway, "mailq", "--json")
            listed.append((text.count("\n"), took_s))

        thread = threading.Thread(target=look)
        thread.start()
        meanwhile = load.rate(seconds)
        thread.join()
        afterwards = load.rate(seconds)
        used = memory_mb(gateway)
    percent = 200 * meanwhile / max(before + afterwards, 1)
    return {
        "recipients": f"{count:,}",
        "start": f"{start_s:.1f} s",
        "qmgr": f"{used} MB",
        "pages": f"{listed[0][0]:,} in {listed[0][1]:.0f} s",
        "rate before, meanwhile": f"{before:.0f}, {meanwhile:.0f}/s, then {afterwards:.0f} ({percent:.0f} %)",
    }


def waits(directory: Path, count: int) -> dict[str, str]:
    """Asks for the status all the time, while commands go through all of a queue or change it."""
    figures = {}
    with filled(directory, count) as (gateway, _):
        for words in (("nothing",), *COMMANDS):
            took_s = [0.0]

            def work(words: tuple[str, ...] = words, took_s: list[float] = took_s) -> None:
                took_s[0] = time.sleep(3) or 3.0 if words == ("nothing",) else tool(gateway, *words)[1]

            thread = threading.Thread(target=work)
            thread.start()
            found: list[float] = []
            while thread.is_alive():
                begin_s = time.monotonic()
                gateway.control("status")
                found.append((time.monotonic() - begin_s) * 1000)
                thread.join(0.005)
            cells = [f"{percentile(found, percent):.0f}" for percent in (50, 99, 100)]
            figures[" ".join(words)] = f"{took_s[0]:.1f} s; status, ms, 50 %, 99 %, most: {', '.join(cells)} of {len(found)}"
    return figures


def main(argv: Sequence[str]) -> int:
    """Runs the program; gives its exit code."""
    parser = argparse.ArgumentParser(prog="queue", description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=1_000_000, help="recipients in the long queue (1000000)")
    parser.add_argument("--short", type=int, default=10_000, help="recipients in the short queue (10000)")
    parser.add_argument("--seconds", type=float, default=10, help="how long each rate is measured (10)")
    parser.add_argument("--waits", action="store_true", help="how long others wait while commands change all of the long queue")
    parser.add_argument("--record", action="store_true", help="add the figures to bench/RESULTS.md")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="queue-", dir=os.environ.get("TMPDIR")) as name:
        figures = (
            waits(Path(name, "waits"), options.count)
            if options.waits
            else {
                **long_queue(Path(name, "long"), options.count, options.seconds),
                **short_queue(Path(name, "short"), options.short),
            }
        )
    for title, value in figures.items():
        print(f"{title:24} {value}")
    if options.record and not options.waits:
        record("Long queues", INTRO, "bench/queue", figures)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
