import pytest

from meta1g.base.reply import Reply
from meta1g.qmgr.limits import (
    DEST_CLOSED_MAX_S,
    LOST_MAX,
    RESULT_TIMEOUT_S,
    SESSION_DELIVERIES_MAX,
    SESSION_IDLE_S,
    SLICE,
)
from meta1g.rcb.common import ServerAddr
from meta1g.rcb.qmgr_smar import Route
from meta1g.rcb.smtpc_qmgr import DeliveryResult, RcptResult, Retry, SmtpcHello
from meta1g.smtpc.limits import DELIVERY_MAX_S
from tests.fakes.qmgr_peers import Agent, domains, route
from tests.fakes.qmgr_system import wait_until

A, B, C = "192.0.2.1", "192.0.2.2", "192.0.2.3"


def hold(job):
    """Leaves a job to the test."""


def system(qmgr, **servers):
    """A resolver that knows where each domain goes: a="192.0.2.1" is a.example."""
    smar = qmgr.smar()
    smar.answers.update({f"{name}.example": route(*addrs.split()) for name, addrs in servers.items()})
    return smar


def send(smtps, *names):
    return [smtps.mail(f"r@{name}.example") for name in names]


def host_at(*addrs, host="mx.example", conf=""):
    """A route to one host with several addresses."""
    return Route(da=0, servers=tuple(ServerAddr(addr=addr, port=25, host=host, conf=conf) for addr in addrs))


# -- slow start


def test_no_more_sessions_than_the_initial_limit_are_opened_at_first(qmgr):
    system(qmgr)
    agent = qmgr.agent(script=hold)
    send(qmgr.smtps(), *"abcdefgh")
    agent.wait_jobs(2)
    wait_until(lambda: list(qmgr.states().values()).count("READY") == 6, "the others wait")
    assert (len(agent.jobs), agent.most) == (2, {A: 2})


def test_success_opens_further_sessions_up_to_the_maximum(qmgr):
    system(qmgr)
    agent = qmgr.agent(script=hold)
    send(qmgr.smtps(), *("x" * 20))
    for number in range(8):
        agent.wait_jobs(number + 1)[number].done()
    wait_until(lambda: sum(not job.answered for job in agent.jobs) == 4, "four at a time")
    assert agent.most == {A: 4}
    agent.script = lambda job: job.done()
    for job in [one for one in agent.jobs if not one.answered]:
        job.done()
    qmgr.wait_empty()
    assert agent.most == {A: 4}


def test_failure_halves_what_is_allowed(qmgr):
    system(qmgr, a=A)
    agent = qmgr.agent()
    send(qmgr.smtps(), *("a" * 6))
    qmgr.wait_empty()
    (dest,) = qmgr.context.scheduler.occ.dests()
    assert dest.limit == 4
    agent.script = lambda job: job.failed()
    send(qmgr.smtps(), "a")
    qmgr.wait_deferred(1)
    assert dest.limit == 2


# -- sessions


def test_an_open_session_is_used_again(qmgr):
    system(qmgr)
    agent = qmgr.agent()
    smtps = qmgr.smtps()
    for number in range(3):
        send(smtps, "a")
        agent.wait_jobs(number + 1)
        qmgr.wait_empty()
    assert [job.msg.new_session for job in agent.jobs] == [True, False, False]
    assert len({job.msg.session_id for job in agent.jobs}) == 1
    assert len({job.msg.da_ta_id for job in agent.jobs}) == 3


def test_a_session_that_does_not_stay_open_is_not_used_again(qmgr):
    system(qmgr)
    agent = qmgr.agent(script=lambda job: job.done(keep=False))
    smtps = qmgr.smtps()
    for number in range(2):
        send(smtps, "a")
        agent.wait_jobs(number + 1)
        qmgr.wait_empty()
    assert [job.msg.new_session for job in agent.jobs] == [True, True]


@pytest.mark.parametrize(
    ("other", "connections"),
    [
        (host_at(B, A), 1),  # the same host, whose addresses came in another order
        (host_at(A), 1),
        (host_at(B, host="other.example"), 2),  # another address and another name
        (host_at(B, A, host="other.example"), 2),
        (host_at(B, A, conf="dot_timeout = 1m;"), 2),
        (host_at(C, B), 2),
    ],
    ids=repr,
)
def test_a_session_with_a_host_serves_other_domains_of_that_host(qmgr, other, connections):
    smar = system(qmgr)
    smar.answers.update({"a.example": host_at(A, B), "b.example": other})
    agent = qmgr.agent()
    smtps = qmgr.smtps()
    for number, name in enumerate(["a", "b", "b"], 1):
        send(smtps, name)
        agent.wait_jobs(number)
        qmgr.wait_empty()
    assert sum(job.msg.new_session for job in agent.jobs) == connections


