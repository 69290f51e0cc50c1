"""Who gets which report, in a whole queue manager."""

import email
import re

import pytest

from meta1g.qmgr.limits import SLICE, SUCCESS_RCPTS_MAX
from meta1g.qmgr.settings import VerpSenders
from meta1g.rcb.envelope import RcptFlags
from meta1g.rcb.qmgr_smar import Members
from tests.fakes.qmgr_peers import route
from tests.fakes.qmgr_system import wait_until


def told(job) -> list[tuple[str, str]]:
    """Final recipient and action of each group of a report."""
    groups = email.message_from_bytes(job.bytes).get_payload()[1].get_payload()[1:]
    return [(group["Final-Recipient"].partition("; ")[2], group["Action"]) for group in groups]


def reports(agent) -> list:
    return [job for job in agent.jobs if job.msg.dsn_head]


def refusing(*rcpts):
    return lambda job: job.done(rcpts={one: 550 for one in rcpts if one in job.rcpts})


def members(agent) -> list[tuple]:
    """Recipient, sender, NOTIFY, ORCPT and ENVID of each delivery that is no report."""
    return sorted(
        (one.rcpt, job.msg.mail, one.notify, one.orcpt, job.msg.envid)
        for job in agent.jobs
        if not job.msg.dsn_head
        for one in job.msg.rcpts
    )


def one_hangs(*refused):
    """Mail for one destination is refused where it is named, answered by nobody elsewhere."""
    return lambda job: job.done(550) if job.rcpts[0] in refused else None


@pytest.mark.parametrize("deferred", [False, True])
def test_who_was_refused_is_told_of_and_not_asked_again_when_qmgr_stops_while_others_are_on_their_way(qmgr, deferred):
    qmgr.smar().answers["hangs.example"] = route("192.0.2.2")
    agent = qmgr.agent(script=(lambda job: job.done(450)) if deferred else one_hangs("a@refuses.example"))
    qmgr.smtps().mail("a@refuses.example", "b@hangs.example", "c@hangs.example")
    if deferred:
        qmgr.wait_deferred(3)
        qmgr.restart()
        qmgr.smar().answers["hangs.example"] = route("192.0.2.2")
        agent = qmgr.agent(script=one_hangs("a@refuses.example"))
        qmgr.advance(2 * 3600)
    agent.wait_jobs(2)
    wait_until(lambda: "FAILED" in repr(qmgr.states()), qmgr.states)
    qmgr.restart()
    qmgr.smar()
    agent = qmgr.agent()
    qmgr.wait_empty()
    assert sorted(rcpt for job in agent.jobs for rcpt in job.rcpts) == ["b@hangs.example", "c@hangs.example", "s@from.example"]
    assert [told(job) for job in reports(agent)] == [[("a@refuses.example", "failed")]]


# -- reports that are too large


def test_a_report_that_its_server_finds_too_large_comes_in_parts_and_tells_of_everybody(qmgr):
    qmgr.smar()

    def script(job):
        large = job.msg.dsn_full or len(told(job)) > 2 if job.msg.dsn_head else False
        job.done(552 if large or not job.msg.dsn_head else 250)

    agent = qmgr.agent(script=script)
    qmgr.smtps().mail(*(f"r{number}@to.example" for number in range(5)), ret="FULL")
    qmgr.wait_empty()
    taken = [job for job in reports(agent) if not job.msg.dsn_full and len(told(job)) <= 2]
    assert sorted(rcpt for job in taken for rcpt, _ in told(job)) == [f"r{number}@to.example" for number in range(5)]
    assert {job.rcpts[0] for job in reports(agent)} == {"s@from.example"}
    assert qmgr.sink.find("func=qmgr.smaller")


