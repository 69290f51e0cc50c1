import email
import email.policy
import errno

import pytest

from meta1g.base.errors import Module, TempError
from meta1g.base.reply import Reply
from meta1g.rcb.envelope import RcptFlags
from meta1g.rcb.qmgr_smar import Members, Unresolved
from tests.fakes.qmgr_peers import CONTENT, route
from tests.fakes.qmgr_system import wait_until

DAY_S = 86400


def by_rcpt(codes):
    """Answers each recipient with its code, 250 for the others."""
    return lambda job: job.done(rcpts={rcpt: code for rcpt, code in codes.items() if rcpt in job.rcpts})


def parsed(job):
    return email.message_from_bytes(job.bytes, policy=email.policy.SMTP)


def groups(job):
    return [part["Final-Recipient"] for part in parsed(job).get_payload()[1].get_payload()[1:]]


# -- deferral


def test_a_deferred_recipient_is_in_defedb_before_ibdb_lets_it_go(qmgr):
    qmgr.smar()
    qmgr.agent(script=by_rcpt({"later@to.example": 450}))
    qmgr.smtps().mail("now@to.example", "later@to.example")
    qmgr.wait_deferred(1)
    assert qmgr.journal.wait(("defedb", "put", 1)) < qmgr.journal.wait(("ibdb", "rcpt_done", 1))
    assert qmgr.journal.index(("ibdb", "rcpt_done", 1)) < qmgr.journal.index(("ibdb", "ta_done", qmgr.content()[0]))
    record = qmgr.defedb.scan(None, 9)[0]
    assert (record.rcpt, record.tries) == ("later@to.example", 1)
    assert record.reply == Reply(450, "4.1.1", "said", "mx-192.0.2.1[192.0.2.1]")


def test_the_content_is_removed_last_of_all(qmgr):
    qmgr.smar()
    qmgr.agent(script=by_rcpt({"later@to.example": 450}))
    ta_id = qmgr.smtps().mail("now@to.example", "later@to.example")
    qmgr.wait_deferred(1)
    qmgr.peers[1].script = lambda job: job.done()
    qmgr.advance(600)
    qmgr.wait_empty()
    removed = qmgr.journal.wait(("cdb", "unlink", ta_id))
    assert qmgr.journal.index(("defedb", "removed", 1)) < removed
    assert qmgr.journal.index(("ibdb", "ta_done", ta_id)) < removed
    assert qmgr.journal.count(("cdb", "unlink", ta_id)) == 1


def test_the_done_record_is_durable_before_the_content_goes(qmgr):
    qmgr.smar()
    qmgr.agent()
    ta_id = qmgr.smtps().mail("r@to.example")
    qmgr.wait_empty()
    done, removed = qmgr.journal.index(("ibdb", "ta_done", ta_id)), qmgr.journal.index(("cdb", "unlink", ta_id))
    assert ("ibdb", "flush", 0) in qmgr.journal[done:removed]


def test_content_stays_while_the_done_record_cannot_be_written(qmgr):
    qmgr.smar()
    agent = qmgr.agent(script=lambda job: None)
    ta_id = qmgr.smtps().mail("r@to.example")
    (job,) = agent.wait_jobs(1)
    qmgr.files.error = OSError(errno.ENOSPC, "full")
    job.done()
    qmgr.sink.wait("func=qmgr.ibdb.*full", 2)
    assert qmgr.content() == [ta_id]
    qmgr.files.error = None
    qmgr.wait_empty()


def test_a_deferred_recipient_is_tried_again_when_its_time_has_come(qmgr):
    qmgr.smar()
    agent = qmgr.agent(script=lambda job: job.done(450) if len(agent.jobs) < 3 else job.done())
    qmgr.smtps().mail("r@to.example")
    for tries in (1, 2):
        qmgr.wait_deferred(1)
        (record,) = qmgr.defedb.scan(None, 9)
        assert record.tries == tries
        assert 269 <= record.next_try - record.last_try <= 3961
        qmgr.advance(record.next_try - qmgr.clock.now() + 1)
        agent.wait_jobs(tries + 1)
    qmgr.wait_empty()