def test_a_session_with_another_address_is_left_to_those_who_wait_for_that(make_qmgr):
    qmgr = make_qmgr(smtpc_initial_connections=1, smtpc_max_connections=1)
    smar = system(qmgr)
    smar.answers.update({"a.example": host_at(A, B), "b.example": host_at(B, A)})
    agent = qmgr.agent(script=hold)
    smtps = qmgr.smtps()
    send(smtps, "b")
    (first,) = agent.wait_jobs(1)
    send(smtps, "b")
    wait_until(lambda: list(qmgr.states().values()).count("READY") == 1, "the second waits for the session")
    send(smtps, "a")
    wait_until(lambda: len(agent.jobs) == 2, "an address without sessions gets one of its own")
    assert agent.jobs[1].server == A
    first.done()
    agent.wait_jobs(3)
    assert (agent.jobs[2].server, agent.jobs[2].msg.new_session) == (B, False)
    for job in agent.jobs[1:]:
        job.done()
    qmgr.wait_empty()


def test_a_session_that_was_used_by_a_name_is_used_for_that_name_first(qmgr):
    smar = system(qmgr)
    smar.answers.update({f"{name}.example": host_at(A, host=f"mx-{name}") for name in "ab"})
    agent = qmgr.agent(script=hold)
    smtps = qmgr.smtps()
    send(smtps, "a", "b")
    used = {job.rcpts[0][2]: job.msg.session_id for job in agent.wait_jobs(2)}
    for job in list(agent.jobs):
        job.done()
    qmgr.wait_empty()
    for number, name in enumerate("abab", 3):
        send(smtps, name)
        job = agent.wait_jobs(number)[-1]
        assert job.msg.session_id == used[name]
        job.done()
        qmgr.wait_empty()


def test_an_idle_session_is_closed_after_a_while(qmgr):
    system(qmgr)
    agent = qmgr.agent()
    send(qmgr.smtps(), "a")
    qmgr.wait_empty()
    assert qmgr.context.status()["da_sessions"] == 1
    qmgr.advance(SESSION_IDLE_S + 3)
    assert agent.wait_closed(1) == [agent.jobs[0].msg.session_id]
    assert qmgr.context.status()["da_sessions"] == 0


def test_an_idle_session_that_the_server_closed_is_forgotten(qmgr):
    system(qmgr)
    agent = qmgr.agent()
    smtps = qmgr.smtps()
    send(smtps, "a")
    qmgr.wait_empty()
    agent.server_closes(agent.jobs[0].msg.session_id)
    wait_until(lambda: qmgr.context.status()["da_sessions"] == 0, "forgotten")
    send(smtps, "a")
    assert agent.wait_jobs(2)[1].msg.new_session


def test_a_session_has_so_many_deliveries_at_most(qmgr, monkeypatch):
    monkeypatch.setattr("meta1g.qmgr.sched.SESSION_DELIVERIES_MAX", 2)
    assert SESSION_DELIVERIES_MAX > 2
    system(qmgr)
    agent = qmgr.agent()
    smtps = qmgr.smtps()
    for number in range(4):
        send(smtps, "a")
        agent.wait_jobs(number + 1)
        qmgr.wait_empty()
    assert [(job.msg.new_session, job.msg.keep_open) for job in agent.jobs] == [(True, True), (False, False)] * 2


# -- destinations


def test_a_small_destination_is_not_held_up_by_a_big_one(make_qmgr):
    qmgr = make_qmgr(smtpc_initial_connections=1, smtpc_max_connections=1)
    system(qmgr, big=A, small=B)
    smtps = qmgr.smtps()
    send(smtps, *(["big"] * 30), "small")
    agent = qmgr.agent(max_threads=1)
    qmgr.wait_empty()
    assert domains(agent.jobs).index("small.example") <= 2


def test_nobody_starves_when_all_agents_are_busy(make_qmgr):
    """A session that is kept busy by one destination is closed for another one that has none."""
    qmgr = make_qmgr()
    system(qmgr, big=A, b=B, c=C)
    agent = qmgr.agent(max_threads=1, script=hold)
    smtps = qmgr.smtps()
    send(smtps, *(["big"] * 20))
    agent.wait_jobs(1)
    send(smtps, "b", "c")
    wait_until(lambda: list(qmgr.states().values()).count("READY") == 21, "all wait")
    agent.script = lambda job: job.done()
    agent.jobs[0].done()
    qmgr.wait_empty()
    served = domains(agent.jobs)
    assert max(served.index("b.example"), served.index("c.example")) <= 4, served


