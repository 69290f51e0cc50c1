"""The greeting does not wait for what QMGR says of a session; MAIL does."""

import queue

import pytest

from meta1g.base.reply import Reply
from meta1g.rcb.smtps_qmgr import NewSession, NewTransaction, Stat
from tests.fakes.smtps_process import SmtpsProcess

REFUSAL = Stat(reply=Reply(421, "4.7.0", "Too many connections, try again later"))
WELCOME = Stat(reply=Reply(220))


class HeldQmgr:
    """Keeps the questions about sessions until they are answered.  Owner: the test."""

    def __init__(self, smtps):
        self._real = smtps.qmgr._handler
        self._asked = queue.SimpleQueue()

    def __call__(self, conn, request_id, msg):
        if isinstance(msg, NewSession):
            self._asked.put((conn, request_id))
        else:
            self._real(conn, request_id, msg)

    def answer(self, stat):
        conn, request_id = self._asked.get(timeout=20)
        conn.send(stat, request_id)


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    with SmtpsProcess(tmp_path_factory.mktemp("smtps")) as smtps:
        yield smtps


@pytest.fixture
def held(running):
    """The process, with a QMGR that keeps questions about sessions."""
    real = running.qmgr._handler
    running.qmgr._handler = HeldQmgr(running)
    yield running
    running.qmgr._handler = real


def test_a_client_is_greeted_and_heard_before_qmgr_has_answered_and_mail_waits_for_it(held):
    with held.client() as client:
        client.send(b"MAIL FROM:<a@example.org>\r\n")
        held.qmgr._handler.answer(WELCOME)
        client.expect("250 2.1.0")
        client.command("RSET", "250")


def test_mail_is_answered_by_the_refusal_of_qmgr_and_the_session_ends(held):
    with held.client() as client:
        client.send(b"MAIL FROM:<refused@example.org>\r\nRCPT TO:<b@example.org>\r\n")
        held.qmgr._handler.answer(REFUSAL)
        client.expect("421 4.7.0 Too many connections")
        held.wait_log("func=smtps.(mail|connect)_refused, .*reply=421, .*Too many connections")
        client.expect("")
    assert not any(isinstance(msg, NewTransaction) and msg.mail == "<refused@example.org>" for msg in held.qmgr.messages)


def test_a_refusal_does_not_wait_for_a_client_that_says_nothing(held):
    with held.client() as client:
        held.qmgr._handler.answer(REFUSAL)
        client.expect("421 4.7.0 Too many connections")
        held.wait_log("func=smtps.connect_refused, .*reply=421, .*Too many connections")
        client.expect("")


def test_a_client_that_leaves_before_qmgr_has_answered_costs_nothing(held):
    with held.client() as client:
        client.command("QUIT", "221")
        client.expect("")
    held.qmgr._handler.answer(REFUSAL)
    with held.client() as client:
        held.qmgr._handler.answer(WELCOME)
        client.command("MAIL FROM:<a@example.org>", "250")
