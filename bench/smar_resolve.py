"""Measures what SMAR costs: `python -m bench.smar_resolve [--count N]`.

Starts the real process and asks it over its sockets: static routes, checks of recipients, routes from the DNS with the
answers in the cache, and with a name server of this program behind every question.  Prints one line a figure: time and
CPU time of SMAR for each question, asked one after the other (window 1) or many at the same time.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from meta1g.rcb import codec
from meta1g.rcb.schema import Message
from tests.fakes.nameserver import NameServer
from tests.fakes.rcb_peer import RcbPeer
from tests.unit.smar.test_process import GATEWAY, SmarProcess, rcpt, resolve

WINDOWS = (1, 50)


def cpu_s(pid: int) -> float:
    """CPU time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(name: str, smar: SmarProcess, peer: RcbPeer, make: Callable[[int], Message], count: int, window: int) -> None:
    """Asks count questions, window of them at the same time, and prints a line."""
    assert smar.process is not None
    cpu, start, sent = cpu_s(smar.process.pid), time.perf_counter(), 0
    for got in range(count):
        frames = b""
        while sent < count and sent - got < window:
            sent += 1
            frames += codec.encode(make(sent), sent)
        if frames:
            peer.sock.sendall(frames)
        peer.receive()
    wall = time.perf_counter() - start
    used = cpu_s(smar.process.pid) - cpu
    print(f"{name:28} window {window:3}: {wall / count * 1e6:8.1f} us each, CPU of smar {used / count * 1e6:8.1f} us")


def main(argv: list[str]) -> int:
    """Runs all measurements."""
    parser = argparse.ArgumentParser(description="Measures what SMAR costs.")
    parser.add_argument("--count", type=int, default=10_000, help="questions of each kind")
    count = parser.parse_args(argv).count
    with tempfile.TemporaryDirectory() as directory, NameServer() as server:
        smar = SmarProcess(Path(directory))
        smar.map("mailertable.db", {f".s{number}.example": "2526^[127.0.0.1]" for number in range(100)})
        for number in range(20):
            server.add(f"d{number}.example", "MX", "10 a.mx.example.", "20 b.mx.example.", ttl=3600)
        for host in ("a", "b"):
            server.add(f"{host}.mx.example", "A", "192.0.2.1", ttl=3600)
        for number in range(count):
            server.add(f"n{number}.example", "MX", "10 a.mx.example.")
        smar.start(f"nameserver {{ address = 127.0.0.1; port = {server.port}; }} {GATEWAY}")
        qmgr, smtps = smar.qmgr(), smar.smtps()
        for window in WINDOWS:
            measure("static route, kept", smar, qmgr, lambda n: resolve(f"u{n % 100}@a.s1.example"), count, window)
            measure("static route, new", smar, qmgr, lambda n: resolve(f"u{n}@a{n}.s{n % 100}.example"), count, window)
            measure("RCPT", smar, smtps, lambda n: rcpt(f"u{n}@a.s1.example"), count, window)
            measure("DNS, kept", smar, qmgr, lambda n: resolve(f"u{n}@d{n % 20}.example"), count, window)
        measure("DNS, a question each", smar, qmgr, lambda n: resolve(f"u@n{n - 1}.example"), count, WINDOWS[-1])
        for peer in (qmgr, smtps):
            peer.close()
        return smar.stop()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
