"""Relays the same load through meta1g and Postfix without a filter, and with one of each kind; all are up at once, in turns.

    none      no filter
    pmilter   a policy milter of meta1g.pmilter that does nothing; meta1g only
    milter    a milter on libmilter, in C, that hears everything and does nothing
    dkim      OpenDKIM signs each message with RSA of 2,048 bits (docs/filters-of-others.md)

Method as that of bench/relay.  CPU is that of the relay alone; that of its filter is told beside it.  The last column compares
each relay with itself without a filter, within a round.
"""

import argparse
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from bench.probe import Arrivals
from bench.relay_load import LOADS, Burst, Load, run_burst, spread
from bench.relays import Meta1gRelay, PostfixRelay, Relay
from bench.results import machine, median
from contrib.lib.gateway import cpu_seconds, wait_until
from tests.system import filter_daemons

KINDS = ("none", "pmilter", "milter", "dkim")
START_S = 30
#: What OpenDKIM signs.
SENDER = ("-f", "sender@example.org")


@dataclass(frozen=True)
class Place:
    """A relay with its filter.

    Args:
        kind: of the filter.
        relay: which one.
        pids: processes of the filter.
    """

    kind: str
    relay: Relay
    pids: tuple[int, ...]

    def filter_cpu_s(self) -> float:
        """CPU that the filter has used."""
        return sum(cpu_seconds(pid, with_children=True) for pid in self.pids)


@dataclass(frozen=True)
class Turn:
    """A burst, and what the filter has used for it."""

    burst: Burst
    filter_ms: float