def test_an_idle_session_makes_room_for_another_destination(qmgr):
    system(qmgr, a=A, b=B)
    agent = qmgr.agent(max_threads=1)
    smtps = qmgr.smtps()
    for name in "ab":
        send(smtps, name)
        qmgr.wait_empty()
    assert agent.closed == [agent.jobs[0].msg.session_id]


def test_work_is_spread_over_all_agents(qmgr):
    system(qmgr, a=A, b=B, c=C)
    agents = [qmgr.agent(max_threads=3, script=hold) for _ in range(2)]
    send(qmgr.smtps(), *"aabb")
    for agent in agents:
        agent.wait_jobs(2)


def test_mail_waits_for_an_agent_and_goes_when_one_comes(qmgr):
    system(qmgr)
    send(qmgr.smtps(), "a", "b")
    wait_until(lambda: list(qmgr.states().values()) == ["READY", "READY"], "ready")
    agent = qmgr.agent()
    qmgr.wait_empty()
    assert len(agent.jobs) == 2


def test_an_unreachable_destination_defers_all_who_wait_for_it_at_once(make_qmgr):
    qmgr = make_qmgr(smtpc_initial_connections=1)
    system(qmgr, dead=A, alive=B)
    agent = qmgr.agent(script=hold)
    send(qmgr.smtps(), *(["dead"] * 20), "alive")
    agent.wait_jobs(2)
    for job in agent.jobs:
        job.failed(text="no route") if job.server == A else job.done()
    qmgr.wait_deferred(20)
    assert domains(agent.jobs) == ["dead.example", "alive.example"]
    assert {str(one.reply) for one in qmgr.defedb.scan(None, 99)} == {"451 4.4.1 no route"}


def test_one_connection_probes_a_destination_that_was_unreachable(make_qmgr):
    qmgr = make_qmgr(min_retry_delay_s=60)
    system(qmgr)
    agent = qmgr.agent(script=lambda job: job.failed())
    send(qmgr.smtps(), *("x" * 10))
    qmgr.wait_deferred(10)
    known = len(agent.jobs)
    agent.script = hold
    qmgr.advance(DEST_CLOSED_MAX_S + 20)
    agent.wait_jobs(known + 1)
    wait_until(lambda: list(qmgr.states().values()).count("READY") == 9, "the others wait for the probe")
    assert len(agent.jobs) == known + 1
    agent.script = lambda job: job.done()
    agent.jobs[-1].done()
    qmgr.wait_empty()


def test_a_failed_probe_defers_all_again(make_qmgr):
    qmgr = make_qmgr(min_retry_delay_s=60)
    system(qmgr)
    agent = qmgr.agent(script=lambda job: job.failed())
    send(qmgr.smtps(), *("x" * 10))
    qmgr.wait_deferred(10)
    known = len(agent.jobs)
    qmgr.advance(DEST_CLOSED_MAX_S + 20)
    wait_until(lambda: {one.tries for one in qmgr.defedb.scan(None, 99)} == {2}, "all were tried again")
    assert len(agent.jobs) <= known + 2


def test_the_next_server_is_tried_at_once(qmgr):
    system(qmgr, a=f"{A} {B} {C}")
    agent = qmgr.agent(script=lambda job: job.done() if job.server == C else job.failed())
    send(qmgr.smtps(), "a")
    qmgr.wait_empty()
    assert [job.server for job in agent.jobs] == [A, B, C]


def test_the_next_server_is_tried_for_a_recipient_that_the_first_one_refused_for_now(qmgr):
    system(qmgr, a=f"{A} {B}")
    agent = qmgr.agent(script=lambda job: job.done(rcpts={"r@a.example": 450}) if job.server == A else job.done())
    send(qmgr.smtps(), "a")
    qmgr.wait_empty()
    assert [job.server for job in agent.jobs] == [A, B]


def test_addresses_that_were_tried_together_are_passed_over_together(qmgr):
    smar = system(qmgr)
    smar.answers["a.example"] = Route(da=0, servers=(*host_at(A, B).servers, *host_at(C, host="backup.example").servers))
    agent = qmgr.agent(script=lambda job: job.done() if job.server == C else job.failed(tried=len(job.msg.server)))
    send(qmgr.smtps(), "a")
    qmgr.wait_empty()
    assert [[one.addr for one in job.msg.server] for job in agent.jobs] == [[A, B], [C]]


