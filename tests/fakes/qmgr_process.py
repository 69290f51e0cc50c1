"""A real qmgr process between peers of the test, to be killed and started again."""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from meta1g.base import paths
from meta1g.db.cdb import Cdb
from tests.fakes.qmgr_peers import WAIT_S, Agent, Ctl, Smar, Smtps

CONFIG = """
hostname = "mx.example";
queue_directory = "{queue}";
qmgr {{
  log_level = 15;
  log {{ file = "{queue}/qmgr.log"; }}
  wait_for_client = 0;
  {options}
}}
"""


class QmgrProcess:
    """qmgr in a queue directory; a context manager that leaves no process behind."""

    def __init__(self, queue: Path, options: str = "", program: Sequence[str] = ("-m", "meta1g.qmgr.main")) -> None:
        self.queue = queue
        self.program = program
        self.conf = queue / "meta1.conf"
        self.conf.write_text(CONFIG.format(queue=queue, options=options))
        for directory in paths.QUEUE_DIRECTORIES:
            (queue / directory.name).mkdir(parents=True, exist_ok=True)
        self.cdb = Cdb(queue / "cdb")
        self.peers: list[Smar | Agent | Smtps] = []
        self.alive_fd = -1

    def __enter__(self) -> "QmgrProcess":
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.end(signal.SIGKILL)

    def start(self) -> None:
        """Starts the process and waits until it is ready."""
        alive_read, self.alive_fd = os.pipe()
        ready_read, ready_write = os.pipe()
        self.process = subprocess.Popen(
            [sys.executable, *self.program, "-f", str(self.conf)],
            pass_fds=(alive_read, ready_write),
            env={**os.environ, "META1G_ALIVE_FD": str(alive_read), "META1G_READY_FD": str(ready_write)},
            cwd=Path(__file__).parents[2],
        )
        os.close(alive_read)
        os.close(ready_write)
        with open(ready_read, "rb") as ready:
            started = ready.read() == b"1"
        if not started:
            self.end(signal.SIGKILL)
        assert started, self.log()

    def end(self, signum: signal.Signals = signal.SIGTERM) -> int:
        """Ends the process by a signal; gives its exit code."""
        self.process.send_signal(signum)
        try:
            code = self.process.wait(WAIT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(WAIT_S)
            raise
        for peer in self.peers:
            peer.stop()
        self.peers.clear()
        if self.alive_fd >= 0:
            os.close(self.alive_fd)
            self.alive_fd = -1
        return code

    def log(self) -> str:
        path = self.queue / "qmgr.log"
        return path.read_text() if path.exists() else ""

    def smar(self, answers=None) -> Smar:
        return self._peer(Smar(self.queue / paths.SMAR_QMGR_SOCKET, answers))

    def agent(self, **facts) -> Agent:
        return self._peer(Agent(self.queue / paths.QMGR_SMTPC_SOCKET, **facts))

    def smtps(self) -> Smtps:
        return self._peer(Smtps(self.queue / paths.QMGR_SMTPS_SOCKET, self.cdb))

    def _peer(self, peer):
        peer.start()  # one that finds the process gone is none
        self.peers.append(peer)
        return peer

    def ctl(self) -> Ctl:
        return Ctl(self.queue / paths.QMGR_CONTROL_SOCKET)

    def ask(self, *words: str):
        with self.ctl() as ctl:
            return ctl.ask(*words)

    def content(self) -> list[str]:
        return sorted(cdb_id for cdb_id, _ in self.cdb.ids())
