"""Relays the same loads through meta1g and through Postfix, both up at once, in turns, and prints rates, CPU and ratios.

Method: the relays stay up; each round runs every load once through each relay, in an order that changes, so that the
machine's drift meets both; ratios are taken within a round, and their median and spread are printed.
Source and sink are Postfix's smtp-source (with many destinations bench/source.py) and smtp-sink, all on loopback.
A prober of our own sends single messages beside or without load and takes the times of acceptance and of delivery.
"""

import argparse
import os
import random
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench.probe import Arrivals, Latency, probe
from bench.relays import Meta1gRelay, PostfixRelay, Relay, Sink, Use
from bench.results import median, percentile
from contrib.lib.gateway import wait_until

SETTLE_TIMEOUT_S = 300


@dataclass(frozen=True, slots=True)
class Load:
    """One load.

    Args:
        key: its letter.
        text: what it is.
        messages: number of messages in a burst.
        sessions: sessions at a time.
        size: bytes of a message.
        options: further arguments of smtp-source.
        deliveries: messages the sink gets for each.
        domains: destinations, each gets the same number of messages; 1 for all to one.
        log_level: of meta1g.
    """

    key: str
    text: str
    messages: int
    sessions: int = 20
    size: int = 5000
    options: tuple[str, ...] = ()
    domains: int = 1
    log_level: int = 9


LOADS = {
    load.key: load
    for load in (
        Load("a", "20 sessions, 5 KB", 1000),
        Load("b", "20 sessions, connections kept", 1000, options=("-d",)),
        Load("c", "100 sessions, 5 KB", 1000, sessions=100),
        Load("d", "20 sessions, 50 recipients", 200, options=("-r", "50")),
        Load("e", "20 sessions, 200 KB", 300, size=200_000),
        Load("f", "5 sessions, 2 MB", 40, sessions=5, size=2_000_000),
        Load("g", "one message at a time", 150, sessions=1),
        Load("h", "20 sessions, 1,000 destinations", 3000, domains=1000),
        Load("i", "20 sessions, every log line", 1000, log_level=20),
    )
}


@dataclass(frozen=True, slots=True)
class Burst:
    """What one relay did with one load."""

    load: Load
    seconds: float
    use: Use

    @property
    def rate(self) -> float:
        """Messages a second, from the first connection until the sink has all."""
        return self.load.messages / self.seconds

    @property
    def cpu_ms(self) -> float:
        """CPU milliseconds a message, all processes."""
        return sum(self.use.cpu_s.values()) / self.load.messages * 1000


def run_burst(load: Load, relay: Relay) -> Burst:
    """Sends the load and waits until the sink has all of it."""
    target = relay.sink.received() + load.messages
    before, start = relay.use(), time.monotonic()
    _send(load, relay.port)
    text = f"{relay.name}: load {load.key}: all {load.messages} messages arrived"
    wait_until(lambda: relay.sink.received() >= target, SETTLE_TIMEOUT_S, text)
    seconds = time.monotonic() - start
    relay.settle()
    return Burst(load, seconds, relay.use().since(before))


def _send(load: Load, port: int) -> None:
    common = ["-l", str(load.size), "-f", "sender@source.example", *load.options]
    target = f"127.0.0.1:{port}"
    if load.domains == 1:
        words = ["smtp-source", "-s", str(load.sessions), "-m", str(load.messages), *common, "-t", "rcpt@sink.example", target]
        subprocess.run(words, check=True, timeout=SETTLE_TIMEOUT_S)
        return
    counts = ["--sessions", str(load.sessions), "--messages", str(load.messages), "--domains", str(load.domains)]
    words = [sys.executable, "-m", "bench.source", *counts, "--size", str(load.size), str(port)]
    subprocess.run(words, check=True, timeout=SETTLE_TIMEOUT_S)


def fsyncs(relay: Relay, load: Load) -> float:
    """Gives the flushes a message of a burst, counted by strace; -1 without strace."""
    pids = [str(pid) for found in relay.pids().values() for pid in found]
    words = ["strace", "-f", "-c", "-e", "trace=fsync,fdatasync,sync_file_range", *(w for pid in pids for w in ("-p", pid))]
    try:
        tracer = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
    except FileNotFoundError:
        return -1.0
    assert tracer.stderr is not None
    with tracer:
        try:
            for _ in pids:  # each attachment is told
                tracer.stderr.readline()
            run_burst(load, relay)
        finally:
            tracer.terminate()
        rows = [line.split() for line in tracer.communicate()[1].splitlines()]
    return sum(int(row[3]) for row in rows if row and row[-1] in ("fsync", "fdatasync")) / load.messages


