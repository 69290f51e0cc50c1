import os
import socket
import sys
import threading

import pytest

from meta1g.base import failure
from meta1g.base.errors import BugError, Module
from meta1g.pt import evthr as evthr_module
from meta1g.pt.evthr import Evthr
from meta1g.pt.task import Ev, Result, State

from .conftest import DEADLINE_S


def wait(event: threading.Event) -> None:
    assert event.wait(DEADLINE_S), "nothing happened in time"


def test_readable_descriptor_runs_its_task(system):
    one, two = socket.socketpair()
    got, done = [], threading.Event()

    def function(task):
        got.append((Ev(task.seen_bits), one.recv(10)))
        if len(got) == 2:
            done.set()
        else:
            two.send(b"b")
        return Result.WAITQ

    with one, two:
        task = system.evthr.task_new(function, fd=one.fileno())
        two.send(b"a")
        wait(done)
        task.delete()
        assert got == [(Ev.RD, b"a"), (Ev.RD, b"b")]


def test_write_event_comes_only_while_asked_for(system):
    one, two = socket.socketpair()
    seen, done = [], threading.Event()

    def function(task):
        seen.append(Ev(task.seen_bits))
        if Ev.WU in Ev(task.seen_bits):
            done.set()
            return Result.DEL
        task.want_write(False)
        return Result.WAITQ

    with one, two:
        task = system.evthr.task_new(function, fd=one.fileno())
        task.want_write(True)
        system.evthr.timer(0.05, lambda timer: task.wakeup() or Result.DEL)
        wait(done)
    assert seen == [Ev.WR, Ev.WU]


def test_timer_runs_after_its_delay_and_not_before(system):
    clock, done, times = system.evthr.clock, threading.Event(), []
    start = clock.monotonic()

    def function(task):
        times.append(clock.monotonic() - start)
        assert Ev(task.seen_bits) == Ev.SL
        if len(times) == 3:
            done.set()
            return Result.DEL
        task.sleep_for(0.01)
        return Result.SLPQ

    system.evthr.timer(0.01, function)
    wait(done)
    assert times[0] >= 0.01
    assert times[2] >= 0.03


def test_timers_run_in_order_of_their_times(system):
    order, done = [], threading.Event()

    def timer(number):
        def function(task):
            order.append(number)
            if len(order) == 3:
                done.set()
            return Result.DEL

        return function

    for number in (3, 1, 2):
        system.evthr.timer(0.02 * number, timer(number))
    wait(done)
    assert order == [1, 2, 3]


def test_new_earlier_timer_shortens_a_running_poll(system):
    done = threading.Event()
    system.evthr.timer(1000, lambda task: Result.DEL)
    system.evthr.call_soon(lambda: None)
    system.evthr.timer(0.01, lambda task: done.set() or Result.DEL)
    wait(done)


def test_waiting_task_with_a_time_gets_a_time_out(system):
    one, two = socket.socketpair()
    seen, done = [], threading.Event()

    def function(task):
        seen.append(Ev(task.seen_bits))
        done.set()
        return Result.DEL

    with one, two:
        system.evthr.task_new(function, fd=one.fileno(), wake_at=system.evthr.clock.monotonic() + 0.01)
        wait(done)
    assert seen == [Ev.SL]


def test_sleeping_task_does_not_see_its_descriptor(system):
    one, two = socket.socketpair()
    seen, done = [], threading.Event()

    def function(task):
        seen.append(Ev(task.seen_bits))
        if len(seen) == 1:
            task.sleep_for(0.05)
            return Result.SLPQ
        if len(seen) == 2:
            return Result.WAITQ
        done.set()
        return Result.DEL

    with one, two:
        system.evthr.task_new(function, fd=one.fileno())
        two.send(b"x")
        wait(done)
    assert seen == [Ev.RD, Ev.SL, Ev.RD]


def test_wakeup_from_another_thread_runs_a_waiting_task(system):
    done = threading.Event()
    task = system.evthr.task_new(lambda task: done.set() or Result.WAITQ, events=Ev.NONE)
    task.wakeup()
    wait(done)


def test_wakeup_during_a_run_makes_it_run_again(system):
    runs, done = [], threading.Event()

    def function(task):
        runs.append(Ev(task.seen_bits))
        if len(runs) == 1:
            task.wakeup()
            task.wakeup()
        else:
            done.set()
        return Result.WAITQ

    system.evthr.task_new(function, events=Ev.NONE, run=True)
    wait(done)
    assert runs == [Ev.NONE, Ev.WU]


