"""Tells whether a message costs more than it did: CPU of all processes, against a fixed piece of work of the same run.

The speed of a shared machine changes from minute to minute, and that of the fixed work changes with it: what is compared is
how many pieces of that work a message costs.  The ratios of the last record stand in bench/guard.json.  Report only: the exit
code is 0 whatever was found, since a benchmark has no place among the tests.
"""

import argparse
import json
import socket
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from bench.probe import Arrivals
from bench.relay_load import LOADS, run_burst
from bench.relays import Meta1gRelay
from bench.results import median

RECORD = Path(__file__).with_name("guard.json")
#: Loads, and messages of each burst.
MESSAGES = {"a": 400, "d": 60, "g": 200}
#: A change below this is noise: two runs of the same code differ by as much.
NOISE_PERCENT = 10
_PIECES = 2000


def piece(ends: tuple[socket.socket, socket.socket]) -> None:
    """Does what a relay does most: cuts and joins text, fills and reads dictionaries, sends and receives."""
    left, right = ends
    words = {str(number): number for number in range(20)}
    line = ", ".join(f"{key}={value}" for key, value in words.items()).encode("ascii")
    left.send(line)
    text = right.recv(4096).decode("ascii")
    found = dict(pair.split("=") for pair in text.split(", "))
    assert len(found) == len(words)


def piece_ms() -> float:
    """Gives the CPU milliseconds of a piece of the fixed work, now."""
    ends = socket.socketpair()
    try:
        begun = time.process_time()
        for _ in range(_PIECES):
            piece(ends)
        return (time.process_time() - begun) / _PIECES * 1000
    finally:
        for end in ends:
            end.close()


def measure(relay: Meta1gRelay, key: str, rounds: int) -> float:
    """Gives the pieces of fixed work that a message of a load costs: the median of some bursts, each with its own measure."""
    load = replace(LOADS[key], messages=MESSAGES[key])
    run_burst(load, relay)
    found = []
    for _ in range(rounds):
        before = piece_ms()
        cpu_ms = run_burst(load, relay).cpu_ms
        found.append(cpu_ms / ((before + piece_ms()) / 2))
    return median(found)


def verdict(now: float, recorded: float | None) -> str:
    """Says what a ratio means beside the recorded one."""
    if recorded is None:
        return "no record"
    percent = (now / recorded - 1) * 100
    word = "as recorded" if abs(percent) <= NOISE_PERCENT else "MORE" if percent > 0 else "less"
    return f"{word} ({percent:+.0f} %)"


def main(argv: list[str]) -> int:
    """Reads the command line, measures and reports."""
    parser = argparse.ArgumentParser(prog="bench/guard", description="CPU a message, in pieces of a fixed work; report only.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--record", action="store_true", help="write what is found to bench/guard.json")
    options = parser.parse_args(argv)
    recorded: dict[str, float] = json.loads(RECORD.read_text()) if RECORD.exists() else {}
    found: dict[str, float] = {}
    arrivals = Arrivals()
    with tempfile.TemporaryDirectory(prefix="meta1g-bench-") as name:
        Path(name).chmod(0o755)
        relay = Meta1gRelay(Path(name) / "meta1g", 1, arrivals.port)
        try:
            print("| load | pieces a message | recorded | |")
            print("| --- | --- | --- | --- |")
            for key in MESSAGES:
                found[key] = measure(relay, key, options.rounds)
                old = recorded.get(key)
                print(f"| {LOADS[key].text} | {found[key]:.1f} | {old or '-'} | {verdict(found[key], old)} |", flush=True)
        finally:
            relay.stop()
            arrivals.close()
    if options.record:
        RECORD.write_text(json.dumps({key: round(value, 1) for key, value in found.items()}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