def test_all_servers_that_fail_leave_the_last_reply(qmgr):
    system(qmgr, a=f"{A} {B}")
    agent = qmgr.agent(script=lambda job: job.failed(text=f"no {job.server}"))
    send(qmgr.smtps(), "a")
    qmgr.wait_deferred(1)
    assert qmgr.defedb.scan(None, 9)[0].reply.text == f"no {B}"
    assert len(agent.jobs) == 2


def test_those_who_wait_for_a_closed_server_go_to_their_next_one(make_qmgr):
    qmgr = make_qmgr(smtpc_initial_connections=1)
    system(qmgr, a=f"{A} {B}")
    agent = qmgr.agent(script=lambda job: job.done() if job.server == B else job.failed())
    send(qmgr.smtps(), *("a" * 10))
    qmgr.wait_empty()
    assert [job.server for job in agent.jobs].count(A) <= 2


def test_a_permanent_refusal_of_the_last_server_bounces(qmgr):
    system(qmgr, a=A)
    agent = qmgr.agent(script=lambda job: job.failed(554, "go away") if job.server == A and job.msg.mail else job.done())
    qmgr.peers[0].answers["from.example"] = route(B)
    send(qmgr.smtps(), "a")
    qmgr.wait_empty()
    assert b"554 5.4.1 go away" in agent.jobs[1].bytes


# -- what was said of a recipient


def mail_to(qmgr, *names):
    """One message whose recipients wait until all are ready; gives its id."""
    ta_id = qmgr.smtps().mail(*(f"{name}@a.example" for name in names))
    wait_until(lambda: list(qmgr.states().values()) == ["READY"] * len(names), "all are ready")
    return ta_id


def deferred(qmgr):
    return {one.rcpt[0]: str(one.reply) for one in qmgr.defedb.scan(None, 99)}


def test_who_was_refused_before_the_session_broke_is_neither_asked_for_at_the_next_server_nor_tried_again(qmgr):
    system(qmgr, a=f"{A} {B}", **{"from": C})
    mail_to(qmgr, "r", "s", "t")

    def script(job):
        if job.server == A:
            job.failed(text="broken", rcpts={"r@a.example": 550, "s@a.example": 450})
        else:
            job.done()

    agent = qmgr.agent(script=script)
    qmgr.wait_empty()
    asked = {server: sorted(rcpt for job in agent.jobs if job.server == server for rcpt in job.rcpts) for server in (A, B, C)}
    assert asked == {
        A: ["r@a.example", "s@a.example", "t@a.example"],
        B: ["s@a.example", "t@a.example"],
        C: ["s@from.example"],
    }


def test_a_broken_session_is_the_outcome_of_those_about_whom_nothing_was_said(qmgr):
    system(qmgr, a=A)
    mail_to(qmgr, "r", "s", "t")
    qmgr.agent(script=lambda job: job.failed(text="broken", rcpts={"r@a.example": 450, "s@a.example": 250}))
    qmgr.wait_deferred(2)
    assert deferred(qmgr) == {"r": "450 4.1.1 said", "t": "451 4.4.1 broken"}


@pytest.mark.parametrize(("code", "closed"), [(550, False), (250, False), (450, True)])
def test_a_server_that_has_decided_about_somebody_is_not_out_of_reach(qmgr, code, closed):
    system(qmgr, a=A, **{"from": C})
    mail_to(qmgr, "r", "s")
    agent = qmgr.agent(script=lambda job: job.failed(rcpts={"r@a.example": code}) if job.server == A else job.done())
    qmgr.wait_deferred(1 if code != 450 else 2)
    with qmgr.context.active.lock:
        dests = {dest.key.addr: dest.closed_until > 0 for dest in qmgr.context.scheduler.occ.dests()}
    assert dests[A] is closed
    assert agent.jobs[0].rcpts == ["r@a.example", "s@a.example"]


def test_who_is_beyond_the_limit_of_a_transaction_has_the_next_one_at_once(qmgr):
    system(qmgr, a=A)
    mail_to(qmgr, *"abcde")

    def script(job):
        """Takes two recipients a message."""
        job.done(rcpts={rcpt: 250 if place < 2 else 452 for place, rcpt in enumerate(job.rcpts)}, retry=Retry.OTHER_TRANSACTION)

    agent = qmgr.agent(script=script)
    qmgr.wait_empty()
    assert [len(job.rcpts) for job in agent.jobs] == [5, 3, 1]
    assert {job.msg.session_id for job in agent.jobs} == {agent.jobs[0].msg.session_id}