def test_deleted_task_gets_its_last_call_once_and_no_other(system):
    seen, done = [], threading.Event()

    def function(task):
        seen.append(Ev(task.seen_bits))
        if Ev(task.seen_bits) == Ev.CL:
            done.set()
        else:
            task.delete()
            task.delete()
            task.wakeup()
        return Result.RUNQ

    task = system.evthr.task_new(function, events=Ev.CL, run=True)
    wait(done)
    task.wakeup()
    system.stop()
    assert seen == [Ev.NONE, Ev.CL]
    assert task.state is State.DELETED


def test_task_deleted_before_it_runs_does_not_run():
    evthr, ran = Evthr(), []
    task = evthr.task_new(lambda task: ran.append(1) or Result.DEL, events=Ev.NONE, run=True)
    task.delete()
    evthr.task_new(lambda task: Result.TERM, events=Ev.NONE, run=True)
    evthr.loop()
    assert ran == []


def test_term_stops_the_system():
    evthr = Evthr()
    evthr.task_new(lambda task: Result.TERM | Result.DEL, events=Ev.NONE, run=True)
    evthr.loop()
    assert evthr.stopping


def test_stop_finishes_what_is_in_the_run_queue_and_what_it_wakes():
    evthr, ran = Evthr(soft_threads=1, hard_threads=1), []
    last = evthr.task_new(lambda task: ran.append("woken") or Result.DEL, events=Ev.NONE)

    def stopper(task):
        evthr.stop()
        return Result.DEL

    def worker(task):
        ran.append("work")
        last.wakeup()
        return Result.RUNQ if len(ran) < 3 else Result.DEL

    evthr.task_new(stopper, events=Ev.NONE, run=True)
    evthr.task_new(worker, events=Ev.NONE, run=True)
    evthr.loop()
    assert ran == ["work", "woken", "work"]


def test_stop_drops_endless_work_after_its_limit():
    evthr, runs = Evthr(), []
    evthr.task_new(lambda task: runs.append(1) or Result.RUNQ, events=Ev.NONE, run=True)
    evthr.task_new(lambda task: evthr.stop(limit_s=0.05) or Result.DEL, events=Ev.NONE, run=True)
    evthr.loop()
    assert runs


def test_stop_gives_waiting_tasks_their_last_call():
    evthr, seen = Evthr(), []
    evthr.task_new(lambda task: seen.append(Ev(task.seen_bits)) or Result.WAITQ, events=Ev.CL)
    evthr.task_new(lambda task: Result.TERM, events=Ev.NONE, run=True)
    evthr.loop()
    assert seen == [Ev.CL]


def test_failing_task_without_descriptor_is_contained_and_runs_again(system, monkeypatch):
    monkeypatch.setattr(evthr_module, "ERROR_RETRY_S", 0.01)
    runs, done, before = [], threading.Event(), failure.contained_count()

    def function(task):
        runs.append(Ev(task.seen_bits))
        if len(runs) == 3:
            done.set()
            return Result.DEL
        raise ValueError("broken")

    system.evthr.task_new(function, events=Ev.NONE, run=True, name="chores")
    wait(done)
    assert failure.contained_count() == before + 2
    assert any("where=evthr.task" in line and "name=chores" in line for line in system.sink.lines)


def test_failing_call_is_contained_and_not_repeated(system):
    calls, done = [], threading.Event()

    def function():
        calls.append(1)
        raise ValueError("broken")

    task = system.evthr.call_soon(function, name="once")
    system.evthr.call_soon(done.set)
    wait(done)
    system.stop()
    assert len(calls) == 1
    assert task.state >= State.DOOMED


def test_failing_task_with_a_descriptor_gets_its_last_call(system):
    one, two = socket.socketpair()
    done = threading.Event()

    def function(task):
        if Ev(task.seen_bits) == Ev.CL:
            done.set()
            return Result.DEL
        raise ValueError("broken, badly")

    with one, two:
        system.evthr.task_new(function, fd=one.fileno(), events=Ev.RD | Ev.CL)
        two.send(b"x")
        wait(done)
    line = next(line for line in system.sink.lines if "evthr.task" in line)
    assert "ValueError: broken\\x2C badly" in line
    assert "path=test_evthr.py:" in line


def test_failing_last_call_ends_the_task_and_nothing_else(system):
    done = threading.Event()

    def function(task):
        raise ValueError("broken")

    task = system.evthr.task_new(function, events=Ev.CL, run=True)
    system.evthr.timer(0.01, lambda timer: task.delete() or done.set() or Result.DEL)
    wait(done)
    system.stop()
    assert task.state is State.DELETED


def test_bug_error_ends_the_process(system, exits):
    def function(task):
        raise BugError(Module.AQ, "the books do not balance")

    system.evthr.task_new(function, events=Ev.NONE, run=True)
    system.join()
    assert exits == [70]


