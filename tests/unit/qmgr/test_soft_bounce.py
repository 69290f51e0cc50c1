"""With soft_bounce nothing is returned for ever, until it is too old."""

import pytest

from meta1g.base.reply import Reply
from meta1g.rcb.qmgr_smar import Unresolved


@pytest.fixture
def qmgr(make_qmgr):
    return make_qmgr(soft_bounce=True)


def test_what_a_server_refuses_stays_in_the_queue(qmgr):
    qmgr.smar()
    agent = qmgr.agent(script=lambda job: job.done(rcpts={"bad@to.example": 550}))
    qmgr.smtps().mail("bad@to.example", "good@to.example")
    qmgr.wait_deferred(1)
    assert qmgr.sink.wait(r"qmgr\.deferred.*rcpt=bad@to.example.*reply=550")
    agent.script = lambda job: job.done()
    qmgr.advance(400)
    qmgr.wait_empty()
    assert [job.rcpts for job in agent.jobs] == [["bad@to.example", "good@to.example"], ["bad@to.example"]]


def test_what_the_resolver_refuses_stays_in_the_queue(qmgr):
    smar = qmgr.smar()
    smar.answers["nowhere.example"] = Unresolved(reply=Reply(550, "5.1.2", "no such domain"))
    agent = qmgr.agent()
    qmgr.smtps().mail("r@nowhere.example")
    qmgr.wait_deferred(1)
    assert agent.jobs == []


def test_what_is_too_old_is_returned_all_the_same(qmgr):
    qmgr.smar()
    agent = qmgr.agent(script=lambda job: job.done(550 if job.msg.mail else 250))
    qmgr.smtps().mail("bad@to.example")
    qmgr.wait_deferred(1)
    qmgr.advance(6 * 86400)
    qmgr.wait_empty()
    assert agent.jobs[-1].rcpts == ["s@from.example"]
    assert b"bad@to.example" in agent.jobs[-1].told


def test_a_report_that_is_refused_stays_too(qmgr):
    qmgr.smar()
    agent = qmgr.agent(script=lambda job: job.done(550))
    qmgr.smtps().mail("bad@to.example")
    qmgr.wait_deferred(1)
    qmgr.advance(6 * 86400)
    agent.wait_jobs(3)
    qmgr.wait_deferred(1)
