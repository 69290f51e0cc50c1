"""What an idle connection costs: memory of the smtps process for each of many connections, and how fast they are greeted.

    python -m bench.idle_connections [--connections 10000] [--rate 400] [--limit-kib 40] [--record]

A whole gateway runs (mcp, smtps, qmgr, smar, smtpc), without TLS, on loopback.  Clients come at a fixed rate, whether the
server keeps up or not, and wait after the greeting; then all say EHLO, so that memory is known for both; at the end all
say NOOP, which shows that each is still served.  Memory is that of the process as the kernel counts it
(/proc/PID/smaps_rollup), beyond the same process before the first connection; socket buffers of the kernel are not in it.
Exit code 1 if a connection costs more than the limit.
"""

import argparse
import re
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from bench.clients import Clients, raise_descriptor_limit
from bench.results import percentile, record
from contrib.lib.gateway import Gateway
from meta1g.smtps.limits import SESSION_DESCRIPTORS

#: Descriptors that client and server need beside the connections.
SPARE_DESCRIPTORS = 200
#: All clients have one address, which gets a sixteenth of the entries for its sessions.
PLACES_EACH = 16
OPTIONS = {
    "qmgr": "IQDB_max_entries = {places}; smtps {{ max_connections = {entries}; }}",
    "smtps": "max_threads = {entries}; io_timeout = 3600s;",
}
INTRO = """\
Idle SMTP connections, without TLS, on one smtps process of a whole gateway, on loopback.  Memory for each is what the smtps
process has more than before the first one, divided by their number: PSS and RSS of /proc/PID/smaps_rollup, after the greeting
and after EHLO on each; allowed are 10 KiB.  Greeting: connect to the end of the 220, while they come at the rate given."""


@dataclass(frozen=True, slots=True)
class Memory:
    """Memory of a process, KiB."""

    pss: int
    rss: int

    @classmethod
    def of(cls, pid: int) -> "Memory":
        """Reads the memory of a process."""
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
        values = {name: int(kib) for name, kib in re.findall(r"(?m)^(Pss|Rss): +(\d+) kB$", text)}
        return cls(values["Pss"], values["Rss"])

    def each(self, empty: "Memory", count: int) -> tuple[float, float]:
        """Gives PSS and RSS beyond those of the empty process, for each of count connections."""
        return (self.pss - empty.pss) / count, (self.rss - empty.rss) / count


def measure(gateway: Gateway, count: int, rate: float) -> dict[str, str]:
    """Opens the connections and gives the figures; memory in KiB, times in milliseconds."""
    (smtps,), (qmgr,) = gateway.pids()["smtps"], gateway.pids()["qmgr"]
    empty, empty_qmgr = Memory.of(smtps), Memory.of(qmgr)
    with Clients(gateway.port) as clients:
        waits = clients.connect(count, rate)
        greeted, qmgr_now = Memory.of(smtps).each(empty, count), Memory.of(qmgr).each(empty_qmgr, count)
        clients.say(b"EHLO client.example")
        said = Memory.of(smtps).each(empty, count)
        clients.say(b"NOOP")
    return {
        "connections": str(count),
        "empty process, PSS/RSS MiB": f"{empty.pss / 1024:.1f} / {empty.rss / 1024:.1f}",
        "each after 220, PSS/RSS KiB": f"{greeted[0]:.1f} / {greeted[1]:.1f}",
        "each after EHLO, PSS/RSS KiB": f"{said[0]:.1f} / {said[1]:.1f}",
        "qmgr, each, PSS KiB": f"{qmgr_now[0]:.2f}",
        "greeting ms, median / 99 %": f"{percentile(waits, 50):.2f} / {percentile(waits, 99):.2f}",
        "at a rate of": f"{rate:g}/s",
    }


def run(count: int, rate: float) -> dict[str, str]:
    """Runs a gateway with the load."""
    raise_descriptor_limit(SESSION_DESCRIPTORS * count + SPARE_DESCRIPTORS)
    options = {
        name: text.format(entries=count + SPARE_DESCRIPTORS, places=PLACES_EACH * (count + SPARE_DESCRIPTORS))
        for name, text in OPTIONS.items()
    }
    with tempfile.TemporaryDirectory(prefix="meta1g-bench-") as name:
        Path(name).chmod(0o755)
        gateway = Gateway(Path(name) / "gateway", ". 9^[127.0.0.1]", options, log_level=9)
        gateway.setup()
        gateway.start()
        try:
            return measure(gateway, count, rate)
        finally:
            gateway.stop()


def main(argv: list[str]) -> int:
    """Reads the command line and measures."""
    parser = argparse.ArgumentParser(prog="bench/idle", description="Memory and greeting time of idle connections.")
    parser.add_argument("--connections", type=int, default=10_000)
    parser.add_argument("--rate", type=float, default=400, help="new connections each second")
    parser.add_argument("--limit-kib", type=float, default=10, help="memory that each may cost")
    parser.add_argument("--record", action="store_true", help="add a row to bench/RESULTS.md")
    options = parser.parse_args(argv)
    figures = run(options.connections, options.rate)
    for name, value in figures.items():
        print(f"{name:32} {value}")
    if options.record:
        record("Idle connections", INTRO, f"bench/idle --rate {options.rate:g}", figures)
    worst = max(float(word) for key, value in figures.items() if "each after" in key for word in value.split(" / "))
    print(f"worst {worst:.1f} KiB each, allowed {options.limit_kib:g}")
    return 0 if worst <= options.limit_kib else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
