"""Random schedules of the event-thread system against a model: no task is run twice at once, no wake-up is lost.

The books are driven by hand, so each step of a schedule is one rule and any schedule can be replayed; several threads are
modelled by several tasks in hand at the same time.
"""

import socket

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, precondition, rule

from meta1g.pt.board import NEVER, Board
from meta1g.pt.evthr import Evthr
from meta1g.pt.task import RUN_STATES, Ev, Event, Result, State, Task

WAYS = (Result.OK, Result.WAITQ, Result.RUNQ, Result.SLPQ, Result.DEL)


class Expected:
    """What the model knows of a task.  Owner: the test."""

    def __init__(self, *, clean: bool) -> None:
        self.clean = clean  # asked for a last call
        self.owed = False  # woken since its last run began
        self.woken = False  # the next run has to see WU
        self.due = False  # the next run has to see SL
        self.time: float | None = None  # when it wants to run
        self.running = False
        self.deleted = False
        self.last_calls = 0


class BoardMachine(RuleBasedStateMachine):
    tasks = Bundle("tasks")
    in_hand = Bundle("in_hand")

    def __init__(self) -> None:
        super().__init__()
        self.evthr = Evthr()
        self.board: Board = self.evthr._board
        self.model: dict[Task, Expected] = {}
        self.peers: dict[Task, socket.socket] = {}
        self.ours: dict[Task, socket.socket] = {}
        self.sockets: list[socket.socket] = []
        self.now = 100.0  # so that no time is 0, which has a meaning of its own
        self.interrupted = False

    def teardown(self) -> None:
        for sock in self.sockets:
            sock.close()
        self.board.wakeup.close()

    def note(self, wake: bool) -> None:
        """Keeps whether the poll at hand is interrupted."""
        self.interrupted = self.interrupted or wake

    # -- tasks --

    @rule(target=tasks, clean=st.booleans(), run=st.booleans())
    def make_plain(self, clean: bool, run: bool) -> Task:
        return self.enter(Task(self.evthr, lambda task: Result.OK, -1, Ev.CL if clean else Ev.NONE, "plain"), clean, run)

    @rule(target=tasks, delay=st.floats(0, 5))
    def make_timer(self, delay: float) -> Task:
        task = Task(self.evthr, lambda task: Result.OK, -1, Ev.NONE, "timer")
        task.wake_at = self.now + delay
        return self.enter(task, clean=False, run=False)

    @precondition(lambda self: len(self.sockets) < 20)
    @rule(target=tasks, clean=st.booleans())
    def make_reader(self, clean: bool) -> Task:
        one, two = socket.socketpair()
        one.setblocking(False)
        self.sockets += [one, two]
        task = Task(self.evthr, lambda task: Result.OK, one.fileno(), Ev.RD | (Ev.CL if clean else Ev.NONE), "reader")
        self.peers[task] = two
        self.ours[task] = one
        return self.enter(task, clean, run=False)

    def enter(self, task: Task, clean: bool, run: bool) -> Task:
        self.model[task] = Expected(clean=clean)
        self.model[task].owed = run
        self.model[task].time = task.wake_at
        self.note(self.board.add(task, run))
        return task

    # -- events from outside --

    @rule(task=tasks)
    def wake(self, task: Task) -> None:
        self.note(self.board.happen(task, Event.WAKE, int(Ev.WU)))
        if not self.model[task].deleted:
            self.model[task].owed = self.model[task].woken = True

    @rule(task=tasks, delay=st.none() | st.floats(0, 5))
    def set_time(self, task: Task, delay: float | None) -> None:
        when = None if delay is None else self.now + delay
        self.note(self.board.set_time(task, when))
        if not self.model[task].deleted:
            self.model[task].time = when

    @rule(task=tasks)
    def delete(self, task: Task) -> None:
        self.note(self.board.delete(task))
        self.model[task].deleted = True
        self.model[task].owed = False

    @rule(task=tasks, on=st.booleans())
    def want_write(self, task: Task, on: bool) -> None:
        self.note(self.board.want(task, int(Ev.WR), on))

    @rule(task=tasks)
    def send(self, task: Task) -> None:
        if task in self.peers:
            self.peers[task].send(b"x")

    # -- what threads do --

    @rule(target=in_hand)
    def take(self) -> Task:
        task = self.board.pop()
        if task is None:
            return multiple()
        expected = self.model[task]
        assert not expected.running, "the task is run by two threads at once"
        expected.running = True
        expected.owed = False
        if task.seen_bits == Ev.CL and expected.deleted:
            expected.last_calls += 1
            assert expected.clean
        else:
            assert not expected.deleted, "a deleted task runs"
            assert bool(task.seen_bits & Ev.WU) == expected.woken
            assert bool(task.seen_bits & Ev.SL) == expected.due
        expected.woken = expected.due = False
        return task

    @rule(task=consumes(in_hand), way=st.sampled_from(WAYS), drain=st.booleans(), delay=st.none() | st.floats(-1, 3))
    def give_back(self, task: Task, way: Result, drain: bool, delay: float | None) -> None:
        expected = self.model[task]
        if delay is not None:
            self.set_time(task, delay)
        if drain and task in self.peers:
            self.read_all(self.ours[task])
        expected.running = False
        if way is Result.DEL:
            expected.deleted = True
            expected.owed = False
        self.note(self.board.put_back(task, int(way)))
        if way is Result.RUNQ and not expected.deleted:
            expected.owed = True

    def read_all(self, sock: socket.socket) -> None:
        try:
            while sock.recv(100):
                pass
        except BlockingIOError:
            return

    @precondition(lambda self: not self.board.polling)
    @rule()
    def begin_poll(self) -> None:
        self.board.begin_poll()
        until = self.board.poll_until
        self.interrupted = False
        assert (until == 0.0) == bool(self.board.runq)
        timed = [task.wake_at for task in self.model if task.state in (State.WAITQ, State.SLEEPQ) and task.wake_at is not None]
        assert until <= min(timed, default=NEVER), "the poll sleeps through a time"

    @precondition(lambda self: self.board.polling)
    @rule(passed=st.floats(0, 2))
    def end_poll(self, passed: float) -> None:
        self.now += passed
        if self.interrupted:
            self.board.wakeup.set()
        for task, expected in self.model.items():
            if (
                expected.time is not None
                and expected.time <= self.now
                and task.state in (State.WAITQ, State.SLEEPQ, State.RUNQ)
            ):
                expected.time = None
                expected.owed = expected.due = True
        self.board.end_poll(self.board.waitq.poll(0), self.now)
        reported = [self.board.waitq.tasks[fd] for fd, _ in self.board.waitq.poll(0)]
        assert all(task.state is State.RUNQ for task in reported), "the next poll would end for nothing"

    # -- what always holds --

    @invariant()
    def nothing_owed_is_forgotten(self) -> None:
        for task, expected in self.model.items():
            if expected.owed:
                assert task.state in (State.RUNQ, State.AGAIN), f"{task!r} was woken and will not run"

    @invariant()
    def times_are_kept(self) -> None:
        assert all(expected.deleted or task.wake_at == expected.time for task, expected in self.model.items())

    @invariant()
    def waiting_tasks_are_watched_for_what_they_want(self) -> None:
        for task in self.peers:
            if task.state is State.WAITQ:
                assert task.armed == task.wanted & (Ev.RD | Ev.WR)

    @invariant()
    def run_queue_holds_each_ready_task_once(self) -> None:
        ready = [task for task in self.board.runq if task.state in (State.RUNQ, State.CLEANQ)]
        assert len(ready) == len(set(ready))
        assert set(ready) == {task for task in self.model if task.state in (State.RUNQ, State.CLEANQ)}

    @invariant()
    def states_agree_with_the_model(self) -> None:
        for task, expected in self.model.items():
            assert (task.state in RUN_STATES) == expected.running
            assert expected.last_calls <= 1
            if task.state is State.DELETED:
                assert expected.deleted
                assert expected.last_calls == expected.clean
                assert task not in self.board.tasks

    @invariant()
    def work_interrupts_a_poll_that_has_begun(self) -> None:
        if self.board.polling and self.board.poll_until and not self.interrupted:
            assert not [task for task in self.board.runq if task.state in (State.RUNQ, State.CLEANQ)]

    @invariant()
    def an_earlier_time_interrupts_a_poll_that_has_begun(self) -> None:
        if self.board.polling and not self.interrupted:
            waiting = [task.wake_at for task in self.model if task.state in (State.WAITQ, State.SLEEPQ)]
            assert self.board.poll_until <= min((when for when in waiting if when is not None), default=NEVER)


BoardMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=60, deadline=None, print_blob=True)
TestBoardKeepsItsPromisesInAnySchedule = BoardMachine.TestCase
