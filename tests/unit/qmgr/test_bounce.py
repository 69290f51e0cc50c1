from itertools import count

import pytest

from meta1g.base.reply import NO_REPLY, Reply
from meta1g.db.aq_types import AqRcpt, AqTa, Home
from meta1g.qmgr.bounce import (
    bounce_records,
    delay_record,
    expansion_record,
    may_answer,
    member_template,
    report_of,
    smaller,
    success_kind,
    with_verp,
)
from meta1g.qmgr.limits import BOUNCE_RCPTS_MAX, STATUS_TEXT_MAX_CHARS
from meta1g.qmgr.outcome import Outcome
from meta1g.qmgr.settings import VerpSenders
from meta1g.rcb.common import DeliveryAgent
from meta1g.rcb.envelope import DsnRcpt, RcptFlags, RcptRecord
from tests.fakes.envelopes import NOW, rcpt, ta
from tests.fakes.qmgr_system import settings

SETTINGS = settings()
NO_USER = Outcome(Reply(550, "5.1.1", "no such user", "mx.to.example[192.0.2.1]"))


def failed(*records, **facts):
    it = AqTa(ta(1, mail="s@from.example", **facts), in_ibdb=True, in_defedb=False)
    return it, [(AqRcpt(it, record, Home.IBDB), report_of(record, NO_USER, NOW)) for record in records]


def bounces(*records, **facts):
    it, pairs = failed(*records, **facts)
    return bounce_records(it, pairs, count(7).__next__, SETTINGS, NOW)


def test_one_bounce_tells_of_all_failures_of_a_transaction():
    (found,) = bounces(rcpt(1, 0), rcpt(1, 1), rcpt(1, 2))
    assert (found.rcpt, found.rcpt_idx, found.flags) == ("s@from.example", 7, RcptFlags.IS_BNC)
    assert [one.rcpt for one in found.failed] == ["<r0@to.example>", "<r1@to.example>", "<r2@to.example>"]


def test_a_bounce_has_the_empty_sender_and_wants_no_report_itself():
    (found,) = bounces(rcpt(1))
    assert (found.sender, found.notify, found.entered, found.next_try) == ("", "NEVER", NOW, NOW)


def test_what_a_report_says_of_a_recipient():
    it = report_of(rcpt(1, orcpt="rfc822;o@to.example"), NO_USER, NOW)
    assert it == DsnRcpt(rcpt="<r0@to.example>", orcpt="rfc822;o@to.example", reply=NO_USER.reply, last_try=NOW)


def test_a_long_reply_is_cut():
    assert len(report_of(rcpt(1), Outcome(Reply(550, "", "x" * 10_000)), NOW).reply.text) == STATUS_TEXT_MAX_CHARS


@pytest.mark.parametrize("notify", ["NEVER", "SUCCESS", "DELAY", "SUCCESS,DELAY"])
def test_no_bounce_if_the_sender_does_not_want_one(notify):
    assert bounces(rcpt(1, notify=notify)) == []


def test_only_those_whose_failure_is_wanted_are_told():
    (found,) = bounces(rcpt(1, 0, notify="NEVER"), rcpt(1, 1, notify="FAILURE"))
    assert [one.rcpt for one in found.failed] == ["<r1@to.example>"]


def test_the_empty_sender_never_gets_a_bounce():
    it, pairs = failed(rcpt(1))
    it.record = ta(1, mail="")
    assert bounce_records(it, pairs, count(7).__next__, SETTINGS, NOW) == []


def test_the_owner_of_a_list_gets_the_bounces_of_its_members():
    found = bounces(rcpt(1, 0), rcpt(1, 1, sender="owner-l@to.example"), rcpt(1, 2, sender="owner-l@to.example"))
    assert [(one.rcpt, len(one.failed)) for one in found] == [("s@from.example", 1), ("owner-l@to.example", 2)]
    assert [one.rcpt_idx for one in found] == [7, 8]


def test_a_list_without_owner_address_gets_none():
    assert bounces(rcpt(1, 0, sender="")) == []


def test_a_failed_bounce_goes_to_the_postmaster_as_a_double_bounce():
    (found,) = bounces(rcpt(1, 3, rcpt="s@from.example", sender="", notify="NEVER", flags=RcptFlags.IS_BNC))
    assert (found.rcpt, found.flags, found.sender) == ("postmaster@mx.example", RcptFlags.IS_DBNC, "")
    assert found.failed[0].rcpt == "s@from.example"


