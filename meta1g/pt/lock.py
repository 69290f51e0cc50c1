"""Ranked locks: the one lock order of all threads.

Invariant: a thread takes locks in rising rank only.  With checking on, taking a lock of a lower or equal rank than one
that the thread holds is a BugError before anything can hang; with checking off a lock costs one native lock.

Ref: invariant I9; MeTA1 design, "Implementation: QMGR, locking" (order IQDB, AQ, DEFEDB, IBDB modelled on).
"""

import threading
from enum import IntEnum
from types import TracebackType
from typing import Final, Self

from meta1g.base.errors import BugError, Module


class LockRank(IntEnum):
    """The lock order, lowest first."""

    IQDB = 10
    AQ = 20
    DEFEDB = 40
    IBDB = 50
    CACHE = 80  # a cache with a lock of its own, taken last among the stores
    LEAF = 90  # nothing is called while it is held
    LOG = 95  # counters and log state


class _Held(threading.local):
    """Locks that the calling thread holds, in the order of taking.  Owner: the calling thread."""

    def __init__(self) -> None:
        self.locks: list[Lock] = []


class _Checking:
    """Whether the order is checked.  Owner: the process (set before the first thread, or by a test)."""

    on = False


_held: Final = _Held()


def set_checking(on: bool) -> None:
    """Switches the check of the lock order on or off for the whole process."""
    _Checking.on = on


def checking() -> bool:
    """Tells whether the lock order is checked."""
    return _Checking.on


def held_names() -> list[str]:
    """Gives the names of the locks that the calling thread holds, lowest rank first; empty with checking off."""
    return [lock.name for lock in _held.locks]


class Lock:
    """A lock with a place in the lock order, used with `with`.

    Args:
        rank: its place.
        name: names it in errors; the name of the rank if empty.

    Locking: own lock of the rank given.
    """

    __slots__ = ("_raw", "name", "rank")

    def __init__(self, rank: LockRank, name: str = "") -> None:
        self._raw = threading.Lock()
        self.rank = rank
        self.name = name or rank.name

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self.release()

    def acquire(self, *, blocking: bool = True) -> bool:
        """Takes the lock.

        Args:
            blocking: waits for it; otherwise gives False at once if another thread holds it.

        Raises:
            BugError: checking is on, and the thread holds a lock of the same or a higher rank.

        Blocks: yes (until the holder releases it).
        """
        if not _Checking.on:
            return self._raw.acquire(blocking)
        self._check_order()
        if not self._raw.acquire(blocking):
            return False
        _held.locks.append(self)
        return True

    def release(self) -> None:
        """Gives the lock back."""
        if _held.locks:
            self._forget()
        self._raw.release()

    def held(self) -> bool:
        """Tells whether the calling thread holds the lock; with checking off, whether any thread does."""
        return self in _held.locks if _Checking.on else self._raw.locked()

    def _check_order(self) -> None:
        for other in _held.locks:
            if other.rank >= self.rank:
                raise BugError(
                    Module.EVTHR, f"lock {self.name} ({self.rank:d}) taken while holding {other.name} ({other.rank:d})"
                )

    def _forget(self) -> None:
        locks = _held.locks
        if self in locks:
            locks.remove(self)
