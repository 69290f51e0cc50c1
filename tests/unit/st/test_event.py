"""Time, switch callbacks, the main loop."""

import errno
import time

import pytest

from meta1g import st
from meta1g.base.errors import BugError
from tests.unit.st.conftest import errno_of


def test_st_utime_counts_microseconds_and_st_time_seconds_since_1970():
    before = time.monotonic_ns() // 1000
    now = st.st_utime()
    assert before <= now <= time.monotonic_ns() // 1000
    assert abs(st.st_time() - time.time()) < 5


def test_the_time_cache_gives_the_loops_time_and_its_former_state():
    assert st.st_timecache_set(True) == 0
    assert abs(st.st_time() - time.time()) < 60
    assert st.st_timecache_set(False) == 1


def test_switch_callbacks_see_each_switch_and_not_a_call_that_does_not_wait(trace):
    assert st.st_set_switch_out_cb(lambda: trace.append("out")) is None
    assert st.st_set_switch_in_cb(lambda: trace.append("in")) is None
    cond = st.st_cond_new()
    st.st_cond_signal(cond)
    assert trace == []
    st.st_usleep(0)
    assert trace == ["out", "in"]
    assert callable(st.st_set_switch_out_cb(None))
    assert callable(st.st_set_switch_in_cb(None))
    st.st_usleep(0)
    assert trace == ["out", "in"]


def test_the_switch_counter_stands_still_while_nobody_waits():
    before = st.switch_count()
    st.st_cond_signal(st.st_cond_new())
    assert st.switch_count() == before
    st.st_usleep(0)
    assert st.switch_count() > before


def test_no_switch_refuses_the_call_that_would_switch():
    with pytest.raises(BugError, match="no_switch"), st.no_switch():
        st.st_usleep(0)
    st.st_usleep(0)


def test_run_forever_ends_by_stop_from_another_thread_and_ignores_interrupts(clock, trace):
    main = st.st_thread_self()

    def stopper(_):
        st.st_thread_interrupt(main)
        st.st_usleep(10)
        trace.append("stop")
        st.stop()

    st.st_thread_create(stopper)
    st.run_forever()
    assert trace == ["stop"]
    assert errno_of(st.st_usleep, 1) == errno.EINTR


def test_a_stop_that_came_before_ends_run_forever_at_once():
    st.stop()
    st.run_forever()


def test_the_event_system_is_fixed_after_st_init():
    assert st.st_get_eventsys() == st.ST_EVENTSYS_ALT
    assert st.st_get_eventsys_name() in ("epoll", "kqueue", "poll")
    assert errno_of(st.st_set_eventsys, st.ST_EVENTSYS_ALT) == errno.EBUSY
    assert errno_of(st.st_set_utime_function, time.monotonic_ns) == errno.EINVAL
