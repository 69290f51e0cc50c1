"""Is the gateway fair?  Floods from one and from five clients of each kind, and what another client notices of them.

    bench/fairness [--seconds 4] [--kinds noop,half-lines] [--clients 1,5] [--only in|out] [--record]

A real gateway with a sink; each flood is a process that sends as fast as loopback takes it (bench/floods.py).  Another client
sends message after message, all the time: the wait for each of its commands, and for a whole message from connect to QUIT.
The bar: median of the commands at most 20 ms, 99 of 100 within 100 ms, a message within 1 s; the exit code says whether it
holds.  Before the floods the same is measured without any.  Floods of servers against smtpc: bench/fairness_out.py.
"""

import argparse
import contextlib
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from bench import fairness_out
from bench.floods import FILTER_OPTIONS, FILTERS, FLOODS, LOCAL_DOMAINS, SMAR_OPTIONS, SMTPS_OPTIONS, flooding, network
from bench.results import median, percentile, record
from contrib.lib.gateway import ROOT, Gateway
from meta1g.sasl.stored import make_stored
from tests.fakes.certificates import make_certificate
from tests.fakes.milter import FakeMilter

MEDIAN_MAX_MS = 20
P99_MAX_MS = 100
MESSAGE_MAX_MS = 1000
WAIT_S = 60
PAUSE_S = 0.005

INTRO = """\
Floods of one and of five clients at full loopback speed, each a process of its own, and what another client notices of the
worst kind, in milliseconds: the wait for a command (median, 99 of 100), and the longest whole message from connect to QUIT."""


@dataclass
class Seen:
    """What the other client noticed, in milliseconds."""

    kind: str
    clients: int
    commands: list[float] = field(default_factory=list)
    messages: list[float] = field(default_factory=list)

    @property
    def figures(self) -> tuple[float, float, float]:
        """Median and 99 % of the commands, longest message."""
        return median(self.commands), percentile(self.commands, 99), max(self.messages)

    @property
    def fair(self) -> bool:
        """Whether the bar holds."""
        middle, high, message = self.figures
        return middle <= MEDIAN_MAX_MS and high <= P99_MAX_MS and message <= MESSAGE_MAX_MS

    def __str__(self) -> str:
        middle, high, message = self.figures
        verdict = "" if self.fair or not self.clients else "   UNFAIR"
        return f"{self.kind:16} {self.clients:7} {len(self.commands):9} {middle:9.1f} {high:9.1f} {message:9.0f}{verdict}"


class Other:
    """The other client: one message after the other, each on a connection of its own.

    Args:
        port: of the gateway.
        seen: what it notices goes there.
    """

    def __init__(self, port: int, seen: Seen) -> None:
        self._port = port
        self._seen = seen

    def message(self) -> None:
        """Sends a message.

        Raises:
            AssertionError: the server refused something.
        """
        begin = time.perf_counter()
        with socket.create_connection(("127.0.0.1", self._port), WAIT_S) as sock, sock.makefile("rb") as replies:
            self._expect(replies, b"220")
            for line, code in (
                (b"EHLO other.example", b"250"),
                (b"NOOP", b"250"),
                (b"MAIL FROM:<s@other.example>", b"250"),
                (b"RCPT TO:<r@sink.example>", b"250"),
                (b"RCPT TO:<r2@sink.example>", b"250"),
                (b"DATA", b"354"),
            ):
                time.sleep(PAUSE_S)
                asked = time.perf_counter()
                sock.sendall(line + b"\r\n")
                self._expect(replies, code)
                self._seen.commands.append((time.perf_counter() - asked) * 1000)
            sock.sendall(b"Subject: fair\r\n\r\n" + b"Nobody is in a hurry here.\r\n" * 50 + b".\r\n")
            self._expect(replies, b"250")
            sock.sendall(b"QUIT\r\n")
            self._expect(replies, b"221")
        self._seen.messages.append((time.perf_counter() - begin) * 1000)

    @staticmethod
    def _expect(replies: "socket.SocketIO | object", code: bytes) -> None:
        while (line := replies.readline())[3:4] == b"-":  # type: ignore[union-attr]
            pass
        assert line.startswith(code), f"expected {code!r}, got {line!r}"


