"""Verification of addresses: SMTPS asks, QMGR knows or lets SMTPC ask the mail server."""

from dataclasses import replace

import pytest

from meta1g.base.reply import Reply
from meta1g.qmgr import probes
from meta1g.qmgr.limits import PROBE_AGAIN_S, PROBE_WAIT_S
from meta1g.rcb.qmgr_smar import Members, Unresolved
from meta1g.rcb.smtpc_qmgr import Retry
from meta1g.rcb.smtps_qmgr import NewSession, Stat, VerifyAddress
from tests.fakes.qmgr_peers import Ctl, new_id, route
from tests.fakes.qmgr_system import BASE, wait_until
from tests.fakes.shortage import no_threads

A = "a@to.example"


def verify(**changes):
    """Section verify with its usual times."""
    return replace(BASE["verify"], **changes)


class Asker:
    """An SMTPS with one session for each client; answers come in any order."""

    def __init__(self, qmgr):
        self.smtps = qmgr.smtps()
        self.numbers = iter(range(1000, 9999))
        self.sessions = {}

    def start(self, address, client="192.0.2.99"):
        if client not in self.sessions:
            self.sessions[client] = new_id()
            message = NewSession(session_id=self.sessions[client], client_addr=client)
            assert self.smtps.peer.request(message, next(self.numbers)).reply.is_ok
        number = next(self.numbers)
        self.smtps.peer.send(VerifyAddress(session_id=self.sessions[client], address=address), number)
        return number

    def answers(self, count):
        found = dict(self.smtps.peer.expect(Stat) for _ in range(count))
        return {number: stat.reply for number, stat in found.items()}

    def ask(self, address, client="192.0.2.99"):
        number = self.start(address, client)
        return self.answers(1)[number]


@pytest.fixture
def made(make_qmgr):
    """Gives a queue manager with a resolver, an agent and an asker."""

    def make(script=lambda job: job.done(rcpts={A: 250}), **changes):
        qmgr = make_qmgr(**changes)
        smar = qmgr.smar()
        wait_until(lambda: qmgr.context.resolver.up, "the resolver is there")
        return qmgr, smar, qmgr.agent(script=script), Asker(qmgr)

    return make


def said(code, **more):
    return lambda job: job.done(rcpts=dict.fromkeys(job.rcpts, code), text="said so", **more)


def test_a_server_is_asked_once_and_nothing_is_sent(made):
    qmgr, _, agent, asker = made(said(250))
    assert [asker.ask(A).code for _ in range(3)] == [250] * 3
    assert asker.ask("a@TO.example").code == 250
    (job,) = agent.jobs
    assert (job.msg.probe, job.msg.mail, job.rcpts, job.msg.cdb_id, job.msg.keep_open) == (True, "", [A], "", False)
    assert qmgr.sink.find(rf"func=qmgr\.verified.*rcpt={A}.*relay=mx-192\.0\.2\.1\[192\.0\.2\.1\].*reply=250")
    assert not any(qmgr.left())


def test_what_a_server_refuses_is_refused_in_its_words(made):
    _, _, agent, asker = made(said(550))
    for _ in range(2):
        assert str(asker.ask(A)) == "550 5.1.1 Address is refused by its mail server: 550 5.1.1 said so"
    assert len(agent.jobs) == 1


@pytest.mark.parametrize(
    ("answer", "code", "text"),
    [
        (Unresolved(reply=Reply(550, "5.1.2", "no such domain")), 550, "Address cannot be reached: 550 5.1.2 no such domain"),
        (Unresolved(reply=Reply(451, "4.4.3", "no name server")), 450, "try again later: 451 4.4.3 no name server"),
        (Members(members=("x@y.example",)), 250, "is taken"),
    ],
)
def test_the_resolver_may_know_it_already(made, answer, code, text):
    _, smar, agent, asker = made()
    smar.answers[A] = answer
    reply = asker.ask(A)
    assert reply.code == code
    assert text in reply.text
    assert agent.jobs == []


def test_an_answer_for_now_is_not_kept_for_long(made):
    qmgr, _, agent, asker = made(said(450))
    assert [asker.ask(A).code for _ in range(2)] == [450, 450]
    assert len(agent.jobs) == 1
    agent.script = said(250)
    qmgr.advance(61)
    assert asker.ask(A).code == 250


