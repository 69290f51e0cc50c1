"""What TLS costs smtps: CPU of a session beside Postfix in the same run, memory of an idle one.

    python -m bench.handshakes [--sessions 400] [--idle 10000] [--record]

A client of Python's ssl opens one session after the other (EHLO, STARTTLS, EHLO, QUIT): in clear, with a full handshake, with
a resumed one.  CPU is that of all processes of the server.  Both servers have the same certificate with an ECDSA key (P-256);
these sessions are of TLS 1.2, resumed by tickets.  The idle ones are of TLS 1.3, come by the port with implicit TLS, say EHLO,
and stay; memory is PSS of smtps beyond the empty process.
"""

import argparse
import resource
import smtplib
import socket
import ssl
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.idle_connections import SPARE_DESCRIPTORS, Memory
from bench.relays import PostfixRelay, Relay, Use
from bench.results import record
from contrib.lib.gateway import Gateway, cpu_seconds, free_port
from meta1g.smtps.limits import SESSION_DESCRIPTORS
from meta1g.tools import selfsigned

WAIT_S = 60
US = 1_000_000
INTRO = """\
TLS of smtps: CPU microseconds of all processes of a server for a session in clear, with a full and with a resumed handshake
(ECDSA P-256), one session after the other, Postfix in the same run; sessions a second as one client gets them; KiB (PSS) of
smtps for each idle session under TLS after EHLO, of which 40 are allowed."""
SMTPS = """
  max_threads = {entries}; IO_timeout = 3600s; max_bad_commands = 1000;
  listen_socket {{ type = inet; address = 127.0.0.1; port = {port}; implicit_tls = true; }}
  tls {{ cert_file = {tls}/cert.pem; key_file = {tls}/key.pem; }}
"""
POSTFIX = """\
smtpd_tls_security_level = may
smtpd_tls_cert_file = {tls}/cert.pem
smtpd_tls_key_file = {tls}/key.pem
smtpd_client_connection_count_limit = 0
"""


class TlsGateway:
    """meta1g with a port in clear and one with implicit TLS."""

    name = "meta1g"

    def __init__(self, directory: Path, tls: Path, entries: int) -> None:
        self.tls_port = free_port()
        options = {
            "smtps": SMTPS.format(entries=entries, port=self.tls_port, tls=tls),
            "qmgr": f"IQDB_max_entries = {16 * entries}; smtps {{ max_connections = {entries}; max_connection_rate = 0; }}",
        }
        self.gateway = Gateway(directory, ". 9^[127.0.0.1]", options)
        self.gateway.setup()
        self.gateway.start()
        self.port = self.gateway.port

    def use(self) -> Use:
        """Gives what all processes have used so far."""
        return Use({name: sum(map(cpu_seconds, pids)) for name, pids in self.gateway.pids().items()})

    def stop(self) -> None:
        """Ends it."""
        self.gateway.stop()


def context(tls: Path, version: ssl.TLSVersion) -> ssl.SSLContext:
    """Gives what clients use."""
    made = ssl.create_default_context(cafile=tls / "cert.pem")
    made.check_hostname = False
    made.maximum_version = version
    return made


def converse(port: int, made: ssl.SSLContext | None, session: ssl.SSLSession | None) -> ssl.SSLSession | None:
    """Makes one session; gives what a later one can go on with."""
    with socket.create_connection(("127.0.0.1", port), WAIT_S) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # else 40 ms of a resumed session are the client's
        file = sock.makefile("rb")
        reply(file)
        ask(sock, file, b"EHLO client.example")
        if made is None:
            ask(sock, file, b"QUIT")
            return None
        ask(sock, file, b"STARTTLS")
        file.close()
        with made.wrap_socket(sock, server_hostname="gateway.example", session=session) as under, under.makefile("rb") as file:
            if session is not None and not under.session_reused:
                raise SystemExit("a session was not resumed")
            ask(under, file, b"EHLO client.example")
            found = under.session
            ask(under, file, b"QUIT")
            return found


def ask(sock: socket.socket, file: "socket.SocketIO | object", line: bytes) -> None:
    """Sends a line and reads its reply."""
    sock.sendall(line + b"\r\n")
    reply(file)


