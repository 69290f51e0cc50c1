"""Many clients that stay in a handshake: what others notice, and what the process keeps of it.

    python -m tests.fault.half_handshakes [--count 1000] [--waves 3]

The clients come from several addresses, by STARTTLS and by the port with implicit TLS in turns.  One kind sends nothing, one
six bytes of a hello, one a whole hello, and then no more.  Each kind comes in waves, the next one when smtps has seen the
last of the one before.  Beside them sessions go on in clear, and under TLS.  Exit code 1 if somebody was not served, if a
client costs more than its kind may, or if memory grows from the second wave to the last one by more than a tenth.
"""

import argparse
import contextlib
import re
import resource
import socket
import ssl
import sys
import tempfile
import time
from pathlib import Path

from tests.fakes.certificates import make_certificate
from tests.fakes.smtps_process import SmtpsProcess

OPTIONS = """
  max_threads = {places};
  listen_socket {{ type = inet; address = "127.0.0.1"; port = 0; implicit_tls = true; }}
  tls {{ cert_file = {files}/mx.example.pem; key_file = {files}/mx.example.key; }}
"""
WAIT_S = 60
#: One of them may not have all places for handshakes.
ADDRESSES = 32
#: Growth over the waves that counts as none.
FLAT = 1.1
SPARE = 100


def whole_hello():
    """Gives the first message of a client of TLS 1.3."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    made = ssl.create_default_context().wrap_bio(incoming, outgoing, server_hostname="mx.example")
    with contextlib.suppress(ssl.SSLWantReadError):
        made.do_handshake()
    return outgoing.read()


#: What a client says of the handshake, and the KiB that it may cost: OpenSSL's buffers come with the first whole record.
KINDS = {"silent": (b"", 20), "half a hello": (b"\x16\x03\x01\x02\x00\x01", 20), "whole hello": (whole_hello(), 64)}


def memory_kib(process):
    """PSS of the process."""
    text = Path(f"/proc/{process.process.pid}/smaps_rollup").read_text()
    return int(re.search(r"(?m)^Pss: +(\d+) kB$", text)[1])


def begin(process, number, said):
    """Begins one handshake and does not end it."""
    source = (f"127.0.1.{1 + number % ADDRESSES}", 0)
    sock = socket.create_connection(("127.0.0.1", process.port_of(number % 2)), WAIT_S, source)
    if number % 2 == 0:
        with sock.makefile("rb") as file:
            assert file.readline().startswith(b"220 ")
            sock.sendall(b"EHLO client.example\r\n")
            while file.readline()[3:4] == b"-":
                pass
            sock.sendall(b"STARTTLS\r\n")
            assert file.readline().startswith(b"220 ")
    sock.sendall(said)
    return sock


def wave(process, count, said, number):
    """Lets clients come and go; gives memory with all of them, and the longest of some sessions beside them, in ms."""
    with contextlib.ExitStack() as stack:
        for one in range(count):
            stack.enter_context(begin(process, one, said))
        beside = max(served_ms(process) for _ in range(10))
        under_tls(process)
        memory = memory_kib(process)
    process.wait_log(r"func=smtps\.tls_failed", number * count)
    return memory, beside


def served_ms(process):
    """Makes a session in clear; gives how long it took."""
    begin_s = time.perf_counter()
    with process.client() as client:
        client.command("NOOP", "250")
        client.message(b"x\r\n")
    return (time.perf_counter() - begin_s) * 1000


def under_tls(process):
    """Makes a session under TLS."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    sock = socket.create_connection(("127.0.0.1", process.port_of(1)), WAIT_S)
    with context.wrap_socket(sock) as under, under.makefile("rb") as file:
        assert file.readline().startswith(b"220 ")
        under.sendall(b"QUIT\r\n")
        assert file.readline().startswith(b"221 ")


def play(files, kind, count, waves):
    """Measures one kind; tells whether all is well."""
    said, most_kib = KINDS[kind]
    places = 4 * count + SPARE  # half of them are for handshakes, and a client has less time when half of these are taken
    options = OPTIONS.format(places=places, files=files)
    with SmtpsProcess(files / kind.replace(" ", ""), options, max_threads=places) as process:
        served_ms(process)
        under_tls(process)
        before, alone = memory_kib(process), served_ms(process)
        made = [wave(process, count, said, number) for number in range(1, waves + 1)]
    memory, beside = zip(*made, strict=True)
    each = [(one - before) / count for one in memory]
    print(f"{kind:14} {' '.join(f'{one:.1f}' for one in each)} KiB each, of {most_kib}; {before} KiB without", end="; ")
    print(f"a session with a message took {alone:.0f} ms alone, {max(beside):.0f} ms beside them", flush=True)
    return max(each) <= most_kib and memory[-1] <= FLAT * memory[1]


def main(argv):
    parser = argparse.ArgumentParser(description="Many clients that stay in a handshake.")
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--waves", type=int, default=3, help="2 or more")
    args = parser.parse_args(argv)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with tempfile.TemporaryDirectory(prefix="m1g-") as name:
        files = Path(name)
        make_certificate(files, "mx.example")
        well = [play(files, kind, args.count, args.waves) for kind in KINDS]
    return 0 if all(well) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