def test_a_double_bounce_address_with_a_domain_stays_as_it_is():
    it, pairs = failed(rcpt(1, 3, sender="", flags=RcptFlags.IS_BNC))
    (found,) = bounce_records(it, pairs, count(7).__next__, settings(double_bounce_address="dead@letters.example"), NOW)
    assert found.rcpt == "dead@letters.example"


def test_double_bounces_can_be_switched_off():
    it, pairs = failed(rcpt(1, 3, sender="", flags=RcptFlags.IS_BNC))
    assert bounce_records(it, pairs, count(7).__next__, settings(dsn_double_bounce=False), NOW) == []


@pytest.mark.parametrize("flag", [RcptFlags.IS_DBNC, RcptFlags.IS_DLY, RcptFlags.IS_RELAYED])
def test_a_failed_double_bounce_or_warning_is_the_end(flag):
    assert bounces(rcpt(1, 3, sender="", flags=flag)) == []


def test_very_many_failures_make_several_bounces():
    found = bounces(*(rcpt(1, idx) for idx in range(BOUNCE_RCPTS_MAX + 1)))
    assert [len(one.failed) for one in found] == [BOUNCE_RCPTS_MAX, 1]
    assert len({one.rcpt_idx for one in found}) == 2


def test_a_warning_goes_to_the_sender_of_the_recipient():
    it, ((one, _),) = failed(rcpt(1, sender="owner-l@to.example"))
    found = delay_record(one, 4, Outcome(Reply(451, "4.2.1", "busy")), NOW)
    assert (found.rcpt, found.rcpt_idx, found.flags, found.sender) == ("owner-l@to.example", 4, RcptFlags.IS_DLY, "")
    assert [report.reply for report in found.failed] == [Reply(451, "4.2.1", "busy")]
    assert found.ta_id == it.ta_id


# -- who gets no report


def one_of(record: RcptRecord, **facts) -> AqRcpt:
    it = AqTa(ta(1, **{"mail": "s@from.example", **facts}), in_ibdb=True, in_defedb=False)
    return AqRcpt(it, record, Home.IBDB)


@pytest.mark.parametrize(
    ("record", "facts", "may"),
    [
        (rcpt(1), {}, True),
        (rcpt(1), {"mail": ""}, False),
        (rcpt(1), {"mail": "MAILER-DAEMON@from.example"}, False),
        (rcpt(1), {"mail": "mailer-daemon"}, False),
        (rcpt(1), {"mail": "mailer-daemons@from.example"}, True),
        (rcpt(1), {"automatic": True}, False),
        (rcpt(1, sender="owner@l.example", flags=RcptFlags.LIST), {"automatic": True}, True),
        (rcpt(1, sender=""), {}, False),
        *((rcpt(1, sender="", flags=1 << bit), {}, False) for bit in (0, 1, 2, 6, 7, 8)),
    ],
)
def test_no_report_answers_a_report_or_its_kin(record, facts, may):
    assert may_answer(one_of(record, **facts)) is may
    wants_all = one_of(
        RcptRecord(**{**{f: getattr(record, f) for f in record.__slots__}, "notify": "SUCCESS,FAILURE,DELAY"}), **facts
    )
    assert (success_kind(wants_all, Outcome(NO_REPLY)) is not None) is may
    assert (expansion_record(wants_all, lambda: 9, None, NOW) is not None) is may


def test_an_automatic_reply_that_fails_is_told_to_the_postmaster():
    (found,) = bounces(rcpt(1), automatic=True)
    assert (found.rcpt, found.flags) == ("postmaster@mx.example", RcptFlags.IS_DBNC)
    assert bounces(rcpt(1, notify="NEVER"), automatic=True) == []


def test_a_double_bounce_tells_what_the_bounce_was_to_tell():
    lost = (DsnRcpt(rcpt="a@x.example", reply=NO_USER.reply), DsnRcpt(rcpt="b@x.example", reply=NO_USER.reply))
    (found,) = bounces(rcpt(1, 3, rcpt="s@from.example", sender="", flags=RcptFlags.IS_BNC, failed=lost))
    assert [one.rcpt for one in found.failed] == ["s@from.example", "a@x.example", "b@x.example"]


