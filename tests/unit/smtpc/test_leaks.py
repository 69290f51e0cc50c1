"""Whatever way deliveries end, no state thread, descriptor or off-loaded call of them is left (tests.fakes.st_testing)."""

import select
import signal
import subprocess

import pytest

from contrib.lib.gateway import free_port, wait_until
from meta1g.rcb.smtpc_qmgr import SessionClosed
from tests.fakes.smtp_server import ScriptedServer
from tests.unit.smtpc.conftest import running

pytestmark = pytest.mark.system

CONTENT = b"Subject: x\r\n\r\nbody\r\n"
WAIT_S = 20


@pytest.fixture
def smtpc(tmp_path):
    program = ("tests.fakes.leak_report", "meta1g.smtpc.main")
    with running(tmp_path, program=program, errors=subprocess.PIPE) as made:
        made.store(CONTENT)
        with ScriptedServer() as server:
            made.deliver(made.job(server.port))  # what is made once, is made now
        made.wait_idle()
        wait_until(lambda: b"threads=3 " in report(made), WAIT_S, "the main thread, those of signals and of the link to QMGR")
        yield made


def report(smtpc):
    """Asks for the figures and gives them as text."""
    smtpc.process.send_signal(signal.SIGUSR2)
    while True:
        assert select.select([smtpc.process.stderr], [], [], WAIT_S)[0], "no report"
        line = smtpc.process.stderr.readline()
        assert line, "the process is gone"
        if line.startswith(b"leak-report"):
            return line


def deliver(smtpc, replies):
    with ScriptedServer(replies) as server:
        smtpc.deliver(smtpc.job(server.port))


ENDINGS = {
    "is delivered": {},
    "is refused at the greeting": {"banner": "554 go away\r\n"},
    "is cut off at RCPT": {"RCPT": None},
    "is refused after the dot": {"dot": "554 5.6.0 spam\r\n"},
    "gets no answer to QUIT": {"QUIT": None},
    "gets garbage": {"banner": "\x00\xff garbage\r\n"},
}


@pytest.mark.parametrize("replies", ENDINGS.values(), ids=ENDINGS)
def test_nothing_is_left_of_a_delivery_that(replies, smtpc):
    before = report(smtpc)
    for _ in range(3):
        deliver(smtpc, replies)
    wait_until(lambda: report(smtpc) == before, WAIT_S, f"{before!r}, now {report(smtpc)!r}")


def test_nothing_is_left_of_a_server_that_cannot_be_reached(smtpc):
    before = report(smtpc)
    for _ in range(3):
        smtpc.deliver(smtpc.job(free_port()))
    wait_until(lambda: report(smtpc) == before, WAIT_S, f"{before!r}, now {report(smtpc)!r}")


def test_a_session_that_is_kept_open_shows_until_its_server_closes_it(smtpc):
    before = report(smtpc)
    with ScriptedServer() as server:
        assert smtpc.deliver(smtpc.job(server.port, keep_open=True)).session_open
        assert report(smtpc) != before
    assert smtpc.qmgr.expect(SessionClosed)
    wait_until(lambda: report(smtpc) == before, WAIT_S, f"{before!r}, now {report(smtpc)!r}")
