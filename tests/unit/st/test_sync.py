"""Condition variables and mutexes."""

import errno

import pytest

from meta1g import st
from tests.fakes.st_testing import shuffled
from tests.unit.st.conftest import errno_of

SECOND = 1_000_000


def start(function, count=1):
    return [st.st_thread_create(function, n, True) for n in range(count)]


def join(threads):
    return [st.st_thread_join(thread) for thread in threads]


def test_signal_wakes_the_one_that_waited_longest_and_broadcast_all_in_order(trace):
    cond = st.st_cond_new()

    def waiter(n):
        st.st_cond_wait(cond)
        trace.append(n)

    threads = start(waiter, 4)
    st.st_usleep(0)
    st.st_cond_signal(cond)
    st.st_usleep(0)
    trace.append("broadcast")
    st.st_cond_broadcast(cond)
    join(threads)
    assert trace == [0, "broadcast", 1, 2, 3]


def test_a_signal_without_waiters_is_lost(clock):
    cond = st.st_cond_new()
    st.st_cond_signal(cond)
    assert errno_of(st.st_cond_timedwait, cond, SECOND) == errno.ETIME
    assert clock.now_us == SECOND


def test_an_interrupt_wins_over_a_signal_and_does_not_eat_it(trace):
    cond = st.st_cond_new()

    def waiter(n):
        trace.append((n, errno_of(st.st_cond_wait, cond)))

    threads = start(waiter, 2)
    st.st_usleep(0)
    st.st_thread_interrupt(threads[0])
    st.st_cond_signal(cond)
    join(threads)
    assert trace == [(0, errno.EINTR), (1, 0)]


def test_a_condition_variable_in_use_cannot_be_destroyed():
    cond = st.st_cond_new()
    threads = start(lambda _: st.st_cond_wait(cond))
    st.st_usleep(0)
    assert errno_of(st.st_cond_destroy, cond) == errno.EBUSY
    st.st_cond_signal(cond)
    join(threads)
    assert st.st_cond_destroy(cond) == 0


def test_a_mutex_goes_to_the_one_that_waited_longest_before_anybody_new(trace):
    lock = st.st_mutex_new()
    st.st_mutex_lock(lock)

    def locker(n):
        st.st_mutex_lock(lock)
        trace.append(n)
        st.st_mutex_unlock(lock)

    threads = start(locker, 3)
    st.st_usleep(0)
    st.st_mutex_unlock(lock)
    assert errno_of(st.st_mutex_trylock, lock) == errno.EBUSY
    join(threads)
    assert trace == [0, 1, 2]


def test_an_interrupted_waiter_does_not_get_the_mutex(trace):
    lock = st.st_mutex_new()
    st.st_mutex_lock(lock)

    def locker(n):
        error = errno_of(st.st_mutex_lock, lock)
        trace.append((n, error))
        if not error:
            st.st_mutex_unlock(lock)

    threads = start(locker, 2)
    st.st_usleep(0)
    st.st_thread_interrupt(threads[0])
    st.st_mutex_unlock(lock)
    join(threads)
    assert trace == [(0, errno.EINTR), (1, 0)]
    assert st.st_mutex_destroy(lock) == 0


def test_an_interrupt_after_the_hand_over_is_for_the_next_blocking_call(trace):
    lock = st.st_mutex_new()
    st.st_mutex_lock(lock)

    def locker(_):
        trace.append(errno_of(st.st_mutex_lock, lock))
        trace.append(errno_of(st.st_usleep, 0))
        st.st_mutex_unlock(lock)

    threads = start(locker)
    st.st_usleep(0)
    st.st_mutex_unlock(lock)
    st.st_thread_interrupt(threads[0])
    join(threads)
    assert trace == [0, errno.EINTR]


@pytest.mark.parametrize("seed", range(10))
def test_in_any_order_of_running_a_mutex_keeps_others_out_and_nobody_is_forgotten(seed, trace):
    lock, cond = st.st_mutex_new(), st.st_cond_new()
    inside = []

    def worker(n):
        for _ in range(5):
            st.st_mutex_lock(lock)
            inside.append(n)
            st.st_usleep(0)
            assert inside == [n]
            inside.pop()
            st.st_mutex_unlock(lock)
        trace.append(n)
        st.st_cond_signal(cond)

    with shuffled(seed):
        threads = start(worker, 5)
        while len(trace) < 5:
            st.st_cond_wait(cond)
        join(threads)
    assert sorted(trace) == list(range(5))


def test_a_mutex_knows_its_owner():
    lock = st.st_mutex_new()
    assert errno_of(st.st_mutex_unlock, lock) == errno.EPERM
    st.st_mutex_lock(lock)
    assert errno_of(st.st_mutex_lock, lock) == errno.EDEADLK
    assert errno_of(st.st_mutex_destroy, lock) == errno.EBUSY
    assert join(start(lambda _: errno_of(st.st_mutex_unlock, lock))) == [errno.EPERM]
    st.st_mutex_unlock(lock)