def test_a_report_that_is_too_large_whatever_is_done_becomes_a_double_bounce(qmgr):
    qmgr.smar()
    agent = qmgr.agent(script=lambda job: job.done(250 if job.rcpts == ["postmaster@mx.example"] else 552))
    qmgr.smtps().mail("r@to.example", ret="FULL")
    qmgr.wait_empty()
    assert [(job.rcpts, job.msg.dsn_full) for job in reports(agent)] == [
        (["s@from.example"], True), (["s@from.example"], False), (["postmaster@mx.example"], True),
    ]  # fmt: skip


def test_a_report_that_is_made_smaller_survives_a_restart(qmgr):
    qmgr.smar()

    def script(job):
        if job.msg.dsn_full:
            job.done(552)
        else:
            job.done(550 if job.msg.mail else 450)

    qmgr.agent(script=script)
    qmgr.smtps().mail("r@to.example", ret="FULL")
    qmgr.wait_deferred(1)
    qmgr.restart()
    qmgr.smar()
    agent = qmgr.agent()
    qmgr.advance(700)
    qmgr.wait_empty()
    assert [(job.rcpts, job.msg.dsn_full) for job in agent.jobs] == [(["s@from.example"], False)]
    assert told(agent.jobs[0]) == [("r@to.example", "failed")]


# -- success


def asking(*names):
    return [f"{name} SUCCESS" for name in names]


def test_recipients_that_one_result_ends_are_told_of_in_one_report(qmgr):
    qmgr.smar()
    agent = qmgr.agent(script=refusing("c@to.example"))
    qmgr.smtps().mail(*asking("a@to.example", "b@to.example", "c@to.example"), "d@to.example")
    qmgr.wait_empty()
    (report,) = reports(agent)
    assert (report.rcpts, told(report)) == (["s@from.example"], [("a@to.example", "relayed"), ("b@to.example", "relayed")])
    assert report.told.count(b" was taken by a server") == 2
    assert qmgr.sink.find("func=qmgr.report, .*told=0 1, stat=success")


def test_success_and_failure_of_one_delivery_are_two_reports(qmgr):
    qmgr.smar()
    agent = qmgr.agent(script=refusing("b@to.example"))
    qmgr.smtps().mail(*(f"{name}@to.example SUCCESS,FAILURE" for name in "abc"))
    qmgr.wait_empty()
    assert sorted(map(told, reports(agent))) == [
        [("a@to.example", "relayed"), ("c@to.example", "relayed")], [("b@to.example", "failed")],
    ]  # fmt: skip


def test_senders_that_differ_hear_of_their_own_recipients_alone(qmgr):
    qmgr.smar()
    agent = qmgr.agent()
    qmgr.smtps().mail(*asking("a@to.example", "b@to.example"), mail="list@from.example", verp="-=")
    qmgr.wait_empty()
    assert sorted((job.rcpts[0], told(job)) for job in reports(agent)) == [
        (f"list-{name}=to.example@from.example", [(f"{name}@to.example", "relayed")]) for name in "ab"
    ]


def test_a_report_of_success_has_a_greatest_number_of_recipients(qmgr):
    qmgr.smar()
    agent = qmgr.agent()
    names = [f"r{number}@to.example" for number in range(SUCCESS_RCPTS_MAX + 20)]
    qmgr.smtps().mail(*asking(*names))
    qmgr.wait_empty()
    found = [told(job) for job in reports(agent)]
    assert sorted(rcpt for report in found for rcpt, _ in report) == sorted(names)
    assert max(map(len, found)) <= SUCCESS_RCPTS_MAX
    assert len(found) <= len([job for job in agent.jobs if not job.msg.dsn_head]) + 1


def test_recipients_that_had_to_wait_are_in_one_report_which_survives_a_restart(qmgr):
    qmgr.smar()
    qmgr.agent(script=lambda job: job.done(450))
    qmgr.smtps().mail(*asking("a@to.example", "b@to.example"))
    qmgr.wait_deferred(2)
    qmgr.restart()
    qmgr.smar()
    qmgr.agent(script=lambda job: job.done(450 if job.msg.dsn_head else 250))
    qmgr.advance(700)
    qmgr.wait_deferred(1)
    qmgr.restart()
    qmgr.smar()
    agent = qmgr.agent()
    qmgr.advance(1400)
    qmgr.wait_empty()
    (report,) = reports(agent)
    assert told(report) == [("a@to.example", "relayed"), ("b@to.example", "relayed")]


