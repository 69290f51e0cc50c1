"""The books of the event-thread system: which task stands in which queue, and what an event makes of it.

Invariants: a task stands in the run queue if and only if its state is RUNQ or CLEANQ, once only; whoever makes work while
a thread polls learns that it has to interrupt the poll, so no task waits beside a sleeping poll.

No threads here.  Locking: caller holds the lock of the system.
Ref: MeTA1 design, "Implementation: Event threads" (waitq, runq, slpq modelled on).
"""

from collections import deque
from typing import Final

from meta1g.base.log import Log
from meta1g.pt.queues import SleepQueue, WaitQueue, seen_of
from meta1g.pt.task import TRANSITIONS, Ev, Event, Result, State, Task
from meta1g.pt.wakeup import Wakeup

NEVER: Final = float("inf")

_CL, _SL = int(Ev.CL), int(Ev.SL)
_DEL, _RUNQ, _SLPQ = int(Result.DEL), int(Result.RUNQ), int(Result.SLPQ)
_TIMED: Final = frozenset((State.WAITQ, State.SLEEPQ, State.RUNQ))
_QUEUED: Final = frozenset((State.RUNQ, State.CLEANQ))


class Board:
    """The tasks and queues of a system; the log is for a descriptor that cannot be watched."""

    __slots__ = ("_log", "_sleepq", "_woken", "poll_until", "polling", "runq", "tasks", "turns", "waitq", "wakeup")

    def __init__(self, log: Log) -> None:
        self._log = log
        self.runq: deque[Task] = deque()  # first in, first out
        self.waitq = WaitQueue()
        self._sleepq = SleepQueue()
        self.tasks: set[Task] = set()
        self.wakeup = Wakeup()
        self.waitq.epoll.register(self.wakeup.fd, int(Ev.RD))
        self.polling = False  # a thread has the controller role
        self.turns = 0  # grows with every task taken and every poll
        self.poll_until = 0.0  # monotonic seconds at which the poll ends by itself
        self._woken = False  # the poll is being interrupted already

    # Methods that return bool tell whether the caller has to set the wake-up after it released the lock.

    def add(self, task: Task, run: bool) -> bool:
        """Enters a task, into the run queue if run; raises as WaitQueue.add()."""
        if task.fd >= 0:
            self.waitq.add(task)
        self.tasks.add(task)
        wake = self._put_time(task)
        return self.happen(task, Event.WAKE, 0) or wake if run else wake

    def happen(self, task: Task, event: Event, bits: int) -> bool:
        """Applies an event from outside; bits are the Ev bits that the next run sees."""
        old = task.state
        task.state = new = TRANSITIONS[old, event]
        task.woken |= bits
        if new is old:
            return False
        if new >= State.DOOMED:
            self._take_out(task)
        if new not in _QUEUED or old in _QUEUED:
            return False
        self.runq.append(task)
        return self._interrupt()

    def delete(self, task: Task) -> bool:
        """Deletes a task, now or after the run at hand."""
        return self.happen(task, Event.CLEAN if task.wanted & _CL else Event.DELETE, 0)

    def set_time(self, task: Task, when: float | None) -> bool:
        """Sets the time of a task."""
        if task.state >= State.DOOMED:
            return False
        task.wake_at = when
        return task.state in _TIMED and self._put_time(task)

    def want(self, task: Task, bits: int, on: bool) -> bool:
        """Changes what a task waits for."""
        task.wanted = task.wanted | bits if on else task.wanted & ~bits
        return task.state is State.WAITQ and task.fd >= 0 and self._arm(task)

    def pop(self) -> Task | None:
        """Takes the next task from the run queue; the caller runs it and gives it back with put_back()."""
        runq = self.runq
        while runq:
            task = runq.popleft()
            state = task.state
            if state not in _QUEUED:  # deleted while it stood there
                continue
            task.state = TRANSITIONS[state, Event.TAKE]
            task.seen_bits = _CL if state is State.CLEANQ else task.woken
            task.woken = 0
            self.turns += 1
            return task
        return None

    def put_back(self, task: Task, bits: int) -> bool:
        """Takes a task back after its run; bits is the number of its Result."""
        old = task.state
        if bits & _DEL or old is State.DOOMED:
            event = Event.BACK_CLEAN if task.wanted & _CL else Event.BACK_DEL
        elif bits & _RUNQ:
            event = Event.BACK_RUN
        else:
            event = Event.BACK_SLEEP if bits & _SLPQ else Event.BACK_WAIT
        new = task.state = TRANSITIONS[old, event]
        if new >= State.DOOMED:
            self._take_out(task)
        wake = new is State.WAITQ and task.fd >= 0 and self._arm(task)
        if task.wake_at is not None:
            wake = self._put_time(task) or wake
        if new in _QUEUED:
            self.runq.append(task)
            wake = self._interrupt() or wake
        return wake

    def begin_poll(self) -> None:
        """Takes the controller role; poll_until is the monotonic time until which to poll, 0 for a mere look, or NEVER."""
        self.polling = True
        self.turns += 1
        first = self._sleepq.first()
        self.poll_until = 0.0 if self.runq else NEVER if first is None else first

    def end_poll(self, ready: list[tuple[int, int]], now: float) -> None:
        """Gives the controller role up; what the poll found ready, and what is due, goes to the run queue."""
        self.polling = False
        for fd, events in ready:
            self._ready(fd, events)
        if self._woken:
            self.wakeup.clear()
            self._woken = False
        for task in self._sleepq.due(now):
            if task.state in _TIMED:  # a running one keeps its time until it is back
                task.wake_at = None
                self.happen(task, Event.DUE, _SL)

    def _interrupt(self) -> bool:
        wake = self.polling and not self._woken
        self._woken = self._woken or wake
        return wake

    def _take_out(self, task: Task) -> None:
        self.waitq.remove(task)
        task.wake_at = task.queued_at = None
        if task.state is State.DELETED:
            self.tasks.discard(task)

    def _put_time(self, task: Task) -> bool:
        if task.wake_at is None:
            return False
        self._sleepq.put(task)
        return task.wake_at < self.poll_until and self._interrupt()

    def _arm(self, task: Task) -> bool:
        try:
            self.waitq.arm(task)
        except (OSError, ValueError) as error:
            self._log.error("evthr.watch", str(error), name=task.name)
            return self.delete(task)
        return False

    def _ready(self, fd: int, events: int) -> None:
        """Moves the task of a descriptor to the run queue, or stops watching while it cannot take the event."""
        task = self.waitq.tasks.get(fd)
        if task is None:
            if fd == self.wakeup.fd:
                self._woken = True  # so that it is cleared
            return
        if task.state is State.WAITQ or task.state is State.RUNQ:
            seen = seen_of(events, task.wanted)
            if seen:
                self.happen(task, Event.READY, seen)
                return
        self.waitq.disarm(task)