# -- reports that are too large

TOO_LARGE = Outcome(Reply(552, "5.3.4", "too large"))
TOLD = tuple(DsnRcpt(rcpt=f"r{number}@x.example", reply=NO_USER.reply) for number in range(5))


def made_smaller(outcome=TOO_LARGE, **facts):
    record = rcpt(1, 3, **{"rcpt": "s@from.example", "sender": "", "failed": TOLD, "tries": 4, **facts})
    return smaller(one_of(record), outcome, count(7).__next__, NOW + 5)


def test_a_report_that_is_too_large_goes_without_the_message():
    (found,) = made_smaller(flags=RcptFlags.IS_BNC)
    assert (found.flags, found.rcpt_idx, found.failed, found.tries) == (RcptFlags.IS_BNC | RcptFlags.SHORT, 7, TOLD, 0)
    assert (found.rcpt, found.sender, found.next_try) == ("s@from.example", "", NOW + 5)


@pytest.mark.parametrize("flags", [RcptFlags.IS_BNC | RcptFlags.SHORT, RcptFlags.IS_DLY, RcptFlags.IS_RELAYED])
def test_a_report_that_is_too_large_without_the_message_is_cut_in_two(flags):
    found = made_smaller(flags=flags)
    assert [one.rcpt_idx for one in found] == [7, 8]
    assert [one.failed for one in found] == [TOLD[:3], TOLD[3:]]


def test_a_report_of_one_recipient_gets_no_smaller():
    assert made_smaller(flags=RcptFlags.IS_DLY, failed=TOLD[:1]) == []
    assert made_smaller(flags=RcptFlags.IS_BNC | RcptFlags.SHORT, failed=TOLD[:1]) == []


@pytest.mark.parametrize(
    ("code", "ecode", "large"),
    [
        (552, "5.3.4", True),
        (552, "", True),
        (554, "5.3.4", True),
        (552, "5.2.3", True),
        (552, "5.2.2", False),
        (550, "", False),
    ],
)
def test_which_refusals_mean_that_a_report_is_too_large(code, ecode, large):
    assert bool(made_smaller(Outcome(Reply(code, ecode)), flags=RcptFlags.IS_BNC)) is large


# -- success


def test_success_is_told_only_to_those_who_ask_for_it():
    assert success_kind(one_of(rcpt(1)), Outcome(Reply(250))) is None
    assert success_kind(one_of(rcpt(1, notify="FAILURE")), Outcome(Reply(250))) is None
    assert success_kind(one_of(rcpt(1, notify="SUCCESS")), Outcome(Reply(250))) == RcptFlags.IS_RELAYED


def test_a_server_that_makes_its_own_reports_gets_no_help():
    assert success_kind(one_of(rcpt(1, notify="SUCCESS")), Outcome(Reply(250), dsn=True)) is None


def test_behind_lmtp_is_a_mailbox():
    one = one_of(rcpt(1, notify="SUCCESS"))
    one.da = DeliveryAgent.LMTP
    assert success_kind(one, Outcome(Reply(250))) == RcptFlags.IS_DELIVERED


# -- aliases (RFC 3461 5.2.7)


@pytest.mark.parametrize(
    ("notify", "single", "expected"),
    [
        (None, True, None), (None, False, None), ("NEVER", False, "NEVER"), ("SUCCESS", True, "SUCCESS"),
        ("SUCCESS", False, "NEVER"), ("SUCCESS,FAILURE", False, "FAILURE"), ("DELAY", False, "DELAY"),
        ("SUCCESS,FAILURE,DELAY", True, "SUCCESS,FAILURE,DELAY"),
    ],
)  # fmt: skip
def test_members_of_an_alias_keep_what_was_asked_for_but_success_beyond_one(notify, single, expected):
    found = member_template(rcpt(1, rcpt="a+b@x.example", notify=notify), None, single=single, now=NOW)
    assert (found.notify, found.orcpt, found.orig_rcpt) == (expected, "rfc822;a+2Bb@x.example", "a+b@x.example")
    assert found.flags == RcptFlags.EXPANDED
    assert found.sender is None


