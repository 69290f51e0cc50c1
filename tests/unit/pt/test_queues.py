import os
import select
import socket

import pytest

from meta1g.pt.evthr import Evthr
from meta1g.pt.queues import SleepQueue, WaitQueue, seen_of
from meta1g.pt.task import Ev, Result, State, Task


def make_task(fd=-1, events=Ev.RD):
    return Task(Evthr.__new__(Evthr), lambda task: Result.OK, fd, events, "test")


@pytest.fixture
def waitq():
    queue = WaitQueue()
    yield queue
    queue.epoll.close()


@pytest.fixture
def pair():
    one, two = socket.socketpair()
    with one, two:
        yield one, two


def at(task, when):
    task.wake_at = when
    return task


def test_sleep_queue_gives_due_tasks_earliest_first():
    queue = SleepQueue()
    tasks = [at(make_task(), when) for when in (3.0, 1.0, 2.0, 9.0)]
    for task in tasks:
        queue.put(task)
    assert queue.first() == 1.0
    assert [task.wake_at for task in queue.due(3.0)] == [1.0, 2.0, 3.0]
    assert queue.first() == 9.0


def test_sleep_queue_moves_a_task_to_an_earlier_time():
    queue, task = SleepQueue(), at(make_task(), 9.0)
    queue.put(task)
    queue.put(at(task, 4.0))
    assert queue.due(5.0) == [task]
    task.wake_at = None
    assert queue.due(10.0) == []


def test_sleep_queue_moves_a_task_to_a_later_time():
    queue, task = SleepQueue(), at(make_task(), 1.0)
    queue.put(task)
    queue.put(at(task, 8.0))
    assert queue.due(2.0) == []
    assert queue.due(8.0) == [task]


def test_sleep_queue_forgets_a_time_taken_back():
    queue, task = SleepQueue(), at(make_task(), 1.0)
    queue.put(task)
    task.wake_at = None
    assert queue.due(2.0) == []


def test_sleep_queue_forgets_a_dropped_task():
    queue, task = SleepQueue(), at(make_task(), 1.0)
    queue.put(task)
    task.wake_at = task.queued_at = None
    assert queue.due(2.0) == []


def test_sleep_queue_does_not_grow_with_changes_of_time():
    queue, task = SleepQueue(), make_task()
    for when in range(10_000, 0, -1):
        queue.put(at(task, float(when)))
    assert len(queue._heap) < 300
    assert queue.due(1.0) == [task]


def test_wait_queue_reports_a_readable_descriptor(waitq, pair):
    task = make_task(pair[0].fileno())
    waitq.add(task)
    assert waitq.poll(0) == []
    pair[1].send(b"x")
    assert waitq.poll(0) == [(pair[0].fileno(), select.EPOLLIN)]


def test_wait_queue_refuses_a_descriptor_that_has_a_task(waitq, pair):
    waitq.add(make_task(pair[0].fileno()))
    with pytest.raises(FileExistsError):
        waitq.add(make_task(pair[0].fileno()))


def test_wait_queue_lets_a_number_be_used_again_while_its_old_task_ends(waitq, pair):
    old, new = make_task(pair[0].fileno()), make_task(pair[0].fileno())
    waitq.add(old)
    old.state = State.RUNNING
    waitq.add(new)
    waitq.remove(old)
    assert waitq.tasks == {pair[0].fileno(): new}


def test_wait_queue_stops_reporting_after_disarm_and_starts_after_arm(waitq, pair):
    task = make_task(pair[0].fileno())
    waitq.add(task)
    pair[1].send(b"x")
    waitq.disarm(task)
    assert waitq.poll(0) == []
    waitq.arm(task)
    assert len(waitq.poll(0)) == 1


def test_wait_queue_takes_out_a_descriptor_closed_by_its_owner(waitq):
    reader, writer = os.pipe()
    task = make_task(reader)
    waitq.add(task)
    os.close(reader)
    os.close(writer)
    waitq.remove(task)
    assert waitq.tasks == {}


def test_hang_up_counts_as_everything_the_task_waits_for():
    assert seen_of(select.EPOLLHUP, int(Ev.RD | Ev.CL)) == Ev.RD
    assert seen_of(select.EPOLLERR, int(Ev.RD | Ev.WR)) == Ev.RD | Ev.WR
    assert seen_of(select.EPOLLIN, int(Ev.RD | Ev.WR)) == Ev.RD
    assert seen_of(select.EPOLLOUT, int(Ev.RD | Ev.CL)) == Ev.NONE


def test_events_have_the_numbers_of_epoll():
    assert (int(Ev.RD), int(Ev.WR)) == (select.EPOLLIN, select.EPOLLOUT)