# -- no report answers a report


@pytest.mark.parametrize("facts", [{"automatic": True}, {"mail": "MAILER-DAEMON@from.example"}])
def test_an_automatic_reply_is_neither_warned_nor_bounced_but_somebody_hears_of_it(qmgr, facts):
    qmgr.smar()
    agent = qmgr.agent(script=lambda job: job.done(450 if len(agent.jobs) < 3 else 250 if job.msg.dsn_head else 550))
    qmgr.smtps().mail("r@to.example SUCCESS,DELAY,FAILURE", **facts)
    for attempts in (1, 2):
        agent.wait_jobs(attempts)
        qmgr.wait_deferred(1)
        qmgr.advance(5 * 3600)
    qmgr.wait_empty()
    (report,) = reports(agent)
    assert report.rcpts == ["postmaster@mx.example"]
    assert told(report) == [("r@to.example", "failed")]


# -- aliases and lists


def test_an_alias_of_several_members_is_reported_as_expanded_once(qmgr):
    names = tuple(f"m{number}@x.example" for number in range(SLICE + 10))
    qmgr.smar().answers["list@to.example"] = Members(members=names)
    agent = qmgr.agent()
    qmgr.smtps().mail("list@to.example SUCCESS,FAILURE", envid="e1")
    qmgr.wait_empty(60)
    assert {one[1:] for one in members(agent)} == {("s@from.example", "FAILURE", "rfc822;list@to.example", "e1")}
    assert len(members(agent)) == len(names)
    (report,) = reports(agent)
    assert (report.rcpts, told(report)) == (["s@from.example"], [("list@to.example", "expanded")])


def test_an_alias_of_one_member_is_reported_by_whoever_delivers(qmgr):
    qmgr.smar().answers["a@to.example"] = Members(members=("b@x.example",))
    agent = qmgr.agent()
    qmgr.smtps().mail("a@to.example SUCCESS")
    qmgr.wait_empty()
    assert members(agent) == [("b@x.example", "s@from.example", "SUCCESS", "rfc822;a@to.example", None)]
    (report,) = reports(agent)
    assert told(report) == [("b@x.example", "relayed")]
    assert b"Original-Recipient: rfc822; a@to.example\r\n" in report.told
    assert b"<b@x.example> (from <a@to.example>) was taken" in report.told


@pytest.mark.parametrize("names", [("a@x.example",), ("a@x.example", "b@x.example")])
def test_a_list_with_an_owner_takes_delivery_and_asks_for_nothing_in_the_name_of_the_sender(qmgr, names):
    qmgr.smar().answers["list@to.example"] = Members(members=names, owner="owner-list@to.example")
    agent = qmgr.agent(script=refusing("a@x.example"))
    qmgr.smtps().mail("list@to.example SUCCESS rfc822;first@y.example", envid="e1", ret="FULL")
    qmgr.wait_empty()
    assert members(agent) == [(name, "owner-list@to.example", None, None, None) for name in names]
    assert {job.msg.ret for job in agent.jobs} == {None}
    found = {job.rcpts[0]: job for job in reports(agent)}
    assert sorted(found) == ["owner-list@to.example", "s@from.example"]
    assert told(found["s@from.example"]) == [("list@to.example", "delivered")]
    assert b"Original-Envelope-Id: e1" in found["s@from.example"].told
    assert told(found["owner-list@to.example"]) == [("a@x.example", "failed")]
    assert b"Original-Envelope-Id" not in found["owner-list@to.example"].told


