import pytest

from meta1g.base.reply import Reply
from meta1g.qmgr import resolve
from meta1g.qmgr.limits import EXPANSIONS_MAX, RESOLVE_TIMEOUT_S
from meta1g.rcb.qmgr_smar import Members, Resolve, ResolveFlags, Route, Unresolved
from tests.fakes.qmgr_peers import route
from tests.fakes.qmgr_system import wait_until


def test_recipients_are_asked_for_in_their_order(qmgr):
    smar = qmgr.smar()
    ta_id = qmgr.smtps().mail(*(f"r{number}@to.example" for number in range(20)))
    asked = smar.wait_for(Resolve, 20)
    assert [(one.ta_id, one.rcpt_idx, one.rcpt, one.flags) for one in asked] == [
        (ta_id, number, f"r{number}@to.example", 0) for number in range(20)
    ]


def test_mail_waits_for_a_resolver_and_goes_when_it_comes(qmgr):
    agent = qmgr.agent()
    ta_id = qmgr.smtps().mail("r@to.example")
    wait_until(lambda: qmgr.states() == {(ta_id, 0): "NEW"}, "it waits")
    qmgr.smar()
    assert agent.wait_jobs(1)[0].msg.ta_id == ta_id


def test_a_resolver_that_was_lost_is_asked_again(qmgr):
    smar = qmgr.smar()
    smar.answers["to.example"] = None
    agent = qmgr.agent()
    qmgr.smtps().mail("a@to.example", "b@to.example")
    smar.wait_for(Resolve, 2)
    smar.stop()
    wait_until(lambda: set(qmgr.states().values()) == {"NEW"}, "the questions are open again")
    smar.answers.clear()
    smar.start()
    wait_until(lambda: sum(len(job.rcpts) for job in agent.jobs) == 2, "delivered")
    qmgr.wait_empty()
    assert qmgr.context.status()["smar"] == 1


def test_a_silent_resolver_is_asked_again_after_a_time(qmgr):
    smar = qmgr.smar()
    smar.answers["to.example"] = None
    agent = qmgr.agent()
    qmgr.smtps().mail("r@to.example")
    smar.wait_for(Resolve)
    smar.answers.clear()
    qmgr.advance(RESOLVE_TIMEOUT_S + 1)
    smar.wait_for(Resolve, 2)
    agent.wait_jobs(1)


def test_a_lost_question_is_not_put_off_by_further_ones(qmgr, monkeypatch):
    monkeypatch.setattr(resolve, "ASK_AGAIN_S", 30)
    smar, smtps = qmgr.smar(), qmgr.smtps()
    smar.answers["to.example"] = None
    smtps.mail("a@to.example")
    smar.wait_for(Resolve)
    qmgr.advance(20)
    smtps.mail("b@to.example")
    smar.wait_for(Resolve, 2)
    for lost in (1, 2):
        qmgr.advance(RESOLVE_TIMEOUT_S - 19 if lost == 1 else 20)
        wait_until(lambda lost=lost: list(qmgr.states().values()).count("NEW") == lost, "one more is lost")
    qmgr.advance(15)
    assert [one.rcpt for one in smar.wait_for(Resolve, 4)[2:]] == ["a@to.example", "b@to.example"]


def test_a_late_answer_is_ignored(qmgr):
    smar = qmgr.smar()
    smar.answers["to.example"] = None
    agent = qmgr.agent()
    qmgr.smtps().mail("r@to.example")
    smar.wait_for(Resolve)
    smar.answers.clear()
    qmgr.advance(RESOLVE_TIMEOUT_S + 1)
    agent.wait_jobs(1)
    for conn in smar.conns:
        conn.send(route("192.0.2.66"), 2)
    qmgr.wait_empty()
    assert [job.server for job in agent.jobs] == ["192.0.2.1"]


@pytest.mark.parametrize("answer", [Route(da=0, servers=()), Members(members=())])
def test_an_answer_that_names_nobody_defers_the_recipient(qmgr, answer):
    qmgr.smar().answers["to.example"] = answer
    agent = qmgr.agent()
    smtps = qmgr.smtps()
    smtps.mail("r@to.example")
    qmgr.wait_deferred(1)
    assert qmgr.defedb.scan(None, 9)[0].reply.code == 451
    smtps.mail("r@ok.example")
    agent.wait_jobs(1)


def test_a_temporary_failure_of_the_resolver_defers(qmgr):
    qmgr.smar().answers["to.example"] = Unresolved(reply=Reply(451, "4.4.3", "DNS is slow"))
    qmgr.smtps().mail("r@to.example")
    qmgr.wait_deferred(1)
    (record,) = qmgr.defedb.scan(None, 9)
    assert (record.reply.code, record.reply.ecode, record.reply.text, record.tries) == (451, "4.4.3", "DNS is slow", 1)


def by_domain(qmgr):
    """Gives a resolver that says the same of all addresses of a domain, and says so."""
    smar = qmgr.smar()
    smar.stop()
    smar.by_domain = True
    smar.start()
    wait_until(lambda: qmgr.context.resolver._by_domain, "the hello is answered")
    return smar


def test_a_domain_is_asked_for_once_where_nothing_else_counts(qmgr):
    smar, agent = by_domain(qmgr), qmgr.agent()
    smar.answers["y.example"] = route("192.0.2.2")
    rcpts = [*(f"r{n}@x.example" for n in range(9)), '"o..d"@x.example', *(f"r{n}@y.example" for n in range(5))]
    qmgr.smtps().mail(*rcpts)
    wait_until(lambda: sum(len(job.rcpts) for job in agent.jobs) == len(rcpts), "delivered")
    assert [one.rcpt for one in smar.of(Resolve)] == ["r0@x.example", '"o..d"@x.example', "r0@y.example"]
    assert {job.server: sorted(job.rcpts) for job in agent.jobs} == {
        "192.0.2.1": sorted(rcpts[:10]), "192.0.2.2": sorted(rcpts[10:]),
    }  # fmt: skip
    qmgr.wait_empty()


