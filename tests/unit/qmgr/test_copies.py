"""One copy for one recipient, however often a message names it."""

from dataclasses import replace

import pytest

from meta1g.base.mailbox import mailbox_of
from meta1g.base.reply import Reply
from meta1g.db.aq_types import AqRcpt, AqTa, Home
from meta1g.pt.lock import Lock, LockRank
from meta1g.qmgr import copies
from meta1g.qmgr.copies import Copies, joined, wider
from meta1g.qmgr.defer import Change
from meta1g.rcb.envelope import RcptFlags
from meta1g.rcb.qmgr_smar import MEMBERS_PER_PART, Members, Unresolved
from tests.fakes.envelopes import rcpt, ta, ta_id
from tests.fakes.qmgr_peers import CONTENT
from tests.fakes.qmgr_system import wait_until


def members(*addresses, owner=None):
    return Members(members=addresses, owner=owner)


def in_parts(addresses):
    """An answer of SMAR for a list."""

    def answer(msg):
        part = tuple(addresses[msg.offset : msg.offset + MEMBERS_PER_PART])
        return Members(members=part, more=msg.offset + len(part) < len(addresses), offset=msg.offset, expansion="e")

    return answer


def delivered(agent):
    return sorted(rcpt for job in agent.jobs for rcpt in job.rcpts)


# -- always_bcc


def test_every_message_has_one_copy_more_and_nobody_hears_of_it(make_qmgr):
    qmgr = make_qmgr(always_bcc="copies@bcc.example")
    qmgr.smar()
    agent = qmgr.agent(script=lambda job: job.done(rcpts={"copies@bcc.example": 550}))
    smtps = qmgr.smtps()
    smtps.mail("a@to.example", "b@to.example", verp="+=")
    smtps.mail("c@to.example", mail="")
    agent.wait_jobs(4)
    qmgr.wait_empty()
    assert delivered(agent) == ["a@to.example", "b@to.example", "c@to.example", "copies@bcc.example", "copies@bcc.example"]
    copy = next(job.msg for job in agent.jobs if job.msg.mail == "s@from.example")
    assert [(one.rcpt, one.notify) for one in copy.rcpts] == [("copies@bcc.example", "NEVER")]


@pytest.mark.parametrize("rcpt", ["copies@bcc.example", "copies@BCC.example"])
def test_who_gets_the_message_anyway_gets_no_copy(make_qmgr, rcpt):
    qmgr = make_qmgr(always_bcc="copies@bcc.example")
    smar = qmgr.smar()
    smar.answers["list@to.example"] = members("x@to.example", "copies@bcc.example")
    agent = qmgr.agent()
    qmgr.smtps().mail(rcpt)
    agent.wait_jobs(1)
    qmgr.wait_empty()
    assert delivered(agent) == [rcpt]
    qmgr.smtps().mail("list@to.example")
    qmgr.wait_empty()
    assert delivered(agent) == sorted([rcpt, "copies@bcc.example", "x@to.example"])


def test_a_report_is_no_message_that_came_in(make_qmgr):
    qmgr = make_qmgr(always_bcc="copies@bcc.example")
    qmgr.smar()
    agent = qmgr.agent(script=lambda job: job.done(rcpts={"a@to.example": 550}))
    qmgr.smtps().mail("a@to.example")
    qmgr.wait_empty()
    assert delivered(agent) == ["a@to.example", "copies@bcc.example", "s@from.example"]


# -- what is the same


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("a@x.example", "a@X.Example", True),
        ("A@x.example", "a@x.example", False),
        ("a@x.example", "a@y.example", False),
        ("a+1@x.example", "a@x.example", False),
        ('"a@x.example"@y.example', '"a@X.example"@y.example', False),
        ("a@b\u00fccher.example", "a@B\u00dcCHER.example", True),
        ("a@b\u00fccher.example", "a@XN--bcher-kva.example", True),
        ("a@stra\u00dfe.example", "a@strasse.example", False),
        ("a@\u2028.example", "a@\u2028.EXAMPLE", True),
        ("a@[IPv6:2001:DB8::1]", "a@[ipv6:2001:db8::1]", True),
        ("Postmaster", "postmaster", True),
        ("\u00e4@x.example", "\u00c4@x.example", False),
    ],
)
def test_addresses_whose_domains_are_the_same_name_are_of_one_mailbox(one, other, same):
    assert (mailbox_of(one) == mailbox_of(other)) is same