@pytest.mark.parametrize("notify", ["SUCCESS", "SUCCESS,FAILURE"])
def test_a_report_of_success_that_fails_is_the_end(qmgr, notify):
    qmgr.smar().answers["list@to.example"] = Members(members=("a@x.example", "b@x.example"))
    agent = qmgr.agent(script=lambda job: job.done(550 if job.msg.dsn_head else 250))
    qmgr.smtps().mail(f"list@to.example {notify}")
    qmgr.wait_empty()
    assert [job.rcpts for job in reports(agent)] == [["s@from.example"]]


# -- VERP


def test_each_recipient_gets_a_sender_of_its_own_if_the_client_asks_for_it(qmgr):
    qmgr.smar()
    agent = qmgr.agent(script=refusing("b@to.example"))
    qmgr.smtps().mail("a@to.example", "b@to.example", mail="list@from.example", verp="-=")
    qmgr.wait_empty()
    assert [one[:2] for one in members(agent)] == [
        ("a@to.example", "list-a=to.example@from.example"), ("b@to.example", "list-b=to.example@from.example"),
    ]  # fmt: skip
    (report,) = reports(agent)
    assert report.rcpts == ["list-b=to.example@from.example"]


def test_the_configuration_asks_for_it_by_sender_and_by_owner_of_a_list(make_qmgr):
    qmgr = make_qmgr(verp=VerpSenders(frozenset({"news@from.example", "owner-list@to.example"})))
    qmgr.smar().answers["list@to.example"] = Members(members=("m@x.example",), owner="owner-list@to.example")
    agent = qmgr.agent()
    smtps = qmgr.smtps()
    smtps.mail("a@to.example", mail="news@from.example")
    smtps.mail("a@to.example", "list@to.example", mail="other@from.example")
    qmgr.wait_empty()
    assert [one[:2] for one in members(agent)] == [
        ("a@to.example", "news+a=to.example@from.example"), ("a@to.example", "other@from.example"),
        ("m@x.example", "owner-list+m=x.example@to.example"),
    ]  # fmt: skip


# -- warnings


def test_recipients_that_are_late_together_are_told_in_one_warning(qmgr):
    qmgr.smar()
    agent = qmgr.agent(script=lambda job: job.done(250 if job.msg.dsn_head else 450))
    rcpts = [f"r{number}@to.example" for number in range(8)]
    qmgr.smtps().mail(*rcpts)
    qmgr.wait_deferred(len(rcpts))
    qmgr.advance(4 * 3600 + 1)
    wait_until(lambda: sorted(rcpt for job in reports(agent) for rcpt, _ in told(job)) == rcpts, lambda: agent.jobs)
    assert len(reports(agent)) < len(rcpts)
    qmgr.wait_deferred(len(rcpts))
    lines = qmgr.sink.find("func=qmgr.report.*stat=delay")  # one for each that is told of, with the report that tells it
    assert sorted(re.search(r"told=(\d+),", line)[1] for line in lines) == [str(number) for number in range(len(rcpts))]
    assert len({re.search(r"rcpt_idx=(\d+),", line)[1] for line in lines}) == len(reports(agent))
    assert {one.flags for one in qmgr.defedb.scan(None, 99)} == {RcptFlags.DLY_SENT}


def test_warnings_for_different_senders_are_not_joined(qmgr):
    qmgr.smar().answers["list@to.example"] = Members(members=("m@to.example",), owner="owner-list@to.example")
    agent = qmgr.agent(script=lambda job: job.done(250 if job.msg.dsn_head else 450))
    qmgr.smtps().mail("a@to.example", "list@to.example")
    qmgr.wait_deferred(2)
    qmgr.advance(4 * 3600 + 1)
    wait_until(lambda: len(reports(agent)) == 2, lambda: agent.jobs)
    assert sorted((job.rcpts[0], told(job)) for job in reports(agent)) == [
        ("owner-list@to.example", [("m@to.example", "delayed")]), ("s@from.example", [("a@to.example", "delayed")]),
    ]  # fmt: skip