def test_what_a_resolver_said_of_domains_ends_with_its_connection(qmgr):
    by_domain(qmgr).stop()
    wait_until(lambda: not qmgr.context.resolver._by_domain, "it is forgotten before there is a new connection")


def test_a_refusal_of_a_domain_counts_for_all_that_were_asked_for_with_it(qmgr):
    smar = by_domain(qmgr)
    smar.answers["x.example"] = Unresolved(reply=Reply(451, "4.4.3", "DNS is slow"))
    qmgr.smtps().mail("a@x.example", "b@x.example", "c@x.example")
    qmgr.wait_deferred(3)
    assert [one.rcpt for one in smar.of(Resolve)] == ["a@x.example"]


def test_those_that_were_asked_for_together_are_asked_for_again_when_the_resolver_is_lost(qmgr):
    smar, agent = by_domain(qmgr), qmgr.agent()
    smar.answers["x.example"] = None
    qmgr.smtps().mail("a@x.example", "b@x.example", "c@x.example")
    smar.wait_for(Resolve)
    smar.stop()
    wait_until(lambda: set(qmgr.states().values()) == {"NEW"}, "the questions are open again")
    smar.answers.clear()
    smar.start()
    wait_until(lambda: sum(len(job.rcpts) for job in agent.jobs) == 3, "delivered")
    qmgr.wait_empty()


def test_a_question_that_cannot_be_sent_costs_its_recipient_and_the_others_go(qmgr, monkeypatch):
    by_domain(qmgr)
    agent, resolving = qmgr.agent(), qmgr.context.resolver
    real = resolving._request

    def request(rcpt, parts, alike=()):
        if rcpt.record.rcpt == "bad@x.example":
            raise RuntimeError("unexpected")
        return real(rcpt, parts, alike)

    monkeypatch.setattr(resolving, "_request", request)
    qmgr.smtps().mail("bad@x.example", "b@x.example", "c@x.example")
    wait_until(lambda: sum(len(job.rcpts) for job in agent.jobs) == 2, "delivered")
    qmgr.wait_deferred(1)


def test_members_and_bounces_are_not_expanded_again(qmgr):
    smar = qmgr.smar()
    smar.answers["list@to.example"] = Members(members=("a@to.example",))
    qmgr.agent(script=lambda job: job.done(250 if not job.msg.mail else 550))
    qmgr.smtps().mail("list@to.example")
    asked = smar.wait_for(Resolve, 3)
    assert [(one.rcpt, one.flags) for one in asked] == [
        ("list@to.example", 0), ("a@to.example", ResolveFlags.NO_ALIAS), ("s@from.example", ResolveFlags.NO_ALIAS),
    ]  # fmt: skip


def test_the_delivery_agent_of_the_answer_is_used(qmgr):
    qmgr.smar().answers["to.example"] = route("unix:/run/lmtp", da=1)
    agent = qmgr.agent()
    qmgr.smtps().mail("r@to.example")
    (job,) = agent.wait_jobs(1)
    assert (job.msg.da, job.server) == (1, "unix:/run/lmtp")


def part_of(members, expansion, size=2):
    def answer(msg):
        offset = msg.offset if msg.expansion == expansion else 0
        part = tuple(members[offset : offset + size])
        return Members(members=part, more=offset + size < len(members), offset=offset, expansion=expansion)

    return answer


def test_a_long_list_is_taken_in_parts_and_replaced_once(qmgr):
    smar = qmgr.smar()
    members = [f"m{number}@x.example" for number in range(5)]
    smar.answers["list@to.example"] = part_of(members, "e1")
    agent = qmgr.agent()
    qmgr.smtps().mail("list@to.example")
    qmgr.wait_empty()
    assert sorted(rcpt for job in agent.jobs for rcpt in job.rcpts) == members
    asked = [(one.offset, one.expansion) for one in smar.wait_for(Resolve, 3) if one.rcpt == "list@to.example"]
    assert asked == [(0, ""), (2, "e1"), (4, "e1")]


def test_a_list_that_changes_between_two_parts_is_taken_anew(qmgr):
    smar = qmgr.smar()
    before = part_of([f"old{number}@x.example" for number in range(5)], "e1")
    after = part_of([f"new{number}@x.example" for number in range(3)], "e2")
    smar.answers["list@to.example"] = lambda msg: (after if msg.offset == 4 or msg.expansion == "e2" else before)(msg)
    agent = qmgr.agent()
    qmgr.smtps().mail("list@to.example")
    qmgr.wait_empty()
    assert sorted(rcpt for job in agent.jobs for rcpt in job.rcpts) == [f"new{number}@x.example" for number in range(3)]


def test_a_list_that_never_stays_the_same_is_deferred(qmgr):
    smar = qmgr.smar()
    smar.answers["list@to.example"] = lambda msg: Members(members=("a@x.example",), more=True, expansion=f"{msg.expansion}x")
    agent = qmgr.agent()
    qmgr.smtps().mail("list@to.example")
    qmgr.wait_deferred(1)
    assert len([one for one in smar.wait_for(Resolve) if one.rcpt == "list@to.example"]) == EXPANSIONS_MAX + 1
    assert agent.jobs == []


def test_a_part_that_was_not_asked_for_defers_the_recipient(qmgr):
    qmgr.smar().answers["to.example"] = Members(members=("a@x.example",), offset=7, expansion="e")
    qmgr.smtps().mail("list@to.example")
    qmgr.wait_deferred(1)
    assert qmgr.defedb.scan(None, 9)[0].reply.code == 451
