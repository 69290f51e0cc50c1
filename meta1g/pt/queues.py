"""Two of the three queues of the event-thread system: wait and sleep.

Plain objects without threads.  Locking: caller holds the lock of the system, except for poll().
Ref: MeTA1 design, "Implementation: Event threads" (waitq, runq, slpq modelled on).
"""

import heapq
import select
from contextlib import suppress
from itertools import count
from typing import Final

from meta1g.pt.limits import POLL_EVENTS
from meta1g.pt.task import RUN_STATES, Ev, Task

_WATCHED: Final = int(Ev.RD | Ev.WR)
_COMPACT_MIN: Final = 64


class WaitQueue:
    """Descriptors under watch, by epoll, level-triggered.

    A descriptor stays armed while its task runs; only if it is reported meanwhile, disarm() takes it out until arm().
    """

    __slots__ = ("epoll", "tasks")

    def __init__(self) -> None:
        self.epoll = select.epoll()
        self.tasks: dict[int, Task] = {}

    def add(self, task: Task) -> None:
        """Enters a task with a descriptor and watches it.

        Raises:
            FileExistsError: another task has the descriptor.
            OSError: the descriptor cannot be watched; the task is not entered.
        """
        other = self.tasks.get(task.fd)
        if other is not None:
            if other.state not in RUN_STATES:
                raise FileExistsError(f"descriptor {task.fd} belongs to {other!r}")
            self.disarm(other)
            other.fd = -1  # it closed its descriptor in the run at hand, and the number was given out again
        self.arm(task)
        self.tasks[task.fd] = task

    def arm(self, task: Task) -> None:
        """Makes epoll watch what the task wants now; an OSError says that it cannot."""
        mask = task.wanted & _WATCHED
        armed = task.armed
        if mask == armed or task.fd < 0:
            return
        if not mask:
            self.epoll.unregister(task.fd)
        elif armed:
            self.epoll.modify(task.fd, mask)
        else:
            self.epoll.register(task.fd, mask)
        task.armed = mask

    def disarm(self, task: Task) -> None:
        """Stops watching for a task; a closed descriptor is no error."""
        if task.armed:
            task.armed = 0
            with suppress(OSError, ValueError):  # the owner closed it already, or the system is closed
                self.epoll.unregister(task.fd)

    def remove(self, task: Task) -> None:
        """Takes a task out for good."""
        if task.fd >= 0 and self.tasks.get(task.fd) is task:
            self.disarm(task)
            del self.tasks[task.fd]

    def poll(self, timeout_s: float) -> list[tuple[int, int]]:
        """Gives (descriptor, epoll events) pairs; waits timeout_s at most, -1 for ever.  Blocks: yes."""
        return self.epoll.poll(timeout_s, POLL_EVENTS)


def seen_of(events: int, wanted: int) -> int:
    """Turns epoll events into the Ev bits of a task; an error or hang-up counts as all that the task waits for."""
    return wanted & (_WATCHED if events & ~_WATCHED else events)


class SleepQueue:
    """Tasks by time, a heap that forgets lazily: an entry counts while its time is the task's queued_at.

    Invariant: a task whose wake_at is t stands in the heap with a time of t or earlier, task.queued_at.
    """

    __slots__ = ("_compact_at", "_heap", "_number")

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Task]] = []
        self._number = count()
        self._compact_at = _COMPACT_MIN

    def put(self, task: Task) -> None:
        """Enters a task whose wake_at is set."""
        when = task.wake_at
        if when is None or (task.queued_at is not None and task.queued_at <= when):
            return
        task.queued_at = when
        heapq.heappush(self._heap, (when, next(self._number), task))
        if len(self._heap) > self._compact_at:
            self._compact()

    def first(self) -> float | None:
        """Gives the earliest time, or None; it may be the time of a task that no longer waits for it."""
        return self._heap[0][0] if self._heap else None

    def due(self, now: float) -> list[Task]:
        """Takes out the tasks whose time has come, earliest first."""
        ready: list[Task] = []
        while self._heap and self._heap[0][0] <= now:
            when, _, task = heapq.heappop(self._heap)
            if task.queued_at != when:
                continue
            task.queued_at = None
            if task.wake_at is not None and task.wake_at <= now:
                ready.append(task)
            else:
                self.put(task)
        return ready

    def _compact(self) -> None:
        """Drops the entries that do not count; so many changes of time pass until the next time that it costs nothing."""
        kept = {id(entry[2]): entry for entry in self._heap if entry[2].queued_at == entry[0]}
        self._heap = list(kept.values())
        heapq.heapify(self._heap)
        self._compact_at = max(_COMPACT_MIN, 2 * len(self._heap))
