"""A real mcp with real children, told what to do by a configuration file."""

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from meta1g.base import paths
from meta1g.rcb.codec import decode, encode
from meta1g.rcb.control import PROTOCOL, CommandResult, ControlCommand
from meta1g.rcb.framing import Splitter, preamble
from meta1g.tools import setup_dirs

CHILD = Path(__file__).with_name("child.py")
#: Stands for the copy of child.py in the directory of an mcp; all accounts can read that one, wherever the checkout is.
COPY = "@child@"
PYTHON = os.path.realpath(sys.executable)
ROOT = Path(__file__).parents[3]
WAIT_S = 20
#: Puts a socket where systemd would, and names the process that it is for.
AS_SYSTEMD = (
    "import os, sys; os.dup2(int(sys.argv[1]), 3); os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS='1');"
    "os.execv(sys.argv[2], sys.argv[2:])"
)


def child(name: str, options: str = "", section: str = "", kind: str = "") -> str:
    """A section whose program is child.py."""
    kind = kind or name
    return f'{kind} {{ path = "{PYTHON}"; arguments = "{name} {COPY} {name} {options}"; {section} }}\n'


class McpProcess:
    """mcp in a directory of its own; a context manager that leaves no process behind."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.queue = directory / "spool"
        self.conf = directory / "meta1.conf"
        self.events: list[str] = []
        self.process: subprocess.Popen[str] | None = None
        self.env: dict[str, str] = {}
        self.errors = ""
        self.prelude = ""  # Python that mcp runs before anything else, to let something go wrong in it
        self.log_options = f'file = "{directory}/mcp.log";'
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._sock.bind(str(directory / "events"))
        (directory / "events").chmod(0o777)
        shutil.copy(CHILD, directory / "child.py")
        assert setup_dirs.main(["-f", str(directory / "none.conf"), "--queue-directory", str(self.queue), "--no-accounts"]) == 0

    def configure(self, *sections: str) -> None:
        head = f'hostname = "mx.example"; queue_directory = "{self.queue}"; log {{ {self.log_options} }} log_level = 12;\n'
        self.conf.write_text((head + "".join(sections)).replace(COPY, str(self.directory / "child.py")))

    def start(self, *sections: str, ready: bool = True, arguments: tuple[str, ...] = (), systemd_fd: int = -1) -> None:
        if sections:
            self.configure(*sections)
        environment = {**os.environ, "EVENTS": str(self.directory / "events"), "NOTIFY_SOCKET": str(self.directory / "events")}
        environment["PYTHONPATH"] = str(ROOT)
        program = (
            ["-c", f"{self.prelude}\nfrom meta1g.mcp.main import run; run()"] if self.prelude else ["-m", "meta1g.mcp.main"]
        )
        command = [sys.executable, *program, *arguments, str(self.conf)]
        if systemd_fd >= 0:
            command = [sys.executable, "-c", AS_SYSTEMD, str(systemd_fd), *command]
        self.process = subprocess.Popen(
            command,
            env={**environment, **self.env},
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            pass_fds=(systemd_fd,) if systemd_fd >= 0 else (),
        )
        if ready:
            self.wait("READY=1", 1 + sum(event.startswith("READY=1") for event in self.drain()))

    def wait(self, pattern: str, count: int = 1) -> str:
        """Waits until `count` events match a pattern; gives the last of them."""
        end = time.monotonic() + WAIT_S
        while True:
            found = [event for event in self.events if re.match(pattern, event)]
            if len(found) >= count:
                return found[count - 1]
            self._sock.settimeout(max(end - time.monotonic(), 0.01))
            try:
                self.events.append(self._sock.recv(4096).decode())
            except TimeoutError:
                raise AssertionError(f"no {count} x {pattern!r} in {self.events}\n{self.log()}") from None

    def drain(self) -> list[str]:
        """All events up to now."""
        self._sock.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                self.events.append(self._sock.recv(4096).decode())
        return self.events

    def names(self, kind: str) -> list[str]:
        """Names in the events of a kind (start, signal ...), in order."""
        return [event.split()[1] for event in self.drain() if event.startswith(f"{kind} ")]

    def pid(self, name: str, count: int = 1) -> int:
        """Process id in the count-th start of a child."""
        return int(self.wait(rf"start {name} ", count).split()[2])

    def signal(self, signum: int) -> None:
        assert self.process is not None
        self.process.send_signal(signum)

    def end(self) -> int:
        """Waits for the end of mcp; gives its exit code, what it said is in `errors`."""
        assert self.process is not None
        _, errors = self.process.communicate(timeout=WAIT_S)
        self.errors += errors
        return self.process.returncode

    def stop(self) -> int:
        if self.process is not None and self.process.returncode is None:
            self.process.terminate()
            return self.end()
        return self.process.returncode if self.process else 0

    def log(self) -> str:
        path = self.directory / "mcp.log"
        return path.read_text() if path.exists() else ""

    def told_to_stop(self) -> list[str]:
        """Components in the order in which they were told to stop."""
        return re.findall(r"component=([^,]+), stat=told to stop", self.log())

    def started(self) -> list[str]:
        """Components in the order in which they were started."""
        return re.findall(r"func=mcp\.start, component=([^,]+), pid=", self.log())

    def ask(self, *words: str) -> CommandResult:
        """Gives a command to the status socket and waits for its answer."""
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(3 * WAIT_S)
            sock.connect(str(self.queue / paths.MCP_STATUS_SOCKET))
            sock.sendall(preamble(PROTOCOL) + encode(ControlCommand(words=words), 7))
            splitter, frames = Splitter(PROTOCOL), []
            while not frames:
                data = sock.recv(65536)
                assert data, f"connection closed; {self.log()}"
                frames = splitter.feed(data)
        request_id, result = decode(PROTOCOL.from_server, frames[0])
        assert request_id == 7
        return result

    def facts(self) -> dict:
        """All that the status tells."""
        result = self.ask("status")
        assert result.exit_code == 0
        return json.loads(result.text)

    def status(self) -> dict[str, dict]:
        """What the status tells, by component."""
        return {facts["component"]: facts for facts in self.facts()["components"]}

    def reload(self, *sections: str) -> CommandResult:
        """Changes the configuration and waits for the result of the reload."""
        self.configure(*sections)
        self.drain()  # a child that finds the queue of its events full would wait
        return self.ask("reload")

    def descriptors(self) -> dict[int, str]:
        """What mcp has open."""
        assert self.process is not None
        found = {}
        for path in Path(f"/proc/{self.process.pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):
                found[int(path.name)] = str(path.readlink())
        return found

    def close(self) -> None:
        if self._sock.fileno() < 0:
            return
        if self.process is not None and self.process.returncode is None:
            if self.process.poll() is None:
                self.process.kill()
            self.end()
        for event in self.drain():
            words = event.split()
            if words[0] == "start" and Path(f"/proc/{words[2]}/cmdline").exists():
                command = Path(f"/proc/{words[2]}/cmdline").read_bytes()
                if str(CHILD).encode() in command:
                    os.kill(int(words[2]), signal.SIGKILL)
        self._sock.close()


@pytest.fixture
def mcp() -> Iterator[McpProcess]:
    with tempfile.TemporaryDirectory(prefix="mcp-") as name:
        made = McpProcess(Path(name))
        yield made
        made.close()


@pytest.fixture
def port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]
