"""Do deliveries to one server suffer while hostile servers are delivered to?

    python -m bench.fairness_out [--messages 60] [--kinds floods,trickles,replies,continues,silent] [--tls] [--record]

A whole gateway runs on loopback.  Messages for a good server are sent one after the other; measured is the time from the
acknowledgement of each to its arrival there: first alone, then while the gateway delivers to one server of each hostile kind
(contrib/loadtest/hostile.py) as fast as it can: there is always more mail for each of them than sessions, failed ones are
tried again within a second.  Allowed is a median of twice the one alone, or of MEDIAN_FREE_MS, and no more memory of smtpc than
GROWTH_MAX_MIB for the buffers of the sessions that wait for hostile servers.
"""

import argparse
import contextlib
import re
import smtplib
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.results import percentile, record
from bench.soak import resident_mib
from contrib.lib.gateway import ROOT, Gateway, wait_until
from tests.fakes.certificates import make_certificate

KINDS = ("floods", "trickles", "replies", "continues", "silent")
WAIT_S = 60
#: A doubled median of a few milliseconds is noise of the machine, not something that one delivery notices of another.
MEDIAN_FREE_MS = 10.0
GROWTH_MAX_MIB = 32.0
#: More than the buffers of a connection hold, so that a server that reads nothing stops the client in the middle.
HOSTILE_BYTES = 6 << 20
INTRO = """\
Time from the acknowledgement of a message by the gateway to its arrival at a good server, alone and while the gateway delivers
messages of 6 MiB to five hostile servers at full speed: one floods `250 ok` and reads nothing, one sends a byte a second, two
send replies or continuation lines without end, one does nothing.  Memory is that of smtpc."""


@dataclass
class Figures:
    """What was measured; times in ms, memory in MiB.  hostile counts the connections to hostile servers meanwhile."""

    alone_ms: list[float] = field(default_factory=list)
    beside_ms: list[float] = field(default_factory=list)
    before_mib: float = 0.0
    most_mib: float = 0.0
    hostile: int = 0

    @property
    def ok(self) -> bool:
        """Whether the good server did not notice the others."""
        allowed_ms = max(2 * percentile(self.alone_ms, 50), MEDIAN_FREE_MS)
        return percentile(self.beside_ms, 50) <= allowed_ms and self.most_mib - self.before_mib <= GROWTH_MAX_MIB


class GoodServer:
    """Takes messages and remembers when each arrived, by its X-Number.  Owner: its threads, the dictionary by its condition."""

    def __init__(self) -> None:
        self._server = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port: int = self._server.getsockname()[1]
        self.arrived: dict[int, float] = {}
        self.changed = threading.Condition()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=self._serve, args=(self._server.accept()[0],), daemon=True).start()

    def _serve(self, conn: socket.socket) -> None:
        with conn, contextlib.suppress(OSError), conn.makefile("rb") as lines:
            conn.sendall(b"220 good\r\n")
            for line in lines:
                if line.startswith(b"DATA"):
                    conn.sendall(b"354 go\r\n")
                    self._take(b"".join(iter(lines.readline, b".\r\n")))
                conn.sendall(b"250 ok\r\n")

    def _take(self, content: bytes) -> None:
        match = re.search(rb"^X-Number: (\d+)\r$", content, re.MULTILINE)
        with self.changed:
            self.arrived[int(match[1]) if match else -1] = time.perf_counter()
            self.changed.notify_all()

    def wait_for(self, number: int) -> float:
        """Waits for a message; gives when it arrived.

        Raises:
            TimeoutError: it did not within WAIT_S.
        """
        with self.changed:
            if not self.changed.wait_for(lambda: number in self.arrived, WAIT_S):
                raise TimeoutError(f"message {number} did not arrive in {WAIT_S} s")
            return self.arrived[number]

    def close(self) -> None:
        """Takes no more connections."""
        self._server.close()


@contextlib.contextmanager
def hostile_servers(kinds: Sequence[str], *, tls: bool = False) -> Iterator[dict[str, int]]:
    """Runs hostile servers in a process of their own, under TLS if wanted; gives the port of each kind."""
    with tempfile.TemporaryDirectory() as name:
        words = []
        if tls:
            both = Path(name) / "both"
            both.write_text("".join(path.read_text() for path in make_certificate(Path(name), "hostile.example")))
            words = ["--tls", str(both)]
        yield from _served([sys.executable, str(ROOT / "contrib/loadtest/hostile.py"), *words, *kinds], kinds)


def _served(command: list[str], kinds: Sequence[str]) -> Iterator[dict[str, int]]:
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            lines = [process.stdout.readline().split() for _ in kinds]
            yield {kind: int(address.rpartition(":")[2]) for kind, address in lines}
        finally:
            process.terminate()
            process.wait(10)


def measure(gateway: Gateway, good: GoodServer, count: int) -> list[float]:
    """Sends messages one after the other; gives milliseconds from acknowledgement to arrival."""
    times = []
    with smtplib.SMTP("127.0.0.1", gateway.port, timeout=WAIT_S) as client:
        for _ in range(count):
            number = len(good.arrived) + 1
            client.sendmail("s@source.example", ["r@good.example"], f"X-Number: {number}\r\nSubject: x\r\n\r\nhello\r\n")
            acknowledged = time.perf_counter()
            times.append(max(good.wait_for(number) - acknowledged, 0.0) * 1000)
    return times


