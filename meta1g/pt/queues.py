"""The three queues of the event-thread system: run, wait, sleep.

Plain objects without threads.  Locking: caller holds the lock of the system, except for poll().

Ref: MeTA1 design, "Implementation: Event threads" (waitq, runq, slpq modelled on).
"""

import heapq
import select
from collections import deque
from itertools import count
from typing import Final

from meta1g.pt.limits import POLL_EVENTS
from meta1g.pt.task import RUN_STATES, Ev, Task

_IN: Final = int(Ev.RD | Ev.LI)
_OUT: Final = int(Ev.WR)
_WATCHED: Final = _IN | _OUT
_COMPACT_MIN: Final = 64

#: epoll mask of the requested events, by number.
MASK_OF: Final = tuple((select.EPOLLIN if bits & _IN else 0) | (select.EPOLLOUT if bits & _OUT else 0) for bits in range(64))

#: First in, first out: the tasks that are ready.
RunQueue = deque[Task]


class WaitQueue:
    """Descriptors under watch, by epoll, level-triggered.

    A descriptor stays armed while its task runs, which saves two system calls a run; the controller takes it out when
    it is reported although the task cannot take it, and put() brings it back.
    """

    __slots__ = ("_epoll", "tasks")

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self.tasks: dict[int, Task] = {}

    def add_wakeup(self, fd: int) -> None:
        """Watches a descriptor that belongs to no task."""
        self._epoll.register(fd, select.EPOLLIN)

    def add(self, task: Task) -> None:
        """Enters a task with a descriptor.

        Raises:
            FileExistsError: another task has the descriptor.
        """
        other = self.tasks.get(task.fd)
        if other is not None:
            if other.state not in RUN_STATES:
                raise FileExistsError(f"descriptor {task.fd} belongs to {other!r}")
            other.fd = -1  # it closed its descriptor in the run at hand, and the number was given out again
            other.armed = 0
        self.tasks[task.fd] = task

    def arm(self, task: Task) -> None:
        """Makes epoll watch what the task wants now; does nothing if it does already.

        Raises:
            OSError: the descriptor is closed or cannot be watched.
        """
        mask = MASK_OF[task.wanted]
        armed = task.armed
        if mask == armed or task.fd < 0:
            return
        if not mask:
            self._epoll.unregister(task.fd)
        elif armed:
            self._epoll.modify(task.fd, mask)
        else:
            self._epoll.register(task.fd, mask)
        task.armed = mask

    def disarm(self, task: Task) -> None:
        """Stops watching for a task; a closed descriptor is no error."""
        if task.armed:
            task.armed = 0
            try:
                self._epoll.unregister(task.fd)
            except (OSError, ValueError):  # the owner closed it already, or the system is closed
                return

    def remove(self, task: Task) -> None:
        """Takes a task out for good."""
        if task.fd >= 0 and self.tasks.get(task.fd) is task:
            self.disarm(task)
            del self.tasks[task.fd]

    def poll(self, timeout_s: float) -> list[tuple[int, int]]:
        """Gives (descriptor, epoll events) pairs; waits timeout_s at most, -1 for ever.  Blocks: yes."""
        return self._epoll.poll(timeout_s, POLL_EVENTS)

    def close(self) -> None:
        """Closes the epoll descriptor."""
        self._epoll.close()


def seen_of(events: int, wanted: int) -> int:
    """Turns epoll events into the Ev bits of a task; an error or hang-up counts as all that the task waits for."""
    if events & ~(select.EPOLLIN | select.EPOLLOUT):
        return wanted & _WATCHED
    return ((wanted & _IN) if events & select.EPOLLIN else 0) | (_OUT if events & select.EPOLLOUT else 0)


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

    def drop(self, task: Task) -> None:
        """Forgets a task."""
        task.wake_at = task.queued_at = None

    def first(self) -> float | None:
        """Gives the earliest time, or None; it may be the time of a task that no longer waits for it."""
        return self._heap[0][0] if self._heap else None

    def due(self, now: float) -> list[Task]:
        """Takes out the tasks whose time has come, earliest first."""
        heap = self._heap
        ready: list[Task] = []
        while heap and heap[0][0] <= now:
            when, _, task = heapq.heappop(heap)
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
