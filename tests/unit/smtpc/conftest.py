"""A real smtpc process with a QMGR played by the test."""

import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from contrib.lib.gateway import wait_until
from meta1g.db.cdb import Cdb
from meta1g.rcb.common import DeliveryAgent, ServerAddr
from meta1g.rcb.smtpc_qmgr import PROTOCOL, Deliver, DeliverRcpt, DeliveryResult, QmgrHelloC, SmtpcHello
from tests.fakes.forked import ForkedProcess
from tests.fakes.rcb_peer import RcbPeer, accept, listen

CONF = """\
hostname = "client.example";
queue_directory = "{queue}";
smtpc {{ connect_timeout = 5s; greeting_timeout = {step_s}s; command_timeout = {step_s}s; data_timeout = {step_s}s;
         block_timeout = 5s; dot_timeout = {step_s}s; {options} }}
"""
WAIT_S = 20
TA = "S00000000000000AA00"


@dataclass
class SmtpcProcess:
    queue: Path
    qmgr: RcbPeer
    process: "subprocess.Popen[bytes]"
    listener: socket.socket
    numbers: Iterator[int] = field(default_factory=lambda: iter(range(1, 1_000_000)))

    def store(self, content: bytes, cdb_id: str = TA) -> None:
        self.path(cdb_id).unlink(missing_ok=True)
        Cdb(self.queue / "cdb").write_whole(cdb_id, [content])

    def path(self, cdb_id: str = TA) -> Path:
        return Cdb(self.queue / "cdb").path(cdb_id)

    def wait_idle(self) -> int:
        """Waits until all sessions have ended; gives the number that the next descriptor will have at most."""
        fds = Path(f"/proc/{self.process.pid}/fd")

        def sockets() -> int:
            count = 0
            for fd in fds.iterdir():
                with contextlib.suppress(FileNotFoundError):  # closed since the list was made
                    count += "socket" in str(fd.readlink())
            return count

        wait_until(lambda: sockets() == 1, WAIT_S, "the link to QMGR alone")
        return 1 + max(int(fd.name) for fd in fds.iterdir())

    def job(self, port: int, rcpts=("r0@x.example",), **facts) -> Deliver:
        number = next(self.numbers)
        base = {
            "session_id": f"C{number:016X}00", "new_session": True, "keep_open": False, "da": int(DeliveryAgent.ESMTP),
            "server": (ServerAddr(addr="127.0.0.1", port=port, host="mx.x.example"),), "da_ta_id": f"C{number:016X}01",
            "ta_id": TA, "cdb_id": TA, "mail": "s@y.example", "size_bytes": 100,
            "rcpts": tuple(DeliverRcpt(rcpt_idx=i, rcpt=rcpt) for i, rcpt in enumerate(rcpts)),
        }  # fmt: skip
        return Deliver(**{**base, **facts})

    def deliver(self, job: Deliver) -> DeliveryResult:
        number = next(self.numbers)
        self.qmgr.send(job, number)
        while True:
            answered, reply = self.qmgr.expect(DeliveryResult)
            if answered == number:
                assert isinstance(reply, DeliveryResult)
                return reply


@contextmanager
def running(
    directory: Path,
    options: str = "",
    program: tuple[str, ...] = ("meta1g.smtpc.main",),
    errors: int | None = None,
    faults: str = "",
    ends_with: int = 0,
    step_s: int = 2,
) -> Iterator[SmtpcProcess]:
    """Runs the process; errors is where its standard error goes, faults are those of tests.fakes.faulty, step_s is the time-out
    of most steps: long for tests that wait for none of them, on machines that are busy."""
    queue = directory / "spool"
    for digit in "0123456789ABCDEF":
        (queue / "cdb" / digit).mkdir(parents=True)
    conf = directory / "meta1.conf"
    conf.write_text(CONF.format(queue=queue, options=options, step_s=step_s))
    server = listen(queue / "qmgr/smtpc")
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3]), "FAULTS": faults}
    process: ForkedProcess | subprocess.Popen[bytes]
    if faults or len(program) > 1:
        command = [sys.executable, "-m", *(("tests.fakes.faulty",) if faults else ()), *program, "-f", str(conf)]
        process = subprocess.Popen(command, env=environment, stderr=errors, bufsize=0)
    else:
        process = ForkedProcess(*program, ["-f", str(conf)], env=environment, stderr=errors)
    try:
        qmgr = accept(server, PROTOCOL)
        request_id, hello = qmgr.expect(SmtpcHello)
        assert isinstance(hello, SmtpcHello)
        qmgr.send(QmgrHelloC(), request_id)
        made = SmtpcProcess(queue, qmgr, process, server)
        yield made
        made.qmgr.close()
    finally:
        with server, process:  # this closes the pipe of the process and waits for it
            process.terminate()
            try:
                assert process.wait(15) == ends_with
            finally:
                process.kill()


@pytest.fixture
def smtpc(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[SmtpcProcess]:
    with running(tmp_path, getattr(request, "param", "")) as made:
        yield made


@pytest.fixture(scope="module")
def patient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmtpcProcess]:
    """One process for all tests of a file, with time-outs that none of them waits for."""
    with running(tmp_path_factory.mktemp("smtpc"), step_s=30) as made:
        yield made