def reply(file: "socket.SocketIO | object") -> None:
    """Reads a reply.

    Raises:
        SystemExit: the server refuses.
    """
    while True:
        line = file.readline()  # type: ignore[attr-defined]
        if not line.startswith(b"2"):
            raise SystemExit(f"the server refuses: {line!r}")
        if line[3:4] == b" ":
            return


def cost(server: "TlsGateway | Relay", count: int, made: ssl.SSLContext | None, *, resume: bool) -> tuple[float, float]:
    """Gives CPU microseconds of a session and sessions a second."""
    session = converse(server.port, made, None)
    before, begin = server.use(), time.perf_counter()
    for _ in range(count):
        converse(server.port, made, session if resume else None)
    elapsed_s = time.perf_counter() - begin
    return sum(server.use().since(before).cpu_s.values()) * US / count, count / elapsed_s


def compare(servers: "list[TlsGateway | Relay]", tls: Path, count: int) -> dict[str, str]:
    """Measures both servers in turns."""
    made = context(tls, ssl.TLSVersion.TLSv1_2)
    kinds = {"clear": (None, False), "full": (made, False), "resumed": (made, True)}
    return {
        f"{server.name} {kind}, µs CPU": "{:.0f} ({:.0f}/s)".format(*cost(server, count, how[0], resume=how[1]))
        for kind, how in kinds.items()
        for server in servers
    }


def idle(gateway: TlsGateway, tls: Path, count: int) -> dict[str, str]:
    """Opens sessions that stay; gives what each costs."""
    made = context(tls, ssl.TLSVersion.TLSv1_3)
    (pid,) = gateway.gateway.pids()["smtps"]
    empty, clients = Memory.of(pid), []
    try:
        for _ in range(count):
            client = smtplib.SMTP_SSL("127.0.0.1", gateway.tls_port, timeout=WAIT_S, context=made)
            client.ehlo("client.example")
            clients.append(client)
        each = Memory.of(pid).each(empty, count)
        for client in clients:
            if client.noop()[0] != 250:
                raise SystemExit("an idle session is not served any more")
    finally:
        for client in clients:
            client.close()
    return {"idle sessions": str(count), "each KiB": f"{each[0]:.1f}"}


def affordable(count: int) -> int:
    """Gives how many of so many sessions the limit of descriptors allows, and raises it as far as it goes."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    most = count if hard == resource.RLIM_INFINITY else (hard - SPARE_DESCRIPTORS) // SESSION_DESCRIPTORS
    if most < count:
        print(f"{hard} descriptors are allowed: {most} idle sessions instead of {count}")
    return min(count, most)


@contextmanager
def running(count: int) -> Iterator[tuple[TlsGateway, PostfixRelay, Path]]:
    """Runs both servers with one certificate."""
    with tempfile.TemporaryDirectory(prefix="meta1g-bench-") as name:
        base = Path(name)
        base.chmod(0o755)
        selfsigned.make(base, "gateway.example", None)
        tls = base / selfsigned.DIRECTORY
        gateway = TlsGateway(base / "gateway", tls, count + SPARE_DESCRIPTORS)
        try:
            postfix = PostfixRelay(base / "postfix", 0, 9, POSTFIX.format(tls=tls))
            try:
                yield gateway, postfix, tls
            finally:
                postfix.stop()
        finally:
            gateway.stop()


def main(argv: list[str]) -> int:
    """Reads the command line and measures."""
    parser = argparse.ArgumentParser(prog="bench/handshakes", description="What TLS costs smtps, beside Postfix.")
    parser.add_argument("--sessions", type=int, default=400, help="sessions of each kind")
    parser.add_argument("--idle", type=int, default=10_000, help="idle sessions under TLS")
    parser.add_argument("--limit-kib", type=float, default=40, help="memory that each may cost")
    parser.add_argument("--record", action="store_true", help="add a row to bench/RESULTS.md")
    options = parser.parse_args(argv)
    count = affordable(options.idle)
    with running(count) as (gateway, postfix, tls):
        figures = {"sessions": str(options.sessions), **compare([gateway, postfix], tls, options.sessions)}
        figures |= idle(gateway, tls, count)
    for name, value in figures.items():
        print(f"{name:32} {value}")
    if options.record:
        record("Handshakes", INTRO, f"bench/handshakes --sessions {options.sessions} --idle {options.idle}", figures)
    return 0 if float(figures["each KiB"]) <= options.limit_kib else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
