"""hold release remove bounce retry requeue: in AQ, in DEFEDB, busy, on their way; by every kind of selector."""

import pytest

from meta1g.base import sysexits
from meta1g.base.errors import Module, TempError
from meta1g.base.ids import rcpt_id
from meta1g.base.reply import Reply
from meta1g.base.unixsock import Peer
from meta1g.qmgr.control.changing import VERBS
from meta1g.qmgr.defer import Change
from meta1g.rcb.envelope import HELD_UNTIL, RcptFlags
from meta1g.rcb.qmgr_smar import Members
from tests.fakes.envelopes import rcpt, ta, ta_id
from tests.fakes.qmgr_peers import Ctl, new_id
from tests.fakes.qmgr_system import wait_until

FULL = Reply(452, "", "mailbox full", "mx2.example[192.0.2.2]")
HELD = {"flags": RcptFlags.HOLD, "next_try": HELD_UNTIL}


@pytest.fixture
def ctl(qmgr):
    with Ctl(qmgr.queue / "qmgr/control") as client:
        yield client


def fill(qmgr, *numbers, **facts):
    """Puts recipients into DEFEDB alone, due in less than the longest time between two tries, with a content file."""
    now = qmgr.clock.now()
    base = {"entered": now - 3600, "next_try": now + 3000, "rcpt": "r@to.example"}
    records = [rcpt(number, **{**base, **facts}) for number in numbers]
    for number in numbers:
        qmgr.cdb.write_whole(ta_id(number), [b"x"])
    for record in records:
        qmgr.context.defer.add(Change(ta=ta(int(record.ta_id[1:17], 16), size_bytes=1), put=(record,)))
    wait_until(lambda: not qmgr.context.defer.pending, "stored")


def deferred(qmgr, ctl, *rcpts, **facts):
    """Lets mail be tried and deferred; gives its id and the agent."""
    qmgr.smar()
    agent = qmgr.agent(script=lambda job: job.done(450, text="busy"))
    one = qmgr.smtps().mail(*rcpts, **facts)
    qmgr.wait_deferred(len(rcpts))
    return one, agent


# -- DEFEDB ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["all", "to.example", "TO.example", "id"])
def test_retry_tries_deferred_recipients_at_once(qmgr, ctl, what):
    one, agent = deferred(qmgr, ctl, "r@to.example")
    agent.script = lambda job: job.done()
    assert ctl.ask("retry", one if what == "id" else what) == {"retried": 1}
    qmgr.wait_empty()
    assert len(agent.jobs) == 2


def test_retry_leaves_held_ones_and_says_how_many(qmgr, ctl):
    fill(qmgr, 1)
    fill(qmgr, 2, **HELD)
    assert ctl.ask("retry", "all") == {"retried": 1, "held": 1}


def test_hold_keeps_a_recipient_until_it_is_released(qmgr, ctl):
    fill(qmgr, 1, 2)
    assert ctl.ask("hold", ta_id(1)) == {"held": 1}
    assert ctl.ask("hold", "all") == {"held": 1, "already": 1}
    assert [one.next_try for one in qmgr.defedb.scan(None, 9)] == [HELD_UNTIL] * 2
    wait_until(lambda: qmgr.context.defer.held == 2, "counted")
    assert qmgr.sink.find(f"func=qmgr.hold.*ss_ta={ta_id(1)}")
    qmgr.smar()
    agent = qmgr.agent()
    qmgr.advance(20_000)
    assert ctl.ask("release", ta_id(2)) == {"released": 1}
    assert agent.wait_jobs(1)[0].msg.ta_id == ta_id(2)
    wait_until(lambda: qmgr.context.defer.count == 1, "delivered")
    assert len(agent.jobs) == 1
    assert ctl.ask("release", "all") == {"released": 1}
    qmgr.wait_empty()


def test_release_leaves_those_that_are_not_held(qmgr, ctl):
    fill(qmgr, 1)
    assert ctl.ask("release", "all") == {"released": 0, "not_held": 1}


def test_remove_ends_recipients_of_defedb_with_their_contents_and_no_report(qmgr, ctl):
    fill(qmgr, 1, 2, 3)
    assert ctl.ask("remove", ta_id(1), rcpt_id(ta_id(3), 0)) == {"removed": 2}
    assert [one.ta_id for one in qmgr.defedb.scan(None, 9)] == [ta_id(2)]
    wait_until(lambda: qmgr.content() == [ta_id(2)], "contents are gone")
    assert qmgr.context.defer.count == 1
    assert qmgr.sink.find(f"func=qmgr.removed.*ss_ta={ta_id(1)}")


