"""Runs a whole gateway in a directory of its own: for the quickstart, the system tests and the benchmarks.

Everything is real: sm.setup makes the directories, createmap the maps, mcp starts the five processes, qmgrctl asks them.
The tools are called as functions, since a test that starts a Python each time it looks spends most of its time with that.
Without root all processes run as the caller.
"""

import contextlib
import errno
import io
import itertools
import os
import select
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from meta1g.base.cli import CliError
from meta1g.db.mapfile import MapFile
from meta1g.tools import createmap, qmgrctl, selfsigned, setup_dirs

ROOT = Path(__file__).resolve().parents[2]
COMPONENTS = ("qmgr", "smtps", "smtpc", "smar")

CONFIG = """\
# a gateway for one machine: takes mail from 127.0.0.1 and hands everything to the mailertable's server
log_level = {log_level};
queue_directory = "{queue}";
configuration_directory = "{etc}";
hostname = "gateway.example";
log {{ {log} }}

qmgr {{
  start_action = wait;
  path = qmgr;
  arguments = "qmgr -f {conf}";
  restart_dependencies = {{ {dependents} }};
  {qmgr}
}}
smtps {{
  listen_socket {{ type = inet; address = 127.0.0.1; port = {port}; }}
  start_action = pass;
  pass_fd_socket = smtps/smtpsfd;
  path = smtps;
  arguments = "smtps -f {conf}";
  {smtps}
}}
smtpc {{
  start_action = wait;
  path = smtpc;
  arguments = "smtpc -f {conf}";
  {smtpc}
}}
smar {{
  start_action = wait;
  path = smar;
  arguments = "smar -f {conf}";
  mailertable {{ file = "mailertable.db"; }}
  relay_from = {{ {relay_from} }};
  {smar}
}}
{extra}
"""


#: Ports that the kernel gives nobody by itself, since they are below net.ipv4.ip_local_port_range; each worker of pytest-xdist
#: has a part of them, a process without worker the last one.
_FIRST_PORT: Final = 10_000
_PORTS: Final = 1_300
_LAST_WORKER: Final = 16


_worker: Final = min(int(os.environ.get("PYTEST_XDIST_WORKER", "gw999").removeprefix("gw")), _LAST_WORKER)
_numbers: Final = itertools.count(os.getpid() * 31)  # other runs begin at another place, hardly ever at this one


def free_port(host: str = "127.0.0.1") -> int:
    """Gives a TCP port that nobody uses now, and that no other test and no client is given meanwhile."""
    for number in itertools.islice(_numbers, _PORTS):
        port = _FIRST_PORT + _worker * _PORTS + number % _PORTS
        with contextlib.suppress(OSError), socket.create_server((host, port)):
            return port
    raise OSError(errno.EADDRINUSE, f"no free port for {host}")


def copy_package(target: Path) -> None:
    """Copies the package to where other accounts can read it, with the byte code, which they could not write.

    Args:
        target: a directory; what others may do in it is up to the caller.
    """
    being_written = shutil.ignore_patterns("*.pyc.*")
    shutil.copytree(ROOT / "meta1g", target / "meta1g", ignore=being_written)


def wait_until(condition: Callable[[], object], timeout_s: float, what: str) -> None:
    """Asks again and again, with short pauses, until condition() is true.

    Raises:
        TimeoutError: it was not within timeout_s.
    """
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {timeout_s:g} s: {what}")
        select.select([], [], [], 0.02)


