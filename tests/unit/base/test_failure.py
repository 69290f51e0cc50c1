"""The failure policy: what is contained, what ends the process, and that noting a failure is never a second one.

Counts are those of the whole test process; each test uses a `where` of its own.
"""

import errno
import os
import subprocess
import sys
import threading

import pytest

from meta1g.base import failure
from meta1g.base.errors import BugError, Module
from meta1g.base.log import Log
from tests.fakes.lines import Lines


class BrokenSink(Lines):
    def write(self, sevr, stamp, head, text):
        raise ValueError("no line can be written")


class UnspeakableError(Exception):
    def __str__(self):
        raise ValueError("no words")


@pytest.fixture
def sink():
    return Lines()


@pytest.fixture
def log(sink):
    return Log("test", sink=sink)


@pytest.fixture(autouse=True)
def fresh_state(monkeypatch):
    monkeypatch.setattr(failure, "_state", failure._State())


@pytest.fixture
def exits():
    codes = []
    old = failure.set_exit(codes.append)
    yield codes
    failure.set_exit(old)


def broken():
    raise ValueError("no, not this one")


def a_bug():
    raise BugError(Module.AQ, "the books do not balance")


# -- what is contained -------------------------------------------------------------------------------------------------


def test_a_failure_inside_an_item_is_logged_counted_and_goes_no_further(log, sink):
    with failure.item(log, "part.work", ss_ta="S1"):
        broken()
    assert failure.contained_counts() == {"part.work": 1}
    assert sink.lines[0].startswith("sevr=ERROR, func=failure.contained, ss_ta=S1, path=test_failure.py:")
    assert sink.lines[0].endswith("stat=contained: ValueError: no\\x2C not this one")


def test_what_goes_well_is_not_counted(log, sink):
    with failure.item(log, "part.work"):
        pass
    assert failure.steps(log, "part.end", lambda: None)
    assert (failure.contained_count(), sink.lines) == (0, [])


def test_the_traceback_is_logged_once_for_each_kind_of_error_at_each_place(log, sink):
    for _ in range(3):
        with failure.item(log, "part.work"):
            broken()
    assert sum("stat=| Traceback" in line for line in sink.lines) == 1
    with failure.item(log, "part.work"):
        {}["other"]
    assert sum("stat=| Traceback" in line for line in sink.lines) == 2
    assert sum("stat=contained" in line for line in sink.lines) == 4


def test_a_long_traceback_is_cut(log, sink):
    def down(depth):
        return broken() if depth == 0 else further_down(depth - 1)

    def further_down(depth):
        return down(depth)

    with failure.item(log, "part.deep"):
        down(100)
    assert sum("stat=| " in line for line in sink.lines) <= 40
    assert "ValueError" in sink.lines[-1]


def test_whoever_owes_an_answer_gives_it_after_the_failure_was_noted(log, sink):
    given = []
    with failure.item(log, "part.work", lambda error: given.append((str(error), len(sink.lines)))):
        broken()
    assert given[0][0] == "no, not this one"
    assert given[0][1] > 0


def test_an_answer_that_fails_is_contained_as_well(log):
    with failure.item(log, "part.work", lambda error: {}[error]):
        broken()
    assert failure.contained_counts() == {"part.work": 2}


def test_the_end_of_a_program_is_no_failure(log):
    for kind in (KeyboardInterrupt, SystemExit, GeneratorExit):
        with pytest.raises(kind), failure.item(log, "part.work"):
            raise kind
    assert failure.contained_count() == 0


def test_each_step_is_taken_whatever_becomes_of_the_others(log):
    taken = []
    assert not failure.steps(log, "part.end", lambda: taken.append(1), broken, lambda: taken.append(2), broken)
    assert taken == [1, 2]
    assert failure.contained_counts() == {"part.end": 2}


def test_steps_tell_of_their_own_failures_only(log):
    def elsewhere():
        thread = threading.Thread(target=lambda: failure.contained(log, "other.part", ValueError("x")))
        thread.start()
        thread.join()

    assert failure.steps(log, "part.end", elsewhere)


# -- noting a failure is never a second one ----------------------------------------------------------------------------


@pytest.mark.parametrize("error", [UnspeakableError(), ValueError("\ud800\r\nfunc=forged"), MemoryError(), OSError(5, "x")])
def test_every_error_can_be_noted(log, sink, error):
    failure.contained(log, "part.odd", error)
    assert type(error).__name__ in sink.lines[0]
    assert all("\n" not in line for line in sink.lines)
    assert failure.contained_count() == 1


def test_a_log_that_fails_costs_nothing_but_its_lines():
    answered = []
    with failure.item(Log("test", sink=BrokenSink()), "part.work", answered.append):
        broken()
    assert len(answered) == 1
    assert failure.contained_count() == 1


def test_a_key_that_is_not_registered_costs_the_line_only(log):
    answered = []
    with failure.item(log, "part.work", answered.append, colour="red"):
        broken()
    assert len(answered) == 1


