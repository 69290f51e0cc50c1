"""Whatever way sessions end, no state thread, descriptor or off-loaded call of them is left (tests.fakes.st_testing)."""

import contextlib
import signal
import time

import pytest

from meta1g.base.reply import Reply
from meta1g.rcb.smtps_qmgr import CloseSession, NewSession
from meta1g.smtps.limits import SMALL_CONTENT_BYTES
from tests.fakes.milter import FakeMilter
from tests.fakes.smtps_process import WAIT_S, NewSmtpsProcess

CONTENT = b"Subject: x\r\n\r\nhello\r\n"


@pytest.fixture
def smtps(tmp_path, monkeypatch):
    with started(tmp_path, monkeypatch) as process:
        yield process


@contextlib.contextmanager
def started(directory, monkeypatch, more=""):
    monkeypatch.setenv("W_SMTPS", "-m tests.fakes.leak_report meta1g.smtps.main")
    with NewSmtpsProcess(directory, f"max_bad_commands = 2; {more}") as process:
        with process.client() as client:
            client.message(CONTENT)  # what is made once, is made now
            client.command("QUIT", "221")
        yield process


def report(smtps):
    """Asks for the figures and gives them as text."""
    with smtps.changed:
        seen = len(smtps.log)
    smtps.process.send_signal(signal.SIGUSR2)
    end = time.monotonic() + WAIT_S
    with smtps.changed:
        while not (lines := [line for line in smtps.log[seen:] if line.startswith("leak-report")]):
            assert smtps.changed.wait(end - time.monotonic()), "no report"
    return lines[0]


def settled(smtps, sessions):
    """Gives the report after so many sessions have ended; their threads may need a moment for their last steps."""
    end = time.monotonic() + WAIT_S
    while len(smtps.qmgr.of(CloseSession)) < sessions:
        assert time.monotonic() < end
        time.sleep(0.005)
    return report(smtps)


def vanishes_in_its_content(smtps):
    client = smtps.client()
    client.command("MAIL FROM:<s@example.org>", "250")
    client.command("RCPT TO:<r@example.org>", "250")
    client.command("DATA", "354")
    client.send(CONTENT * 20_000)
    client.close()


def vanishes_before_the_greeting(smtps):
    smtps.client(hello=False).close()


def quits_after_a_message(smtps):
    with smtps.client() as client:
        client.message(CONTENT)
        client.command("QUIT", "221")


def makes_errors(smtps):
    with smtps.client() as client:
        client.command("NONSENSE", "500")
        client.command("NONSENSE", "500")
        client.command("NONSENSE", "500")
        client.expect("421")
        client.expect("")


def is_refused(smtps):
    smtps.qmgr.admission = Reply(421, "4.7.0", "No")
    with smtps.client(hello=False) as client:
        while not client.reply().startswith("421"):
            pass
        client.expect("")
    smtps.qmgr.admission = Reply(220)


def gets_its_message_refused(smtps):
    smtps.qmgr.commit = lambda msg: Reply(452, "4.3.1", "Queue is full")
    with smtps.client() as client:
        client.message(CONTENT, "452")
    smtps.qmgr.commit = lambda msg: Reply(250)


def writes_much_to_nobody(smtps):
    before = smtps.content_files()
    with smtps.client() as client:
        client.message(CONTENT + (b"x" * 70 + b"\r\n") * (2 * SMALL_CONTENT_BYTES // 72), rcpts=("r@drop.example",))
        client.command("QUIT", "221")
        client.expect("")
    assert sorted(smtps.content_files()) == sorted(before)


ENDINGS = [
    vanishes_in_its_content,
    vanishes_before_the_greeting,
    quits_after_a_message,
    makes_errors,
    is_refused,
    gets_its_message_refused,
    writes_much_to_nobody,
]


@pytest.mark.parametrize("ending", ENDINGS, ids=lambda function: function.__name__)
def test_nothing_is_left_of_a_client_that(ending, smtps):
    before = settled(smtps, 1)
    for number in range(3):
        ending(smtps)
        smtps.qmgr.wait_for(NewSession, number + 2)
    assert settled(smtps, 4) == before


@pytest.mark.parametrize("fault", ["", "hang", "die"])
def test_nothing_is_left_of_clients_whose_mail_passes_a_filter(fault, tmp_path, monkeypatch):
    with (
        FakeMilter(tmp_path) as milter,
        started(
            tmp_path / "q", monkeypatch, f"milter f {{ {milter.conf} end_timeout = 1s; default_action = accept; }}"
        ) as smtps,
    ):
        milter.script(faults={"BODYEOB": fault}, answers={"BODYEOB": [["REPLBODY", "new\r\n"], ["CONTINUE"]]})
        before = settled(smtps, 1)
        endings = (quits_after_a_message, writes_much_to_nobody, vanishes_in_its_content)
        for number, ending in enumerate(endings):
            ending(smtps)
            smtps.qmgr.wait_for(NewSession, number + 2)
        assert settled(smtps, len(endings) + 1) == before


def test_an_open_session_shows_in_the_report(smtps):
    before = settled(smtps, 1)
    with smtps.client():
        assert report(smtps) != before
