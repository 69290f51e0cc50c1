import threading

import pytest

from meta1g.base.errors import BugError
from meta1g.pt import lock
from meta1g.pt.lock import Lock, LockRank


def test_order_of_the_stores_is_iqdb_aq_defedb_ibdb():
    names = [rank.name for rank in sorted(LockRank)][:4]
    assert names == ["IQDB", "AQ", "DEFEDB", "IBDB"]


def test_rising_ranks_are_allowed():
    with Lock(LockRank.IQDB), Lock(LockRank.AQ), Lock(LockRank.LEAF):
        assert lock.held_names() == ["IQDB", "AQ", "LEAF"]
    assert lock.held_names() == []


@pytest.mark.parametrize("second", [LockRank.IQDB, LockRank.AQ])
def test_falling_or_equal_rank_is_a_bug_found_before_it_hangs(second):
    with Lock(LockRank.AQ), pytest.raises(BugError, match="while holding AQ"):
        Lock(second).acquire()


def test_lock_is_usable_after_a_refused_order():
    low = Lock(LockRank.IQDB)
    with Lock(LockRank.AQ), pytest.raises(BugError):
        low.acquire()
    with low:
        assert low.held()


def test_order_is_not_checked_when_checking_is_off():
    lock.set_checking(False)
    with Lock(LockRank.AQ), Lock(LockRank.IQDB):
        assert not lock.checking()


def test_lock_taken_unchecked_can_be_released_checked():
    lock.set_checking(False)
    one = Lock(LockRank.AQ)
    one.acquire()
    lock.set_checking(True)
    one.release()
    with one:
        pass


def test_locks_of_other_threads_do_not_count():
    with Lock(LockRank.IBDB):
        thread = threading.Thread(target=lambda: Lock(LockRank.IQDB).acquire())
        thread.start()
        thread.join(10)
        assert lock.held_names() == ["IBDB"]


def test_try_lock_tells_whether_it_got_the_lock():
    one = Lock(LockRank.AQ)
    with one:
        results = []
        thread = threading.Thread(target=lambda: results.append(one.acquire(blocking=False)))
        thread.start()
        thread.join(10)
    assert results == [False]
