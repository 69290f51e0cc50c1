"""Do other sessions notice a slow disk?  NOOP of many sessions while the flushes of others take 100 ms longer.

    python -m bench.slow_fsync [--sessions 200] [--senders 20] [--flush-ms 100] [--seconds 10] [--limit-ms 20] [--record]

A whole gateway runs on loopback, with the fault switch of meta1g/db/files.py set in all its processes.  Senders send one
message after the other, so that flushes of content (smtps) and of envelopes (qmgr) are pending all the time; the other
sessions say NOOP once a second each, spread over the second.  The same is measured without the switch.  Exit code 1 if the
median is above the limit.
"""

import argparse
import multiprocessing
import os
import smtplib
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.sharedctypes import Synchronized
from multiprocessing.synchronize import Event
from pathlib import Path

from bench.clients import Clients
from bench.results import percentile, record
from contrib.lib.gateway import ROOT, Gateway

MESSAGE = "Subject: x\r\n\r\n" + "0123456789\r\n" * 400
START_S = 60
INTRO = """\
NOOP of sessions that do nothing else, each once a second, while other sessions send messages of 5 kB as fast as they are
acknowledged and every flush takes longer by the time given (tests/fakes/slow_disk in all processes), beside the
same without the switch.  A whole gateway on loopback; allowed is a median of 20 ms."""


def send_all_the_time(port: int, senders: int, accepted: "Synchronized[int]", begun: Event, stop: Event) -> None:
    """Sends in several sessions until stop is set; runs as a process of its own."""

    def send() -> None:
        with smtplib.SMTP("127.0.0.1", port, timeout=60) as client:
            while not stop.is_set():
                client.sendmail("s@source.example", ["r@sink.example"], MESSAGE)
                with accepted.get_lock():
                    accepted.value += 1
                begun.set()

    threads = [threading.Thread(target=send) for _ in range(senders)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@contextmanager
def running_gateway(directory: Path, flush_ms: int) -> Iterator[Gateway]:
    """Runs a gateway before a sink that only counts."""
    command = [sys.executable, str(ROOT / "contrib/loadtest/smtpsink.py"), "--listen", "127.0.0.1:0"]
    options = {"smtps": "max_transactions = 0; max_noops = 100000;"}
    slow = os.pathsep.join([str(ROOT / "tests/fakes/slow_disk"), str(ROOT)])
    environment = {"SLOW_DISK_MS": str(flush_ms), "PYTHONPATH": slow} if flush_ms else {}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as sink:
        assert sink.stdout is not None
        sink_port = sink.stdout.readline().strip().rpartition(":")[2]
        gateway = Gateway(directory / f"gateway{flush_ms}", f". {sink_port}^[127.0.0.1]", options, env=environment)
        try:
            gateway.setup()
            gateway.start()
            yield gateway
        finally:
            gateway.stop()
            sink.terminate()


def measure(directory: Path, options: argparse.Namespace, flush_ms: int) -> tuple[list[float], float]:
    """Gives milliseconds of all NOOPs, and messages accepted a second meanwhile."""
    accepted, begun, stop = multiprocessing.Value("i", 0), multiprocessing.Event(), multiprocessing.Event()
    with running_gateway(directory, flush_ms) as gateway, Clients(gateway.port) as clients:
        clients.connect(options.sessions, 400)
        clients.say(b"EHLO client.example")
        arguments = (gateway.port, options.senders, accepted, begun, stop)
        senders = multiprocessing.Process(target=send_all_the_time, args=arguments)
        senders.start()
        try:
            if not begun.wait(START_S):
                raise SystemExit(f"no message was accepted in {START_S} s; {gateway.last_words()}")
            before, start = accepted.value, time.perf_counter()
            waits = clients.say_at_rate(b"NOOP", options.sessions * options.seconds, options.sessions)
            rate = (accepted.value - before) / (time.perf_counter() - start)
        finally:
            stop.set()
            senders.join(START_S)
            senders.kill()
    return waits, rate


def main(argv: list[str]) -> int:
    """Reads the command line and measures."""
    parser = argparse.ArgumentParser(prog="bench.slow_fsync", description="NOOP of other sessions while flushes are slow.")
    parser.add_argument("--sessions", type=int, default=200, help="sessions that say NOOP")
    parser.add_argument("--senders", type=int, default=20, help="sessions that send messages")
    parser.add_argument("--flush-ms", type=int, default=100, help="how much longer each flush takes")
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--limit-ms", type=float, default=20, help="allowed median")
    parser.add_argument("--record", action="store_true", help="add a row to bench/RESULTS.md")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="meta1g-bench-") as name:
        Path(name).chmod(0o755)
        normal, normal_rate = measure(Path(name), options, 0)
        slow, slow_rate = measure(Path(name), options, options.flush_ms)
    figures = {
        "sessions / senders": f"{options.sessions} / {options.senders}",
        "flush longer by ms": str(options.flush_ms),
        "NOOP ms, median / 99 %": f"{percentile(slow, 50):.2f} / {percentile(slow, 99):.2f}",
        "messages/s": f"{slow_rate:.0f}",
        "without: NOOP ms, median / 99 %": f"{percentile(normal, 50):.2f} / {percentile(normal, 99):.2f}",
        "without: messages/s": f"{normal_rate:.0f}",
    }
    for key, value in figures.items():
        print(f"{key:32} {value}")
    if options.record:
        record("Slow flushes", INTRO, "python -m bench.slow_fsync", figures)
    return 0 if percentile(slow, 50) <= options.limit_ms else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
