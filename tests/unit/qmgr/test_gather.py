"""Recipients of one message for one destination travel together."""

import threading

import pytest

from meta1g.base import paths
from meta1g.base.reply import Reply
from meta1g.qmgr import gather
from meta1g.rcb.qmgr_smar import Members, Unresolved
from tests.fakes.qmgr_peers import Ctl, route
from tests.fakes.qmgr_system import wait_until

#: So long that nothing leaves because the machine is slow.
GATHER_S = 60.0


@pytest.fixture(autouse=True)
def _patience(monkeypatch):
    monkeypatch.setattr(gather, "GATHER_S", GATHER_S)


class SlowSmar:
    """Answers for the addresses that are held when the test says so, for all others at once."""

    def __init__(self, qmgr, *held):
        self.asked, self.lock = {}, threading.Lock()
        self.smar = qmgr.smar()
        self.handle = self.smar._handle
        self.held = set(held)
        self.smar._handler = self._take

    def _take(self, conn, request_id, msg):
        if getattr(msg, "rcpt", None) in self.held:
            with self.lock:
                self.asked[msg.rcpt] = (conn, request_id)
        else:
            self.handle(conn, request_id, msg)

    def answer(self, rcpt, answer=None):
        wait_until(lambda: rcpt in self.asked, f"{rcpt} was asked for")
        with self.lock:
            conn, request_id = self.asked.pop(rcpt)
        conn.send(answer or route("192.0.2.1"), request_id)


def envelopes(agent):
    return sorted(sorted(job.rcpts) for job in agent.jobs)


def wait_gathering(qmgr, count):
    wait_until(lambda: list(qmgr.states().values()).count("GATHERING") == count, qmgr.states)


def test_fifty_recipients_of_one_host_are_one_delivery(make_qmgr):
    qmgr = make_qmgr(max_rcpts_per_transaction=100)
    qmgr.smar()
    agent = qmgr.agent()
    qmgr.smtps().mail(*(f"r{number}@to.example" for number in range(50)))
    qmgr.wait_empty()
    assert [len(job.rcpts) for job in agent.jobs] == [50]


def test_a_delivery_that_is_full_does_not_wait_for_others(qmgr):
    smar = SlowSmar(qmgr, "slow@to.example")
    agent = qmgr.agent()
    qmgr.smtps().mail("slow@to.example", *(f"r{number}@to.example" for number in range(13)))
    assert [len(job.rcpts) for job in agent.wait_jobs(1)] == [10]
    wait_gathering(qmgr, 3)
    smar.answer("slow@to.example")
    qmgr.wait_empty()
    assert sorted(len(job.rcpts) for job in agent.jobs) == [4, 10]


def test_two_recipients_whose_answers_come_one_after_the_other_travel_together(qmgr):
    smar = SlowSmar(qmgr, "b@to.example")
    agent = qmgr.agent()
    qmgr.smtps().mail("a@to.example", "b@to.example")
    wait_gathering(qmgr, 1)
    smar.answer("b@to.example")
    qmgr.wait_empty()
    assert envelopes(agent) == [["a@to.example", "b@to.example"]]


def test_one_look_up_that_hangs_holds_up_nobody(qmgr):
    smar = SlowSmar(qmgr, "hangs@to.example")
    agent = qmgr.agent()
    qmgr.smtps().mail("hangs@to.example", "a@to.example", "b@to.example")
    wait_gathering(qmgr, 2)
    qmgr.advance(GATHER_S)
    agent.wait_jobs(1)
    assert envelopes(agent) == [["a@to.example", "b@to.example"]]
    smar.answer("hangs@to.example")
    qmgr.wait_empty()
    assert envelopes(agent) == [["a@to.example", "b@to.example"], ["hangs@to.example"]]


@pytest.mark.parametrize("code", [450, 550])
def test_those_who_wait_go_when_the_last_answer_is_a_refusal(qmgr, code):
    smar = SlowSmar(qmgr, "b@to.example")
    agent = qmgr.agent()
    qmgr.smtps().mail("a@to.example", "b@to.example", mail="")
    wait_gathering(qmgr, 1)
    smar.answer("b@to.example", Unresolved(reply=Reply(code, f"{code // 100}.1.2", "no")))
    agent.wait_jobs(1)
    assert envelopes(agent) == [["a@to.example"]]