def test_a_content_stays_as_long_as_one_recipient_needs_it(qmgr, ctl):
    one, _ = deferred(qmgr, ctl, "a@to.example", "b@to.example")
    assert ctl.ask("remove", rcpt_id(one, 0)) == {"removed": 1}
    assert qmgr.content() == [one]
    assert ctl.ask("remove", one) == {"removed": 1}
    qmgr.wait_empty()


def test_bounce_returns_deferred_recipients_in_one_report(qmgr, ctl):
    one, agent = deferred(qmgr, ctl, "a@to.example", "b@to.example", "c@to.example")
    agent.script = lambda job: job.done()
    before = len(agent.jobs)
    assert ctl.ask("bounce", rcpt_id(one, 0), rcpt_id(one, 2)) == {"bounced": 2}
    wait_until(lambda: len(agent.jobs) > before, "reported")
    job = agent.jobs[before]
    assert job.rcpts == ["s@from.example"]
    assert all(text in job.bytes for text in (b"a@to.example", b"c@to.example", b"5.3.0", b"by order of the postmaster"))
    assert b"b@to.example" not in job.bytes
    wait_until(lambda: qmgr.context.defer.count == 1, "one is left")


def test_an_order_to_bounce_outlives_a_restart(qmgr, ctl):
    """It stands in the record, since AQ may have no room for a while."""
    fill(qmgr, 1, sender="s@from.example")
    qmgr.context.feeder.pausing = True
    assert ctl.ask("bounce", "all") == {"bounced": 1}
    qmgr.restart()
    qmgr.smar()
    agent = qmgr.agent()
    assert agent.wait_jobs(1)[0].rcpts == ["s@from.example"]
    qmgr.wait_empty()


def test_hold_takes_an_order_to_bounce_back(qmgr, ctl):
    fill(qmgr, 1)
    qmgr.context.feeder.pausing = True
    ctl.ask("bounce", "all")
    ctl.ask("hold", "all")
    assert qmgr.defedb.scan(None, 9)[0].flags == RcptFlags.HOLD


def test_requeue_begins_anew_whether_held_or_not(qmgr, ctl):
    fill(qmgr, 1, tries=7, flags=RcptFlags.DLY_SENT)
    fill(qmgr, 2, **HELD)
    assert ctl.ask("requeue", "all") == {"requeued": 2}
    qmgr.smar().answers["to.example"] = None
    wait_until(lambda: len(qmgr.states()) == 2, "both are resolved anew")
    for one in qmgr.defedb.scan(None, 9):
        assert (one.tries, one.flags, one.last_try) == (0, 0, 0.0)
        assert qmgr.clock.now() - one.entered < 600


# -- AQ ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ready", [True, False])
def test_remove_ends_what_waits_in_aq(qmgr, ctl, ready):
    one = qmgr.smtps().mail("a@to.example", "b@to.example")
    if ready:
        qmgr.smar()
    wait_until(lambda: set(qmgr.states().values()) == {"READY" if ready else "NEW"}, "it waits")
    assert ctl.ask("remove", one) == {"removed": 2}
    qmgr.wait_empty()
    if not ready:
        qmgr.smar()
    assert len(qmgr.agent().jobs) == 0


@pytest.mark.parametrize("ready", [True, False])
def test_hold_takes_what_waits_in_aq_to_defedb(qmgr, ctl, ready):
    one = qmgr.smtps().mail("a@to.example", "b@to.example")
    if ready:
        qmgr.smar()
    wait_until(lambda: set(qmgr.states().values()) == {"READY" if ready else "NEW"}, "it waits")
    assert ctl.ask("hold", rcpt_id(one, 1)) == {"held": 1}
    wait_until(lambda: qmgr.context.defer.held == 1, "held")
    assert [one.rcpt for one in qmgr.defedb.scan(None, 9)] == ["b@to.example"]
    assert len(qmgr.states()) == 1