def test_failing_task_of_the_frame_ends_the_process(system, exits):
    system.evthr.task_new(lambda task: {}[0], events=Ev.NONE, run=True, frame=True, name="listener")
    system.join()
    assert exits == [70]
    assert any(
        "func=failure.ends" in line and "where=evthr.frame" in line and "name=listener" in line for line in system.sink.lines
    )


def test_failing_task_whose_end_nobody_would_notice_ends_the_process(system, exits):
    one, two = socket.socketpair()
    with one, two:
        system.evthr.task_new(lambda task: {}[0], fd=one.fileno(), events=Ev.RD)
        two.send(b"x")
        system.join()
    assert exits == [70]


def test_failing_thread_of_the_system_ends_the_process(make_system, exits):
    system = make_system(soft_threads=1, hard_threads=1)

    def spoil(task):
        system.evthr._next_step = lambda me: {}[0]
        return Result.DEL

    system.evthr.task_new(spoil, events=Ev.NONE, run=True)
    system.join()
    assert exits == [70]


def test_exit_in_a_task_stops_the_system_in_order_and_comes_out_of_loop(system):
    last = []
    system.evthr.task_new(lambda task: last.append(Ev(task.seen_bits)) or Result.WAITQ, events=Ev.CL)
    system.evthr.call_soon(lambda: sys.exit(3))
    system.join()
    assert system.error.code == 3
    assert last == [Ev.CL]


class Shortage:
    """Lets the system give no thread of a name while it is on."""

    def __init__(self, monkeypatch, name):
        self.on = False
        self.refused, self.given = threading.Event(), threading.Event()
        start = threading.Thread.start

        def refuse(thread):
            if thread.name == name:
                if self.on:
                    self.refused.set()
                    raise RuntimeError("can't start new thread")
                self.given.set()
            start(thread)

        monkeypatch.setattr(threading.Thread, "start", refuse)


def test_a_thread_that_the_system_does_not_give_is_not_counted_and_asked_for_again(make_system, monkeypatch):
    monkeypatch.setattr(evthr_module, "THREAD_RETRY_S", 0.01)
    shortage = Shortage(monkeypatch, "evthr")
    shortage.on = True
    system = make_system(soft_threads=4, hard_threads=4)
    release, other = threading.Event(), threading.Event()
    system.evthr.task_new(lambda task: wait(release) or Result.DEL, events=Ev.NONE, run=True)
    system.evthr.call_soon(other.set)
    wait(shortage.refused)
    assert not other.is_set()
    shortage.on = False
    wait(other)  # although a task holds a thread
    assert system.evthr._crew.count == 2
    release.set()


def test_a_watch_that_the_system_does_not_give_is_asked_for_again(make_system, monkeypatch):
    monkeypatch.setattr(evthr_module, "ERROR_RETRY_S", 0.01)
    shortage = Shortage(monkeypatch, "evthr watch")
    shortage.on = True
    system = make_system(soft_threads=4, hard_threads=4)
    wait(shortage.refused)
    served = threading.Event()
    system.evthr.call_soon(served.set)
    wait(served)
    shortage.on = False
    wait(shortage.given)
    release, other = threading.Event(), threading.Event()
    system.evthr.task_new(lambda task: wait(release) or Result.DEL, events=Ev.NONE, run=True)
    system.evthr.call_soon(other.set)
    wait(other)
    release.set()


def test_a_task_that_holds_its_thread_is_named_at_debug_level(system):
    release, other = threading.Event(), threading.Event()
    system.evthr.task_new(lambda task: wait(release) or Result.DEL, events=Ev.NONE, run=True, name="slow one")
    system.evthr.call_soon(other.set)
    wait(other)
    release.set()
    assert any("func=evthr.slow" in line and "name=slow one" in line for line in system.sink.lines)


def test_descriptor_with_a_task_is_refused(system):
    one, two = socket.socketpair()
    with one, two:
        task = system.evthr.task_new(lambda task: Result.WAITQ, fd=one.fileno())
        with pytest.raises(FileExistsError):
            system.evthr.task_new(lambda task: Result.WAITQ, fd=one.fileno())
        task.delete()
        system.evthr.task_new(lambda task: Result.WAITQ, fd=one.fileno()).delete()


def test_descriptor_that_cannot_be_watched_is_refused(system, tmp_path):
    with (tmp_path / "file").open("wb") as file, pytest.raises(OSError, match="not permitted"):
        system.evthr.task_new(lambda task: Result.WAITQ, fd=file.fileno())


