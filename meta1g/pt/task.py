"""A task of the event-thread system: its events, its result flags, and its states.

    WAITQ <----------------------+            woken while it runs: RUNNING -> AGAIN, and from there back to RUNQ
      | ready, due, woken        | WAITQ      deleted while it runs: RUNNING -> DOOMED
      v          taken           |
    RUNQ ------------------> RUNNING -- DEL --> DELETED, or CLEANQ -> CLEANING -> DELETED if it asked for Ev.CL
      ^ ^                        | |
      | +---------- RUNQ --------+ |
      +-- due, woken -- SLEEPQ <---+ SLPQ

Invariants: a task stands in the run queue if and only if it is in RUNQ or CLEANQ, and once only; its function runs only
in RUNNING, AGAIN, DOOMED and CLEANING, each of which only the thread that took it can leave.  So no task is ever run by
two threads at once, and a wake-up is never lost.
Ref: MeTA1 design, "Implementation: Event threads" (names modelled on EVTHR_EV_*, EVTHR_*).
"""

from collections.abc import Callable, Mapping
from enum import IntEnum, IntFlag, auto
from typing import Final, Protocol

from meta1g.base.clock import Clock


class Ev(IntFlag):
    """Events a task asks for, and events that happened; RD and WR have the numbers that epoll gives them."""

    NONE = 0
    RD = 1  # readable, or a connection can be accepted, or end of file, or error
    WR = 4  # writable
    CL = 8  # last call, after deletion: clean up
    SL = 16  # the time set has come
    WU = 32  # woken by wakeup()


class Result(IntFlag):
    """What a task function wants next."""

    OK = 0
    WAITQ = 1  # wait for events again
    RUNQ = 2  # call me again, after the others
    SLPQ = 4  # sleep until the time set, or until woken; the descriptor is not watched
    DEL = 8  # delete the task
    TERM = 16  # stop the system


class State(IntEnum):
    """States of a task."""

    WAITQ = auto()
    SLEEPQ = auto()
    RUNQ = auto()
    RUNNING = auto()
    AGAIN = auto()
    DOOMED = auto()
    CLEANQ = auto()
    CLEANING = auto()
    DELETED = auto()


class Event(IntEnum):
    """What can happen to a task."""

    READY = auto()  # the descriptor is ready
    DUE = auto()  # the time set has come
    WAKE = auto()  # somebody called wakeup()
    DELETE = auto()  # somebody called delete()
    CLEAN = auto()  # the same for a task that asked for a last call
    TAKE = auto()  # a thread takes it from the run queue
    BACK_WAIT = auto()  # its function returned WAITQ
    BACK_SLEEP = auto()  # ... SLPQ
    BACK_RUN = auto()  # ... RUNQ
    BACK_DEL = auto()  # ... DEL, or anything if it is doomed
    BACK_CLEAN = auto()  # the same for a task that asked for a last call


_S, _E = State, Event
_OUTSIDE: Final = (Event.READY, Event.DUE, Event.WAKE, Event.DELETE, Event.CLEAN)
_BACK: Final = (Event.BACK_WAIT, Event.BACK_SLEEP, Event.BACK_RUN, Event.BACK_DEL, Event.BACK_CLEAN)
_RETURNS: Final = {_E.BACK_WAIT: _S.WAITQ, _E.BACK_SLEEP: _S.SLEEPQ, _E.BACK_RUN: _S.RUNQ}
_ENDS: Final = {_E.BACK_DEL: _S.DELETED, _E.BACK_CLEAN: _S.CLEANQ}
_REMOVED: Final = {_E.DELETE: _S.DELETED, _E.CLEAN: _S.CLEANQ}
_STAY: Final = {state: dict.fromkeys(_OUTSIDE, state) for state in State}
_DOOM: Final = {_E.DELETE: _S.DOOMED, _E.CLEAN: _S.DOOMED}