def test_who_waits_too_long_comes_back_and_there_is_one_probe_for_all(made):
    qmgr, _, agent, asker = made(lambda job: None, verify=verify(wait_s=6))
    first = asker.start(A)
    (job,) = agent.wait_jobs(1)
    second = asker.start(A, "192.0.2.7")
    wait_until(lambda: len(qmgr.context.verifier._late) == 2, "both wait")
    qmgr.advance(7)
    assert {number: reply.text for number, reply in asker.answers(2).items()} == dict.fromkeys(
        (first, second), "Address is being verified; try again later"
    )
    third = asker.start(A)
    wait_until(lambda: len(qmgr.context.verifier._late) == 1, "it waits")
    job.done(rcpts={A: 250})
    assert asker.answers(1)[third].code == 250
    assert len(agent.jobs) == 1
    assert asker.ask(A).code == 250


def test_nobody_waits_if_the_time_is_zero(made):
    qmgr, _, agent, asker = made(verify=verify(wait_s=0))
    assert asker.ask(A).text == "Address is being verified; try again later"
    agent.wait_jobs(1)
    wait_until(lambda: len(qmgr.context.verifier), "the answer is known")
    assert asker.ask(A).code == 250


def test_what_is_known_outlasts_a_restart(made):
    qmgr, _, agent, asker = made(said(250))
    asker.ask(A)
    agent.script = said(550)
    asker.ask("b@to.example")
    qmgr.restart()
    qmgr.smar()
    agent, asker = qmgr.agent(), Asker(qmgr)
    assert [asker.ask(one).code for one in (A, "b@to.example")] == [250, 550]
    assert agent.jobs == []
    assert qmgr.sink.find("func=qmgr.known, count=2")


def test_an_address_is_asked_for_again_before_its_answer_expires(made):
    qmgr, _, agent, asker = made(said(250))
    asker.ask(A)
    qmgr.advance(8 * 86400)
    agent.script = said(550)
    assert asker.ask(A).code == 250
    agent.wait_jobs(2)
    wait_until(lambda: qmgr.sink.find("func=qmgr.verified.*reply=550"), "the answer is known")
    assert asker.ask(A).code == 550
    qmgr.advance(4 * 86400)
    agent.script = said(250)
    assert asker.ask(A).code == 250


def test_a_server_that_is_away_does_not_harm_what_is_known(made):
    qmgr, _, agent, asker = made(said(250))
    asker.ask(A)
    qmgr.advance(8 * 86400)
    agent.script = lambda job: job.failed()
    assert asker.ask(A).code == 250
    agent.wait_jobs(2)
    wait_until(lambda: qmgr.sink.find("func=qmgr.verified.*reply=451"), "the probe is over")
    assert asker.ask(A).code == 250
    assert len(agent.jobs) == 2


def test_who_asks_while_the_file_cannot_be_read_is_answered_and_the_next_one_lets_it_be_read(made):
    qmgr, _, agent, asker = made(said(250))
    with no_threads("verify"):
        for _ in range(2):
            assert asker.ask(A).text == "Address is being verified; try again later"
        with Ctl(qmgr.queue / "qmgr/control") as ctl:
            assert ctl.command("verified", "all")[0] != 0
    assert qmgr.context.verifier._early == []
    assert asker.ask(A).code == 250
    assert len(agent.jobs) == 1


def test_the_next_server_is_asked_if_one_cannot_be_reached(made):
    def script(job):
        if job.server == "192.0.2.1":
            job.failed(554)
        else:
            job.done(rcpts={A: 250})

    _, smar, agent, asker = made(script)
    smar.answers[A] = route("192.0.2.1", "192.0.2.2")
    assert asker.ask(A).code == 250
    assert [job.server for job in agent.jobs] == ["192.0.2.1", "192.0.2.2"]