def test_bounce_and_requeue_of_what_waits_in_aq(qmgr, ctl):
    qmgr.smar()
    one = qmgr.smtps().mail("a@to.example", "b@to.example")
    wait_until(lambda: set(qmgr.states().values()) == {"READY"}, "it waits")
    assert ctl.ask("requeue", rcpt_id(one, 1)) == {"requeued": 1}
    assert ctl.ask("bounce", rcpt_id(one, 0)) == {"bounced": 1}
    agent = qmgr.agent()
    qmgr.wait_empty()
    assert sorted(rcpt for job in agent.jobs for rcpt in job.rcpts) == ["b@to.example", "s@from.example"]


def test_release_and_retry_leave_what_is_in_aq(qmgr, ctl):
    qmgr.smtps().mail("a@to.example")
    wait_until(qmgr.states, "it is here")
    assert ctl.ask("release", "all") == {"released": 0, "active": 1}
    assert ctl.ask("retry", "all") == {"retried": 0, "active": 1}


def test_a_failed_recipient_can_be_saved_before_its_report_is_made(qmgr, ctl):
    qmgr.smar().answers["silent.example"] = None
    agent = qmgr.agent(script=lambda job: job.done(550))
    one = qmgr.smtps().mail("a@to.example", "b@to.example", "c@silent.example")
    wait_until(lambda: sorted(qmgr.states().values()) == ["FAILED", "FAILED", "SENT_TO_AR"], qmgr.states)
    assert ctl.ask("bounce", rcpt_id(one, 0)) == {"bounced": 1}
    assert ctl.ask("remove", rcpt_id(one, 0)) == {"removed": 1}
    assert ctl.ask("hold", rcpt_id(one, 1)) == {"held": 1}
    wait_until(lambda: qmgr.context.defer.held == 1 and len(qmgr.states()) == 1, "only one is left in AQ")
    assert {rcpt for job in agent.jobs for rcpt in job.rcpts} == {"a@to.example", "b@to.example"}


# -- busy --------------------------------------------------------------------------------------------------------------


def busy(qmgr, *rcpts):
    """Lets mail be delivered by an agent that says nothing; gives its id and the job."""
    qmgr.smar()
    agent = qmgr.agent(script=lambda job: None)
    one = qmgr.smtps().mail(*rcpts)
    return one, agent, agent.wait_jobs(1)[0]


@pytest.mark.parametrize("verb", ["hold", "remove", "bounce", "requeue"])
def test_what_is_being_delivered_is_marked_and_a_success_ends_the_order(qmgr, ctl, verb):
    one, agent, job = busy(qmgr, "a@to.example")
    assert ctl.ask(verb, one) == {VERBS[verb].done: 0, "marked": 1}
    assert [row["where"] for row in ctl.ask("queue")] == [f"aq scheduled, {verb} ordered"]
    ctl.ask("release", one)
    assert [row["where"] for row in ctl.ask("queue")] == ["aq scheduled"]
    ctl.ask(verb, one)
    job.done()
    qmgr.wait_empty()
    assert len(agent.jobs) == 1


@pytest.mark.parametrize("end", ["450", "550", "session", "agent"])
def test_what_was_marked_is_removed_when_its_delivery_fails_however_it_fails(qmgr, ctl, end):
    one, agent, job = busy(qmgr, "a@to.example")
    ctl.ask("remove", one)
    if end == "agent":
        qmgr.peers.remove(agent)
        agent.stop()
    elif end == "session":
        job.failed()
    else:
        job.done(int(end))
    qmgr.wait_empty()
    assert qmgr.sink.find(f"func=qmgr.removed.*ss_ta={one}")
    assert len(agent.jobs) == 1


@pytest.mark.parametrize("code", [450, 550])
def test_what_was_marked_is_held_with_its_last_reply(qmgr, ctl, code):
    one, _, job = busy(qmgr, "a@to.example")
    ctl.ask("hold", one)
    job.done(code, text="no")
    wait_until(lambda: qmgr.context.defer.held == 1 and not qmgr.states(), "held")
    (row,) = ctl.ask("show", one)
    assert (row["where"], row["tries"], row["status"][:3], len(row["attempts"])) == ("held", 1, str(code), 1)


def test_what_was_marked_is_returned_when_it_comes_back(qmgr, ctl):
    one, agent, job = busy(qmgr, "a@to.example")
    ctl.ask("bounce", one)
    agent.script = lambda job: job.done()
    job.done(450)
    assert agent.wait_jobs(2)[1].rcpts == ["s@from.example"]
    qmgr.wait_empty()


