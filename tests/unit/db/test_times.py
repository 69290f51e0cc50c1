from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meta1g.base.reply import Reply
from meta1g.db.times import bounded, bounded_ta, is_older, latest_try
from meta1g.rcb.envelope import Attempt, DsnRcpt, RcptFlags
from tests.fakes.envelopes import NOW, rcpt, ta

MAX_S, DAY_S = 7200.0, 86400.0
TIMES = st.sampled_from([0.0, 1.0, NOW - 60 * DAY_S, NOW - 1, NOW, NOW + 1, NOW + 7000, NOW + 60 * DAY_S, 1e11])


def test_times_that_can_be_stay_as_they_are():
    one = rcpt(1, entered=NOW - 4 * DAY_S, last_try=NOW - 5, next_try=NOW + MAX_S * 1.1, failed=(_told(NOW - 9),))
    assert bounded(one, NOW, MAX_S) is one
    it = ta(1, entered=NOW)
    assert bounded_ta(it, NOW) is it


def _told(when: float) -> DsnRcpt:
    return DsnRcpt(rcpt="a@x.example", reply=Reply(550, "5.1.1", "no"), last_try=when)


def _attempt(first: float, last: float) -> Attempt:
    return Attempt(reply=Reply(451, "4.3.0", "later"), first=first, last=last)


@pytest.mark.parametrize(
    ("facts", "changed"),
    [
        ({"next_try": NOW + 60 * DAY_S}, {"next_try": NOW}),
        ({"next_try": NOW + MAX_S * 1.1 + 2}, {"next_try": NOW}),
        ({"entered": NOW + 60 * DAY_S}, {"entered": NOW}),
        ({"entered": 3600.0}, {"entered": NOW}),
        ({"last_try": NOW + DAY_S}, {"last_try": NOW}),
        ({"failed": (_told(NOW - 1), _told(NOW + 5))}, {"failed": (_told(NOW - 1), _told(NOW))}),
        ({"attempts": (_attempt(NOW - 9, NOW + 5),)}, {"attempts": (_attempt(NOW - 9, NOW),)}),
        ({"attempts": (_attempt(NOW + 4, NOW + 5),)}, {"attempts": (_attempt(NOW, NOW),)}),
        ({"flags": RcptFlags.HOLD, "next_try": 32_503_680_000.0}, {}),
        ({"flags": RcptFlags.HOLD, "next_try": 32_503_680_000.0, "entered": NOW + 1}, {"entered": NOW}),
        ({"next_try": 5.0}, {}),
    ],
)
def test_a_time_that_cannot_be_becomes_now_and_held_ones_stay_held(facts, changed):
    one = rcpt(1, **facts)
    assert bounded(one, NOW, MAX_S) == replace(one, **changed)


@given(entered=TIMES, last_try=TIMES, next_try=TIMES)
def test_nothing_that_is_read_is_out_of_bounds_and_nothing_is_bounded_twice(entered, last_try, next_try):
    one = bounded(rcpt(1, entered=entered, last_try=last_try, next_try=next_try), NOW, MAX_S)
    assert one.entered <= NOW
    assert one.last_try <= NOW
    assert one.next_try <= latest_try(NOW, MAX_S)
    assert bounded(one, NOW, MAX_S) is one
    assert bounded_ta(ta(1, entered=entered), NOW).entered <= NOW


@pytest.mark.parametrize(
    ("changed", "older"),
    [(NOW - 21, True), (NOW - 19, False), (NOW, False), (NOW + 30, False), (NOW + 61, True), (NOW + 60 * DAY_S, True)],
)
def test_a_file_from_the_future_is_as_old_as_any(changed, older):
    assert is_older(changed, NOW, 20) is older
