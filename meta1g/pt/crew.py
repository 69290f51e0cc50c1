"""The threads of the event-thread system: who works, who is parked, when a thread comes or goes.

One thread runs ready tasks and polls by turns, so that the hot path needs no thread switch.  A watch that runs no tasks looks
every tick whether all threads are stuck in tasks, and then another one goes on: a parked one or, up to the hard limit, a new
one.  A thread that finds another one polling parks, or leaves if there are more than the soft limit.

Invariant: what can be run, or polled, is seen within two ticks by a thread that is not stuck, if the hard limit leaves one.
Ref: MeTA1 design, "Implementation: Event threads" (controller role, evthr_max_s, evthr_max_h modelled on).
"""

import threading

from meta1g.pt.batch import Flushable
from meta1g.pt.limits import WATCH_QUIET_TICKS, WATCH_TICK_S
from meta1g.pt.task import Task


class Worker:
    """One thread of the crew, with what it has to flush; a permanent one is the caller of loop(), which stays to the end.

    Owner: its thread; gate is released by whoever wakes it.
    """

    __slots__ = ("batch", "gate", "permanent", "runs", "task")

    def __init__(self, batch: list[Flushable], *, permanent: bool) -> None:
        self.gate = threading.Lock()
        self.gate.acquire()
        self.permanent = permanent
        self.runs = 0  # tasks run since the last poll or flush
        self.batch = batch
        self.task: Task | None = None  # what it runs, for the log

    def wait(self) -> None:
        """Waits until another thread is needed, after Crew.park().  Blocks: yes."""
        self.gate.acquire()


class Crew:
    """Counts and parks the threads, up to soft idle ones and hard in all.  Locking: caller holds the lock, but for wait()."""

    __slots__ = ("_gate", "_parked", "_quiet", "_soft", "_turns", "count", "hard", "over")

    def __init__(self, soft: int, hard: int) -> None:
        self._soft = soft
        self.hard = hard
        self._parked: list[Worker] = []
        self._gate = threading.Lock()
        self._gate.acquire()
        self._quiet = 0  # ticks of the watch without any work
        self._turns = -1
        self.count = 0
        self.over = False  # the watch ends

    def park(self, me: Worker) -> bool:
        """Enters a thread without work, which then waits at its gate; one too many leaves instead: False."""
        if self.count > self._soft and not me.permanent:
            self.count -= 1
            return False
        self._parked.append(me)
        return True

    def wake_all(self) -> None:
        """Wakes all parked threads."""
        while self._parked:
            self._parked.pop().gate.release()

    def call_up(self, *, may_start: bool) -> bool:
        """Wakes a parked thread; without one tells whether the caller has to start a thread, which is then counted."""
        if self._parked:
            self._parked.pop().gate.release()
            return False
        if not may_start or self.count >= self.hard:
            return False
        self.count += 1
        return True

    def wait(self) -> bool:
        """Waits for the next look; after a quiet time it is not before nudge().  Tells whether it was nudged."""
        return self._gate.acquire(timeout=WATCH_TICK_S if self._quiet < WATCH_QUIET_TICKS else -1)

    def stuck(self, turns: int, *, nudged: bool, polling: bool) -> bool:
        """Tells whether no thread has done anything for a tick, for turns has not grown, and none is polling."""
        same = turns == self._turns and not nudged
        self._turns = turns
        self._quiet = self._quiet + 1 if same and polling else 0
        return same and not polling

    def nudge(self, *, over: bool = False) -> None:
        """Makes the watch look again every tick, after a quiet time in which it slept; or end."""
        self.over = self.over or over
        if (self._quiet >= WATCH_QUIET_TICKS or over) and self._gate.locked():
            self._gate.release()