def test_release_takes_a_mark_back(qmgr, ctl):
    one, _, job = busy(qmgr, "a@to.example")
    ctl.ask("hold", one)
    assert ctl.ask("release", one) == {"released": 0, "active": 1}
    job.done(450)
    qmgr.wait_deferred(1)
    assert qmgr.defedb.scan(None, 9)[0].flags == 0


@pytest.mark.parametrize("answer", ["route", "nothing"])
def test_what_the_resolver_was_asked_for_is_marked_and_done_with_its_answer(qmgr, ctl, answer):
    smar = qmgr.smar()
    smar.answers["to.example"] = None
    one = qmgr.smtps().mail("a@to.example")
    wait_until(lambda: set(qmgr.states().values()) == {"SENT_TO_AR"}, "asked for")
    assert ctl.ask("remove", one) == {"removed": 0, "marked": 1}
    if answer == "route":
        qmgr.advance(400)  # the question is over, and asked again
        smar.answers.clear()
    else:
        qmgr.peers.remove(smar)
        smar.stop()
    qmgr.wait_empty()


def test_an_alias_that_is_being_expanded_is_busy(qmgr, ctl):
    smar = qmgr.smar()
    part = Members(members=tuple(f"m{number}@to.example" for number in range(300)), more=True)
    smar.answers["list@to.example"] = lambda question: None if question.offset else part
    qmgr.smtps().mail("list@to.example")
    wait_until(lambda: any(rcpt.expanding for one in qmgr.aq.tas() for rcpt in one.rcpts.values()), "a part is here")
    assert ctl.ask("remove", "recipient=list@to.example") == {"removed": 0, "busy": 1}


def test_what_is_on_its_way_to_a_store_is_looked_at_again(qmgr, ctl):
    """The store is slow; the order waits for it, in the thread of DEFEDB, and does not get lost."""
    qmgr.smar()
    agent = qmgr.agent(script=lambda job: None)
    one = qmgr.smtps().mail("a@to.example", "b@to.example")
    (job,) = agent.wait_jobs(1)
    found = []
    context = qmgr.context
    work = context.control._changing.work("remove", [one], lambda: False)

    def begin(db):
        job.done(450)
        wait_until(lambda: set(qmgr.states().values()) == {"WAIT_UPDATE"}, qmgr.states)  # the store has to wait for us

    context.defer.ask(begin, lambda nothing: context.defer.scan(work, found.append))
    wait_until(lambda: found, "answered")
    assert found == [{"removed": 2}]
    qmgr.wait_empty()


# -- selectors ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", VERBS)
def test_a_selector_that_matches_nothing_says_so_and_all_of_nothing_is_no_mistake(qmgr, ctl, verb):
    done = VERBS[verb].done
    assert ctl.ask(verb, "exmaple.org") == {done: 0, "nothing": "no recipient in the queues matches exmaple.org"}
    assert ctl.ask(verb, "all") == {done: 0}


@pytest.mark.parametrize("verb", VERBS)
def test_unknown_ids_are_named_and_the_others_are_done(qmgr, ctl, verb):
    fill(qmgr, 1, 2, **(HELD if verb == "release" else {}))
    unknown = [new_id(), f"{ta_id(2)}-0007"]
    assert ctl.ask(verb, *unknown, ta_id(1)) == {VERBS[verb].done: 1, "unknown": sorted(unknown), "unknown_count": 2}


def test_ids_and_conditions_hold_together(qmgr, ctl):
    fill(qmgr, 1, rcpt="a@one.example")
    fill(qmgr, 2, rcpt="b@two.example")
    assert ctl.ask("remove", ta_id(1), ta_id(2), "two.example") == {"removed": 1}
    assert ctl.ask("remove", ta_id(1), "two.example")["nothing"].startswith("no recipient")


@pytest.mark.parametrize(
    "word",
    ["sender=*2@from.example*", "recipient=b@two.example", "two.example", "age=61m..90m", "status=mailbox full", "state=held",
     "destination=mx2.example"],
)  # fmt: skip
def test_each_condition_chooses_among_recipients_of_both_stores(qmgr, ctl, word):
    now = qmgr.clock.now()
    fill(qmgr, 1, rcpt="a@one.example", entered=now - 7200)
    fill(qmgr, 2, rcpt="b@two.example", entered=now - 600, reply=FULL, **HELD)
    qmgr.smtps().mail("c@three.example", mail="x@x.example")
    qmgr.advance(3600)
    wait_until(qmgr.states, "it is in AQ")
    assert ctl.ask("remove", word) == {"removed": 1}
    assert sorted(row["rcpt"] for row in ctl.ask("queue")) == ["a@one.example", "c@three.example"]


