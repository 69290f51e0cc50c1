"""Option wait_for_server: when the process says that it is ready."""

import contextlib
import os
import select
import subprocess
import sys
from pathlib import Path

import pytest

from meta1g.rcb.smtpc_qmgr import PROTOCOL, QmgrHelloC, SmtpcHello
from tests.fakes.rcb_peer import accept, listen

pytestmark = pytest.mark.system


def test_the_end_of_mcp_ends_it(tmp_path):
    (tmp_path / "meta1.conf").write_text(f'hostname = "client.example"; queue_directory = "{tmp_path}"; smtpc {{ }}')
    alive, held = os.pipe()
    environment = {**os.environ, "META1G_ALIVE_FD": str(alive), "PYTHONPATH": str(Path(__file__).parents[3])}
    command = [sys.executable, "-m", "meta1g.smtpc.main", "-f", str(tmp_path / "meta1.conf")]
    with subprocess.Popen(command, env=environment, pass_fds=(alive,), stderr=subprocess.PIPE, text=True) as process:
        os.close(alive)
        os.close(held)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "func=smtpc.mcp, stat=mcp is gone" in said


@contextlib.contextmanager
def started(directory, options):
    """Runs smtpc; gives the file that it tells its readiness to."""
    conf = directory / "meta1.conf"
    conf.write_text(f'hostname = "client.example"; queue_directory = "{directory}"; smtpc {{ {options} }}')
    ready, told = os.pipe()
    environment = {**os.environ, "META1G_READY_FD": str(told), "PYTHONPATH": str(Path(__file__).parents[3])}
    command = [sys.executable, "-m", "meta1g.smtpc.main", "-f", str(conf)]
    process = subprocess.Popen(command, env=environment, pass_fds=(told,), stderr=subprocess.DEVNULL)
    os.close(told)
    try:
        with open(ready, "rb") as file:
            yield file
    finally:
        process.terminate()
        assert process.wait(20) == 0


def test_it_is_ready_when_qmgr_is_there(tmp_path):
    with listen(tmp_path / "qmgr/smtpc") as server, started(tmp_path, "wait_for_server = 1h;") as ready:
        qmgr = accept(server, PROTOCOL)
        number, _hello = qmgr.expect(SmtpcHello)
        assert select.select([ready], [], [], 0)[0] == []
        qmgr.send(QmgrHelloC(), number)
        assert ready.read() == b"1"
        qmgr.close()


def test_without_patience_it_is_ready_at_once(tmp_path):
    with started(tmp_path, "wait_for_server = 0;") as ready:
        assert ready.read() == b"1"