def test_a_change_that_defedb_refuses_is_tried_until_it_is_stored(qmgr):
    qmgr.smar()
    qmgr.agent(script=lambda job: job.done(450))
    qmgr.defedb.error = TempError(Module.DEFEDB, "disk full")
    ta_id = qmgr.smtps().mail("r@to.example")
    qmgr.sink.wait("cannot store: .*disk full", 2)
    assert qmgr.states() == {(ta_id, 0): "WAIT_UPDATE"}
    assert ("ibdb", "rcpt_done", 0) not in qmgr.journal
    qmgr.defedb.error = None
    qmgr.wait_deferred(1)


# -- failures


def test_failures_of_one_transaction_make_one_bounce_that_is_delivered(qmgr):
    qmgr.smar()
    agent = qmgr.agent(script=by_rcpt({"a@to.example": 550, "b@to.example": 553}))
    qmgr.smtps().mail("a@to.example", "ok@to.example", "b@to.example", envid="e1")
    qmgr.wait_empty()
    (bounce,) = [job for job in agent.jobs if job.msg.dsn_head]
    assert (bounce.msg.mail, bounce.rcpts, bounce.msg.dsn_full) == ("", ["s@from.example"], True)
    assert (bounce.msg.ret, bounce.msg.envid, bounce.msg.rcpts[0].notify) == (None, None, "NEVER")
    assert groups(bounce) == ["rfc822; a@to.example", "rfc822; b@to.example"]
    assert b"Content-Type: message/rfc822\r\n" in bounce.bytes
    assert b"\r\n\r\n" + CONTENT + b"\r\n--=" in bounce.bytes


def test_the_bounce_waits_for_those_who_are_on_their_way(qmgr):
    qmgr.smar().answers["slow.example"] = route("192.0.2.2")
    agent = qmgr.agent(script=lambda job: job.done(550) if job.server == "192.0.2.1" else None)
    ta_id = qmgr.smtps().mail("a@to.example", "b@slow.example")
    wait_until(lambda: qmgr.states() == {(ta_id, 0): "FAILED", (ta_id, 1): "SCHEDULED"}, "one failed, one is delivered")
    next(job for job in agent.wait_jobs(2) if job.server == "192.0.2.2").done(554)
    jobs = agent.wait_jobs(3)
    assert groups(jobs[2]) == ["rfc822; a@to.example", "rfc822; b@slow.example"]


def test_the_bounce_is_recorded_before_the_failed_recipient_is_closed(qmgr):
    qmgr.smar()
    agent = qmgr.agent(script=by_rcpt({"a@to.example": 550}))
    qmgr.smtps().mail("a@to.example")
    agent.wait_jobs(2)
    assert qmgr.journal.index(("ibdb", "rcpt_new", 1)) < qmgr.journal.index(("ibdb", "rcpt_done", 0))


def test_a_failure_after_a_deferral_bounces_from_defedb(qmgr):
    qmgr.smar()
    agent = qmgr.agent(script=lambda job: job.done(450) if len(agent.jobs) == 1 else job.done(550 if job.msg.mail else 250))
    qmgr.smtps().mail("r@to.example")
    qmgr.wait_deferred(1)
    qmgr.advance(700)
    jobs = agent.wait_jobs(3)
    assert groups(jobs[2]) == ["rfc822; r@to.example"]
    qmgr.wait_empty()
    assert qmgr.journal.index(("defedb", "put", 1)) < qmgr.journal.index(("defedb", "removed", 0))


@pytest.mark.parametrize("mail", ["", "s@from.example"])
def test_no_bounce_for_the_empty_sender_or_when_never_is_wanted(qmgr, mail):
    qmgr.smar()
    agent = qmgr.agent(script=by_rcpt({"a@to.example": 550}))
    qmgr.smtps().mail("a@to.example" if not mail else "a@to.example NEVER", mail=mail)
    qmgr.wait_empty()
    assert len(agent.jobs) == 1


