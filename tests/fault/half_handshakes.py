"""Many clients that stay in half a handshake: what others notice, and what the process keeps of it.

    python -m tests.fault.half_handshakes [--count 1000]

The clients say STARTTLS, or come by the port with implicit TLS, and send six bytes of a hello.  Beside them sessions go on
in clear, and under TLS; memory of smtps is told before, with all of them, and after they are gone.  Exit code 1 if somebody
was not served, if smtps has grown by more than 64 KiB for each, or if it grows on when the same comes again.
"""

import argparse
import contextlib
import re
import socket
import ssl
import sys
import tempfile
import time
from pathlib import Path

from tests.fakes.certificates import make_certificate
from tests.fakes.smtps_process import SmtpsProcess

HALF = b"\x16\x03\x01\x02\x00\x01"
OPTIONS = """
  max_threads = {places};
  listen_socket {{ type = inet; address = "127.0.0.1"; port = 0; implicit_tls = true; }}
  tls {{ cert_file = {files}/mx.example.pem; key_file = {files}/mx.example.key; }}
"""
LIMIT_KIB = 64
#: Growth from one time to the next that counts as none.
FLAT = 1.1


def memory_kib(process):
    """PSS of the process."""
    text = Path(f"/proc/{process.process.pid}/smaps_rollup").read_text()
    return int(re.search(r"(?m)^Pss: +(\d+) kB$", text)[1])


def halves(process, count, stack):
    """Begins so many handshakes, half of them by each way, and ends none; some are refused."""
    for number in range(count):
        if number % 2:
            sock = stack.enter_context(socket.create_connection(("127.0.0.1", process.port_of(1)), 60))
            sock.sendall(HALF)
            continue
        client = stack.enter_context(process.client())
        client.send(b"STARTTLS\r\n")
        if client.reply().startswith("220"):
            client.send(HALF)


def served_ms(process):
    """Makes a session in clear; gives how long it took."""
    begin = time.perf_counter()
    with process.client() as client:
        client.command("NOOP", "250")
        client.message(b"x\r\n")
    return (time.perf_counter() - begin) * 1000


def main(argv):
    parser = argparse.ArgumentParser(description="Many clients that stay in half a handshake.")
    parser.add_argument("--count", type=int, default=1000)
    count = parser.parse_args(argv).count
    with tempfile.TemporaryDirectory(prefix="meta1g-half-") as name:
        files = Path(name)
        make_certificate(files, "mx.example")
        options = OPTIONS.format(places=2 * count + 100, files=files)
        with SmtpsProcess(files / "q", options, max_threads=2 * count + 100) as process:
            served_ms(process)
            before, alone = memory_kib(process), served_ms(process)
            rounds = []
            for _ in range(4):
                with contextlib.ExitStack() as stack:
                    halves(process, count, stack)
                    beside = max(served_ms(process) for _ in range(10))
                    rounds.append(memory_kib(process))
            with socket.create_connection(("127.0.0.1", process.port_of(1)), 60) as sock:
                context = ssl.create_default_context(cafile=files / "mx.example.pem")
                with context.wrap_socket(sock, server_hostname="mx.example") as under, under.makefile("rb") as file:
                    assert file.readline().startswith(b"220 ")
    each = (rounds[0] - before) / count
    print(f"{count} half handshakes, four times; a session with a message: {alone:.0f} ms alone, {beside:.0f} ms beside them")
    print(f"smtps: {before} KiB before, {rounds[0]} with all ({each:.1f} each), then {rounds[1:]}")
    return 0 if each <= LIMIT_KIB and rounds[-1] <= FLAT * rounds[-2] else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