@contextmanager
def started(command: list[str], socket: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """Runs a filter; everybody may connect to it."""
    process = subprocess.Popen(command, start_new_session=True, stderr=subprocess.DEVNULL)
    try:
        wait_until(socket.exists, START_S, f"{command[0]} listens on {socket}")
        socket.chmod(0o666)
        yield process
    finally:
        filter_daemons.stop(process)


def compiled(directory: Path) -> Path:
    """Makes the milter that does nothing."""
    program = directory / "null_milter"
    source = Path(__file__).with_name("null_milter.c")
    subprocess.run(["gcc", "-O2", "-o", program, source, "-lmilter", "-lpthread"], check=True)
    return program


def start_filter(kind: str, directory: Path, stack: ExitStack, null: Path, keys: Path) -> tuple[Path, tuple[int, ...]]:
    """Starts a filter; gives its socket and its processes."""
    if kind == "none":
        return Path(), ()
    directory.mkdir()
    if kind == "dkim":
        stack.enter_context(filter_daemons.running("opendkim", directory / "opendkim", "", keys))
        socket = directory / "opendkim/run/opendkim/opendkim.sock"
        socket.chmod(0o666)
        pid = int((directory / "opendkim/run/opendkim/opendkim.pid").read_text())
        return socket, (pid,)
    socket = directory / "socket"
    command = [sys.executable, "-m", "bench.null_policy"] if kind == "pmilter" else [str(null)]
    return socket, (stack.enter_context(started([*command, f"unix:{socket}"], socket)).pid,)


def places(kinds: list[str], base: Path, stack: ExitStack) -> list[Place]:
    """Starts all relays with their filters."""
    arrivals = Arrivals()
    stack.callback(arrivals.close)
    null = compiled(base) if "milter" in kinds else Path()
    if "dkim" in kinds:
        filter_daemons.make_key(base / "keys")
    found = []
    for kind in kinds:
        for name in ("meta1g", "postfix"):
            if (kind, name) == ("pmilter", "postfix"):
                continue
            directory = base / f"{name}-{kind}"
            socket, pids = start_filter(kind, Path(f"{directory}-filter"), stack, null, base / "keys")
            relay: Relay
            if name == "meta1g":
                section = "policy_milter" if kind == "pmilter" else "milter f"
                text = "" if kind == "none" else f'{section} {{ socket {{ type = unix; path = "{socket}"; }} }}'
                relay = Meta1gRelay(directory, 1, arrivals.port, smtps=text)
            else:
                more = "" if kind == "none" else f"smtpd_milters = unix:{socket}\n"
                relay = PostfixRelay(directory, 1, arrivals.port, more)
            stack.callback(relay.stop)
            found.append(Place(kind, relay, pids))
    return found


def turn(place: Place, load: Load) -> Turn:
    """Runs a burst."""
    before_s = place.filter_cpu_s()
    burst = run_burst(load, place.relay)
    return Turn(burst, (place.filter_cpu_s() - before_s) / load.messages * 1000)


def measure(all_places: list[Place], loads: list[Load], rounds: int, seed: int) -> dict[tuple[str, str, str], list[Turn]]:
    """Runs all rounds; gives the turns by load, kind and relay."""
    found: dict[tuple[str, str, str], list[Turn]] = {}
    order = random.Random(seed)
    for place in all_places:
        turn(place, replace(loads[0], messages=200))  # all processes are started, all caches are warm
    for number in range(rounds):
        for load in loads:
            for place in order.sample(all_places, len(all_places)):
                found.setdefault((load.key, place.kind, place.relay.name), []).append(turn(place, load))
        print(f"round {number + 1} of {rounds} done", file=sys.stderr)
    return found


def show(load: Load, kind: str, found: dict[tuple[str, str, str], list[Turn]]) -> None:
    """Prints the row of one load and one kind of filter."""
    both = [found.get((load.key, kind, name), []) for name in ("meta1g", "postfix")]
    cells = [load.key, kind]
    for figures in ([[t.burst.rate for t in turns] for turns in both], [[t.burst.cpu_ms for t in turns] for turns in both]):
        cells.append(" : ".join(f"{median(one):.2f}" if one else "-" for one in figures))
    cells.append(" : ".join(f"{median([t.filter_ms for t in turns]):.2f}" if turns else "-" for turns in both))
    mine, other = both
    for value in (lambda t: t.burst.rate, lambda t: t.burst.cpu_ms):
        cells.append(spread([value(a) / value(b) for a, b in zip(mine, other, strict=True)]) if other else "-")
    against = []
    for name, turns in zip(("meta1g", "postfix"), both, strict=True):
        bare = found.get((load.key, "none", name), [])
        against.append(
            spread([a.burst.rate / b.burst.rate for a, b in zip(turns, bare, strict=True)]) if turns and bare else "-"
        )
    cells.append(" : ".join(against))
    print(f"| {' | '.join(cells)} |")


def main(argv: list[str]) -> int:
    """Reads the command line and measures."""
    parser = argparse.ArgumentParser(prog="bench/filters", description="The cost of filters, beside Postfix.")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--loads", default="a", help="letters of the loads of bench/relay")
    parser.add_argument("--only", default=",".join(KINDS), help=f"kinds of filters: {', '.join(KINDS)}")
    parser.add_argument("--seed", type=int, default=1, help="of the order of turns")
    options = parser.parse_args(argv)
    kinds = options.only.split(",")
    if unknown := {*kinds} - {*KINDS} or {*options.loads} - {*LOADS}:
        parser.error(f"no such kind or load: {' '.join(sorted(unknown))}")
    if os.geteuid() != 0:
        parser.error("only root can run a Postfix of its own, and OpenDKIM with its account")
    loads = [replace(LOADS[key], options=(*LOADS[key].options, *SENDER)) for key in options.loads]
    with tempfile.TemporaryDirectory(prefix="m1g-bench-", dir="/run") as name, ExitStack() as stack:
        Path(name).chmod(0o755)
        found = measure(places(kinds, Path(name), stack), loads, options.rounds, options.seed)
    print(f"{machine()}; {options.rounds} rounds; meta1g : Postfix, medians; ratios: median (least-greatest)\n")
    heads = [
        "",
        "filter",
        "messages/s",
        "CPU ms a message",
        "filter's own",
        "ratio of rates",
        "ratio of CPU",
        "rate against none",
    ]
    print(f"| {' | '.join(heads)} |\n|{' --- |' * len(heads)}")
    for load in loads:
        for kind in kinds:
            show(load, kind, found)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