def test_a_bounce_that_fails_goes_to_the_postmaster_and_then_is_dropped(qmgr):
    qmgr.smar()
    agent = qmgr.agent(script=lambda job: job.done(550))
    qmgr.smtps().mail("a@to.example")
    qmgr.wait_empty()
    assert [job.rcpts for job in agent.jobs] == [["a@to.example"], ["s@from.example"], ["postmaster@mx.example"]]
    assert qmgr.sink.find("func=qmgr.failed.*rcpt=postmaster@mx.example")


def test_an_old_message_is_returned_and_its_bounce_has_all_the_time_again(qmgr):
    """The bounce of an expired message meets greylisting: it must not expire with the message."""
    qmgr.smar()
    agent = qmgr.agent(script=lambda job: job.done(450))
    qmgr.smtps().mail("r@to.example DELAY,FAILURE")
    qmgr.wait_deferred(1)
    qmgr.advance(6 * DAY_S)
    bounce = agent.wait_jobs(3)[2]
    assert bounce.rcpts == ["s@from.example"]
    assert "5.4.7" in bounce.bytes.decode()
    qmgr.wait_deferred(1)
    assert [(one.flags, one.tries) for one in qmgr.defedb.scan(None, 9)] == [(RcptFlags.IS_BNC, 1)]
    agent.script = lambda job: job.done()
    qmgr.advance(700)
    qmgr.wait_empty()
    assert [job.rcpts for job in agent.jobs[2:]] == [["s@from.example"]] * 2
    assert len(qmgr.sink.find("sevr=NOTICE, func=qmgr.expired, .*rcpt=r@to.example.*stat=delivery time expired; ")) == 1


def test_the_sender_is_warned_of_a_delay_once(qmgr):
    qmgr.smar()
    agent = qmgr.agent(script=lambda job: job.done(250 if not job.msg.mail else 450))
    qmgr.smtps().mail("r@to.example")
    qmgr.wait_deferred(1)
    qmgr.advance(4 * 3600 + 1)
    warning = agent.wait_jobs(3)[2]
    assert (warning.rcpts, warning.msg.mail, warning.msg.dsn_full) == (["s@from.example"], "", False)
    assert b"Action: delayed" in warning.bytes
    assert qmgr.sink.find("func=qmgr.report, .*rcpt=s@from.example, told=0, stat=delay")
    assert qmgr.sink.find("func=qmgr.feed, count=1")
    qmgr.wait_deferred(1)
    assert qmgr.defedb.scan(None, 9)[0].flags == RcptFlags.DLY_SENT
    qmgr.advance(4 * 3600 + 1)
    assert agent.wait_jobs(4)[3].rcpts == ["r@to.example"]
    qmgr.wait_deferred(1)
    assert len(agent.jobs) == 4


def test_a_failed_warning_is_dropped(qmgr):
    qmgr.smar()
    agent = qmgr.agent(script=lambda job: job.done(550 if not job.msg.mail else 450))
    qmgr.smtps().mail("r@to.example")
    qmgr.wait_deferred(1)
    qmgr.advance(4 * 3600 + 1)
    agent.wait_jobs(3)
    qmgr.wait_deferred(1)
    assert [one.rcpt for one in qmgr.defedb.scan(None, 9)] == ["r@to.example"]


def test_a_recipient_that_has_no_way_bounces(qmgr):
    qmgr.smar().answers["to.example"] = Unresolved(reply=Reply(550, "5.1.2", "no such domain"))
    agent = qmgr.agent()
    qmgr.smtps().mail("r@to.example", mail="s@ok.example")
    (bounce,) = agent.wait_jobs(1)
    assert b"    no such domain\r\n" in bounce.told
    assert b"Status: 5.1.2\r\n" in bounce.told
    assert b"Diagnostic-Code" not in bounce.told
    qmgr.wait_empty()


# -- aliases


def test_an_alias_is_replaced_by_its_members_with_the_owner_as_sender(qmgr):
    smar, agent = qmgr.smar(), qmgr.agent()
    smar.answers["list@to.example"] = Members(members=("a@x.example", "b@x.example"), owner="owner-list@to.example")
    qmgr.smtps().mail("list@to.example", "r@to.example")
    wait_until(lambda: sum(len(job.rcpts) for job in agent.jobs) == 3, "all three")
    assert sorted((rcpt, job.msg.mail) for job in agent.jobs for rcpt in job.rcpts) == [
        ("a@x.example", "owner-list@to.example"), ("b@x.example", "owner-list@to.example"), ("r@to.example", "s@from.example"),
    ]  # fmt: skip
    qmgr.wait_empty()