@pytest.mark.parametrize(
    ("first", "second", "both"),
    [
        (None, None, None),
        ("NEVER", "NEVER", "NEVER"),
        ("NEVER", None, None),
        (None, "FAILURE", None),
        ("delay", None, None),
        ("NEVER", "FAILURE", "FAILURE"),
        ("FAILURE", "DELAY", "FAILURE,DELAY"),
        ("SUCCESS", None, "SUCCESS,FAILURE,DELAY"),
        ("SUCCESS", "NEVER", "SUCCESS"),
        ("failure,success", "DELAY", "SUCCESS,FAILURE,DELAY"),
    ],
)
def test_the_sender_hears_of_all_that_one_of_the_two_asked_for(first, second, both):
    assert wider(first, second) == wider(second, first) == both


def test_a_joined_recipient_is_the_first_one_with_the_parameters_of_both():
    one = rcpt(1, 0, rcpt="a@x.example", notify="NEVER")
    two = rcpt(1, 1, rcpt="a@X.EXAMPLE", notify="FAILURE", orcpt="rfc822;a")
    other = rcpt(1, 2, rcpt="b@x.example")
    (first, second) = joined([one, other, two])
    assert (first.rcpt_idx, first.rcpt, first.notify, first.orcpt) == (0, "a@x.example", "FAILURE", "rfc822;a")
    assert second is other
    assert joined([one, other]) == [one, other]


# -- recipients of one message


@pytest.mark.parametrize("again", ["a@to.example", "a@TO.example", "a@To.Example"])
def test_a_recipient_that_is_named_three_times_gets_one_copy(qmgr, again):
    qmgr.smar()
    agent = qmgr.agent()
    qmgr.smtps().mail("a@to.example", again, "b@to.example", "a@to.example")  # 250 for all of them
    qmgr.wait_empty()
    assert delivered(agent) == ["a@to.example", "b@to.example"]


def test_local_parts_are_taken_as_they_are(qmgr):
    qmgr.smar()
    agent = qmgr.agent()
    qmgr.smtps().mail("a@to.example", "A@to.example")
    qmgr.wait_empty()
    assert delivered(agent) == ["A@to.example", "a@to.example"]


@pytest.mark.parametrize("order", [("list@to.example", "b@to.example"), ("b@to.example", "list@to.example")])
@pytest.mark.parametrize("member", ["b@to.example", "b@TO.EXAMPLE"])
def test_an_alias_and_its_member_are_one_copy(qmgr, order, member):
    qmgr.smar().answers["list@to.example"] = members("a@to.example", member)
    agent = qmgr.agent()
    qmgr.smtps().mail(*order)
    qmgr.wait_empty()
    assert delivered(agent) == ["a@to.example", "b@to.example"]


def test_two_aliases_with_the_same_member_are_one_copy(qmgr):
    qmgr.smar().answers.update(
        {"l1@to.example": members("a@to.example", "b@to.example"), "l2@to.example": members("b@to.example", "c@to.example")}
    )
    agent = qmgr.agent()
    qmgr.smtps().mail("l1@to.example", "l2@to.example")
    qmgr.wait_empty()
    assert delivered(agent) == ["a@to.example", "b@to.example", "c@to.example"]


def test_an_alias_whose_members_are_all_there_already_is_done_with(qmgr):
    qmgr.smar().answers.update({"l1@to.example": members("a@to.example"), "l2@to.example": members("a@TO.example")})
    agent = qmgr.agent()
    qmgr.smtps().mail("l1@to.example", "l2@to.example")
    qmgr.wait_empty()
    assert delivered(agent) == ["a@to.example"]
    assert qmgr.content() == []