def test_a_task_whose_descriptor_is_gone_when_it_is_to_be_watched_is_told_and_deleted(system):
    reader, writer = os.pipe()
    cleaned = threading.Event()

    def function(task):
        if Ev(task.seen_bits) == Ev.CL:
            cleaned.set()
            return Result.DEL
        os.close(reader)
        task.want_write(True)  # epoll is told
        return Result.WAITQ

    system.evthr.task_new(function, fd=reader, events=Ev.RD | Ev.CL)
    os.write(writer, b"x")
    wait(cleaned)
    os.close(writer)
    (line,) = [line for line in system.sink.lines if "func=evthr.watch" in line]
    assert "Bad file descriptor" in line


def test_other_tasks_run_while_one_blocks(system):
    release, other = threading.Event(), threading.Event()
    system.evthr.task_new(lambda task: wait(release) or Result.DEL, events=Ev.NONE, run=True)
    reader, writer = os.pipe()
    system.evthr.task_new(lambda task: other.set() or Result.DEL, fd=reader)
    os.write(writer, b"x")
    wait(other)
    release.set()
    system.stop()
    os.close(reader)
    os.close(writer)


def test_a_task_that_blocks_from_the_beginning_does_not_hold_up_the_others(make_system):
    release, other = threading.Event(), threading.Event()
    system = make_system(
        before=lambda evthr: (
            evthr.task_new(lambda task: wait(release) or Result.DEL, events=Ev.NONE, run=True),
            evthr.call_soon(other.set),
        )
    )
    wait(other)
    release.set()
    system.stop()


def test_threads_grow_to_the_hard_limit_while_all_block_and_no_further(make_system):
    system = make_system(soft_threads=2, hard_threads=5)
    release, lock, inside, full = threading.Event(), threading.Lock(), [0], threading.Event()

    def blocked(task):
        with lock:
            inside[0] += 1
            if inside[0] == 5:
                full.set()
        wait(release)
        return Result.DEL

    for _ in range(8):
        system.evthr.task_new(blocked, events=Ev.NONE, run=True)
    wait(full)
    assert system.evthr._crew.count == 5
    assert inside[0] == 5
    release.set()
    system.stop()
    assert inside[0] == 8


def test_idle_threads_beyond_the_soft_limit_leave(make_system):
    system = make_system(soft_threads=2, hard_threads=6)
    release, full, count = threading.Event(), threading.Event(), [0]
    lock = threading.Lock()

    def blocked(task):
        with lock:
            count[0] += 1
            if count[0] == 5:
                full.set()
        wait(release)
        return Result.DEL

    for _ in range(5):
        system.evthr.task_new(blocked, events=Ev.NONE, run=True)
    wait(full)
    assert system.evthr._crew.count >= 5
    release.set()
    few = threading.Event()

    def look(task):
        if system.evthr._crew.count <= 2:
            few.set()
            return Result.DEL
        task.sleep_for(0.005)
        return Result.SLPQ

    system.evthr.timer(0, look)
    wait(few)


def test_system_with_one_thread_does_everything(make_system):
    system = make_system(soft_threads=1, hard_threads=1)
    done, runs = threading.Event(), []

    def function(task):
        runs.append(1)
        if len(runs) == 1000:
            done.set()
            return Result.DEL
        return Result.RUNQ

    system.evthr.task_new(function, events=Ev.NONE, run=True)
    system.evthr.timer(0.001, lambda task: Result.DEL)
    wait(done)
    assert system.evthr._crew.count == 1


def test_descriptors_are_served_while_other_tasks_are_always_ready(system):
    one, two = socket.socketpair()
    done, stop = threading.Event(), []
    with one, two:
        system.evthr.task_new(lambda task: Result.DEL if stop else Result.RUNQ, events=Ev.NONE, run=True)
        task = system.evthr.task_new(lambda task: done.set() or Result.DEL, fd=one.fileno())
        two.send(b"x")
        wait(done)
        stop.append(1)
        assert task.state >= State.DOOMED


def test_work_wakes_the_system_after_a_quiet_time(system):
    first, second = threading.Event(), threading.Event()
    system.evthr.timer(0.4, lambda task: first.set() or Result.DEL)  # longer than the watch stays awake
    wait(first)
    release = threading.Event()
    system.evthr.task_new(lambda task: wait(release) or Result.DEL, events=Ev.NONE, run=True)
    system.evthr.call_soon(second.set)
    wait(second)
    release.set()


def test_error_repr_names_the_task():
    evthr = Evthr()
    task = evthr.task_new(lambda task: Result.DEL, events=Ev.NONE, name="scheduler")
    assert repr(task) == "<Task 'scheduler' fd=-1 WAITQ>"
    evthr.stop()
    evthr.loop()
