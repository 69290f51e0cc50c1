"""Things that have the same time each, in the order of their coming, watched by one task.

Invariant: as long as something is watched, the task has a time set: whoever takes the time back looks again afterwards,
and whoever watches the first thing sets it afterwards.

Ref: our choice; one such piece for client names, questions to name servers, DNS lists and look-ups that block.
"""

from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

from meta1g.base import failure
from meta1g.base.log import Log
from meta1g.pt.evthr import Evthr
from meta1g.pt.lock import Lock, LockRank
from meta1g.pt.task import Ev, Result, Task
from meta1g.smar.limits import TURN_S

T = TypeVar("T")


class Deadlines(Generic[T]):
    """Watches the time of things.

    Args:
        evthr: the system it runs in; its clock is used.
        delay_s: the time of each.
        on_late: called as on_late(thing) in a worker when its time is over; a failure costs this one only.
        log: failures are logged here.
        is_over: tells whether a thing needs no watch any more; it must take no lock.
        name: names the task.

    Locking: own lock LEAF.
    """

    def __init__(
        self,
        evthr: Evthr,
        delay_s: float,
        on_late: Callable[[T], None],
        *,
        log: Log | None = None,
        is_over: Callable[[T], bool] = lambda thing: False,
        name: str = "",
    ) -> None:
        self._log = Log("smar") if log is None else log
        self._evthr = evthr
        self._delay_s = delay_s
        self._on_late = on_late
        self._is_over = is_over
        self._name = name
        self._lock = Lock(LockRank.LEAF, "deadlines")
        self._things: deque[tuple[float, T]] = deque()
        self._task = evthr.task_new(self._on_time, events=Ev.NONE, name=name)

    def add(self, thing: T) -> None:
        """Watches a thing from now on."""
        with self._lock:
            self._forget()
            due_s = self._evthr.clock.monotonic() + self._delay_s
            self._things.append((due_s, thing))
            first = len(self._things) == 1
        if first:
            self._task.sleep_until(due_s)

    def __len__(self) -> int:
        return len(self._things)

    def close(self) -> None:
        """Watches nothing any more."""
        self._task.delete()

    def _forget(self) -> None:
        """Drops what is over at the head.  Caller holds the lock."""
        things = self._things
        while things and self._is_over(things[0][1]):
            things.popleft()

    def _next(self, now: float) -> tuple[T, ...]:
        """Takes the next thing whose time is over."""
        with self._lock:
            self._forget()
            if self._things and self._things[0][0] <= now:
                return (self._things.popleft()[1],)
            return ()

    def _due_s(self) -> float | None:
        with self._lock:
            self._forget()
            return self._things[0][0] if self._things else None

    def _on_time(self, task: Task) -> Result:
        clock = self._evthr.clock
        start = now = clock.monotonic()
        while now - start < TURN_S and (late := self._next(now)):
            with failure.item(self._log, "smar.late", name=self._name):
                self._on_late(late[0])
            now = clock.monotonic()
        due_s = self._due_s()
        task.sleep_until(due_s)
        while (again := self._due_s()) != due_s:  # something came or went in between
            due_s = again
            task.sleep_until(due_s)
        return Result.SLPQ