def test_members_keep_the_dsn_parameters_and_are_not_expanded_again(qmgr):
    smar, agent = qmgr.smar(), qmgr.agent()
    smar.answers["list@to.example"] = Members(members=("list@to.example", "b@x.example"))
    qmgr.smtps().mail("list@to.example FAILURE rfc822;list@to.example", ret="HDRS", envid="e1")
    qmgr.wait_empty()
    assert {job.msg.mail for job in agent.jobs} == {"s@from.example"}
    assert [(one.notify, one.orcpt) for job in agent.jobs for one in job.msg.rcpts] == [
        ("FAILURE", "rfc822;list@to.example")
    ] * 2
    assert {(job.msg.ret, job.msg.envid) for job in agent.jobs} == {("HDRS", "e1")}


def test_the_bounces_of_members_go_to_the_owner(qmgr):
    smar = qmgr.smar()
    agent = qmgr.agent(script=by_rcpt({"a@x.example": 550, "r@to.example": 550}))
    smar.answers["list@to.example"] = Members(members=("a@x.example", "b@x.example"), owner="owner-list@to.example")
    qmgr.smtps().mail("list@to.example", "r@to.example")
    qmgr.wait_empty()
    bounces = {job.rcpts[0]: job for job in agent.jobs if job.msg.dsn_head}
    assert sorted(bounces) == ["owner-list@to.example", "s@from.example"]
    assert b"a@x.example" in bounces["owner-list@to.example"].told
    assert b"a@x.example" not in bounces["s@from.example"].told


def test_members_of_a_deferred_alias_go_to_defedb(qmgr):
    smar = qmgr.smar()
    agent = qmgr.agent(script=lambda job: job.done(450))
    smar.answers["list@to.example"] = Unresolved(reply=Reply(451, "4.3.0", "map is away"))
    qmgr.smtps().mail("list@to.example")
    qmgr.wait_deferred(1)
    smar.answers["list@to.example"] = Members(members=("a@x.example", "b@x.example"))
    qmgr.advance(700)
    agent.wait_jobs(1)
    qmgr.wait_deferred(2)
    assert [(one.rcpt_idx, one.rcpt) for one in qmgr.defedb.scan(None, 9)] == [(1, "a@x.example"), (2, "b@x.example")]
    assert qmgr.defedb.get_ta(qmgr.content()[0]).rcpts == 3
    assert max(qmgr.journal.index(("defedb", "put", idx)) for idx in (1, 2)) < qmgr.journal.index(("defedb", "removed", 0))


def test_a_restart_in_the_middle_of_an_alias_loses_nobody(qmgr):
    """A bounce made after the restart must not take the index of a member that still waits."""
    smar = qmgr.smar()
    smar.answers["x.example"] = route("192.0.2.7")
    smar.answers["list@to.example"] = Members(members=("a@x.example", "b@x.example", "c@x.example"))
    agent = qmgr.agent(script=lambda job: None)
    qmgr.smtps().mail("first@later.example", "list@to.example")
    agent.wait_jobs(2)
    next(job for job in agent.jobs if job.server == "192.0.2.1").done(450)
    wait_until(lambda: qmgr.context.defer.count == 1, "the first is deferred")
    assert qmgr.defedb.get_ta(qmgr.content()[0]).rcpts in (2, 5)
    qmgr.restart()
    qmgr.smar().answers["x.example"] = route("192.0.2.7")
    agent = qmgr.agent(script=by_rcpt({"a@x.example": 550, "first@later.example": 550}))
    qmgr.advance(700)
    qmgr.wait_empty()
    seen = sorted(rcpt for job in agent.jobs for rcpt in job.rcpts)
    assert [one for one in seen if "x.example" in one] == ["a@x.example", "b@x.example", "c@x.example"]
    told = b"".join(job.told for job in agent.jobs)
    assert b"rfc822; a@x.example" in told
    assert b"rfc822; first@later.example" in told


