"""The helpers for tests."""

import os

import pytest

from meta1g import st
from tests.fakes.st_testing import DeadlockError, no_leaks, shuffled, virtual_clock

HOUR = 3_600_000_000


def later(function, *args):
    return st.st_thread_create(lambda _: function(*args), None, True)


def test_the_virtual_clock_leaps_over_hours(clock):
    assert clock.now_us == st.st_utime() == 0
    thread = later(st.st_usleep, 2 * HOUR)
    st.st_usleep(HOUR)
    assert clock.now_us == HOUR
    st.st_thread_join(thread)
    assert clock.now_us == 2 * HOUR


def test_the_virtual_clock_stands_while_data_is_on_its_way_or_a_call_is_off_loaded(clock):
    reader, writer = (st.st_netfd_open(fd) for fd in os.pipe())
    thread = later(st.st_read, reader, 1, HOUR)
    st.st_usleep(0)
    st.offload(sum, range(100_000))
    st.st_write(writer, b"x", HOUR)
    assert st.st_thread_join(thread) == b"x"
    assert clock.now_us == 0
    st.st_netfd_close(reader)
    st.st_netfd_close(writer)


def test_a_dead_lock_is_noticed():
    with pytest.raises(DeadlockError), virtual_clock():
        st.st_cond_wait(st.st_cond_new())


def test_after_a_dead_lock_was_noticed_the_clock_goes_on(clock, capfd):
    with pytest.raises(DeadlockError):
        st.st_cond_wait(st.st_cond_new())
    assert st.st_thread_join(later(int)) == 0
    st.st_usleep(HOUR)
    assert clock.now_us == HOUR
    assert capfd.readouterr().err == ""


def test_a_seed_gives_an_order_of_its_own_and_always_the_same():
    def order(seed):
        trace = []
        with shuffled(seed):
            for thread in [later(trace.append, n) for n in range(8)]:
                st.st_thread_join(thread)
        return trace

    assert order(1) == order(1)
    assert len({tuple(order(seed)) for seed in range(5)}) > 1
    assert sorted(order(3)) == list(range(8))


def test_what_is_left_behind_is_named():
    reader, writer = os.pipe()
    os.close(writer)
    left = []

    def leave():
        left.extend((later(st.st_sleep, -1), os.dup(reader)))

    with pytest.raises(AssertionError, match=r"1 state threads, descriptor \d+"), no_leaks():
        leave()
    st.st_thread_interrupt(left[0])
    os.close(left[1])
    os.close(reader)
    st.st_usleep(0)