def test_who_was_not_asked_by_the_limits_of_a_server_has_the_next_transaction_whatever_became_of_the_others(qmgr):
    system(qmgr, a=A)
    mail_to(qmgr, *"abc")

    def script(job):
        """Asks for one recipient a message, and it is refused."""
        job.results([(550, Retry.BY_CODE), *[(452, Retry.NEXT_TRANSACTION)] * (len(job.rcpts) - 1)])

    agent = qmgr.agent(script=script)
    agent.wait_jobs(3)
    assert [len(job.rcpts) for job in agent.jobs[:3]] == [3, 2, 1]


def test_a_limit_that_serves_nobody_is_waited_for(qmgr):
    system(qmgr, a=A)
    mail_to(qmgr, *"ab")
    agent = qmgr.agent(script=lambda job: job.done(rcpts=dict.fromkeys(job.rcpts, 552), retry=Retry.OTHER_TRANSACTION))
    qmgr.wait_deferred(2)
    assert len(agent.jobs) == 1
    assert deferred(qmgr) == {"a": "552 5.1.1 said", "b": "552 5.1.1 said"}


def test_a_permanent_code_that_means_later_is_tried_again_until_it_expires(qmgr):
    system(qmgr, a=A, **{"from": C})
    mail_to(qmgr, "r")
    agent = qmgr.agent(script=lambda job: job.done(rcpts={"r@a.example": 552}, retry=Retry.LATER))
    qmgr.wait_deferred(1)
    qmgr.advance(6 * 86400)
    qmgr.wait_empty()
    assert [job.server for job in agent.jobs].count(A) >= 2
    assert b"552" in agent.jobs[-1].bytes or b"5.4.7" in agent.jobs[-1].bytes


# -- agents that go away


def test_the_work_of_a_lost_agent_is_done_by_another_one(qmgr):
    system(qmgr, a=A, b=B)
    lost = qmgr.agent(script=hold)
    ids = send(qmgr.smtps(), "a", "b")
    lost.wait_jobs(2)
    lost.stop()
    other = qmgr.agent()
    qmgr.wait_empty()
    assert sorted(job.msg.ta_id for job in other.jobs) == sorted(ids)
    assert all(job.msg.new_session for job in other.jobs)
    assert qmgr.sink.find("func=qmgr.smtpc.*gone")


def test_a_message_whose_agent_ends_again_and_again_waits_like_a_deferred_one(qmgr):
    system(qmgr, a=A)
    agents = [qmgr.agent(script=hold)]
    send(qmgr.smtps(), "a")
    for _ in range(LOST_MAX):
        agents[-1].wait_jobs(1)
        assert qmgr.context.defer.count == 0
        agents[-1].stop()
        agents.append(qmgr.agent(script=hold))
    qmgr.wait_deferred(1)
    assert agents[-1].jobs == []
    assert qmgr.sink.find("func=qmgr.deferred.*the delivery agent ended several times")


def test_idle_sessions_of_a_lost_agent_are_forgotten(qmgr):
    system(qmgr)
    lost = qmgr.agent()
    smtps = qmgr.smtps()
    send(smtps, "a")
    qmgr.wait_empty()
    lost.stop()
    wait_until(lambda: qmgr.context.status()["smtpc"] == 0, "it is gone")
    assert qmgr.context.status()["da_sessions"] == 0
    other = qmgr.agent()
    send(smtps, "a")
    assert other.wait_jobs(1)[0].msg.new_session


def test_a_result_for_a_lost_session_changes_nothing(qmgr):
    system(qmgr)
    agent = qmgr.agent(script=hold)
    send(qmgr.smtps(), "a")
    (job,) = agent.wait_jobs(1)
    job.done()
    qmgr.wait_empty()
    job.answered = False
    job.done(550)
    send(qmgr.smtps(), "b")
    agent.wait_jobs(2)[1].done()
    qmgr.wait_empty()


def test_a_recipient_that_the_result_does_not_mention_is_tried_again(qmgr):
    system(qmgr)
    qmgr.agent(script=lambda job: job.done(0))
    send(qmgr.smtps(), "a")
    qmgr.wait_deferred(1)
    assert qmgr.defedb.scan(None, 9)[0].reply.text == "delivery agent reported nothing"


@pytest.mark.parametrize("hello", [{"max_threads": 0}, {"twice": True}])
def test_a_hello_that_makes_no_sense_closes_the_connection(qmgr, hello):
    agent = Agent(qmgr.queue / "qmgr/smtpc", max_threads=hello.get("max_threads", 5))
    if "twice" in hello:
        agent = qmgr.agent()
        agent.peer.send(SmtpcHello(smtpc_id=0, pid=1, max_threads=5))
    else:
        with pytest.raises((EOFError, ConnectionError)):
            agent.start()
        agent.peer.close()
    qmgr.sink.wait("a second hello.* or one without sessions")


