import pytest
from hypothesis import given
from hypothesis import strategies as st

from meta1g.qmgr import retry
from meta1g.rcb.envelope import RcptFlags
from tests.fakes.envelopes import NOW, rcpt, ta
from tests.fakes.qmgr_system import settings

SETTINGS = settings(min_retry_delay_s=300, max_retry_delay_s=3600, delay_dsn_timeout_s=4 * 3600, return_timeout_s=5 * 86400)


@pytest.mark.parametrize(("age_s", "delay_s"), [(0, 300), (299, 300), (301, 301), (1800, 1800), (3600, 3600), (86400, 3600)])
def test_the_next_delay_is_the_time_in_the_queue_within_the_bounds(monkeypatch, age_s, delay_s):
    monkeypatch.setattr(retry, "_spread", lambda rcpt: 0.0)
    assert retry.next_try(rcpt(1), NOW + age_s, SETTINGS) == NOW + age_s + delay_s


@given(age_s=st.floats(0, 1e7), number=st.integers(0, 1 << 40), tries=st.integers(0, 1 << 20))
def test_the_jitter_is_a_tenth_at_most(age_s, number, tries):
    delay_s = retry.next_try(rcpt(number, tries=tries), NOW + age_s, SETTINGS) - NOW - age_s
    assert 270 - 0.001 <= delay_s <= 3960 + 1.001


def test_messages_deferred_together_do_not_come_back_together():
    assert len({retry.next_try(rcpt(number), NOW, SETTINGS) for number in range(50)}) > 20
    assert len({retry.next_try(rcpt(1, tries=tries), NOW, SETTINGS) for tries in range(50)}) > 20


def test_recipients_of_one_message_come_back_together():
    assert len({retry.next_try(rcpt(1, idx), NOW + idx * 0.001, SETTINGS) for idx in range(50)}) == 1


@given(st.floats(0, 4e9))
def test_a_time_is_in_whole_microseconds_so_that_the_store_gives_it_back_as_it_is(when):
    assert retry.as_stored(retry.as_stored(when)) == retry.as_stored(when)
    assert abs(retry.as_stored(when) - when) <= 1e-6


def test_a_recipient_expires_at_the_return_timeout():
    assert not retry.expired(rcpt(1), NOW + 5 * 86400 - 1, SETTINGS)
    assert retry.expired(rcpt(1), NOW + 5 * 86400, SETTINGS)


def test_a_report_expires_by_its_own_age():
    report = rcpt(1, 3, flags=RcptFlags.IS_BNC, entered=NOW + 5 * 86400)
    assert not retry.expired(report, NOW + 6 * 86400, SETTINGS)


@pytest.mark.parametrize(
    ("notify", "failure", "delay", "success"),
    [(None, True, True, False), ("NEVER", False, False, False), ("FAILURE", True, False, False), ("DELAY", False, True, False),
     ("SUCCESS,FAILURE", True, False, True), ("success,delay", False, True, True)],
)  # fmt: skip
def test_notify_says_what_the_sender_wants_to_hear(notify, failure, delay, success):
    it = rcpt(1, notify=notify)
    assert [retry.wants(it, what) for what in ("FAILURE", "DELAY", "SUCCESS")] == [failure, delay, success]


def test_the_warning_is_due_once():
    due_s = SETTINGS.delay_dsn_timeout_s
    assert not retry.delay_warning_due(ta(1), rcpt(1), NOW + due_s - 1, SETTINGS)
    assert retry.delay_warning_due(ta(1), rcpt(1), NOW + due_s, SETTINGS)
    assert not retry.delay_warning_due(ta(1), rcpt(1, flags=RcptFlags.DLY_SENT), NOW + due_s, SETTINGS)


@pytest.mark.parametrize("facts", [{"notify": "NEVER"}, {"notify": "FAILURE"}, {"flags": RcptFlags.IS_BNC}])
def test_no_warning_for_reports_and_those_who_do_not_want_it(facts):
    assert not retry.delay_warning_due(ta(1), rcpt(1, **facts), NOW + 86400, SETTINGS)


def test_no_warning_at_all_if_it_is_switched_off():
    assert not retry.delay_warning_due(ta(1), rcpt(1), NOW + 86400, settings(delay_dsn_timeout_s=0))


@pytest.mark.parametrize("flag", [RcptFlags.IS_BNC, RcptFlags.IS_DBNC, RcptFlags.IS_DLY, RcptFlags.IS_RELAYED])
def test_reports_are_known_by_their_flags(flag):
    assert retry.is_report(rcpt(1, flags=flag | RcptFlags.DLY_SENT))
    assert not retry.is_report(rcpt(1, flags=RcptFlags.DLY_SENT | RcptFlags.EXPANDED))


def test_warnings_can_be_switched_off():
    off = settings(delay_dsn_timeout_s=60, dsn_delay=False)
    assert retry.delay_warning_due(ta(1), rcpt(1), NOW + 61, settings(delay_dsn_timeout_s=60))
    assert not retry.delay_warning_due(ta(1), rcpt(1), NOW + 61, off)


@pytest.mark.parametrize("flag", RcptFlags)
def test_every_kind_of_report_is_known_as_one(flag):
    assert retry.is_report(rcpt(1, flags=flag)) is flag.name.startswith("IS_")


# -- a time for delivery (RFC 2852)


@pytest.mark.parametrize(("mode", "returned"), [("R", True), ("RT", True), ("N", False), ("NT", False), (None, False)])
def test_what_happens_when_the_time_for_delivery_is_over(mode, returned):
    message = ta(1, by=NOW + 60, by_mode=mode)
    assert not retry.returns_late(message, rcpt(1), NOW + 59)
    assert not retry.delay_warning_due(message, rcpt(1), NOW + 59, SETTINGS)
    assert retry.returns_late(message, rcpt(1), NOW + 60) == returned
    assert retry.delay_warning_due(message, rcpt(1), NOW + 60, SETTINGS) == (mode is not None)
    assert not retry.returns_late(message, rcpt(1, flags=RcptFlags.IS_BNC), NOW + 60)
    assert not retry.returns_late(message, rcpt(1, flags=RcptFlags.LIST), NOW + 60)


def test_who_has_set_a_time_is_told_once_unless_no_delay_is_to_be_told():
    message, none = ta(1, by=NOW + 60, by_mode="N"), settings(dsn_delay=False)
    assert retry.delay_warning_due(message, rcpt(1), NOW + 60, none)
    assert not retry.delay_warning_due(message, rcpt(1, flags=RcptFlags.DLY_SENT), NOW + 60, none)
    assert not retry.delay_warning_due(message, rcpt(1, notify="FAILURE"), NOW + 60, none)


def test_the_next_attempt_is_no_later_than_the_time_for_delivery():
    message = ta(1, by=NOW + 60.5, by_mode="R")
    assert retry.in_time(message, rcpt(1), NOW + 300, NOW) == NOW + 61
    assert retry.in_time(message, rcpt(1), NOW + 30, NOW) == NOW + 30
    assert retry.in_time(message, rcpt(1), NOW + 300, NOW + 61) == NOW + 300
    assert retry.in_time(ta(1), rcpt(1), NOW + 300, NOW) == NOW + 300
