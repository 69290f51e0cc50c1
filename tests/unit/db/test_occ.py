import pytest

from meta1g.db.aq_types import DestKey
from meta1g.db.dadb import Agent, DaSession
from meta1g.db.occ import Occ

A, B, C = (DestKey(0, addr, 25) for addr in "abc")
REFUSED = (451, "4.4.1", "connection refused")


class Sessions:
    """Opens and ends sessions to one destination."""

    def __init__(self, occ, key=A):
        self.occ, self.key, self.number = occ, key, 0

    def open(self):
        dest = self.occ.get(self.key)
        if not self.occ.may_open(dest):
            return None
        self.occ.opened(dest)
        self.number += 1
        return DaSession(f"C{self.number}", Agent(None, 0, 1, 9), self.key, 1)

    def fail(self, session, now_s=0.0, *, opening=True):
        self.occ.gone(session)
        return self.occ.failure(self.occ.get(self.key), now_s, REFUSED, opening=opening)


@pytest.fixture
def occ():
    return Occ(2, 8, 60.0, 100)


@pytest.fixture
def sessions(occ):
    return Sessions(occ)


def test_a_new_destination_has_the_initial_limit(occ, sessions):
    assert [bool(sessions.open()) for _ in range(3)] == [True, True, False]
    assert occ.get(A).open == 2


def test_success_raises_the_limit_by_one_up_to_the_maximum(occ):
    dest = occ.get(A)
    limits = []
    for _ in range(9):
        occ.success(dest)
        limits.append(dest.limit)
    assert limits == [3, 4, 5, 6, 7, 8, 8, 8, 8]
    assert dest.deliveries == 9


def test_failure_halves_the_limit_down_to_one(occ, sessions):
    dest = occ.get(A)
    dest.limit = 9
    limits = []
    for session in [sessions.open() for _ in range(5)]:
        sessions.fail(session)
        limits.append(dest.limit)
    assert limits == [4, 2, 1, 1, 1]


@pytest.mark.parametrize(("initial", "maximum", "limit"), [(10, 4, 4), (0, 4, 1), (3, 0, 1)])
def test_odd_limits_are_made_sensible(initial, maximum, limit):
    occ = Occ(initial, maximum, 60.0, 10)
    assert occ.get(A).limit == limit


def test_a_destination_that_cannot_be_reached_is_closed_for_a_while(occ, sessions):
    assert sessions.fail(sessions.open(), 100.0)
    assert occ.is_closed(A, 159.9).failure == REFUSED
    assert occ.is_closed(A, 160.0) is None
    assert occ.is_closed(B, 100.0) is None


def test_only_the_last_of_several_sessions_closes_it(occ, sessions):
    first, second = sessions.open(), sessions.open()
    assert not sessions.fail(first)
    assert sessions.fail(second)


def test_a_session_that_worked_before_says_nothing_about_the_destination(occ, sessions):
    assert not sessions.fail(sessions.open(), opening=False)
    assert occ.is_closed(A, 0.0) is None


def test_one_connection_probes_a_closed_destination(occ, sessions):
    occ.get(A).limit = 8
    sessions.fail(sessions.open(), 0.0)
    probe = sessions.open()
    assert probe is not None
    assert sessions.open() is None
    occ.success(occ.get(A))
    assert sessions.open() is not None


def test_a_failed_probe_closes_it_again(occ, sessions):
    sessions.fail(sessions.open(), 0.0)
    assert sessions.fail(sessions.open(), 60.0)
    assert occ.is_closed(A, 119.0) is not None


def test_a_probe_that_was_lost_is_followed_by_another_one(occ, sessions):
    sessions.fail(sessions.open(), 0.0)
    occ.gone(sessions.open())
    assert sessions.open() is not None
    assert sessions.open() is None


def test_reopen_lets_one_or_all_be_tried_at_once(occ):
    for key in (A, B):
        it = Sessions(occ, key)
        it.fail(it.open(), 0.0)
    occ.reopen(A)
    assert (occ.is_closed(A, 1.0), occ.is_closed(B, 1.0) is not None) == (None, True)
    occ.reopen()
    assert occ.is_closed(B, 1.0) is None


def test_a_session_that_ends_is_no_longer_idle(occ, sessions):
    session = sessions.open()
    occ.get(A).idle.append(session)
    occ.gone(session)
    assert (list(occ.get(A).idle), occ.get(A).open) == ([], 0)


def test_unused_destinations_are_forgotten_beyond_the_limit():
    occ = Occ(2, 8, 60.0, 2)
    occ.opened(occ.get(A))
    occ.get(B)
    occ.get(C)
    assert [dest.key for dest in occ.dests()] == [A, C]
    assert (occ.find(B), occ.find(A).open, len(occ)) == (None, 1, 2)


def test_a_destination_in_use_is_kept_beyond_the_limit():
    """Otherwise its sessions would not be counted."""
    occ = Occ(2, 8, 60.0, 1)
    for key in (A, B, C):
        dest = occ.get(key)
        occ.opened(dest)
        assert occ.find(key) is dest
    assert len(occ) == 3


def test_changed_limits_hold_for_destinations_that_are_known(occ, sessions):
    dest = occ.get(A)
    dest.limit = occ.maximum
    occ.set_limits(1, 2, 5.0)
    assert (dest.limit, occ.get(B).limit) == (2, 1)