def test_members_of_a_list_travel_with_the_recipient_beside_it(qmgr):
    smar = SlowSmar(qmgr, "list@to.example")
    agent = qmgr.agent()
    qmgr.smtps().mail("a@to.example", "list@to.example")
    wait_gathering(qmgr, 1)
    smar.answer("list@to.example", Members(members=("b@to.example", "c@to.example"), owner=None))
    qmgr.wait_empty()
    assert envelopes(agent) == [["a@to.example", "b@to.example", "c@to.example"]]


def test_recipients_of_several_hosts_leave_as_one_delivery_for_each(qmgr):
    qmgr.smar().answers.update({"x.example": route("192.0.2.1"), "y.example": route("192.0.2.2")})
    agent = qmgr.agent()
    qmgr.smtps().mail("a@x.example", "b@y.example", "c@x.example", "d@y.example")
    qmgr.wait_empty()
    assert envelopes(agent) == [["a@x.example", "c@x.example"], ["b@y.example", "d@y.example"]]


def test_the_operator_removes_one_that_waits_for_others(qmgr):
    smar = SlowSmar(qmgr, "b@to.example")
    agent = qmgr.agent()
    ta_id = qmgr.smtps().mail("a@to.example", "b@to.example", "c@to.example")
    wait_gathering(qmgr, 2)
    with Ctl(qmgr.queue / paths.QMGR_CONTROL_SOCKET) as ctl:
        assert ctl.ask("remove", f"{ta_id}-0000") == {"removed": 1}
    smar.answer("b@to.example")
    qmgr.wait_empty()
    assert envelopes(agent) == [["b@to.example", "c@to.example"]]


def test_the_operator_removes_all_that_wait(qmgr):
    smar = SlowSmar(qmgr, "b@to.example")
    ta_id = qmgr.smtps().mail("a@to.example", "b@to.example", "c@to.example")
    wait_gathering(qmgr, 2)
    with Ctl(qmgr.queue / paths.QMGR_CONTROL_SOCKET) as ctl:
        assert ctl.ask("remove", f"{ta_id}-0000", f"{ta_id}-0002") == {"removed": 2}
    qmgr.advance(GATHER_S)
    smar.answer("b@to.example")
    agent = qmgr.agent()
    qmgr.wait_empty()
    assert envelopes(agent) == [["b@to.example"]]


def test_a_resolver_that_goes_away_holds_up_nobody(qmgr):
    smar = SlowSmar(qmgr, "b@to.example")
    agent = qmgr.agent()
    qmgr.smtps().mail("a@to.example", "b@to.example")
    wait_gathering(qmgr, 1)
    smar.smar.stop()
    qmgr.peers.remove(smar.smar)
    qmgr.advance(GATHER_S)
    agent.wait_jobs(1)
    assert envelopes(agent) == [["a@to.example"]]
    qmgr.smar()
    qmgr.wait_empty()


def test_a_recipient_that_is_alone_waits_for_nothing(qmgr, monkeypatch):
    timed = []
    monkeypatch.setattr(type(qmgr.context.gather), "_time", lambda self: timed.append(1))
    qmgr.smar()
    agent = qmgr.agent()
    smtps = qmgr.smtps()
    for number in range(5):
        smtps.mail(f"r{number}@to.example")
    qmgr.wait_empty()
    assert (len(agent.jobs), timed) == (5, [])


def test_recipients_that_are_deferred_together_come_back_together(qmgr):
    qmgr.smar()
    agent = qmgr.agent(script=lambda job: job.done(450))
    rcpts = [f"r{number}@to.example" for number in range(8)]
    qmgr.smtps().mail(*rcpts)
    qmgr.wait_deferred(8)
    assert len({record.next_try for record in qmgr.defedb.scan(None, 9)}) <= 2  # the second may have changed
    agent.script = lambda job: job.done()
    qmgr.advance(600)
    qmgr.wait_empty()
    assert envelopes(agent) == [rcpts, rcpts]