@dataclass(slots=True)
class Gateway:
    """One gateway.

    Args:
        directory: everything is below it; made if it is missing.
        mailertable: lines of the mailertable, such as `. 2526^[127.0.0.1]`.
        options: configuration text by section: more for `qmgr`, `smtps`, `smtpc`, `smar`, `extra`, all of it for `log`.
        port: where smtps listens; a free one if 0.
        tls: smtps has a certificate of its own making and offers STARTTLS.
    """

    directory: Path
    mailertable: str
    options: dict[str, str] = field(default_factory=dict)
    port: int = 0
    log_level: int = 9
    relay_from: str = "127.0.0.1"
    dependents: str = "smtps, smtpc"
    accounts: bool = False
    tls: bool = False
    python: str = sys.executable
    env: dict[str, str] = field(default_factory=dict)
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def conf(self) -> Path:
        """The configuration file."""
        return self.directory / "etc" / "meta1.conf"

    @property
    def queue(self) -> Path:
        """The queue directory."""
        return self.directory / "spool"

    @property
    def log(self) -> Path:
        """The log file of all processes."""
        return self.directory / "meta1g.log"

    def setup(self) -> None:
        """Writes configuration and maps and makes the queue directories."""
        self.conf.parent.mkdir(parents=True, exist_ok=True)
        self.port = self.port or free_port()
        words = {name: self.options.get(name, "") for name in (*COMPONENTS, "extra")}
        if self.tls:
            words["smtps"] += f"\n  tls {{ cert_file = {selfsigned.CERT}; key_file = {selfsigned.KEY}; }}"
        self.conf.write_text(
            CONFIG.format(
                queue=self.queue,
                etc=self.conf.parent,
                conf=shlex.quote(str(self.conf)),
                log=self.options.get("log") or f'file = "{self.log}";',
                port=self.port,
                log_level=self.log_level,
                relay_from=self.relay_from,
                dependents=self.dependents,
                **words,
            )
        )
        self.write_map("mailertable", self.mailertable)
        how = [*([] if self.accounts else ["--no-accounts"]), *(["--tls"] if self.tls else [])]
        with contextlib.redirect_stdout(io.StringIO()):
            setup_dirs.main(["-f", str(self.conf), "--queue-directory", str(self.queue), *how])

    def write_map(self, name: str, text: str) -> None:
        """Makes a map file in the configuration directory from text.

        Raises:
            ValueError: a line of it is wrong.
        """
        source = self.conf.parent / name
        source.write_text(text if text.endswith("\n") else text + "\n")
        entries, errors = createmap.read_map(source.read_bytes())
        if errors:
            raise ValueError(f"{source}: {'; '.join(errors)}")
        MapFile.build(source.with_name(f"{name}.db"), sorted(entries.items()), "hash")

    def environment(self) -> dict[str, str]:
        """The environment of all processes."""
        return {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]), **self.env}

    def run_tool(
        self, name: str, *arguments: str, stdin: object = None, check: bool = True
    ) -> "subprocess.CompletedProcess[str]":
        """Runs a program of meta1g.tools and gives its result.

        Raises:
            RuntimeError: it failed and check is set.
        """
        command = [self.python, "-c", f"from meta1g.tools.{name} import run; run()", *arguments]
        result = subprocess.run(
            command,
            stdin=stdin,
            capture_output=True,
            text=True,
            env=self.environment(),
            timeout=60,
            check=False,  # type: ignore[call-overload]
        )
        if check and result.returncode:
            raise RuntimeError(f"{name} {' '.join(arguments)}: exit {result.returncode}: {result.stderr.strip()}")
        return result  # type: ignore[no-any-return]

    def start(self, timeout_s: float = 30) -> None:
        """Starts mcp and waits until smtps greets with 220."""
        self.launch()
        self.wait_ready(timeout_s)

    def launch(self) -> None:
        """Starts mcp."""
        with (self.directory / "mcp.err").open("ab") as errors:
            self.process = subprocess.Popen(
                [self.python, "-m", "meta1g.mcp.main", str(self.conf)],
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
            )

    def wait_ready(self, timeout_s: float = 30) -> None:
        """Waits until smtps greets with 220.

        Raises:
            TimeoutError, RuntimeError: it does not, or mcp has ended.
        """

        def greets() -> bool:
            if self.process is not None and self.process.poll() is not None:
                raise RuntimeError(f"mcp ended with {self.process.returncode}: {self.last_words()}")
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 5) as client:
                client.settimeout(5)
                banner = client.recv(512)
                client.sendall(b"QUIT\r\n")
                return banner.startswith(b"220")
            return False

        wait_until(greets, timeout_s, f"greeting on port {self.port}; {self.last_words()}")

    def last_words(self) -> str:
        """The ends of the logs, for error messages."""
        texts = []
        for path in (self.directory / "mcp.err", self.log, *sorted(self.queue.glob("*.log"))):
            if path.exists():
                texts.append(f"{path.name}: {path.read_text(errors='replace')[-1500:]}")
        return "\n".join(texts)

    def pids(self) -> dict[str, list[int]]:
        """Process ids of the running components, children of mcp, by component."""
        found: dict[str, list[int]] = {}
        if self.process is None:
            return found
        for pid in children_of(self.process.pid):
            with contextlib.suppress(OSError):
                words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
                for component in COMPONENTS:
                    if f"meta1g.{component}.main".encode() in words:
                        found.setdefault(component, []).append(pid)
        return found

    def kill(self, component: str, signum: int = signal.SIGKILL) -> list[int]:
        """Sends a signal to all processes of a component, or to mcp; gives their ids."""
        pids = [self.process.pid] if component == "mcp" and self.process else self.pids().get(component, [])
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signum)
        if component == "mcp" and self.process:
            self.process.wait(30)
        return pids

    def control(self, *words: str) -> dict[str, object]:
        """Asks qmgr as qmgrctl does and gives its answer.

        Raises:
            RuntimeError: it cannot be reached, or refuses.
        """
        try:
            answer = qmgrctl.ask(self.queue, *words)
        except CliError as error:
            raise RuntimeError(f"qmgrctl {' '.join(words)}: {error}") from error
        return answer if isinstance(answer, dict) else {"list": answer}

    def leftovers(self) -> dict[str, int]:
        """How many content files there are, and how many recipients qmgr knows: all 0 when everything is done."""
        status = self.control("status")
        counts = {
            key: value
            for key, value in status.items()
            if isinstance(value, int) and key in ("aq", "iqdb", "defedb", "ibdb_open")
        }
        return {"cdb": sum(1 for _ in self.content_files()), **counts}

    def content_files(self) -> Iterator[Path]:
        """The files in CDB."""
        return (path for path in (self.queue / "cdb").glob("?/*") if path.is_file())

    def wait_empty(self, timeout_s: float = 60) -> None:
        """Waits until nothing is left in any queue."""
        wait_until(lambda: not any(self.leftovers().values()), timeout_s, f"empty queues: {self.leftovers()}")

    def stop(self, timeout_s: float = 25) -> int:
        """Stops mcp by SIGTERM and gives its exit code; kills what is left of its process group after timeout_s."""
        if self.process is None:
            return 0
        left = children_of(self.process.pid)
        with contextlib.suppress(ProcessLookupError):
            self.process.terminate()
        try:
            code = wait_for(self.process, timeout_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            code = self.process.wait(5)
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        self.process = None
        return code


def wait_for(process: "subprocess.Popen[bytes]", timeout_s: float) -> int:
    """Gives the exit code of a process as soon as it has one; Popen.wait() only looks every 50 ms.

    Raises:
        TimeoutExpired: it still runs after timeout_s.
    """
    if process.poll() is None:
        fd = os.pidfd_open(process.pid)
        try:
            select.select([fd], [], [], timeout_s)
        finally:
            os.close(fd)
    return process.wait(0)


def children_of(pid: int) -> list[int]:
    """Gives the direct children of a process, whichever of its threads started them."""
    found = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            found += map(int, path.read_text().split())
    return found


def cpu_seconds(pid: int, *, with_children: bool = False) -> float:
    """Gives the CPU time of a process (and of its ended children), from /proc/PID/stat."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    ticks = sum(int(n) for n in fields[11 : 15 if with_children else 13])
    return ticks / os.sysconf("SC_CLK_TCK")