#: One row a state; what is missing must not happen.  A later part of a row overrules an earlier one.
ROWS: Final[Mapping[State, Mapping[Event, State]]] = {
    _S.WAITQ: dict.fromkeys((_E.READY, _E.DUE, _E.WAKE), _S.RUNQ) | _REMOVED,
    _S.SLEEPQ: {_E.READY: _S.SLEEPQ, _E.DUE: _S.RUNQ, _E.WAKE: _S.RUNQ} | _REMOVED,
    _S.RUNQ: _STAY[_S.RUNQ] | _REMOVED | {_E.TAKE: _S.RUNNING},
    _S.RUNNING: _STAY[_S.RUNNING] | {_E.WAKE: _S.AGAIN} | _DOOM | _RETURNS | _ENDS,
    _S.AGAIN: _STAY[_S.AGAIN] | _DOOM | dict.fromkeys(_RETURNS, _S.RUNQ) | _ENDS,
    _S.DOOMED: _STAY[_S.DOOMED] | _ENDS,
    _S.CLEANQ: _STAY[_S.CLEANQ] | {_E.TAKE: _S.CLEANING},
    _S.CLEANING: _STAY[_S.CLEANING] | dict.fromkeys(_BACK, _S.DELETED),
    _S.DELETED: _STAY[_S.DELETED],
}

TRANSITIONS: Final = {(state, event): new for state, row in ROWS.items() for event, new in row.items()}

#: States in which the function of the task is running.
RUN_STATES: Final = frozenset((State.RUNNING, State.AGAIN, State.DOOMED, State.CLEANING))

TaskFunction = Callable[["Task"], Result]


class _System(Protocol):
    """What a task needs of the event-thread system it belongs to."""

    clock: Clock

    def wakeup(self, task: "Task") -> None: ...
    def set_time(self, task: "Task", monotonic_s: float | None) -> None: ...
    def want(self, task: "Task", event: Ev, on: bool) -> None: ...
    def delete(self, task: "Task") -> None: ...


class Task:
    """One task: a descriptor, a timer, or both, and the function that serves them.

    Its arguments are those of Evthr.task_new(); the descriptor stays the caller's to close, after the task is deleted.

    Locking: that of the system, LEAF; the function runs in one thread at a time and needs no lock for what only it uses.
    """

    __slots__ = (
        "armed", "evthr", "fd", "frame", "function", "name", "queued_at", "seen_bits", "state", "wake_at", "wanted", "woken",
    )  # fmt: skip

    def __init__(self, evthr: _System, function: TaskFunction, fd: int, events: Ev, name: str, *, frame: bool = False) -> None:
        self.evthr = evthr
        self.function = function
        self.fd = fd
        self.wanted = int(events)
        self.name = name
        self.frame = frame
        self.state = State.WAITQ
        self.seen_bits = 0  # events of this run, as a number
        self.woken = 0  # events that wait for the next run
        self.wake_at: float | None = None
        self.queued_at: float | None = None  # owned by the sleep queue
        self.armed = 0  # owned by the wait queue

    def wakeup(self) -> None:
        """Makes the task run soon, from any thread; while it runs, makes it run once more."""
        self.evthr.wakeup(self)

    def sleep_until(self, monotonic_s: float | None) -> None:
        """Sets the monotonic seconds at which the task runs with Ev.SL, also if another event comes first; None for never."""
        self.evthr.set_time(self, monotonic_s)

    def sleep_for(self, delay_s: float) -> None:
        """Sets the time to delay_s seconds from now."""
        self.evthr.set_time(self, self.evthr.clock.monotonic() + delay_s)

    def want_write(self, on: bool) -> None:
        """Asks for WR, or no longer, from any thread."""
        self.evthr.want(self, Ev.WR, on)

    def delete(self) -> None:
        """Deletes the task, from any thread, after a run at hand; Ev.CL is for closing the descriptor in a last call."""
        self.evthr.delete(self)

    def __repr__(self) -> str:
        return f"<Task {self.name or self.function!r} fd={self.fd} {self.state.name}>"
