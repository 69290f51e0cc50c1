"""Relays one load through meta1g and through Postfix on this machine, and prints rate, CPU per message and the ratio.

Source and sink are Postfix's smtp-source and smtp-sink, all on loopback.  Postfix runs as an instance of its own in a
temporary directory (it needs root) with its default settings but for the relay host and the directories.
"""

import argparse
import os
import re
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from contrib.lib.gateway import Gateway, children_of, cpu_seconds, free_port, wait_until

SETTLE_TIMEOUT_S = 300


@dataclass
class Measurement:
    """What one relay did with the load."""

    name: str
    messages: int
    seconds: float = 0.0
    cpu_s: dict[str, float] = field(default_factory=dict)

    @property
    def rate(self) -> float:
        """Messages a second, from the first connection until the sink has all."""
        return self.messages / self.seconds

    @property
    def cpu_ms(self) -> float:
        """CPU milliseconds a message, all processes."""
        return sum(self.cpu_s.values()) / self.messages * 1000


class Sink:
    """smtp-sink with its running counters on a pipe."""

    def __init__(self) -> None:
        self.port = free_port()
        user = ["-u", "nobody"] if os.geteuid() == 0 else []
        self.process = subprocess.Popen(
            ["smtp-sink", "-c", *user, f"127.0.0.1:{self.port}", "1024"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        self._text = ""

    def received(self) -> int:
        """How many messages have come: the counters are `sess=N quit=N mesg=N`."""
        assert self.process.stdout is not None
        while select.select([self.process.stdout], [], [], 0)[0]:
            data = os.read(self.process.stdout.fileno(), 65536)
            if not data:
                break
            self._text = (self._text + data.decode("ascii", "replace"))[-400:]
        found = re.findall(r"mesg=(\d+)", self._text)
        return int(found[-1]) if found else 0

    def stop(self) -> None:
        """Ends the sink."""
        self.process.kill()
        self.process.wait()


def load(options: argparse.Namespace, port: int, sink: Sink, cpu: Callable[[], dict[str, float]], name: str) -> Measurement:
    """Sends the load to a port and waits until the sink has all of it."""
    before, cpu_before = sink.received(), cpu()
    target = before + options.messages
    start = time.monotonic()
    subprocess.run(
        ["smtp-source", "-s", str(options.sessions), "-m", str(options.messages), "-l", str(options.size),
         "-f", "sender@source.example", "-t", "rcpt@sink.example", f"127.0.0.1:{port}"],
        check=True, timeout=SETTLE_TIMEOUT_S,
    )  # fmt: skip
    wait_until(lambda: sink.received() >= target, SETTLE_TIMEOUT_S, f"{name}: {sink.received()} of {target} messages arrived")
    seconds = time.monotonic() - start
    cpu_after = cpu()
    used = {key: value - cpu_before.get(key, 0.0) for key, value in cpu_after.items()}
    return Measurement(name, options.messages, seconds, used)


def measure_meta1g(options: argparse.Namespace, directory: Path) -> Measurement:
    """Runs meta1g with the load."""
    sink = Sink()
    gateway = Gateway(directory / "meta1g", f". {sink.port}^[127.0.0.1]", log_level=9)
    gateway.setup()
    gateway.start()
    try:

        def cpu() -> dict[str, float]:
            assert gateway.process is not None
            used = {"mcp": cpu_seconds(gateway.process.pid)}
            for component, pids in gateway.pids().items():
                used[component] = sum(cpu_seconds(pid) for pid in pids)
            return used

        warm_up(options, gateway.port, sink, cpu)
        result = load(options, gateway.port, sink, cpu, "meta1g")
        gateway.wait_empty(30)
        return result
    finally:
        gateway.stop()
        sink.stop()


def warm_up(options: argparse.Namespace, port: int, sink: Sink, cpu: Callable[[], dict[str, float]]) -> None:
    """Sends a tenth of the load first, so that both relays have started all their processes."""
    few = argparse.Namespace(**{**vars(options), "messages": max(options.messages // 10, 20)})
    load(few, port, sink, cpu, "warm-up")


MAIN_CF = """\
compatibility_level = 3.6
queue_directory = {base}/queue
data_directory = {base}/data
command_directory = /usr/sbin
daemon_directory = {daemons}
mail_owner = postfix
setgid_group = postdrop
myhostname = gateway.example
mydestination =
relayhost = [127.0.0.1]:{sink}
mynetworks = 127.0.0.0/8
smtpd_relay_restrictions = permit_mynetworks, reject
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
maillog_file = {base}/maillog
maillog_file_prefixes = {base}
alias_maps =
local_recipient_maps =
smtp_tls_security_level = none
smtpd_tls_security_level = none
"""


def measure_postfix(options: argparse.Namespace, directory: Path) -> Measurement:
    """Runs an own instance of Postfix with the load."""
    sink = Sink()
    base, port = directory / "postfix", free_port()
    config = base / "etc"
    for path in (base, config, base / "queue", base / "data"):
        path.mkdir(parents=True)
        path.chmod(0o755)
    shutil.chown(base / "data", "postfix")
    daemons = next(p for p in (Path("/usr/lib/postfix/sbin"), Path("/usr/libexec/postfix")) if p.exists())
    (config / "main.cf").write_text(MAIN_CF.format(base=base, sink=sink.port, daemons=daemons))
    master = next(p for p in (Path("/usr/share/postfix/master.cf.dist"), Path("/etc/postfix/master.cf")) if p.exists())
    lines = re.sub(r"(?m)^smtp\s+inet.*$", f"127.0.0.1:{port} inet n - n - 100 smtpd", master.read_text())
    (config / "master.cf").write_text(re.sub(r"(?m)^(\S+\s+(?:unix|fifo)\s+\S+\s+\S+\s+)y", r"\1n", lines))
    postfix = ["postfix", "-c", str(config)]
    subprocess.run([*postfix, "start"], check=True, capture_output=True, timeout=60)
    try:
        pid_file = base / "queue/pid/master.pid"
        wait_until(pid_file.exists, 10, "Postfix started")
        pid = int(pid_file.read_text())

        def cpu() -> dict[str, float]:
            return {"master and all daemons": sum(cpu_seconds(p, with_children=True) for p in [pid, *children_of(pid)])}

        warm_up(options, port, sink, cpu)
        return load(options, port, sink, cpu, "postfix")
    finally:
        subprocess.run([*postfix, "stop"], check=False, capture_output=True, timeout=60)
        sink.stop()


def report(options: argparse.Namespace, found: list[Measurement]) -> None:
    """Prints the figures as Markdown."""
    print(f"{options.messages} messages of {options.size} bytes in {options.sessions} sessions, {os.cpu_count()} cores\n")
    print("| relay | messages/s | CPU ms/message | by process (ms/message) |\n| --- | --- | --- | --- |")
    for m in found:
        parts = ", ".join(f"{name} {cpu / m.messages * 1000:.2f}" for name, cpu in m.cpu_s.items())
        print(f"| {m.name} | {m.rate:.0f} | {m.cpu_ms:.2f} | {parts} |")
    if len(found) == 2:
        rates, costs = found[0].rate / found[1].rate, found[0].cpu_ms / found[1].cpu_ms
        print(f"\nratio meta1g/Postfix: rate {rates:.2f}, CPU per message {costs:.2f}")


def main(argv: list[str]) -> int:
    """Reads the command line and measures."""
    parser = argparse.ArgumentParser(prog="bench/relay", description="Relay the same load through meta1g and Postfix.")
    parser.add_argument("--messages", type=int, default=3000)
    parser.add_argument("--sessions", type=int, default=20)
    parser.add_argument("--size", type=int, default=5000, help="bytes a message")
    parser.add_argument("--only", choices=("meta1g", "postfix"))
    options = parser.parse_args(argv)
    found = []
    with tempfile.TemporaryDirectory(prefix="meta1g-bench-") as name:
        directory = Path(name)
        directory.chmod(0o755)
        if options.only != "postfix":
            found.append(measure_meta1g(options, directory))
        if options.only != "meta1g":
            if os.geteuid() != 0:
                print("Postfix needs root: only meta1g was measured", file=sys.stderr)
            else:
                found.append(measure_postfix(options, directory))
    report(options, found)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