def test_a_path_that_the_caller_names_takes_the_place_of_ours(log, sink):
    failure.contained(log, "part.file", ValueError("x"), path="/some/file")
    assert "path=/some/file" in sink.lines[0]


# -- who hears of it ---------------------------------------------------------------------------------------------------


def test_the_listener_hears_the_total_and_the_last_one(log):
    heard = []
    failure.on_contained(lambda *words: heard.append(words))
    failure.contained(log, "a.b", ValueError("one"))
    failure.contained(log, "c.d", ValueError("two"))
    assert heard == [(1, "a.b: ValueError: one"), (2, "c.d: ValueError: two")]
    failure.on_contained(None)
    failure.contained(log, "a.b", ValueError("three"))
    assert len(heard) == 2


def test_a_listener_that_fails_is_counted_and_heard_of_but_costs_nothing(log, sink):
    failure.on_contained(lambda total, text: 1 // 0)
    for _ in range(3):
        failure.contained(log, "a.b", ValueError("one"))
    assert failure.contained_counts() == {"a.b": 3, "failure.report": 3}
    assert sum("ZeroDivisionError" in line for line in sink.lines) == 1


def test_a_listener_that_contains_a_failure_itself_does_not_call_itself_for_ever(log):
    calls = []

    def listener(total, text):
        calls.append(total)
        with failure.item(log, "listener.post"):
            broken()

    failure.on_contained(listener)
    failure.contained(log, "a.b", ValueError("one"))
    assert calls == [1]
    assert failure.contained_count() == 2


def test_a_bug_in_the_listener_ends_the_process(log, exits):
    failure.on_contained(lambda total, text: a_bug())
    with pytest.raises(SystemExit):
        failure.contained(log, "a.b", ValueError("one"))
    assert exits == [70]


# -- the end of the process --------------------------------------------------------------------------------------------


def test_a_bug_ends_the_process_wherever_it_is_met(log, exits):
    for meet in (
        lambda: failure.contained(log, "a.b", BugError(Module.AQ, "x")),
        lambda: failure.steps(log, "a.b", a_bug),
        lambda: failure.end_process(log, "a.b", ValueError("x")),
    ):
        with pytest.raises(SystemExit):
            meet()
    with pytest.raises(SystemExit), failure.item(log, "a.b"):
        a_bug()
    with pytest.raises(SystemExit), failure.item(log, "a.b", lambda error: a_bug()):
        broken()
    assert exits == [70] * 5


@pytest.mark.parametrize("sink_name", ["FdSink()", "Broken()"])
def test_the_process_ends_at_once_with_70_in_every_thread_and_with_every_log(sink_name):
    code = f"""
import atexit, threading, time
from meta1g.base import failure
from meta1g.base.log import FdSink, Log
class Broken:
    def write(self, *arguments): raise ValueError("x")
atexit.register(print, "not at once")
threading.Thread(target=lambda: failure.end_process(Log("t", sink={sink_name}), "a.b", ValueError("in doubt"))).start()
time.sleep(60)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (70, "")
    if sink_name == "FdSink()":
        assert "sevr=FATAL, func=failure.ends, where=a.b, stat=the process ends: ValueError: in doubt" in done.stderr


# -- bounds and threads ------------------------------------------------------------------------------------------------


def test_counters_and_remembered_places_are_bounded(log, sink):
    most = failure._PLACES_MAX
    for number in range(most + 500):
        failure.contained(log, f"part.{number}", ValueError("x"))
    counts = failure.contained_counts()
    assert len(counts) <= most + 1
    assert counts["others"] == 500
    assert failure.contained_count() == most + 500
    assert len(failure._state.places) == most
    assert sum("stat=| " in line for line in sink.lines) == most


def test_no_failure_is_lost_when_many_threads_note_them(log):
    old = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [
            threading.Thread(target=lambda: [failure.contained(log, "a.b", ValueError("x")) for _ in range(300)])
            for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    finally:
        sys.setswitchinterval(old)
    failure.contained(log, "a.b", ValueError("the last one"))
    assert failure.contained_counts() == {"a.b": 2401}


# -- shortages ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", ["EMFILE", "ENFILE", "ENOMEM", "ENOBUFS", "ENOSPC", "EDQUOT", "EIO", "EAGAIN"])
def test_errors_of_the_system_that_pass(number):
    assert failure.is_shortage(OSError(getattr(errno, number), os.strerror(getattr(errno, number))))


def test_other_shortages_and_what_is_none():
    assert failure.is_shortage(MemoryError())
    assert failure.is_shortage(RuntimeError("can't start new thread"))
    assert not failure.is_shortage(RuntimeError("something else"))
    assert not failure.is_shortage(FileNotFoundError(errno.ENOENT, "no such file"))
    assert not failure.is_shortage(ValueError("x"))