def test_no_server_means_no_answer_whatever_they_say_about_us(made):
    qmgr, smar, agent, asker = made(lambda job: job.failed(554, "go away"))
    smar.answers[A] = route("192.0.2.1", "192.0.2.2")
    assert asker.ask(A).code == 450
    assert len(agent.jobs) == 2
    assert qmgr.context.scheduler.dadb.sessions == 0


def test_a_server_that_takes_no_empty_sender_says_nothing_about_the_address(made):
    _, _, _, asker = made(lambda job: job.done(550))
    assert asker.ask(A).code == 450


def test_too_many_recipients_is_no_answer(made):
    _, _, _, asker = made(said(552, retry=Retry.LATER))
    assert asker.ask(A).code == 450


def test_probes_and_shares_are_bounded(made):
    qmgr, _, agent, asker = made(
        lambda job: None, verify=verify(max_probes=4), smtpc_initial_connections=9, smtpc_max_connections=9
    )
    waiting = [asker.start(f"r{number}@to.example") for number in range(2)]
    agent.wait_jobs(2)
    assert asker.ask("r2@to.example").text == "Too many addresses are being verified; try again later"
    waiting.append(asker.start("r3@to.example", "192.0.2.7"))
    for job in agent.wait_jobs(3):
        job.done(rcpts=dict.fromkeys(job.rcpts, 250))
    assert {reply.code for reply in asker.answers(3).values()} == {250}
    assert qmgr.context.verifier._pool.used == 0


def test_a_probe_waits_for_a_session_like_mail(made):
    qmgr, _, agent, asker = made(lambda job: None, smtpc_initial_connections=1, smtpc_max_connections=1)
    first, second = asker.start(A), asker.start("b@to.example")
    (job,) = agent.wait_jobs(1)
    job.done(rcpts={A: 250})
    assert asker.answers(1)[first].code == 250
    job = agent.wait_jobs(2)[1]
    job.done(rcpts={"b@to.example": 250})
    assert asker.answers(1)[second].code == 250
    assert agent.most == {"192.0.2.1": 1}
    assert qmgr.aq.transactions == 0


def test_a_probe_keeps_to_the_limits_of_its_destination(made):
    changes = {"destinations": {"192.0.2.1": "initial_connections = 1; max_connections = 1;", "192.0.2.2": "no = 1;"}}
    qmgr, smar, agent, asker = made(lambda job: None, **changes)
    smar.answers.update({"wrong@to.example": route("192.0.2.2"), "other@to.example": route("192.0.2.3")})
    first, second = asker.start(A), asker.start("b@to.example")
    wrong, other = asker.start("wrong@to.example"), asker.start("other@to.example")
    wait_until(lambda: len(qmgr.context.verifier._probes._waiting) == 2, "two wait")
    assert sorted(job.rcpts for job in agent.wait_jobs(2)) == [[A], ["other@to.example"]]
    for job in list(agent.jobs):
        job.done(rcpts=dict.fromkeys(job.rcpts, 250))
    qmgr.advance(PROBE_AGAIN_S)
    agent.wait_jobs(3)[2].done(rcpts={"b@to.example": 250})
    assert {number: reply.code for number, reply in asker.answers(3).items()} == {first: 250, second: 250, other: 250}
    qmgr.advance(PROBE_WAIT_S)
    assert asker.answers(1)[wrong].code == 450
    assert agent.most == {"192.0.2.1": 1, "192.0.2.3": 1}


def test_a_probe_that_waits_is_not_put_off_by_further_ones(made, monkeypatch):
    monkeypatch.setattr(probes, "PROBE_AGAIN_S", 30)
    qmgr, _, agent, asker = made(lambda job: None, smtpc_initial_connections=1, smtpc_max_connections=1)
    waiting = qmgr.context.verifier._probes._waiting
    asker.start(A)
    (job,) = agent.wait_jobs(1)
    asker.start("b@to.example")
    wait_until(lambda: len(waiting) == 1, "the second one waits")
    qmgr.advance(20)
    asker.start("c@to.example")
    wait_until(lambda: len(waiting) == 2, "the third one waits")
    job.done(rcpts={A: 250})
    wait_until(lambda: qmgr.sink.find("func=qmgr.verified"), "the first one is over")
    qmgr.advance(15)
    assert agent.wait_jobs(2)[1].rcpts == ["b@to.example"]