# -- joining


def test_recipients_of_a_transaction_and_a_destination_are_joined_up_to_the_limit(make_qmgr):
    qmgr = make_qmgr(max_rcpts_per_transaction=10)
    system(qmgr, a=A, b=B)
    qmgr.smtps().mail(*(f"r{number}@a.example" for number in range(25)), "r@b.example")
    wait_until(lambda: list(qmgr.states().values()) == ["READY"] * 26, "all are ready")
    agent = qmgr.agent()
    qmgr.wait_empty()
    assert sorted(len(job.rcpts) for job in agent.jobs) == [1, 5, 10, 10]
    assert [rcpt for job in agent.jobs for rcpt in job.rcpts if "a.example" in rcpt] == [f"r{n}@a.example" for n in range(25)]


# -- shares


def test_a_destination_whose_connections_hang_leaves_sessions_to_the_others(make_qmgr):
    qmgr = make_qmgr(smtpc_initial_connections=50, smtpc_max_connections=50)
    system(qmgr, hung=A, good=B)
    agent = qmgr.agent(max_threads=8, script=lambda job: None if job.server == A else job.done())
    smtps = qmgr.smtps()
    send(smtps, *(["hung"] * 20))
    agent.wait_jobs(6)
    send(smtps, *(["good"] * 20))
    wait_until(lambda: sum(job.server == B for job in list(agent.jobs)) == 20, "the others are delivered")
    assert agent.most[A] == 6
    agent.script = lambda job: job.done()
    for job in [one for one in agent.jobs if not one.answered]:
        job.done()
    qmgr.wait_empty()


def test_a_destination_that_has_its_share_goes_on_when_others_are_done(make_qmgr):
    qmgr = make_qmgr(smtpc_initial_connections=50, smtpc_max_connections=50)
    system(qmgr, a=A, b=B)
    agent = qmgr.agent(max_threads=4, script=hold)
    smtps = qmgr.smtps()
    send(smtps, "b")
    agent.wait_jobs(1)
    send(smtps, *(["a"] * 3))
    agent.wait_jobs(3)
    wait_until(lambda: list(qmgr.states().values()).count("READY") == 1, "the third waits")
    assert agent.most == {A: 2, B: 1}
    agent.jobs[0].done(keep=False)
    agent.wait_jobs(4)
    assert agent.most[A] == 3


# -- containment


def test_a_delivery_that_cannot_be_built_is_tried_later_and_costs_nobody_else(qmgr, monkeypatch):
    system(qmgr, bad=A, good=A)
    agent = qmgr.agent()
    real = qmgr.context.scheduler._builder.build

    def build(session, rcpts, **facts):
        if "bad" in rcpts[0].record.rcpt:
            raise RuntimeError("no report can be made of this")
        return real(session, rcpts, **facts)

    smtps = qmgr.smtps()
    with monkeypatch.context() as patch:
        patch.setattr(qmgr.context.scheduler._builder, "build", build)
        send(smtps, "bad", "good", "bad", "good")
        agent.wait_jobs(2)
        qmgr.wait_deferred(2)
    assert qmgr.sink.find("where=qmgr.deliver.*contained: RuntimeError")
    with qmgr.context.active.lock:
        (dest,) = qmgr.context.scheduler.occ.dests()
        assert dest.open == len(dest.idle) == qmgr.context.scheduler.dadb.sessions
    qmgr.advance(700)
    qmgr.wait_empty()
    assert sorted(domains(agent.jobs)) == ["bad.example"] * 2 + ["good.example"] * 2


