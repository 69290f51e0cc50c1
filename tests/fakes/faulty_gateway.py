"""A whole gateway whose processes can be given faults, and what a test asks of it: does the untouched mail flow?

Real processes on loopback; faults come from tests/fakes/faults, limits, signals, files and peers that misbehave.
"""

import contextlib
import json
import os
import resource
import select
import signal
import smtplib
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from contrib.lib.gateway import ROOT, Gateway, free_port
from tests.fakes.nameserver import NameServer
from tests.system.conftest import KeepingSink

#: Must show C of the design: within so many seconds the untouched mail flows again, without a restart by hand.
FLOWS_S = 5.0
COMPONENTS = ("qmgr", "smtps", "smtpc", "smar")
#: Filters by the clients whose mail passes them.
FILTERED = {"127.0.0.2": "dying", "127.0.0.3": "silent"}
_numbers = count(1)


def patience() -> float:
    """How much longer things may take on this machine now: 1 if it is idle."""
    return max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


class RefusedError(Exception):
    """The gateway did not take a message."""


@dataclass
class Faulty:
    """The gateway with its sink.

    Args:
        directory: everything is below it.
        catalogue: functions that can be made to fail.
    """

    directory: Path
    catalogue: Sequence[str]
    gateway: Gateway = field(init=False)
    sink: KeepingSink = field(init=False)
    down_port: int = field(init=False)
    probes: dict[str, int] = field(default_factory=dict)  # untouched mail, and how often it was offered

    @property
    def faults(self) -> Path:
        return self.directory / "faults"

    @property
    def logs(self) -> Path:
        return self.directory / "logs"

    def start(self, names: NameServer) -> None:
        self.faults.mkdir()
        self.logs.mkdir()
        (self.faults / "catalogue").write_text("\n".join(self.catalogue))
        self.sink = KeepingSink(self.directory / "maildir")
        try:
            self._start_gateway(names)
        except BaseException:
            self.stop()
            raise

    def _start_gateway(self, names: NameServer) -> None:
        self.down_port = free_port()
        made = Gateway(
            self.directory / "gateway",
            f"down.example {self.down_port}^[127.0.0.1]\n. {self.sink.port}^[127.0.0.1]",
            options={
                "qmgr": "min_retry_delay = 1s; max_retry_delay = 2s;",
                "smtps": self._smtps_options(),
                "smar": f'password_map {{ name = passwords; }} map passwords {{ type = socket; path = "{self.passwords}"; '
                "mapname = users; } mta_sts { } "
                f'nameserver {{ address = 127.0.0.1; port = {names.port}; }} access_map {{ file = "access.db"; }}'
                " DNS_flags = { client_names };",
            },
            dependents="smtps, smtpc",
            tls=True,
            relay_from="127.0.0.0/8",
        )
        made.env = {
            "META1G_FAULTS": str(self.faults),
            "PYTHONPATH": os.pathsep.join([str(ROOT / "tests/fakes/faults"), str(ROOT)]),
        }
        self.gateway = made
        made.setup()
        filtered = [f"smtps_session_conf:{client}\tmilters = {{ {name} }};" for client, name in FILTERED.items()]
        made.write_map("access", "\n".join(["from:nobody@from.example\treject", *filtered]))
        made.conf.write_text(made.conf.read_text().replace(f'"{made.log}"', f'"{self.logs}/meta1g.log"'))
        made.start()

    def _smtps_options(self) -> str:
        filters = [
            f'milter {name} {{ socket {{ path = "{self.directory / name}.sock"; }} reply_timeout = 1s; }}'
            for name in FILTERED.values()
        ]
        auth = "auth { password_map = true; failure_delay = 0; flags = { plaintext_without_tls }; }"
        return "\n".join([auth, "milters = { };", *filters])

    @property
    def passwords(self) -> Path:
        """Where a server of the map of passwords may listen."""
        return self.directory / "passwords.sock"

    def stop(self) -> int:
        try:
            return self.gateway.stop()
        finally:
            self.sink.stop()

    def log(self) -> str:
        return "".join(path.read_text(errors="replace") for path in sorted(self.logs.glob("*")))

    # -- mail ----------------------------------------------------------------------------------------------------------

    def send(
        self, rcpt: str, *, mail: str = "s@from.example", text: str = "", timeout_s: float = 30, client: str = "127.0.0.1"
    ) -> None:
        """Sends one message.

        Raises:
            RefusedError: it was not taken, for whatever reason.
        """
        try:
            with smtplib.SMTP("127.0.0.1", self.gateway.port, timeout=timeout_s, source_address=(client, 0)) as smtp:
                smtp.sendmail(mail, [rcpt], f"Subject: test\r\n\r\n{text or rcpt}\r\n")
        except (smtplib.SMTPException, OSError) as error:
            raise RefusedError(repr(error)) from error

    def came(self, rcpt: str) -> int:
        """How often a recipient got mail."""
        return sum(rcpt in envelope["rcpts"] for envelope in self.sink.envelopes())

    def wait(self, condition: Callable[[], object], what: str, limit_s: float = FLOWS_S) -> None:
        end = time.monotonic() + limit_s * patience()
        while not condition():
            assert time.monotonic() < end, f"not within {limit_s:g} s: {what}; the log ends with {self.log()[-3000:]}"
            select.select([], [], [], 0.02)

    def wait_for(self, rcpt: str, limit_s: float = FLOWS_S) -> None:
        self.wait(lambda: self.came(rcpt), f"mail for {rcpt}", limit_s)

    def flows(self) -> None:
        """Checks that untouched mail is taken and delivered: tried again as any client does, until the time is over."""
        rcpt = f"untouched{next(_numbers)}@probe.example"
        self.probes[rcpt] = 0
        said: list[str] = []

        def taken() -> bool:
            self.probes[rcpt] += 1
            try:
                self.send(rcpt, timeout_s=FLOWS_S)
            except RefusedError as error:
                said.append(str(error))
                return False
            return True

        end = time.monotonic() + FLOWS_S * patience()
        while not taken():
            assert time.monotonic() < end, f"untouched mail is refused: {said[-3:]}; {self.log()[-3000:]}"
            select.select([], [], [], 0.05)
        self.wait(lambda: self.came(rcpt), f"untouched mail, refused before with {said[-3:]}", max(0.5, end - time.monotonic()))

    # -- processes -----------------------------------------------------------------------------------------------------

    def pid(self, component: str) -> int:
        if component == "mcp":
            assert self.gateway.process is not None
            return self.gateway.process.pid
        return (self.gateway.pids().get(component) or [0])[0]

    def pids(self) -> dict[str, int]:
        return {component: self.pid(component) for component in (*COMPONENTS, "mcp")}

    def wait_restarted(self, component: str, old: int) -> None:
        self.wait(lambda: self.pid(component) not in (0, old), f"{component} runs again")

    def signal(self, component: str, signum: int) -> None:
        os.kill(self.pid(component), signum)

    @contextlib.contextmanager
    def frozen(self, component: str) -> Iterator[None]:
        pid = self.pid(component)
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)

    @contextlib.contextmanager
    def few_descriptors(self, component: str, spare: int) -> Iterator[int]:
        """Leaves a process `spare` descriptors; gives its process id."""
        pid = self.pid(component)
        used = max(int(path.name) for path in Path(f"/proc/{pid}/fd").iterdir())
        old = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (used + 1 + spare, old[1]))
        try:
            yield pid
        finally:
            resource.prlimit(pid, resource.RLIMIT_NOFILE, old)

    @contextlib.contextmanager
    def closed_logs(self) -> Iterator[None]:
        """Moves the directory of the log away, as in a rotation that went wrong."""
        away = self.directory / "rotated"
        self.logs.rename(away)
        try:
            yield
        finally:
            if self.logs.exists():
                for path in self.logs.iterdir():
                    path.unlink()
                self.logs.rmdir()
            away.rename(self.logs)

    def unix(self, name: str) -> socket.socket:
        """Connects to a socket of the gateway."""
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(FLOWS_S * patience())
        sock.connect(str(self.gateway.queue / name))
        return sock

    def content_of(self, rcpt: str) -> list[Path]:
        """The content files of a message whose text names its recipient."""
        return [path for path in self.gateway.content_files() if rcpt.encode() in path.read_bytes()]

    def empty_queue(self) -> None:
        """Removes what waits, so that later rows have the queue for themselves."""
        for entry in self.gateway.control("queue").get("list", []):
            self.gateway.run_tool("qmgrctl", "-f", str(self.gateway.conf), "remove", entry["ta"], check=False)

    def garbage(self, name: str, data: bytes) -> None:
        """Sends a socket what it does not expect, and reads until it closes."""
        with self.unix(name) as sock, contextlib.suppress(ConnectionError):
            sock.sendall(data)
            while sock.recv(65536):
                pass

    # -- faults --------------------------------------------------------------------------------------------------------

    def arm(
        self, component: str, target: str, error: str, *, number: int | None = None, marker: str = "", once: bool = True
    ) -> Path:
        """Arms a fault; gives the file that tells that it happened."""
        path = self.faults / f"{component}@{target}"
        fired = path.with_name(path.name + ".fired")
        fired.unlink(missing_ok=True)
        text = "can't start new thread" if error == "RuntimeError" else "a fault on demand"
        fault = {"error": error, "number": number, "text": text, "marker": marker, "once": once}
        part = self.faults / "part"
        part.write_text(json.dumps(fault))
        part.rename(path)
        return fired

    def disarm(self) -> None:
        for path in self.faults.glob("*@*"):
            path.unlink()