@contextlib.contextmanager
def flooded_gateway(directory: Path, smtps: str = "", access: str = "") -> Iterator[Gateway]:
    """A gateway that takes mail for sink.example and knows no user of local.example, and its sink.

    Args:
        directory: an empty one.
        smtps: more of its section smtps.
        access: its access map, if it has one.
    """
    command = [sys.executable, str(ROOT / "contrib/loadtest/smtpsink.py"), "--listen", "127.0.0.1:0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as sink:
        assert sink.stdout is not None
        port = sink.stdout.readline().strip().rpartition(":")[2]
        table = f"{LOCAL_DOMAINS}\n. {port}^[127.0.0.1]"
        map_options = 'access_map { file = "access.db"; }' if access else ""
        options = {"smtps": SMTPS_OPTIONS + smtps, "smar": SMAR_OPTIONS + map_options}
        gateway = Gateway(directory / "gateway", table, options, log_level=5, relay_from="127.0.0.0/8")
        (directory / "gateway" / "etc").mkdir(parents=True)
        try:
            gateway.write_map("users", "somebody@local.example RELAY")
            if access:
                gateway.write_map("access", access)
            make_certificate(gateway.conf.parent, "gateway.example")
            stored = make_stored("SCRAM-SHA-256", "right", b"salt" * 4)
            (gateway.conf.parent / "passwords").write_text(f"user:{stored}\n")
            (gateway.conf.parent / "passwords").chmod(0o600)
            gateway.setup()
            gateway.start()
            yield gateway
        finally:
            gateway.stop()
            sink.terminate()
            sink.communicate()


@contextlib.contextmanager
def filtered_gateway(directory: Path) -> Iterator[Gateway]:
    """The same with filters that break, which the messages of floods pass, and no others."""
    with contextlib.ExitStack() as stack:
        sections, access = ["milters = { };"], []
        for name, (step, fault) in FILTERS.items():
            milter = stack.enter_context(FakeMilter(directory, name)).script(faults={step: fault})
            sections.append(f"milter {name} {{ {milter.conf} {FILTER_OPTIONS} }}")
            access.append(f"smtps_session_conf:{network(f'filter-{name}')} milters = {{ {name} }};")
        yield stack.enter_context(flooded_gateway(directory, "\n".join(sections), "\n".join(access)))


def watch(gateway: Gateway, kind: str, clients: int, seconds: float) -> Seen:
    """Floods a gateway for some seconds and gives what another client notices."""
    seen = Seen(kind, clients)
    other = Other(gateway.port, seen)
    with flooding(kind, clients, gateway.port, seconds + WAIT_S):
        end = time.monotonic() + seconds
        try:
            while time.monotonic() < end or not seen.messages:
                other.message()
        except TimeoutError:
            seen.commands.append(WAIT_S * 1000)
            seen.messages.append(WAIT_S * 1000)
    return seen


def inbound(kinds: list[str], clients: list[int], seconds: float) -> list[Seen]:
    """Measures all kinds and prints a table."""
    print(f"{'flood':16} {'clients':>7} {'commands':>9} {'median':>9} {'99 %':>9} {'message':>9}   milliseconds")
    results = []
    for site in (flooded_gateway, filtered_gateway):
        chosen = [kind for kind in kinds if bool(FLOODS[kind].filter) == (site is filtered_gateway)]
        if not chosen:
            continue
        with tempfile.TemporaryDirectory() as directory, site(Path(directory)) as gateway:
            print(quiet(gateway, seconds), flush=True)
            for kind in chosen:
                for count in clients:
                    results.append(watch(gateway, kind, count, seconds))
                    print(results[-1], flush=True)
    return results


def quiet(gateway: Gateway, seconds: float) -> Seen:
    """Gives what a client notices that is alone."""
    seen = Seen("none", 0)
    other = Other(gateway.port, seen)
    end = time.monotonic() + seconds / 2
    while time.monotonic() < end or not seen.messages:
        other.message()
    return seen


def main(argv: list[str]) -> int:
    """Reads the command line, measures, and gives 0 if the bar holds."""
    parser = argparse.ArgumentParser(prog="bench/fairness", description="What floods of one cost the others.")
    parser.add_argument("--seconds", type=float, default=4, help="for each kind and number of clients")
    parser.add_argument("--kinds", default=",".join(FLOODS), help=f"some of {', '.join(FLOODS)}")
    parser.add_argument("--clients", default="1,5", help="how many flood at the same time")
    parser.add_argument("--only", choices=("in", "out"), help="clients against smtps, or servers against smtpc")
    parser.add_argument("--record", action="store_true", help="add a row to bench/RESULTS.md")
    options = parser.parse_args(argv)
    kinds = options.kinds.split(",")
    if unknown := set(kinds) - set(FLOODS):
        parser.error(f"no such kind: {', '.join(sorted(unknown))}")
    fair = True
    if options.only != "out":
        results = inbound(kinds, [int(word) for word in options.clients.split(",")], options.seconds)
        fair = all(seen.fair for seen in results)
        if options.record:
            figures = {
                name: f"{max(seen.figures[n] for seen in results):.1f}" for n, name in enumerate(("median", "99 %", "message"))
            }
            record("Fairness", INTRO, "bench/fairness", figures)
    if options.only != "in":
        fair = fairness_out.main(["--record"] if options.record else []) == 0 and fair
    print("fair" if fair else "not fair")
    return 0 if fair else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