def test_reports_that_cannot_be_made_are_tried_later(qmgr, monkeypatch):
    system(qmgr)
    agent = qmgr.agent(script=lambda job: job.done(550 if job.msg.mail else 250))
    with monkeypatch.context() as patch:
        patch.setattr("meta1g.qmgr.bounce.bounce_records", lambda *args: 1 // 0)
        send(qmgr.smtps(), "a")
        qmgr.wait_deferred(1)
    assert qmgr.sink.find("where=qmgr.bounce.*contained: ZeroDivisionError")
    qmgr.advance(700)
    qmgr.wait_empty()
    assert [bool(job.msg.dsn_head) for job in agent.jobs] == [False, False, True]


@pytest.mark.parametrize("what", ["session_id", "ta_id"])
def test_the_result_of_another_delivery_decides_about_nobody(qmgr, what):
    system(qmgr, a=A, b=B)
    agent = qmgr.agent(script=hold)
    send(qmgr.smtps(), "a", "b")
    jobs = {job.server: job for job in agent.wait_jobs(2)}
    mine, other = ({"session_id": jobs[a].msg.session_id, "ta_id": jobs[a].msg.da_ta_id} for a in (A, B))
    wrong = {**mine, what: other[what]}
    agent.peer.send(DeliveryResult(**wrong, transaction=Reply(250), session_open=True), jobs[A].request_id)
    jobs[B].done()
    wait_until(lambda: qmgr.context.defer.count == 1, "it is tried later")
    (record,) = qmgr.defedb.scan(None, 9)
    assert (record.rcpt, record.reply.code) == ("r@a.example", 451)
    assert qmgr.sink.find("sevr=ERROR, func=qmgr.result, .*stat=result of another delivery")
    assert agent.wait_closed(1) == [jobs[A].msg.session_id]
    agent.sessions.pop(jobs[A].msg.session_id, None)
    agent.script = lambda job: job.done()
    qmgr.advance(700)
    qmgr.wait_empty()


def test_an_agent_has_the_time_that_it_may_take():
    """What is given up while the agent still delivers it is delivered twice; an hour is left to open the session."""
    assert RESULT_TIMEOUT_S >= DELIVERY_MAX_S + 3600


def test_a_result_that_does_not_come_in_time_is_not_waited_for(qmgr):
    system(qmgr, a=A)
    agent = qmgr.agent(script=hold)
    qmgr.smtps().mail("r@a.example", mail="")  # nobody to be warned of the delay
    (job,) = agent.wait_jobs(1)
    qmgr.advance(RESULT_TIMEOUT_S + 60)
    qmgr.wait_deferred(1)
    assert qmgr.defedb.scan(None, 9)[0].reply.text == "delivery agent gave no result in time"
    assert agent.wait_closed(1) == [job.msg.session_id]
    job.done(550)
    agent.sessions.clear()
    agent.script = lambda one: one.done()
    qmgr.advance(4000)
    qmgr.wait_empty()
    assert [one.answered for one in agent.jobs] == [True, True]


def test_strange_codes_and_recipients_in_a_result_defer_those_it_is_about(qmgr):
    system(qmgr, a=A)
    agent = qmgr.agent(script=hold)
    qmgr.smtps().mail("x@a.example", "y@a.example", "z@a.example")
    (job,) = agent.wait_jobs(1)
    own = [(0, 999), (1, 250), (1, 550), (77, 550)]
    rcpts = tuple(RcptResult(rcpt_idx=idx, reply=Reply(code)) for idx, code in own)
    agent.peer.send(DeliveryResult(session_id=job.msg.session_id, ta_id=job.msg.da_ta_id, rcpts=rcpts), job.request_id)
    qmgr.wait_deferred(2)
    assert [one.rcpt for one in qmgr.defedb.scan(None, 9)] == ["x@a.example", "z@a.example"]


def test_an_unreachable_destination_gives_its_recipients_back_in_slices(make_qmgr):
    facts = {"smtpc_initial_connections": 1, "max_rcpts_per_transaction": 1}
    qmgr = make_qmgr(aq_max_entries=4000, iqdb_max_entries=8000, **facts)
    system(qmgr, dead=A)
    smtps = qmgr.smtps()
    for _ in range(4):
        smtps.mail(*(f"r{number}@dead.example" for number in range(500)))
    wait_until(lambda: list(qmgr.states().values()) == ["READY"] * 2000, "all are ready")
    taken = []
    real = qmgr.context.active.queues.take_some
    with qmgr.context.active.lock:
        type(qmgr.context.active.queues).take_some = lambda self, queue, limit: taken.append(limit) or real(queue, limit)
    try:
        agent = qmgr.agent(script=hold)
        agent.wait_jobs(1)[0].failed(text="no route")
        qmgr.wait_deferred(2000)
    finally:
        type(qmgr.context.active.queues).take_some = real.__func__
    assert len(taken) >= 8
    assert max(taken) == SLICE


# -- priorities and times for delivery


def test_the_mail_of_a_destination_goes_by_priority(qmgr):
    system(qmgr, a=A)
    agent = qmgr.agent(script=hold)
    smtps = qmgr.smtps()
    send(smtps, *"aa")
    agent.wait_jobs(2)  # all that the destination may have at first
    ids = {priority: smtps.mail("r@a.example", priority=priority) for priority in (0, -5, 3, 9)}
    wait_until(lambda: list(qmgr.states().values()).count("READY") == 4, "they wait")
    agent.jobs[0].done()
    agent.jobs[0].agent.script = lambda job: job.done()
    agent.jobs[1].done()
    qmgr.wait_empty()
    order = [job.msg.ta_id for job in agent.jobs[2:]]
    assert order[0] == ids[9]
    assert order.index(ids[3]) < order.index(ids[-5])
    assert {job.msg.priority for job in agent.jobs} == {0, -5, 3, 9}


def test_a_message_whose_time_is_over_is_returned_and_not_sent(qmgr):
    system(qmgr, a=A, from_=B)
    agent = qmgr.agent(script=hold)
    smtps = qmgr.smtps()
    send(smtps, *"aa")
    agent.wait_jobs(2)
    by = float(int(qmgr.clock.now()) + 100)
    late = smtps.mail("late@a.example", by=by, by_mode="R")
    told = smtps.mail("told@a.example", by=by, by_mode="N")
    wait_until(lambda: list(qmgr.states().values()).count("READY") == 2, "they wait")
    qmgr.advance(200)
    agent.script = lambda job: job.done()
    for job in agent.jobs[:2]:
        job.done()
    qmgr.wait_empty()
    sent = {job.msg.ta_id: job for job in agent.jobs if not job.msg.dsn_head}
    assert late not in sent
    assert (sent[told].msg.by, sent[told].msg.by_mode) == (by, "N")
    reports = {job.msg.ta_id: job.told for job in agent.jobs if job.msg.dsn_head}
    assert b"Status: 5.4.7" in reports[late]
    assert b"Action: relayed" in reports[told]
    assert all(job.msg.by_mode is None for job in agent.jobs if job.msg.dsn_head)


def test_times_and_priorities_outlive_a_restart(qmgr):
    system(qmgr, a=A)
    agent = qmgr.agent(script=lambda job: job.failed())
    by = float(int(qmgr.clock.now()) + 3600)
    ta_id = qmgr.smtps().mail("r@a.example", by=by, by_mode="RT", priority=-7)
    qmgr.wait_deferred(1)
    qmgr.restart()
    system(qmgr, a=A)
    agent = qmgr.agent(script=hold)
    qmgr.advance(400)
    (job,) = agent.wait_jobs(1)
    assert (job.msg.ta_id, job.msg.by_mode, job.msg.priority) == (ta_id, "RT", -7)
    assert job.msg.by == by
    agent.script = lambda job: job.done()  # the report of the trace
    job.done()
    qmgr.wait_empty()


def test_a_message_that_waits_at_its_second_server_is_returned_once(qmgr):
    system(qmgr, a=B, c=f"{A} {B}", b=C)
    agent = qmgr.agent(script=hold)
    smtps = qmgr.smtps()
    send(smtps, *"aa")
    agent.wait_jobs(2)
    late = smtps.mail("late@c.example", mail="s@b.example", by=float(int(qmgr.clock.now()) + 100), by_mode="R")
    agent.wait_jobs(3)[2].failed()
    wait_until(lambda: list(qmgr.states().values()).count("READY") == 1, "it waits for the second server")
    qmgr.advance(200)
    report = agent.wait_jobs(4)[3]
    assert (report.msg.ta_id, report.rcpts) == (late, ["s@b.example"])
    assert report.told.count(b"Status: 5.4.7") == 1
    agent.script = lambda job: job.done()
    for job in (*agent.jobs[:2], report):
        job.done()
    qmgr.wait_empty()


def test_a_message_whose_time_is_over_does_not_wait_for_its_turn(qmgr):
    system(qmgr, a=A, b=B)
    agent = qmgr.agent(script=hold)
    smtps = qmgr.smtps()
    send(smtps, *"aa")
    agent.wait_jobs(2)
    late = smtps.mail(
        "late@a.example", "later@a.example", mail="s@b.example", by=float(int(qmgr.clock.now()) + 100), by_mode="R"
    )
    kept = smtps.mail("kept@a.example")
    wait_until(lambda: list(qmgr.states().values()).count("READY") == 3, "they wait")
    qmgr.advance(200)
    report = agent.wait_jobs(3)[2]
    assert (report.msg.ta_id, report.rcpts) == (late, ["s@b.example"])
    assert report.told.count(b"Status: 5.4.7") == 2
    assert [state for (ta_id, _), state in qmgr.states().items() if ta_id == kept] == ["READY"]
    agent.script = lambda job: job.done()
    for job in agent.jobs[:3]:
        job.done()
    qmgr.wait_empty()
