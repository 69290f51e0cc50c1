"""Blocking calls in native threads: pipes make a call last until the test lets it end."""

import errno
import os
import subprocess
import sys
import threading

import pytest

from meta1g import st
from meta1g.st.offload import OFFLOAD_THREADS, offloaded
from tests.unit.st.conftest import errno_of


class Gate:
    """A call that ends when the test says so."""

    def __init__(self):
        self.reader, self.writer = os.pipe()
        self.entered = 0

    def call(self, result="done"):
        self.entered += 1
        os.read(self.reader, 1)
        return result

    def open(self, count=1):
        os.write(self.writer, b"x" * count)

    def close(self):
        os.close(self.reader)
        os.close(self.writer)


@pytest.fixture
def gate():
    gate = Gate()
    yield gate
    gate.close()


def later(function, *args):
    return st.st_thread_create(lambda _: function(*args), None, True)


def wait_until(condition):
    while not condition():
        st.st_usleep(100)


def test_the_result_comes_from_another_native_thread():
    assert st.offload(threading.get_ident) != threading.get_ident()
    assert st.offload(pow, 2, 5, mod=7) == 4


def test_others_go_on_while_a_call_blocks(gate, trace):
    thread = later(st.offload, gate.call)
    other = later(lambda: trace.append("other"))
    st.st_thread_join(other)
    gate.open()
    assert st.st_thread_join(thread) == "done"
    assert trace == ["other"]


def test_an_error_of_the_call_reaches_the_caller():
    with pytest.raises(FileNotFoundError):
        st.offload(os.stat, "/nonexistent/file")


def test_calls_beyond_the_number_of_native_threads_wait_for_their_turn(gate):
    threads = [later(st.offload, gate.call, n) for n in range(3 * OFFLOAD_THREADS)]
    wait_until(lambda: gate.entered == OFFLOAD_THREADS)
    assert offloaded() == 3 * OFFLOAD_THREADS
    gate.open(3 * OFFLOAD_THREADS)
    assert [st.st_thread_join(thread) for thread in threads] == list(range(3 * OFFLOAD_THREADS))
    wait_until(lambda: not offloaded())


def test_an_interrupt_is_delivered_when_the_call_has_ended(gate):
    thread = later(lambda: (errno_of(st.offload, gate.call), gate.entered))
    wait_until(lambda: gate.entered)
    st.st_thread_interrupt(thread)
    st.st_usleep(0)
    assert thread.state is not st.ThreadState.ZOMBIE
    gate.open()
    assert st.st_thread_join(thread) == (errno.EINTR, 1)


def test_an_interrupt_from_before_keeps_the_call_from_being_made(gate):
    thread = later(errno_of, st.offload, gate.call)
    st.st_thread_interrupt(thread)
    assert st.st_thread_join(thread) == errno.EINTR
    assert gate.entered == 0


def test_an_error_of_the_call_wins_over_an_interrupt_which_is_for_the_next_call(gate):
    def failing():
        gate.call()
        raise ValueError

    def body():
        with pytest.raises(ValueError):
            st.offload(failing)
        return errno_of(st.st_usleep, 0)

    thread = later(body)
    wait_until(lambda: gate.entered)
    st.st_thread_interrupt(thread)
    gate.open()
    assert st.st_thread_join(thread) == errno.EINTR


def test_a_process_that_has_native_threads_ends_as_usual():
    code = "from meta1g import st; st.st_init(); print(st.offload(pow, 2, 3), flush=True); raise SystemExit(7)"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (7, "8\n", "")


def test_a_set_up_that_fails_costs_the_calls_meanwhile_and_is_made_again():
    code = """
import os
from meta1g import st
from tests.fakes.shortage import no_descriptors
st.st_init()
with no_descriptors(left=1):  # a pipe needs two
    for _ in range(2):
        try:
            st.offload(int)
        except OSError as error:
            print(error.strerror)
print(st.offload(pow, 2, 3))
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False)
    assert (ended.stdout, ended.stderr) == ("Too many open files\n" * 2 + "8\n", "")


def test_without_a_native_thread_the_call_fails_and_the_next_one_is_made():
    code = """
import sys
from meta1g import st
from meta1g.st.offload import offloaded, _offload
st.st_init()
st.offload(int)
module = sys.modules["meta1g.st.offload"]
real, _offload._threads = module.start_new_thread, 0
def refuse(function, arguments):
    raise RuntimeError("can't start new thread")
module.start_new_thread = refuse
try:
    st.offload(int)
except OSError as error:
    print(error.strerror, offloaded())
module.start_new_thread = real
print(st.offload(pow, 2, 3), offloaded())
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False)
    assert ended.stdout == "no native thread for a blocking call: can't start new thread 0\n8 0\n", ended.stderr
