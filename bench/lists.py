"""A large alias file and a very long list in a whole gateway: is other mail held up, does AQ keep its limit, and for how long?

    python -m bench.lists [--members 60000] [--entries 100000]

The alias file has levels of lists that name each other (diamonds and cycles).  Single messages are sent one after the other,
first alone, then while a message to the list is expanded and delivered; their times of acceptance and delivery are compared.
Everything stays on loopback; it ends by itself.
"""

import argparse
import sys
import tempfile
import threading
import time
from pathlib import Path

from bench.probe import Arrivals, Latency, probe, send
from bench.relays import Sink
from bench.results import percentile
from contrib.lib.gateway import Gateway, wait_until

AQ_LIMIT = 8192
TIMEOUT_S = 1800


def alias_lines(entries: int, members: int) -> str:
    """Gives `big` with many members, and `all`, a graph of lists with diamonds and cycles."""
    levels = (entries - 3) // 3
    lines = [f"big: {', '.join(f'm{n}@sink.example' for n in range(members))}", "all: t0, all, joe@sink.example"]
    for n in range(levels):
        lines += (f"t{n}: a{n} b{n}", f"a{n}: t{n + 1} all n{n}@sink.example", f"b{n}: t{n + 1} t{n} n{n}@sink.example")
    lines.append(f"t{levels}: all, end@sink.example")
    return "\n".join(lines) + "\n"


def times(name: str, found: list[Latency]) -> None:
    """Prints medians and 99 % of acceptance and delivery."""
    cells = []
    for values in ([one.accepted_s for one in found], [one.delivered_s for one in found]):
        cells += [f"{percentile(values, p) * 1000:.1f}" for p in (50, 99, 100)]
    print(f"| {name} | {len(found)} | {' | '.join(cells)} |", flush=True)


def waiting(gateway: Gateway) -> bool:
    """Tells whether recipients are under way; content of the probes goes a little later, and another probe follows it."""
    left = gateway.leftovers()
    return left["aq"] + left["defedb"] > 0


def beside(gateway: Gateway, arrivals: Arrivals, sink: Sink, rcpt: str, expected: int) -> tuple[list[Latency], int, float]:
    """Sends a message to a list and single ones until all copies have come; gives their times, the most in AQ, seconds."""
    before, start = sink.received(), time.monotonic()
    done = threading.Event()
    most = [0]

    def watch() -> None:
        while not done.wait(0.5):
            most[0] = max(most[0], int(str(gateway.control("status")["aq"])))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        send(gateway.port, rcpt, 0, 2000)
        found: list[Latency] = []
        while waiting(gateway) or sink.received() == before:
            found += probe(gateway.port, arrivals, 20)
            if time.monotonic() - start > TIMEOUT_S:
                raise TimeoutError(f"not done within {TIMEOUT_S} s: {gateway.leftovers()}, {expected} recipients")
    finally:
        done.set()
        watcher.join()
    return found, most[0], time.monotonic() - start


def main(argv: list[str]) -> int:
    """Runs it; fails if AQ passes its limit."""
    parser = argparse.ArgumentParser(prog="bench.lists", description="Large lists beside other mail.")
    parser.add_argument("--members", type=int, default=60_000)
    parser.add_argument("--entries", type=int, default=100_000)
    options = parser.parse_args(argv)
    arrivals, sink = Arrivals(), Sink()
    smar = (
        'aliases { file = "aliases"; type = text; flags = { localpart, local_domains }; } local_domains = { "list.example" };'
    )
    with tempfile.TemporaryDirectory(prefix="meta1g-bench-") as name:
        table = f"probe.example {arrivals.port}^[127.0.0.1]\n. {sink.port}^[127.0.0.1]"
        gateway = Gateway(Path(name) / "g", table, {"smar": smar, "qmgr": f"AQ_max_entries = {AQ_LIMIT};"})
        gateway.conf.parent.mkdir(parents=True)
        (gateway.conf.parent / "aliases").write_text(alias_lines(options.entries, options.members))
        gateway.setup()
        gateway.start(60)
        try:
            print("| beside | messages | accepted ms, 50 % | 99 % | most | delivered ms, 50 % | 99 % | most |")
            print("| --- | --- | --- | --- | --- | --- | --- | --- |")
            alone = probe(gateway.port, arrivals, 200)
            times("nothing", alone)
            worst = 0
            for rcpt, count in (("big@list.example", options.members), ("all@list.example", (options.entries - 3) // 3 + 3)):
                found, most, seconds = beside(gateway, arrivals, sink, rcpt, count)
                times(f"{rcpt}, {count} recipients: {seconds:.0f} s, at most {most} in AQ", found)
                worst = max(worst, most)
            wait_until(lambda: not any(gateway.leftovers().values()), 60, "empty queues")
        finally:
            gateway.stop()
            sink.stop()
            arrivals.close()
    return int(worst > AQ_LIMIT)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