def floor(load: Load) -> tuple[float, float]:
    """Gives the physical limits: messages a second straight to a sink, and files a second made and flushed."""
    sink = Sink()
    try:
        wait_until(lambda: _answers(sink.port), 10, "sink")
        before, start = sink.received(), time.monotonic()
        _send(load, sink.port)
        wait_until(lambda: sink.received() >= before + load.messages, SETTLE_TIMEOUT_S, "straight to the sink")
        straight = load.messages / (time.monotonic() - start)
    finally:
        sink.stop()
    with tempfile.TemporaryDirectory(prefix="meta1g-bench-") as name:
        start = time.monotonic()
        for number in range(300):
            fd = os.open(f"{name}/{number}", os.O_WRONLY | os.O_CREAT, 0o600)
            os.write(fd, b"x" * load.size)
            os.fsync(fd)
            os.close(fd)
        return straight, 300 / (time.monotonic() - start)


def _answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), 1):
            return True
    except OSError:
        return False


# -- the report ------------------------------------------------------------------------------------------------------------


def spread(values: list[float]) -> str:
    """Gives `median (least - greatest)`."""
    return f"{median(values):.2f} ({min(values):.2f}-{max(values):.2f})"


def show_load(load: Load, mine: list[Burst], other: list[Burst]) -> None:
    """Prints the row of one load."""
    rates = [median([burst.rate for burst in bursts]) if bursts else 0.0 for bursts in (mine, other)]
    costs = [median([burst.cpu_ms for burst in bursts]) if bursts else 0.0 for bursts in (mine, other)]
    cells = [load.key, load.text]
    cells += [f"{rates[0]:.0f} : {rates[1]:.0f}", f"{costs[0]:.2f} : {costs[1]:.2f}"]
    if mine and other:
        cells.append(spread([a.rate / b.rate for a, b in zip(mine, other, strict=True)]))
        cells.append(spread([a.cpu_ms / b.cpu_ms for a, b in zip(mine, other, strict=True)]))
    else:
        cells += ["-", "-"]
    cells.append(" : ".join(f"{median([b.use.switches / load.messages for b in x]):.1f}" if x else "-" for x in (mine, other)))
    memory = [[(b.use.peak_kib, b.use.pss_kib) for b in x] for x in (mine, other)]
    cells.append(" : ".join(" / ".join(f"{max(kib) // 1024}" for kib in zip(*x, strict=True)) or "-" for x in memory))
    print(f"| {' | '.join(cells)} |")


def show_processes(load: Load, bursts: list[Burst]) -> None:
    """Prints where the CPU of a load goes."""
    names = bursts[0].use.cpu_s
    shares = [f"{name} {median([b.use.cpu_s.get(name, 0.0) / load.messages * 1000 for b in bursts]):.2f}" for name in names]
    print(f"{load.key}: {', '.join(shares)} ms a message")


def show_latency(name: str, what: str, found: list[Latency]) -> None:
    """Prints one row of times."""
    cells = [name, what]
    for times in ([one.accepted_s for one in found], [one.delivered_s for one in found]):
        cells += [f"{percentile(times, p) * 1000:.1f}" for p in (50, 95, 99)]
    print(f"| {' | '.join(cells)} |")


def measure(options: argparse.Namespace, relays: list[Relay], debug: Relay | None) -> dict[tuple[str, str], list[Burst]]:
    """Runs all rounds; gives the bursts by load and relay."""
    found: dict[tuple[str, str], list[Burst]] = {}
    order = random.Random(options.seed)
    for relay in (*relays, *((debug,) if debug else ())):
        run_burst(LOADS["c"], relay)  # all processes are started, all caches are warm
    for number in range(options.rounds):
        for key in options.loads:
            load = LOADS[key]
            turn = [debug if load.log_level != 9 and debug and relay.name == "meta1g" else relay for relay in relays]
            order.shuffle(turn)
            for relay in turn:
                found.setdefault((key, relay.name), []).append(run_burst(load, relay))
        print(f"round {number + 1} of {options.rounds} done", file=sys.stderr)
    return found


