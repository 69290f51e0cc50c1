"""Threads: order, join, exit, interrupt, sleep."""

import errno
import subprocess
import sys
import weakref

import pytest

from meta1g import st
from meta1g.st.limits import SPARE_GREENLETS
from tests.unit.st.conftest import errno_of

SECOND = 1_000_000


def test_threads_run_in_the_order_of_their_creation_and_after_their_creator_waits(trace):
    threads = [st.st_thread_create(trace.append, n, joinable=True) for n in range(3)]
    trace.append("created")
    for thread in threads:
        st.st_thread_join(thread)
    assert trace == ["created", 0, 1, 2]


def test_join_gives_the_result_and_waits_for_it(clock):
    thread = st.st_thread_create(lambda n: st.st_usleep(n) or n, 5, joinable=True)
    assert st.st_thread_join(thread) == 5
    assert clock.now_us == 5


def test_exit_from_deep_inside_gives_the_result():
    def leave(_):
        try:
            st.st_thread_exit("early")
        finally:
            pass
        return "late"

    assert st.st_thread_join(st.st_thread_create(leave, None, True)) == "early"


def test_join_refuses_itself_others_that_wait_and_threads_that_nobody_may_join(clock):
    sleeper = st.st_thread_create(st.st_sleep, 1, True)
    loner = st.st_thread_create(st.st_sleep, 1)
    waiter = st.st_thread_create(st.st_thread_join, sleeper, True)
    st.st_usleep(0)
    assert errno_of(st.st_thread_join, sleeper) == errno.EINVAL
    assert errno_of(st.st_thread_join, loner) == errno.EINVAL
    me = st.st_thread_create(lambda _: errno_of(st.st_thread_join, st.st_thread_self()), None, True)
    assert st.st_thread_join(me) == errno.EDEADLK
    st.st_thread_join(waiter)
    assert errno_of(st.st_thread_join, sleeper) == errno.EINVAL


def test_an_interrupt_from_before_makes_the_next_blocking_call_fail_once(clock):
    def victim(_):
        return errno_of(st.st_usleep, SECOND), errno_of(st.st_usleep, 1), clock.now_us

    thread = st.st_thread_create(victim, None, True)
    st.st_thread_interrupt(thread)
    assert st.st_thread_join(thread) == (errno.EINTR, 0, 1)


def test_an_interrupt_ends_a_sleep_without_end(clock):
    thread = st.st_thread_create(lambda _: errno_of(st.st_sleep, -1), None, True)
    st.st_usleep(1)
    st.st_thread_interrupt(thread)
    assert st.st_thread_join(thread) == errno.EINTR


def test_interrupting_a_zombie_does_nothing():
    thread = st.st_thread_create(lambda _: 7, None, True)
    st.st_usleep(0)
    st.st_thread_interrupt(thread)
    assert thread.state is st.ThreadState.ZOMBIE
    assert st.st_thread_join(thread) == 7


def test_sleepers_wake_in_the_order_of_their_times(clock, trace):
    def sleeper(secs):
        st.st_sleep(secs)
        trace.append((secs, clock.now_us))

    for thread in [st.st_thread_create(sleeper, n, True) for n in (3, 1, 2)]:
        st.st_thread_join(thread)
    assert trace == [(1, SECOND), (2, 2 * SECOND), (3, 3 * SECOND)]


def test_an_error_that_ends_a_thread_is_reported_and_the_others_go_on(trace):
    st.set_error_hook(lambda error: trace.append(repr(error)))
    try:
        thread = st.st_thread_create(lambda _: 1 / 0, None, True)
        assert st.st_thread_join(thread) is None
    finally:
        st.set_error_hook(print)
    assert trace == ["ZeroDivisionError('division by zero')"]


def run(code: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False)


@pytest.mark.parametrize(
    "last",
    ["st.st_thread_create(lambda _: print('last')); st.st_thread_exit()", "print('last'); st.st_thread_exit()"],
    ids=["thread", "primordial"],
)
def test_the_process_ends_with_0_when_its_last_thread_ends(last):
    ended = run(f"import atexit; from meta1g import st; st.st_init(); atexit.register(print, 'bye'); {last}; print('never')")
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "last\nbye\n", "")


def test_system_exit_in_a_thread_ends_the_process_with_its_code():
    ended = run("from meta1g import st; st.st_init(); st.st_thread_create(exit, 3); st.run_forever()")
    assert (ended.returncode, ended.stderr) == (3, "")


def test_before_st_init_there_is_no_limit_and_after_it_that_of_the_system():
    ended = run("from meta1g import st; print(st.st_getfdlimit()); st.st_init(); print(st.st_getfdlimit() > 2)")
    assert ended.stdout == "-1\nTrue\n"


def test_a_greenlet_serves_thread_after_thread_and_keeps_nothing_of_them():
    class Thing:
        pass

    thing = Thing()
    gone, served = weakref.ref(thing), []

    def work(arg):
        served.append(st.st_thread_self().greenlet)
        return arg

    st.st_thread_join(st.st_thread_create(work, thing, True))
    del thing
    assert gone() is None
    many = [st.st_thread_create(work, n, True) for n in range(3 * SPARE_GREENLETS)]
    assert [st.st_thread_join(thread) for thread in many] == list(range(3 * SPARE_GREENLETS))
    assert served[0] in served[1:]
    assert len(st.sched.runtime.spare) <= SPARE_GREENLETS
    fails = st.st_thread_create(lambda _: st.st_thread_exit("early"), None, True)
    assert st.st_thread_join(fails) == "early"
    assert st.st_thread_join(st.st_thread_create(work, "after", True)) == "after"