def test_the_original_recipient_stays_what_the_sender_said():
    given = rcpt(
        1, rcpt="a@x.example", orcpt="rfc822;first@y.example", orig_rcpt="first@y.example", sender="v+a=x@from.example"
    )
    found = member_template(given, None, single=False, now=NOW)
    assert (found.orcpt, found.orig_rcpt, found.sender) == ("rfc822;first@y.example", "first@y.example", "v+a=x@from.example")


def test_an_original_recipient_that_is_not_ascii_is_written_in_ascii():
    assert member_template(rcpt(1, rcpt="ü@x.example"), None, single=True, now=NOW).orcpt == "utf-8;\\x{FC}@x.example"


def test_a_list_with_an_owner_asks_for_what_its_owner_wants():
    given = rcpt(1, rcpt="l@x.example", notify="NEVER", orcpt="rfc822;first@y.example")
    found = member_template(given, "owner-l@x.example", single=True, now=NOW)
    assert (found.sender, found.notify, found.orcpt) == ("owner-l@x.example", None, None)
    assert found.flags == RcptFlags.EXPANDED | RcptFlags.LIST


def test_reports_about_members_of_a_list_are_marked():
    flags = RcptFlags.EXPANDED | RcptFlags.LIST
    _, ((one, _),) = failed(rcpt(1, sender="owner-l@x.example", flags=flags))
    assert delay_record(one, 4, NO_USER, NOW).flags == RcptFlags.IS_DLY | RcptFlags.LIST
    (found,) = bounces(rcpt(1, sender="owner-l@x.example", flags=flags))
    assert (found.rcpt, found.flags) == ("owner-l@x.example", RcptFlags.IS_BNC | RcptFlags.LIST)


@pytest.mark.parametrize(("owner", "flag"), [(None, RcptFlags.IS_EXPANDED), ("o@x.example", RcptFlags.IS_DELIVERED)])
def test_an_alias_is_expanded_and_a_list_takes_delivery(owner, flag):
    found = expansion_record(one_of(rcpt(1, notify="SUCCESS")), lambda: 9, owner, NOW)
    assert (found.rcpt, found.flags, found.failed[0].reply.origin) == ("s@from.example", flag, "")
    assert expansion_record(one_of(rcpt(1)), lambda: 9, owner, NOW) is None


# -- VERP


@pytest.mark.parametrize(
    ("sender", "expected"),
    [
        ("list@from.example", "list+r=x.example@from.example"), ("LIST@From.Example", "LIST+r=x.example@From.Example"),
        ("any@lists.example", "any+r=x.example@lists.example"), ("other@from.example", None), ("", None), ("list", None),
    ],
)  # fmt: skip
def test_senders_that_are_named_carry_the_recipient(sender, expected):
    it = settings(verp=VerpSenders(frozenset({"list@from.example", "@lists.example", "list", "@"})))
    assert with_verp(rcpt(1, rcpt="r@x.example"), sender, it).sender == expected
    assert with_verp(rcpt(1, rcpt="r@x.example"), sender, SETTINGS).sender is None


# -- a time for delivery (RFC 2852)


@pytest.mark.parametrize(
    ("mode", "by", "notify", "da", "told"),
    [
        ("N", False, None, DeliveryAgent.ESMTP, True),
        ("N", True, None, DeliveryAgent.ESMTP, False),
        ("N", False, "NEVER", DeliveryAgent.ESMTP, False),
        ("N", False, None, DeliveryAgent.LMTP, False),
        ("NT", True, None, DeliveryAgent.ESMTP, True),
        ("RT", True, None, DeliveryAgent.ESMTP, True),
        ("R", True, None, DeliveryAgent.ESMTP, False),
        (None, False, None, DeliveryAgent.ESMTP, False),
    ],
)
def test_who_has_set_a_time_hears_where_nobody_watches_it_any_more(mode, by, notify, da, told):
    it = AqTa(ta(1, mail="s@from.example", by=NOW + 60, by_mode=mode), in_ibdb=True, in_defedb=False)
    one = AqRcpt(it, rcpt(1, notify=notify), Home.IBDB)
    one.da = da
    assert success_kind(one, Outcome(Reply(250), by=by, dsn=True)) == (RcptFlags.IS_RELAYED if told else None)
