"""The books of the event-thread system, driven by hand; tests/property/test_evthr_model.py does it at random."""

import pytest

from meta1g.pt.evthr import Evthr
from meta1g.pt.task import Ev, Result, State, Task


@pytest.fixture
def evthr():
    evthr = Evthr()
    yield evthr
    evthr._board.wakeup.close()


def test_a_time_that_is_set_while_the_task_stands_in_the_run_queue_counts(evthr):
    board = evthr._board
    task = Task(evthr, lambda task: Result.OK, -1, Ev.NONE, "plain")
    board.begin_poll()
    board.add(task, True)
    board.set_time(task, 5.0)
    board.end_poll([], 5.0)
    assert board.pop() is task
    assert task.seen_bits == Ev.SL
    assert task.wake_at is None


def test_a_time_that_comes_while_the_task_runs_makes_it_run_again(evthr):
    board = evthr._board
    task = Task(evthr, lambda task: Result.OK, -1, Ev.NONE, "plain")
    board.add(task, True)
    assert board.pop() is task
    board.set_time(task, 5.0)
    board.begin_poll()
    board.end_poll([], 6.0)
    assert board.pop() is None
    board.put_back(task, int(Result.WAITQ))
    board.begin_poll()
    assert board.poll_until == 5.0
    board.end_poll([], 6.0)
    assert task.state is State.RUNQ
    assert board.pop() is task
    assert task.seen_bits == Ev.SL
