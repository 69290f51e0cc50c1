"""Fair turns (invariant I10): a thread that never has to wait lets the others run, and the event loop look for more."""

import contextlib
import math
import socket
import subprocess
import sys
import time

import pytest

from meta1g import st
from meta1g.st.limits import TURN_CALLS
from meta1g.st.sched import give_way, runtime, set_turn
from tests.unit.st.rcbserver import LIMIT

FOREVER = st.ST_UTIME_NO_TIMEOUT


@pytest.fixture
def by_calls():
    """A turn ends after TURN_CALLS calls, however slow the machine is."""
    old = set_turn(TURN_CALLS, math.inf)
    yield
    set_turn(*old)


def pair(kind=socket.SOCK_STREAM):
    return [st.st_netfd_open_socket(sock) for sock in socket.socketpair(socket.AF_UNIX, kind)]


def reads(one, two):
    st.st_write(one, b"x", FOREVER)
    return lambda: st.st_read(two, 1, FOREVER) and st.st_write(one, b"x", FOREVER)


def reads_at_the_end(one, two):
    st.st_netfd_close(one)
    return lambda: st.st_read(two, 1, FOREVER)


def reads_into_a_buffer(one, two):
    st.st_netfd_close(one)
    return lambda: st.st_read_resid(two, bytearray(1), FOREVER)


def writes(one, two):
    return lambda: st.st_write(one, b"x", FOREVER) and two.sock.recv(1)


def writes_and_fails(one, two):
    st.st_netfd_close(two)

    def call():
        with contextlib.suppress(st.StError):
            st.st_write(one, b"x", FOREVER)

    return call


def sends_messages(one, two):
    return lambda: st.st_sendmsg(one, [b"x"], [], FOREVER) and two.sock.recv(1)


def receives_messages(one, two):
    return lambda: one.sock.send(b"x") and st.st_recvmsg(two, 1, 0, FOREVER)


def works_on_memory(one, two):
    return st.st_checkpoint


FLOODS = [
    reads,
    reads_at_the_end,
    reads_into_a_buffer,
    writes,
    writes_and_fails,
    sends_messages,
    receives_messages,
    works_on_memory,
]


def lets_another_run(call):
    """Calls up to twice the budget; tells whether another thread ran meanwhile."""
    ran = []
    st.st_thread_create(ran.append, 1)
    for _ in range(2 * TURN_CALLS):
        call()
        if ran:
            return True
    return False


@pytest.mark.parametrize("flood", FLOODS, ids=lambda function: function.__name__)
def test_others_run_within_the_budget_of_a_thread_that(flood, by_calls):
    one, two = pair()
    try:
        assert lets_another_run(flood(one, two))
    finally:
        st.st_netfd_close(one)
        st.st_netfd_close(two)


def test_others_run_while_connections_or_datagrams_come_without_end(by_calls):
    udp = st.st_netfd_open_socket(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    udp.sock.bind(("127.0.0.1", 0))
    address = udp.sock.getsockname()
    assert lets_another_run(lambda: st.st_sendto(udp, b"x", address, FOREVER) and st.st_recvfrom(udp, 1, FOREVER))
    st.st_netfd_close(udp)
    listener = st.st_netfd_open_socket(socket.create_server(("127.0.0.1", 0)))

    def connect():
        with socket.create_connection(listener.sock.getsockname()):
            st.st_netfd_close(st.st_accept(listener, FOREVER)[0])

    assert lets_another_run(connect)
    st.st_netfd_close(listener)


def test_a_turn_ends_by_its_time_too():
    old = set_turn(1_000_000_000, 0.001)
    ran = []
    st.st_thread_create(ran.append, 1)
    end = time.monotonic() + 20
    while not ran:
        assert time.monotonic() < end
        st.st_checkpoint()
    set_turn(*old)


def test_one_write_of_much_to_a_fast_reader_gives_way_too(by_calls):
    one, two = pair()
    size, ran = 64 << 20, []

    def read(_):
        got = 0
        while got < size:
            got += len(st.st_read(two, 4096, LIMIT))

    reader = st.st_thread_create(read, None, True)
    st.st_thread_create(lambda _: [ran.append(1) or st.st_usleep(0) for _ in range(50)])
    st.st_write(one, bytes(size), LIMIT)
    st.st_thread_join(reader)
    assert len(ran) == 50
    st.st_netfd_close(one)
    st.st_netfd_close(two)


def test_the_event_loop_polls_while_many_threads_always_find_data(by_calls):
    """The descriptor of another client is looked at after one turn of each, not when the run queue is empty."""
    quiet_end, quiet = pair()
    floods, turns, done = [pair() for _ in range(60)], [], []

    def flood(ends):
        one, two = ends
        while not done:
            st.st_write(one, b"x", FOREVER)
            st.st_read(two, 1, FOREVER)
            turns.append(1)

    threads = [st.st_thread_create(flood, ends, True) for ends in floods]
    waiter = st.st_thread_create(lambda _: done.append(st.st_read(quiet, 1, LIMIT)), None, True)
    st.st_usleep(0)
    turns.clear()
    st.st_write(quiet_end, b"x", FOREVER)
    for thread in [waiter, *threads]:
        st.st_thread_join(thread)
    assert len(turns) <= 3 * len(floods) * TURN_CALLS
    for nfd in [quiet_end, quiet, *(end for ends in floods for end in ends)]:
        st.st_netfd_close(nfd)


def test_those_that_gave_way_go_on_in_their_order_behind_the_others(trace):
    def polite(name):
        for _ in range(2):
            trace.append(name)
            give_way()

    threads = [st.st_thread_create(polite, name, True) for name in "ab"]
    for thread in threads:
        st.st_thread_join(thread)
    assert "".join(trace) == "abab"


def test_an_interrupt_while_giving_way_is_for_the_next_call_that_waits(by_calls):
    thread = st.st_thread_create(lambda _: (give_way(), interrupted()), None, True)
    st.st_usleep(0)
    st.st_thread_interrupt(thread)
    assert st.st_thread_join(thread) == (None, True)


def interrupted():
    try:
        st.st_usleep(0)
    except st.StError:
        return True
    return False


def test_nobody_gives_way_where_switches_are_forbidden(by_calls):
    before = st.switch_count()
    with st.no_switch():
        for _ in range(3 * TURN_CALLS):
            st.st_checkpoint()
    assert st.switch_count() == before
    st.st_checkpoint()
    assert st.switch_count() > before


def test_an_exception_of_a_callback_of_the_loop_reaches_the_error_hook(monkeypatch):
    heard = []
    monkeypatch.setattr(runtime, "on_error", heard.append)
    runtime.loop.run_callback(lambda: 1 / 0)
    while not heard:
        st.st_usleep(0)
    assert isinstance(heard[0], ZeroDivisionError)


def test_an_exit_in_a_callback_of_the_loop_ends_the_process():
    code = "from meta1g import st; st.st_init(); st.sched.runtime.loop.run_callback(exit, 3); st.run_forever()"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False)
    assert (ended.returncode, ended.stderr) == (3, "")
