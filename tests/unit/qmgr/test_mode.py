"""drain, stop, resume."""

from meta1g.rcb.smtps_qmgr import Refused, Throttle
from tests.fakes.qmgr_peers import Ctl, new_id
from tests.fakes.qmgr_system import wait_until


def ask(qmgr, *words):
    with Ctl(qmgr.queue / "qmgr/control") as ctl:
        return ctl.ask(*words)


def test_drain_refuses_new_mail_and_delivers_what_is_here(qmgr):
    qmgr.smar()
    smtps = qmgr.smtps()
    smtps.mail("r@to.example")
    assert ask(qmgr, "drain") == {"mode": "drain"}
    assert qmgr.sink.find("func=qmgr.mode, stat=drain")
    assert smtps.peer.expect(Throttle)[1].max_threads == 0
    assert smtps.connect(session=new_id()).code == 421
    smtps.envelope("r@to.example")
    assert smtps.peer.expect(Refused)
    qmgr.agent()
    wait_until(lambda: not qmgr.states(), "delivered")
    assert any("no new mail is taken by order" in text for text in ask(qmgr, "status")["trouble"])


def test_stop_begins_no_delivery_and_lets_what_is_under_way_end(qmgr):
    qmgr.smar()
    agent = qmgr.agent(script=lambda job: None)
    smtps = qmgr.smtps()
    smtps.mail("r@one.example")
    (job,) = agent.wait_jobs(1)
    ask(qmgr, "stop")
    job.done(450)
    qmgr.wait_deferred(1)
    ask(qmgr, "retry", "all")
    qmgr.advance(10)
    wait_until(lambda: qmgr.context.active.edbc.needs_refill, "the feeder was woken, and did nothing")
    assert len(agent.jobs) == 1


def test_resume_takes_and_delivers_again_what_load_control_allows(qmgr):
    qmgr.smar()
    agent = qmgr.agent()
    smtps = qmgr.smtps()
    ask(qmgr, "stop")
    smtps.peer.expect(Throttle)
    qmgr.context.resources.look()
    assert qmgr.context.smtps.percent == 0
    assert ask(qmgr, "status")["mode"] == "stop"
    ask(qmgr, "resume")
    assert smtps.peer.expect(Throttle)[1].max_threads == 100
    smtps.mail("r@to.example")
    assert agent.wait_jobs(1)
    qmgr.wait_empty()


def test_load_control_goes_on_while_nothing_is_taken(qmgr):
    qmgr.context.mode.set("drain")
    qmgr.context.mode.throttle(50, "disk")
    assert (qmgr.context.smtps.percent, qmgr.context.smtps.reason[:11]) == (0, "Mail system")
    qmgr.context.mode.set("normal")
    assert (qmgr.context.smtps.percent, qmgr.context.smtps.reason) == (50, "disk")