def feed(gateway: Gateway, kinds: Sequence[str], messages: int) -> None:
    """Sends mail for the hostile servers."""
    body = "Subject: x\r\n\r\n" + "0123456789abcde\r\n" * (HOSTILE_BYTES // 17)
    with smtplib.SMTP("127.0.0.1", gateway.port, timeout=WAIT_S) as client:
        for number in range(messages):
            for kind in kinds:
                client.sendmail("s@source.example", [f"r{number}@{kind}.example"], body)


class Watch:
    """Remembers the most memory of smtpc, and connections that failed, while it lasts."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        Path(f"/proc/{pid}/clear_refs").write_text("5")  # VmHWM counts from now on

    def most_mib(self) -> float:
        """Gives the most memory since the beginning."""
        lines = dict(line.split(":", 1) for line in Path(f"/proc/{self._pid}/status").read_text().splitlines())
        return int(lines["VmHWM"].split()[0]) / 1024


def failures(gateway: Gateway, kinds: Sequence[str]) -> int:
    """Counts the deliveries to hostile servers that have ended, from the log."""
    text = gateway.log.read_text()
    return sum(len(re.findall(rf"func=smtpc.deliver.*@{kind}\.example", text)) for kind in kinds)


def run(
    messages: int = 60, kinds: Sequence[str] = KINDS, hostile_messages: int = 4, timeout_s: int = 2, *, tls: bool = False
) -> Figures:
    """Measures alone and beside; takes about half a minute.

    Args:
        messages: to the good server, each time.
        kinds: of hostile servers, one of each.
        hostile_messages: how many wait for each of them, 6 MiB each.
        timeout_s: of each step of smtpc, so that sessions with hostile servers end and begin all the time.
        tls: the hostile servers misbehave under TLS.
    """
    found = Figures()
    good = GoodServer()
    steps = ("connect", "greeting", "command", "data", "block", "dot")
    options = {
        "smtpc": " ".join(f"{step}_timeout = {timeout_s}s;" for step in steps),
        "qmgr": "min_retry_delay = 1s; max_retry_delay = 1s;",
        "smtps": "max_transactions = 0;",
    }
    with (
        tempfile.TemporaryDirectory(prefix="meta1g-bench-") as name,
        contextlib.closing(good),
        hostile_servers(kinds, tls=tls) as ports,
    ):
        table = [f"{kind}.example {port}^[127.0.0.1]" for kind, port in ports.items()]
        gateway = Gateway(Path(name) / "gateway", "\n".join([*table, f". {good.port}^[127.0.0.1]"]), options)
        gateway.setup()
        gateway.start()
        try:
            measure(gateway, good, max(messages // 4, 1))  # what is made once, is made now
            found.alone_ms = measure(gateway, good, messages)
            (pid,) = gateway.pids()["smtpc"]
            found.before_mib, watch = resident_mib(pid), Watch(pid)
            feed(gateway, kinds, hostile_messages)
            wait_until(lambda: failures(gateway, kinds) > 0, WAIT_S, "a failed delivery to a hostile server")
            found.beside_ms = measure(gateway, good, messages)
            wait_until(lambda: failures(gateway, kinds) >= len(kinds), WAIT_S, "failed deliveries to hostile servers")
            found.beside_ms += measure(gateway, good, messages)
            found.hostile, found.most_mib = failures(gateway, kinds), watch.most_mib()
            if [pid] != gateway.pids().get("smtpc"):
                raise RuntimeError(f"smtpc has ended; {gateway.last_words()}")
        finally:
            gateway.stop()
    return found


def main(argv: list[str]) -> int:
    """Reads the command line and measures; gives 1 if the good server's mail suffered."""
    parser = argparse.ArgumentParser(prog="bench.fairness_out", description="Deliveries beside those to hostile servers.")
    parser.add_argument("--messages", type=int, default=60, help="messages to the good server, alone and beside")
    parser.add_argument("--hostile-messages", type=int, default=4, help="messages that wait for each hostile server")
    parser.add_argument("--kinds", default=",".join(KINDS), help="hostile servers, by commas")
    parser.add_argument("--tls", action="store_true", help="the hostile servers misbehave under TLS")
    parser.add_argument("--record", action="store_true", help="add a row to bench/RESULTS.md")
    options = parser.parse_args(argv)
    found = run(options.messages, options.kinds.split(","), options.hostile_messages, tls=options.tls)
    figures = {
        "alone: ms, median / 99 %": f"{percentile(found.alone_ms, 50):.1f} / {percentile(found.alone_ms, 99):.1f}",
        "beside hostile servers: ms, median / 99 %": (
            f"{percentile(found.beside_ms, 50):.1f} / {percentile(found.beside_ms, 99):.1f}"
        ),
        "smtpc MiB, before / most": f"{found.before_mib:.1f} / {found.most_mib:.1f}",
        "failed deliveries to hostile servers": str(found.hostile),
    }
    for key, value in figures.items():
        print(f"{key:42} {value}")
    if options.record:
        record("Hostile servers", INTRO, "python -m bench.fairness_out", figures)
    return 0 if found.ok else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
