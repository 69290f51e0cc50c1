"""The relays that are compared: meta1g and an instance of Postfix of its own, and the sink they deliver to.

Postfix runs in a temporary directory (it needs root) with its default settings but for the relay host and directories.
"""

import contextlib
import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from bench.probe import DOMAIN
from contrib.lib.gateway import Gateway, children_of, cpu_seconds, free_port, wait_until

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
transport_maps = {transports}
mynetworks = 127.0.0.0/8
smtpd_relay_restrictions = permit_mynetworks, reject
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
maillog_file = {base}/maillog
maillog_file_prefixes = {base}
alias_maps =
local_recipient_maps =
message_size_limit = 52428800
smtp_tls_security_level = none
smtpd_tls_security_level = none
"""


class Sink:
    """smtp-sink on all loopback addresses; its running counters go to a file, so that it never waits for a reader."""

    def __init__(self) -> None:
        self.port = free_port()
        user = ["-u", "nobody"] if os.geteuid() == 0 else []
        self._counters = tempfile.TemporaryFile()  # noqa: SIM115  stop() closes it
        self.process = subprocess.Popen(
            ["smtp-sink", "-c", "-m", "10000", *user, f"inet:0.0.0.0:{self.port}", "1024"],
            stdout=self._counters,
            stderr=subprocess.DEVNULL,
        )

    def received(self) -> int:
        """How many messages have come: the counters are `sess=N quit=N mesg=N`."""
        fd = self._counters.fileno()
        text = os.pread(fd, 400, max(0, os.fstat(fd).st_size - 400)).decode("ascii", "replace")
        found = re.findall(r"mesg=(\d+)", text)
        return int(found[-1]) if found else 0

    def stop(self) -> None:
        """Ends the sink."""
        self.process.kill()
        self.process.wait()
        self._counters.close()


@dataclass(slots=True)
class Use:
    """What a relay has used since its start: CPU seconds and voluntary switches by process; memory.

    `peak_kib` adds up what each process had at most, shared pages once for each; `pss_kib` counts them once, now.
    """

    cpu_s: dict[str, float] = field(default_factory=dict)
    switches: int = 0
    peak_kib: int = 0
    pss_kib: int = 0

    def add(self, name: str, pid: int, *, with_children: bool = False) -> None:
        """Counts one process; one that has ended meanwhile is left out."""
        with contextlib.suppress(OSError):
            self.cpu_s[name] = self.cpu_s.get(name, 0.0) + cpu_seconds(pid, with_children=with_children)
            for thread in Path(f"/proc/{pid}/task").iterdir():
                self.switches += _number(thread / "status", "voluntary_ctxt_switches")
            self.peak_kib += _number(Path(f"/proc/{pid}/status"), "VmHWM")
            self.pss_kib += _number(Path(f"/proc/{pid}/smaps_rollup"), "Pss")

    def since(self, before: "Use") -> "Use":
        """Gives what was used after `before`; memory stays as it is."""
        cpu_s = {name: value - before.cpu_s.get(name, 0.0) for name, value in self.cpu_s.items()}
        return Use(cpu_s, self.switches - before.switches, self.peak_kib, self.pss_kib)


def _number(path: Path, key: str) -> int:
    found = re.search(rf"(?m)^{key}:\s+(\d+)", path.read_text())
    return int(found[1]) if found else 0


def domain_server(number: int) -> str:
    """Gives the loopback address of a destination of its own."""
    return f"127.1.{number // 250}.{number % 250 + 1}"


def routes(port: int, domains: int, probe_port: int) -> dict[str, tuple[str, int]]:
    """Gives address and port by domain: d0.example, d1.example ... have servers of their own, and so has the prober."""
    own = {f"d{n}.example": (domain_server(n), port) for n in range(domains)}
    return {**own, DOMAIN: ("127.0.0.1", probe_port)}


class Meta1gRelay:
    """meta1g.

    Args:
        directory: everything is below it.
        domains: number of destinations of their own.
        probe_port: where the prober's messages go.
        log_level: of all processes.
        smtps: more options of that section.
    """

    name = "meta1g"

    def __init__(self, directory: Path, domains: int, probe_port: int, log_level: int = 9, smtps: str = "") -> None:
        self.sink = Sink()
        rows = [f"{name} {port}^[{addr}]" for name, (addr, port) in routes(self.sink.port, domains, probe_port).items()]
        table = "\n".join([*rows, f". {self.sink.port}^[127.0.0.1]"])
        self.gateway = Gateway(directory, table, {"smtps": f"max_message_size = 50MB; {smtps}"}, log_level=log_level)
        self.gateway.setup()
        self.gateway.start()
        self.port = self.gateway.port

    def pids(self) -> dict[str, list[int]]:
        """Process ids by component."""
        assert self.gateway.process is not None
        return {"mcp": [self.gateway.process.pid], **self.gateway.pids()}

    def use(self) -> Use:
        """Gives what all processes have used so far."""
        use = Use()
        for component, pids in self.pids().items():
            for pid in pids:
                use.add(component, pid)
        return use

    def settle(self) -> None:
        """Waits until the queues are empty."""
        self.gateway.wait_empty(60)

    def stop(self) -> None:
        """Ends relay and sink."""
        self.gateway.stop()
        self.sink.stop()


class PostfixRelay:
    """Postfix, an instance of its own.

    Args:
        directory: everything is below it.
        domains: number of destinations of their own.
        probe_port: where the prober's messages go.
        more: lines of main.cf that replace others.
    """

    name = "postfix"

    def __init__(self, directory: Path, domains: int, probe_port: int, more: str = "") -> None:
        self.sink = Sink()
        self.port = free_port()
        config = directory / "etc"
        for path in (directory, config, directory / "queue", directory / "data"):
            path.mkdir(parents=True)
            path.chmod(0o755)
        shutil.chown(directory / "data", "postfix")
        daemons = next(p for p in (Path("/usr/lib/postfix/sbin"), Path("/usr/libexec/postfix")) if p.exists())
        transports = config / "transport"
        rows = [f"{name} smtp:[{addr}]:{port}\n" for name, (addr, port) in routes(self.sink.port, domains, probe_port).items()]
        transports.write_text("".join(rows))
        text = MAIN_CF.format(base=directory, sink=self.sink.port, daemons=daemons, transports=f"hash:{transports}")
        for line in more.splitlines():
            name, equals, _ = line.partition(" = ")
            text = re.sub(rf"(?m)^{re.escape(name)} = .*\n", "", text) + line + "\n" if equals else text
        (config / "main.cf").write_text(text)
        master = next(p for p in (Path("/usr/share/postfix/master.cf.dist"), Path("/etc/postfix/master.cf")) if p.exists())
        lines = re.sub(r"(?m)^smtp\s+inet.*$", f"127.0.0.1:{self.port} inet n - n - 100 smtpd", master.read_text())
        (config / "master.cf").write_text(re.sub(r"(?m)^(\S+\s+(?:unix|fifo)\s+\S+\s+\S+\s+)y", r"\1n", lines))
        self._command = ["postfix", "-c", str(config)]
        subprocess.run(["postmap", "-c", str(config), f"hash:{transports}"], check=True, timeout=60)
        subprocess.run([*self._command, "start"], check=True, capture_output=True, timeout=60)
        pid_file = directory / "queue/pid/master.pid"
        wait_until(pid_file.exists, 10, "Postfix started")
        self._master = int(pid_file.read_text())

    def pids(self) -> dict[str, list[int]]:
        """Process ids."""
        return {"master and all daemons": [self._master, *children_of(self._master)]}

    def use(self) -> Use:
        """Gives what all processes have used so far, those that have ended too."""
        use = Use()
        for pid in (self._master, *children_of(self._master)):
            use.add("master and all daemons", pid, with_children=True)
        return use

    def settle(self) -> None:
        """Does nothing: the sink has all."""

    def stop(self) -> None:
        """Ends relay and sink."""
        subprocess.run([*self._command, "stop"], check=False, capture_output=True, timeout=60)
        self.sink.stop()


Relay = Meta1gRelay | PostfixRelay