@pytest.mark.parametrize("verb", VERBS)
def test_a_dry_run_counts_and_changes_nothing(qmgr, ctl, verb):
    fill(qmgr, 1, **(HELD if verb == "release" else {}))
    one = qmgr.smtps().mail("c@three.example")
    wait_until(qmgr.states, "it is in AQ")
    before = ctl.ask("queue")
    result = ctl.ask(verb, "--dry-run", "all")
    assert (result["dry_run"], result[VERBS[verb].done]) == (True, 1 if verb in ("release", "retry") else 2)
    assert ctl.ask("queue") == before
    assert not qmgr.sink.find("func=qmgr.control")
    assert qmgr.content() == sorted([ta_id(1), one])


def test_thousands_are_removed_by_one_command_and_aq_and_mail_go_on(make_qmgr):
    """Nobody waits for it: between two slices new mail is taken, and the lock AQ is never held for long."""
    qmgr = make_qmgr(aq_max_entries=2000, iqdb_max_entries=10_000)
    now = qmgr.clock.now()
    numbers = range(3000)
    qmgr.context.defer.ask(
        lambda db: db.store([ta(n) for n in numbers], [rcpt(n, next_try=now + 3000) for n in numbers]), lambda gone: None
    )
    smtps = qmgr.smtps()
    smtps.mail(*(f"r{idx}@to.example" for idx in range(300)))
    wait_until(lambda: qmgr.defedb.count() == 3000, "stored")
    with Ctl(qmgr.queue / "qmgr/control") as ctl:
        assert ctl.ask("remove", "domain=to.example*") == {"removed": 3300}
    qmgr.wait_empty()


def test_a_client_that_goes_away_ends_its_command(qmgr):
    """What was done until then is done."""
    numbers = range(1000)
    qmgr.context.defer.ask(lambda db: db.store([ta(n) for n in numbers], [rcpt(n, **HELD) for n in numbers]), lambda gone: None)
    wait_until(lambda: qmgr.defedb.count() == 1000, "stored")
    work = qmgr.context.control._changing.work("remove", ["all"], lambda: qmgr.defedb.count() < 1000)
    found = []
    qmgr.context.defer.scan(work, found.append)
    wait_until(lambda: found, "ended")
    assert 0 < found[0]["removed"] < 1000
    assert qmgr.defedb.count() == 1000 - found[0]["removed"]


def test_a_store_that_cannot_be_written_is_told_with_what_was_done(qmgr, ctl):
    fill(qmgr, 1)
    qmgr.defedb.error = TempError(Module.DEFEDB, "no space")
    result = ctl.ask("remove", "all")
    qmgr.defedb.error = None
    assert result == {"removed": 0, "error": "DEFEDB: no space"}
    assert ctl.ask("remove", "all") == {"removed": 1}


def test_a_change_is_logged_and_a_long_one_is_cut(qmgr, ctl):
    ctl.ask("retry", "all")
    assert qmgr.sink.find("func=qmgr.control.*command=retry all")
    ctl.ask("retry", *(new_id() for _ in range(500)))
    (line,) = qmgr.sink.find("501 words")
    assert len(line) < 1000


@pytest.mark.parametrize("verb", VERBS)
def test_only_root_and_the_account_of_qmgr_may_change_things(qmgr, monkeypatch, verb):
    """The kernel says who is at the other end; here it says somebody else."""
    monkeypatch.setattr("meta1g.pt.rcbconn.peer_of", lambda sock: Peer(uid=65534))
    monkeypatch.setattr("meta1g.base.unixsock.peer_of", lambda sock: Peer(uid=65534))
    qmgr.smtps().mail("r@to.example")
    with Ctl(qmgr.queue / "qmgr/control") as ctl:
        code, text, _ = ctl.command(verb, "all")
        assert (code, text) == (sysexits.EX_NOPERM, f"{verb} is for root and the account of qmgr only")
        assert ctl.ask(verb, "--dry-run", "all")["dry_run"]
    assert len(qmgr.states()) == 1
