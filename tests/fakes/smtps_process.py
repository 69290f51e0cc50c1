"""A real smtps process between a fake queue manager and a fake resolver, and a client that talks to it line by line."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from meta1g.base import paths
from meta1g.rcb.smtps_smar import Checks
from tests.fakes.fake_qmgr import FakeQmgr
from tests.fakes.fake_smar import FakeSmar
from tests.fakes.forked import ForkedProcess

ROOT = Path(__file__).parents[2]
WAIT_S = 20
CONFIG = """
hostname = "mx.example";
queue_directory = "{queue}";
configuration_directory = "{queue}";
smtps {{
  log_level = 15;
  start_action = wait;
  listen_socket {{ type = inet; address = "127.0.0.1"; port = 0; }}
  wait_for_server = 10;
  {options}
}}
"""


class SmtpsProcess:
    """smtps with its peers; a context manager.

    Args:
        directory: an empty directory; kept short, since Unix sockets have short names.
        options: lines for the smtps section.
        checks: what the resolver wants to be asked.
        max_threads: sessions the queue manager allows.
        counts: ClientEvents that the queue manager wants to be asked about.
        limits: limits of meta1g.smtps.limits that are others in this process.
    """

    may_fork = True

    def __init__(
        self,
        directory: Path,
        options: str = "",
        *,
        checks: Checks = Checks.RCPT,
        max_threads: int = 1000,
        counts: int = 0,
        limits: dict[str, int] | None = None,
    ) -> None:
        self.queue = directory
        self.qmgr = FakeQmgr(directory / paths.QMGR_SMTPS_SOCKET, max_threads=max_threads, counts=counts)
        self.smar = FakeSmar(directory / paths.SMAR_SMTPS_SOCKET, checks=checks)
        directory.mkdir(exist_ok=True)
        self.config = directory / "meta1.conf"
        self.config.write_text(CONFIG.format(queue=directory, options=options))
        for digit in paths.CDB_SUBDIRECTORIES:
            (directory / paths.CDB_DIRECTORY / digit).mkdir(parents=True)
        lines = [f"limits.{name} = {value}" for name, value in (limits or {}).items()]
        (directory / "sitecustomize.py").write_text("\n".join(["import meta1g.smtps.limits as limits", *lines, ""]))
        self.path = os.pathsep.join([str(directory), str(ROOT)]) if limits else str(ROOT)
        self.forked = self.may_fork and not limits
        self.log: list[str] = []
        self.changed = threading.Condition()
        self.port = 0
        self.alive_fd = -1

    def __enter__(self):
        self.qmgr.start()
        self.smar.start()
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.end()
        self.qmgr.stop()
        self.smar.stop()

    def start(self) -> None:
        """Starts the process and waits until it is ready and listens."""
        alive_read, self.alive_fd = os.pipe()
        ready_read, ready_write = os.pipe()
        fds = {"META1G_ALIVE_FD": alive_read, "META1G_READY_FD": ready_write}
        environment = {**os.environ, "PYTHONPATH": self.path}
        self.process: ForkedProcess | subprocess.Popen[bytes]
        program = os.environ.get("W_SMTPS", "")
        if self.forked and not program:
            arguments = ["-f", str(self.config)]
            self.process = ForkedProcess(
                "meta1g.smtps.main", arguments, env=environment, cwd=str(ROOT), fds=fds, stderr=subprocess.PIPE
            )
        else:
            self.process = subprocess.Popen(
                [sys.executable, *(program or "-m meta1g.smtps.main").split(), "-f", str(self.config)],
                stderr=subprocess.PIPE,
                pass_fds=tuple(fds.values()),
                env={**environment, **{name: str(fd) for name, fd in fds.items()}},
                cwd=ROOT,
            )
        os.close(alive_read)
        os.close(ready_write)
        self.reader = threading.Thread(target=self._read_log, daemon=True)
        self.reader.start()
        try:
            with open(ready_read, "rb") as ready:
                assert ready.read() == b"1", "\n".join(self.log)
            line = self.wait_log(r"smtps\.listen.*listen=127\.0\.0\.1:(\d+)")
        except AssertionError:
            self.end()
            raise
        self.port = int(line[1])

    def end(self) -> int:
        """Ends the process, by force if it does not obey; gives its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(WAIT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            code = self.process.wait(WAIT_S)
        self.reader.join(WAIT_S)
        if self.process.stderr:
            self.process.stderr.close()
        with contextlib.suppress(OSError):
            os.close(self.alive_fd)
        return code

    def _read_log(self) -> None:
        for raw in self.process.stderr or ():
            with self.changed:
                self.log.append(raw.decode().rstrip("\n"))
                self.changed.notify_all()

    def wait_log(self, pattern: str, count: int = 1) -> "re.Match[str]":
        """Waits for so many log lines that match, and gives the last of them."""
        end = time.monotonic() + WAIT_S
        with self.changed:
            while True:
                found = [match for line in self.log if (match := re.search(pattern, line))]
                if len(found) >= count:
                    return found[count - 1]
                left = end - time.monotonic()
                assert left > 0, f"no {pattern!r} in\n" + "\n".join(self.log)
                self.changed.wait(left)

    def port_of(self, number: int) -> int:
        """Gives the port of a listen_socket, counted from 0."""
        lines = rf"(?s)(?:.*?smtps\.listen[^\n]*listen=127\.0\.0\.1:(\d+)){{{number + 1}}}"
        with self.changed:
            self.changed.wait_for(lambda: re.match(lines, "\n".join(self.log)), WAIT_S)
            found = re.match(lines, "\n".join(self.log))
        assert found, "\n".join(self.log)
        return int(found[1])

    def client(self, *, hello: bool = True) -> "Client":
        """Connects; says EHLO if wanted."""
        with contextlib.ExitStack() as undo:
            client = undo.enter_context(Client(self.port))
            if hello:
                client.expect("220 ")
                client.command("EHLO client.example", "250-mx.example")
            undo.pop_all()
        return client

    def content_files(self) -> list[Path]:
        """Gives all content files."""
        return [path for path in (self.queue / paths.CDB_DIRECTORY).rglob("*") if path.is_file()]


class NewSmtpsProcess(SmtpsProcess):
    """One that is started as mcp does it: for tests of a start, of signals, and of what the process has loaded and holds."""

    may_fork = False


class Client:
    """An SMTP client that says what it is told; a context manager.

    Args:
        port: of the server.
        wrap: makes TLS of the connection.
        source: address that it comes from.
    """

    def __init__(
        self, port: int, wrap: Callable[[socket.socket], socket.socket] = lambda sock: sock, source: str = "127.0.0.1"
    ) -> None:
        self.sock = wrap(socket.create_connection(("127.0.0.1", port), timeout=WAIT_S, source_address=(source, 0)))
        self.file = self.sock.makefile("rb")

    def __enter__(self):
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        self.file.close()
        self.sock.close()

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def reply(self) -> str:
        """Reads one reply; its lines are joined by a line feed; empty if the connection is closed."""
        lines = []
        while True:
            try:
                line = self.file.readline().decode("ascii")
            except ConnectionResetError:
                return ""
            if not line:
                return "\n".join(lines)
            assert line.endswith("\r\n"), line
            lines.append(line[:-2])
            if line[3:4] != "-":
                return "\n".join(lines)

    def expect(self, start: str) -> str:
        """Reads one reply that must begin with start; for no reply, start is empty."""
        reply = self.reply()
        assert reply.startswith(start), f"expected {start!r}, got {reply!r}"
        assert start or not reply, f"expected the end, got {reply!r}"
        return reply

    def command(self, line: str, start: str) -> str:
        """Sends a line and reads one reply."""
        self.send(line.encode() + b"\r\n")
        return self.expect(start)

    def message(self, content: bytes, start: str = "250 2.0.0", rcpts: tuple[str, ...] = ("r@example.org",)) -> str:
        """Sends a whole message; content is stuffed already and ends in CR LF."""
        self.command("MAIL FROM:<s@example.org>", "250")
        for rcpt in rcpts:
            self.command(f"RCPT TO:<{rcpt}>", "250")
        self.command("DATA", "354")
        self.send(content + b".\r\n")
        return self.expect(start)