# -- AQ is full


def test_what_does_not_fit_into_aq_goes_to_defedb_and_comes_back(make_qmgr):
    qmgr = make_qmgr(aq_max_entries=16)
    smtps = qmgr.smtps()
    ids = [smtps.mail(*(f"r{idx}@d{number}.example" for idx in range(10))) for number in range(5)]
    wait_until(lambda: qmgr.context.defer.count == 40, "the rest is in DEFEDB")
    assert len(qmgr.states()) == 10
    wait_until(lambda: qmgr.context.commit.open_count == 1, "IBDB has let go of it")
    for ta_id in ids[1:]:
        assert qmgr.journal.index(("defedb", "put", 9)) < qmgr.journal.index(("ibdb", "ta_done", ta_id))
    qmgr.smar()
    agent = qmgr.agent()
    qmgr.wait_empty()
    delivered = sorted(rcpt for job in agent.jobs for rcpt in job.rcpts)
    assert delivered == sorted(f"r{idx}@d{number}.example" for idx in range(10) for number in range(5))


# -- old IBDB files


def test_recipients_of_old_ibdb_files_move_to_defedb_so_that_the_files_go(make_qmgr):
    qmgr = make_qmgr(ibdb_max_size=4096, aq_max_entries=1000)
    smtps = qmgr.smtps()
    old = smtps.mail("old@to.example", "older@to.example")
    young = [smtps.mail(f"r{number}@to.example", mail=f"{'s' * 60}@from.example") for number in range(100)]
    assert qmgr.context.commit.file_count > 4
    before = {path.name for path in (qmgr.queue / "ibdb").glob("ibdb*")}

    def moved() -> bool:
        qmgr.advance(2)
        return qmgr.context.commit.file_count <= 5

    wait_until(moved, "old files are gone")
    assert min(before) not in {path.name for path in (qmgr.queue / "ibdb").iterdir()}
    assert qmgr.journal.index(("defedb", "put", 1)) < qmgr.journal.index(("ibdb", "ta_done", old))
    assert len(qmgr.states()) == 102, "they stay in AQ"
    qmgr.smar()
    agent = qmgr.agent()
    qmgr.wait_empty()
    assert sum(len(job.rcpts) for job in agent.jobs) == 102
    assert {job.msg.ta_id for job in agent.jobs} == {old, *young}


def test_a_move_that_is_not_durable_yet_does_not_let_ibdb_go(qmgr):
    """The clean-up comes again before DEFEDB, which is slow, has stored the first move."""
    ta_id = qmgr.smtps().mail("a@to.example", "b@to.example")
    wait_until(lambda: len(qmgr.states()) == 2, "in AQ")
    qmgr.defedb.error = TempError(Module.DEFEDB, "slow")
    assert [qmgr.context.storing.move_to_defedb(ta_id) for _ in range(3)] == [2, 0, 0]
    qmgr.sink.wait("cannot store: .*slow")
    assert ("ibdb", "ta_done", ta_id) not in qmgr.journal
    qmgr.defedb.error = None
    assert qmgr.journal.wait(("defedb", "put", 1)) < qmgr.journal.wait(("ibdb", "ta_done", ta_id))


# -- restart


def test_a_clean_stop_and_a_restart_keep_everything(qmgr):
    smar = qmgr.smar()
    smar.answers["silent.example"] = None
    agent = qmgr.agent(script=lambda job: job.done(450) if "later" in job.rcpts[0] else None)
    smtps = qmgr.smtps()
    ids = [smtps.mail(f"{name}.example") for name in ("r@silent", "r@busy", "later@x")]
    agent.wait_jobs(2)
    wait_until(lambda: qmgr.context.defer.count == 1, "one is deferred")
    qmgr.restart()
    assert sorted(one.ta_id for one in qmgr.defedb.scan(None, 9)) == sorted(ids)
    assert qmgr.content() == sorted(ids)
    qmgr.smar()
    agent = qmgr.agent()
    qmgr.advance(700)
    qmgr.wait_empty()
    assert sorted(job.msg.ta_id for job in agent.jobs) == sorted(ids)
    qmgr.defedb.check()