def report_latency(relays: list[Relay], arrivals: Arrivals) -> None:
    """Measures and prints times of single messages, alone and beside other load."""
    print("\n| relay | times, ms | accepted p50 | p95 | p99 | delivered p50 | p95 | p99 |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for relay in relays:
        show_latency(relay.name, "one at a time", probe(relay.port, arrivals, 200))
        words = ["smtp-source", "-s", "20", "-m", "4000", "-l", "5000", "-t", "r@sink.example", f"127.0.0.1:{relay.port}"]
        with subprocess.Popen(words, stderr=subprocess.DEVNULL) as busy:
            try:
                show_latency(relay.name, "beside 20 sessions", probe(relay.port, arrivals, 100))
            finally:
                busy.kill()
        relay.settle()


def report(
    options: argparse.Namespace, relays: list[Relay], arrivals: Arrivals, found: dict[tuple[str, str], list[Burst]]
) -> None:
    """Prints the figures as Markdown."""
    print(f"{options.rounds} rounds, {os.cpu_count()} cores; meta1g : Postfix, medians; ratios: median (least-greatest)\n")
    print("| | load | messages/s | CPU ms a message | ratio of rates | ratio of CPU | switches a message | MiB, peak / PSS |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for key in options.loads:
        show_load(LOADS[key], found.get((key, "meta1g"), []), found.get((key, "postfix"), []))
    print()
    for key in options.loads:
        if (key, "meta1g") in found:
            show_processes(LOADS[key], found[key, "meta1g"])
    if options.latency:
        report_latency(relays, arrivals)
    if options.fsyncs:
        print()
        for relay in relays:
            print(f"{relay.name}: {fsyncs(relay, LOADS['a']):.2f} flushes a message (load a)")


def main(argv: list[str]) -> int:
    """Reads the command line and measures."""
    parser = argparse.ArgumentParser(prog="bench/relay", description="Relay the same loads through meta1g and Postfix.")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--loads", default="ag", help=f"letters of the loads, or all; {_load_help()}")
    parser.add_argument("--only", choices=("meta1g", "postfix"))
    parser.add_argument("--seed", type=int, default=1, help="of the order of turns")
    parser.add_argument("--latency", action="store_true", help="times of acceptance and delivery too")
    parser.add_argument("--fsyncs", action="store_true", help="count flushes by strace too")
    parser.add_argument("--floor", action="store_true", help="the physical limits too")
    options = parser.parse_args(argv)
    options.loads = "".join(LOADS) if options.loads == "all" else options.loads
    if unknown := set(options.loads) - set(LOADS):
        parser.error(f"no such load: {' '.join(sorted(unknown))}")
    if options.only != "meta1g" and os.geteuid() != 0:
        print("Postfix needs root: only meta1g is measured", file=sys.stderr)
        options.only = "meta1g"
    with tempfile.TemporaryDirectory(prefix="meta1g-bench-") as name:
        directory = Path(name)
        directory.chmod(0o755)
        _run(options, directory)
    return 0


def _load_help() -> str:
    return "; ".join(f"{load.key}: {load.text}" for load in LOADS.values())


def _run(options: argparse.Namespace, directory: Path) -> None:
    domains = max(LOADS[key].domains for key in options.loads)
    arrivals = Arrivals()
    makers: dict[str, Callable[[], Relay]] = {
        "meta1g": lambda: Meta1gRelay(directory / "meta1g", domains, arrivals.port),
        "postfix": lambda: PostfixRelay(directory / "postfix", domains, arrivals.port),
    }
    relays: list[Relay] = []
    debug = None
    try:
        relays += [make() for name, make in makers.items() if options.only in (None, name)]
        if "i" in options.loads and options.only != "postfix":
            debug = Meta1gRelay(directory / "debug", 1, arrivals.port, log_level=20)
        report(options, relays, arrivals, measure(options, relays, debug))
        if options.floor:
            straight, flushed = floor(LOADS["a"])
            print(f"\nsource straight to sink: {straight:.0f} messages/s; file made and flushed: {flushed:.0f} a second")
    finally:
        for relay in (*relays, *((debug,) if debug else ())):
            relay.stop()
        arrivals.close()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
