import subprocess
import sys
import threading

import pytest

from meta1g.base import failure
from meta1g.base.errors import FullError
from meta1g.base.log import Log
from meta1g.pt.workers import Workers

from .conftest import DEADLINE_S, MemorySink


@pytest.fixture
def sink():
    return MemorySink()


@pytest.fixture
def workers(sink):
    pool = Workers(2, queue_max=3, log=Log("test", sink=sink))
    yield pool
    assert pool.close(DEADLINE_S)


def test_result_is_handed_to_on_done(workers):
    done, got = threading.Event(), []
    workers.submit(lambda: 6 * 7, lambda *outcome: got.append(outcome) or done.set())
    assert done.wait(DEADLINE_S)
    assert got == [(42, None)]


def test_error_is_handed_to_on_done(workers):
    done, got = threading.Event(), []
    workers.submit(lambda: {}[0], lambda *outcome: got.append(outcome) or done.set())
    assert done.wait(DEADLINE_S)
    assert got[0][0] is None
    assert isinstance(got[0][1], KeyError)


def test_calls_run_at_the_same_time_up_to_the_number_of_threads(workers):
    meet = threading.Barrier(3)
    for _ in range(2):
        workers.submit(lambda: meet.wait(DEADLINE_S))
    meet.wait(DEADLINE_S)


def test_too_many_waiting_calls_are_refused(workers):
    release, started = threading.Event(), threading.Barrier(3)

    def block():
        started.wait(DEADLINE_S)
        release.wait(DEADLINE_S)

    workers.submit(block)
    workers.submit(block)
    started.wait(DEADLINE_S)
    for _ in range(3):
        workers.submit(lambda: None)
    assert workers.pending() == 3
    with pytest.raises(FullError):
        workers.submit(lambda: None)
    release.set()


def test_close_finishes_waiting_calls_and_refuses_new_ones(workers):
    ran = []
    for number in range(3):
        workers.submit(lambda number=number: ran.append(number))
    assert workers.close(DEADLINE_S)
    assert sorted(ran) == [0, 1, 2]
    with pytest.raises(FullError):
        workers.submit(lambda: None)


def test_failure_of_on_done_is_logged_and_the_thread_lives_on(workers, sink):
    done = threading.Event()
    workers.submit(lambda: 1, lambda result, error: 1 // 0)
    workers.submit(lambda: 1, lambda result, error: done.set())
    assert done.wait(DEADLINE_S)
    assert workers.close(DEADLINE_S)
    assert any("ZeroDivisionError" in line for line in sink.lines)


def test_error_without_on_done_is_logged(workers, sink):
    workers.submit(lambda: {}[0])
    assert workers.close(DEADLINE_S)
    assert any("KeyError" in line for line in sink.lines)


@pytest.mark.parametrize("call", ["broken", "broken, lambda result, error: None", "int, lambda result, error: broken()"])
def test_a_bug_ends_the_process(call):
    code = f"""
import time
from meta1g.base.errors import BugError, Module
from meta1g.pt.workers import Workers
def broken():
    raise BugError(Module.MAP, "broken")
Workers(1).submit({call})
time.sleep(60)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 70
    assert "sevr=FATAL" in done.stderr


def test_failures_are_counted_as_contained(workers):
    before = failure.contained_count()
    workers.submit(lambda: {}[0])
    workers.submit(lambda: 1, lambda result, error: 1 // 0)
    assert workers.close(DEADLINE_S)
    assert failure.contained_count() == before + 2


def test_without_any_thread_a_call_is_refused_and_never_made(workers, monkeypatch):
    made, start = [], threading.Thread.start

    def refuse(thread):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(FullError, match="no thread"):
        workers.submit(lambda: made.append("refused"))
    assert workers.pending() == 0
    monkeypatch.setattr(threading.Thread, "start", start)
    done = threading.Event()
    workers.submit(lambda: made.append("next"), lambda result, error: done.set())
    assert done.wait(DEADLINE_S)
    assert made == ["next"]


def test_without_a_further_thread_the_others_do_the_work(workers, monkeypatch):
    release, started, done = threading.Event(), threading.Event(), threading.Event()
    workers.submit(lambda: started.set() or release.wait(DEADLINE_S))
    assert started.wait(DEADLINE_S)

    def refuse(thread):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        workers.submit(done.set)
    assert not done.is_set()
    release.set()
    assert done.wait(DEADLINE_S)