def test_a_member_that_an_alias_names_twice_gets_one_copy(qmgr):
    qmgr.smar().answers["list@to.example"] = members("a@to.example", "b@to.example", "a@TO.example")
    agent = qmgr.agent()
    qmgr.smtps().mail("list@to.example")
    qmgr.wait_empty()
    assert delivered(agent) == ["a@to.example", "b@to.example"]


def test_a_list_and_its_owner_are_one_copy_for_who_is_both(qmgr):
    qmgr.smar().answers.update(
        {
            "list@to.example": members("a@to.example", "b@to.example", owner="b@to.example"),
            "owner-list@to.example": members("b@to.example"),
        }
    )
    agent = qmgr.agent()
    qmgr.smtps().mail("list@to.example", "owner-list@to.example")
    qmgr.wait_empty()
    assert delivered(agent) == ["a@to.example", "b@to.example"]


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_an_alias_that_is_a_mailbox_too_keeps_its_copy(qmgr, order):
    qmgr.smar().answers.update(
        {
            "bob@to.example": members("bob@to.example", "archive@to.example"),
            "list@to.example": members("bob@to.example", "archive@to.example", "c@to.example"),
        }
    )
    agent = qmgr.agent()
    names = ("bob@to.example", "list@to.example")
    qmgr.smtps().mail(*(names[number] for number in order))
    qmgr.wait_empty()
    assert delivered(agent) == ["archive@to.example", "bob@to.example", "c@to.example"]


def test_two_messages_do_not_share_their_copies(qmgr):
    qmgr.smar().answers["list@to.example"] = members("a@to.example")
    agent = qmgr.agent()
    smtps = qmgr.smtps()
    smtps.mail("list@to.example", "a@to.example")
    smtps.mail("list@to.example")
    qmgr.wait_empty()
    assert delivered(agent) == ["a@to.example", "a@to.example"]


def test_a_report_to_somebody_is_no_copy_of_the_message(qmgr):
    """The bounce of a member goes to the sender although he is a recipient, too."""
    qmgr.smar().answers["x@to.example"] = Unresolved(reply=Reply(550, "5.1.1", "no"))
    agent = qmgr.agent()
    qmgr.smtps().mail("s@from.example", "x@to.example", mail="s@from.example")
    qmgr.wait_empty()
    assert [(job.msg.mail, job.rcpts) for job in agent.jobs if job.msg.dsn_head] == [("", ["s@from.example"])]
    assert delivered(agent) == ["s@from.example", "s@from.example"]


# -- other stores


def test_a_copy_that_waits_in_defedb_is_found(qmgr):
    """The alias could not be resolved at first; the recipient beside it is deferred, and both come back at other times."""
    smar = qmgr.smar()
    smar.answers["list@to.example"] = Unresolved(reply=Reply(451, "4.3.0", "later"))
    agent = qmgr.agent(script=lambda job: job.done(450))
    key = qmgr.smtps().mail("list@to.example", "b@to.example")
    qmgr.wait_deferred(2)
    smar.answers["list@to.example"] = members("a@to.example", "b@TO.example")
    agent.script = lambda job: job.done()
    (alias, _) = qmgr.defedb.get_rcpts(key)
    qmgr.context.defer.add(Change(ta=qmgr.defedb.get_ta(key), put=(replace(alias, next_try=qmgr.clock.now()),)))
    wait_until(lambda: not qmgr.context.defer.pending, "stored")
    with qmgr.context.active.lock:
        qmgr.context.active.edbc.reset()
    qmgr.context.feeder.wake()
    wait_until(lambda: any("a@to.example" in job.rcpts for job in agent.jobs), "expanded")
    qmgr.advance(4000)
    qmgr.wait_empty()
    assert sum(job.rcpts.count("b@to.example") for job in agent.jobs) == 2  # one of them was refused for now


