from itertools import count

import pytest

from meta1g.base.reply import Reply
from meta1g.db.aq_types import AqRcpt, AqTa, Home
from meta1g.qmgr.bounce import bounce_records, delay_record, report_of
from meta1g.qmgr.limits import BOUNCE_RCPTS_MAX, STATUS_TEXT_MAX_CHARS
from meta1g.qmgr.outcome import Outcome
from meta1g.rcb.envelope import DsnRcpt, RcptFlags
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
