"""Turns of clients at the check of passwords."""

import errno

import pytest

from meta1g import st
from meta1g.base.clock import SystemClock
from meta1g.base.errors import TempError
from meta1g.smtps.turnstile import Turnstile
from meta1g.st.errors import fail
from tests.fakes.st_testing import no_leaks, virtual_clock

CHECK_US = 30_000


@pytest.fixture(autouse=True)
def leaks():
    st.st_init()
    with no_leaks(), virtual_clock():
        yield


@pytest.fixture
def trace():
    return []


class StClock(SystemClock):
    """The clock of State Threads, which tests turn."""

    def monotonic(self):
        return st.st_utime() / 1_000_000


def make(at_once=1, places=256, cap=32, timeout_s=60.0):
    return Turnstile(at_once, places, cap, timeout_s, StClock())


def ask(turnstile, who, trace, function=lambda: st.st_usleep(CHECK_US)):
    """Starts a call that notes when it has its turn, or that it was refused; gives its thread."""

    def checked():
        trace.append(who)
        function()

    def call(_arg):
        try:
            turnstile.run(who, checked)
        except (TempError, st.StError) as error:
            trace.append(f"{who}: {error}")

    return st.st_thread_create(call, None, True)


def join(threads):
    for thread in threads:
        st.st_thread_join(thread)


def test_a_client_that_comes_last_goes_before_the_second_call_of_one_with_many(trace):
    turnstile = make()
    guessers = [f"192.0.2.{number}" for number in range(5)]
    threads = [ask(turnstile, who, trace) for who in guessers for _ in range(20)]
    st.st_usleep(CHECK_US // 2)
    threads.append(ask(turnstile, "198.51.100.1", trace))
    join(threads)
    place = trace.index("198.51.100.1")
    assert place <= len(guessers) + 1, trace[: place + 1]
    assert len(trace) == 101


def test_a_client_of_ipv6_is_a_network_and_has_one_turn(trace):
    turnstile = make()
    threads = [ask(turnstile, f"2001:db8::{number}", trace) for number in range(10)]
    threads.append(ask(turnstile, "2001:db8:0:1::1", trace))
    join(threads)
    assert trace.index("2001:db8:0:1::1") == 2  # one runs, and one waited before


def test_calls_of_one_client_keep_their_order(trace):
    turnstile, order = make(), []
    join([ask(turnstile, "a", trace, lambda n=number: order.append(n) or st.st_usleep(CHECK_US)) for number in range(9)])
    assert order == list(range(9))


def test_one_client_never_has_all_that_run_at_a_time(trace):
    turnstile = make(at_once=4)
    threads = [ask(turnstile, "hog", trace, lambda: st.st_usleep(10 * CHECK_US)) for _ in range(9)]
    st.st_usleep(CHECK_US)
    threads.append(ask(turnstile, "other", trace))
    st.st_usleep(CHECK_US)
    assert trace == ["hog"] * 3 + ["other"]
    join(threads)


def test_one_that_waits_too_long_is_told_and_takes_no_turn(trace):
    turnstile = make(timeout_s=0.05)
    join([ask(turnstile, who, trace) for who in "abcd"])
    assert trace[:2] == ["a", "b"]
    assert sorted(text.partition(":")[0] for text in trace[2:]) == ["c", "d"]
    assert all("take too long" in text for text in trace[2:])
    turnstile.run("e", lambda: None)


def test_one_that_is_interrupted_passes_its_turn_on(trace):
    turnstile = make()
    threads = [ask(turnstile, who, trace) for who in "abc"]
    st.st_usleep(0)
    st.st_thread_interrupt(threads[1])
    join(threads)
    assert [text.partition(":")[0] for text in trace] == ["a", "b", "c"]
    assert ":" in trace[1]
    assert turnstile.run("d", lambda: "free") == "free"


def test_one_that_is_interrupted_when_it_was_just_called_passes_its_turn_on(trace):
    turnstile = make()

    def late_interrupt():
        st.st_usleep(CHECK_US)
        st.st_thread_interrupt(threads[1])

    threads = [ask(turnstile, "a", trace, late_interrupt), ask(turnstile, "b", trace), ask(turnstile, "c", trace)]
    join(threads)
    assert [text.partition(":")[0] for text in trace] == ["a", "b", "c"]


def test_a_failure_of_the_call_gives_place_and_turn_back():
    turnstile = make(places=1)
    for _ in range(3):
        with pytest.raises(st.StError) as caught:
            turnstile.run("a", lambda: fail(errno.EINTR))
        assert caught.value.errno == errno.EINTR
    assert turnstile.run("b", lambda: 1) == 1