def test_members_that_are_stored_already_when_a_list_is_expanded_again_are_left_out(make_qmgr):
    """The process ended in the middle of a list: it is expanded anew, beside the members that are in the store."""
    qmgr = make_qmgr(aq_max_entries=2000, max_rcpts_per_transaction=100)
    addresses = [f"m{number}@to.example" for number in range(700)]
    key, now = ta_id(1), qmgr.clock.now()
    qmgr.cdb.write_whole(key, [CONTENT])
    alias = rcpt(1, 0, rcpt="list@to.example", next_try=now, entered=now)
    some = [replace(alias, rcpt_idx=1 + idx, rcpt=one, flags=RcptFlags.EXPANDED) for idx, one in enumerate(addresses[:300])]
    record = ta(1, 301, size_bytes=len(CONTENT), entered=now)
    qmgr.context.defer.add(Change(ta=record, put=(alias, *some)))
    wait_until(lambda: qmgr.defedb.count() == 301, "stored, in more than one part")
    qmgr.smar().answers["list@to.example"] = in_parts(addresses)
    with qmgr.context.active.lock:
        qmgr.context.active.edbc.reset()
    qmgr.context.feeder.wake()
    wait_until(
        lambda: len(qmgr.defedb.get_rcpts(key)) == 700 and 0 not in {one.rcpt_idx for one in qmgr.defedb.get_rcpts(key)},
        "the list is expanded",
    )
    agent = qmgr.agent()
    qmgr.wait_empty(60)
    assert delivered(agent) == sorted(addresses)


def test_long_lists_with_common_members_are_one_copy_each(make_qmgr):
    qmgr = make_qmgr(aq_max_entries=4000, max_rcpts_per_transaction=100)
    both = [f"m{number}@to.example" for number in range(1200)]
    smar = qmgr.smar()
    smar.answers["l1@to.example"] = in_parts(both[:900])
    smar.answers["l2@to.example"] = in_parts(both[300:])
    agent = qmgr.agent()
    qmgr.smtps().mail("l1@to.example", "l2@to.example", "m5@to.example")
    qmgr.wait_empty(60)
    assert delivered(agent) == sorted(both)


def test_nothing_is_kept_when_the_aliases_are_expanded(qmgr):
    qmgr.smar().answers["list@to.example"] = members("a@to.example", "b@to.example")
    smtps = qmgr.smtps()  # no agent: the members stay in AQ
    smtps.mail("list@to.example", "a@to.example")
    wait_until(lambda: list(qmgr.states().values()).count("READY") == 2, qmgr.states)
    assert len(qmgr.context.active.copies) == 0
    qmgr.agent()
    qmgr.wait_empty()


def test_what_is_kept_is_bounded_and_the_oldest_goes_first(monkeypatch):
    monkeypatch.setattr(copies, "COPIES_MAX", 10)
    known = Copies(Lock(LockRank.AQ), defer=None)
    first, second = (AqTa(ta(number), in_ibdb=True, in_defedb=False) for number in (1, 2))
    for one in (first, second):
        assert known.when_known(one, lambda: None)
        for number in range(8):
            assert known.take(one, 0, f"m{number}@x.example")
            one.next_idx += 1
        assert len(known) <= 10
    assert known.take(first, 0, "m0@x.example"), "it was forgotten"
    assert not known.take(second, 0, "m0@x.example")
    for number in range(8, 30):
        assert known.take(second, 0, f"m{number}@x.example"), "two copies are better than none"
        assert len(known) <= 10
    known.forget(second)
    assert len(known) == 0


def test_reports_are_no_copies_and_the_alias_itself_may_be_its_own_member():
    known = Copies(Lock(LockRank.AQ), defer=None)
    one = AqTa(ta(1, 2), in_ibdb=True, in_defedb=False)
    one.rcpts[0] = AqRcpt(one, rcpt(1, 0, rcpt="list@x.example"), Home.IBDB)
    one.rcpts[1] = AqRcpt(one, rcpt(1, 1, rcpt="s@x.example", flags=RcptFlags.IS_BNC), Home.IBDB)
    assert known.when_known(one, lambda: None)
    assert known.take(one, 0, "s@x.example")
    assert known.take(one, 0, "list@X.example")
    assert not known.take(one, 0, "list@x.example")