def test_an_agent_that_ends_costs_an_answer_and_no_session(made):
    qmgr, _, agent, asker = made(lambda job: None)
    number = asker.start(A)
    agent.wait_jobs(1)
    qmgr.peers.remove(agent)
    agent.stop()
    assert asker.answers(1)[number].code == 450
    assert qmgr.context.scheduler.occ.dests()[0].open == 0


def test_without_a_resolver_there_is_no_answer(make_qmgr):
    qmgr = make_qmgr(verify=verify(wait_s=60))
    asker = Asker(qmgr)
    number = asker.start(A)
    wait_until(lambda: qmgr.context.verifier._running, "the probe waits")
    qmgr.advance(61)
    assert asker.answers(1)[number].code == 450


def test_the_cache_forgets_who_was_not_asked_for_longest(made):
    qmgr, _, agent, asker = made(said(250), verify=verify(cache_size=2))
    for name in ("a", "b", "a", "c", "a", "b"):
        asker.ask(f"{name}@to.example")
    assert [job.rcpts[0][0] for job in agent.jobs] == ["a", "b", "c", "b"]
    assert len(qmgr.context.verifier) == 2


def test_the_operator_sees_what_is_known_and_may_forget_it(made):
    qmgr, _, agent, asker = made(lambda job: job.done(rcpts={one: 550 if one.startswith("b") else 250 for one in job.rcpts}))
    for one in ("a@to.example", "b@to.example", "c@else.example"):
        asker.ask(one)
    with Ctl(qmgr.queue / "qmgr/control") as ctl:
        rows = ctl.ask("verified", "@TO.example")
        assert {(row["address"], row["reply"], row["remote_mta"]) for row in rows} == {
            ("a@to.example", 250, "mx-192.0.2.1[192.0.2.1]"), ("b@to.example", 550, "mx-192.0.2.1[192.0.2.1]")
        }  # fmt: skip
        assert ctl.ask("verified", "all")[0].keys() == {"address", "reply", "status", "remote_mta", "last"}
        for words in (("verified", "x@to.example"), ("forget", "x@to.example", "@nowhere.example")):
            code, text, _ = ctl.command(*words)
            assert (code, text.startswith(f"nothing is known of {' '.join(words[1:])}")) == (66, True)
        assert ctl.command("verified")[:2] == (64, "write addresses, @domain or all")
        assert ctl.ask("forget", "b@TO.example", "x@to.example") == {"forgotten": 1}
        assert ctl.ask("status")["verified"] == 2
    agent.script = said(250)
    assert asker.ask("b@to.example").code == 250


def test_what_was_forgotten_is_not_in_the_file_either(made):
    qmgr, _, agent, asker = made(said(550))
    asker.ask(A)
    asker.ask("b@to.example")
    qmgr.restart()
    with Ctl(qmgr.queue / "qmgr/control") as ctl:
        assert ctl.ask("forget", A) == {"forgotten": 1}
    qmgr.restart()
    with Ctl(qmgr.queue / "qmgr/control") as ctl:
        assert [row["address"] for row in ctl.ask("verified", "all")] == ["b@to.example"]
    assert len(agent.jobs) == 2


def test_two_gateways_that_ask_each_other_end_with_no_answer(made):
    """The server of an address asks us about the same address before it answers."""
    answers = []

    def script(job):
        answers.append(asker.start(A, "192.0.2.1"))

    qmgr, _, agent, asker = made(script)
    first = asker.start(A)
    wait_until(lambda: len(qmgr.context.verifier._late) == 2, "both wait")
    qmgr.advance(7)
    found = asker.answers(2)
    assert found.keys() == {first, *answers}
    assert {reply.code for reply in found.values()} == {450}
    assert len(agent.jobs) == 1


def test_mail_and_probes_use_the_same_destination(made):
    qmgr, _, agent, asker = made(lambda job: job.done(rcpts=dict.fromkeys(job.rcpts, 250)))
    asker.ask(A)
    asker.smtps.mail(A)
    agent.wait_jobs(2)
    qmgr.wait_empty()
    assert [job.msg.probe for job in agent.jobs] == [True, False]
