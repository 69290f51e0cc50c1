"""Soak: the same load again and again through one gateway; shows whether memory, descriptors or queue files grow.

    python -m bench.soak [--rounds 5] [--messages 5000] [--sessions 30] [--size 2000]

Prints a line a round: messages so far, resident memory (MiB) and open descriptors of each process, size of the IBDB files.
Everything stays on loopback; it ends by itself after the rounds.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from bench.relay_load import SETTLE_TIMEOUT_S
from bench.relays import Sink
from contrib.lib.gateway import Gateway, wait_until


def resident_mib(pid: int) -> float:
    """Gives the resident memory of a process."""
    lines = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return int(lines["VmRSS"].split()[0]) / 1024


def figures(gateway: Gateway) -> str:
    """Gives memory and descriptors of each component, and the size of IBDB."""
    parts = []
    for component, pids in sorted(gateway.pids().items()):
        descriptors = sum(len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in pids)
        parts.append(f"{component} {sum(resident_mib(pid) for pid in pids):.1f} MiB {descriptors} fds")
    ibdb = sum(path.stat().st_size for path in (gateway.queue / "ibdb").iterdir())
    return f"{', '.join(parts)}, IBDB {ibdb / (1 << 20):.1f} MiB"


def main(argv: list[str]) -> int:
    """Runs the rounds; fails if a message is missing or a queue is not empty after a round."""
    parser = argparse.ArgumentParser(prog="bench.soak", description="Repeat a load and watch memory, descriptors and files.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--messages", type=int, default=5000, help="messages a round")
    parser.add_argument("--sessions", type=int, default=30)
    parser.add_argument("--size", type=int, default=2000, help="bytes a message")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="meta1g-soak-") as name:
        sink = Sink()
        gateway = Gateway(Path(name) / "gateway", f". {sink.port}^[127.0.0.1]")
        gateway.setup()
        gateway.start()
        try:
            for number in range(1, options.rounds + 1):
                subprocess.run(
                    ["smtp-source", "-s", str(options.sessions), "-m", str(options.messages), "-l", str(options.size),
                     "-f", "sender@source.example", "-t", "rcpt@sink.example", "-N", f"127.0.0.1:{gateway.port}"],
                    check=True, timeout=SETTLE_TIMEOUT_S,
                )  # fmt: skip
                target = number * options.messages
                wait_until(lambda target=target: sink.received() >= target, SETTLE_TIMEOUT_S, f"{target} messages")
                gateway.wait_empty()
                print(f"{target}: {figures(gateway)}", flush=True)
        finally:
            code = gateway.stop()
            sink.stop()
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
