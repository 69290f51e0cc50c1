"""Condition variables and mutexes; waiters are served first come, first served.

Owner: the process (one native thread).
Ref: State Threads reference, "Synchronization".
"""

import errno
from collections import deque
from typing import Final

from meta1g.st.errors import fail
from meta1g.st.sched import (
    ST_UTIME_NO_TIMEOUT,
    StThread,
    ThreadState,
    block,
    st_thread_self,
    switch,
    take_interrupt,
    wake,
)

_OK: Final = 0


class StCond:
    """A condition variable.  Owner: one process; no mutex is needed."""

    __slots__ = ("waiters",)

    def __init__(self) -> None:
        self.waiters: deque[StThread] = deque()


class StMutex:
    """A mutex, not recursive.  Owner: the thread that holds it."""

    __slots__ = ("owner", "waiters")

    def __init__(self) -> None:
        self.owner: StThread | None = None
        self.waiters: deque[StThread] = deque()


def st_cond_new() -> StCond:
    """Makes a condition variable."""
    return StCond()


def st_cond_destroy(cond: StCond) -> int:
    """Checks that nobody waits.

    Raises:
        StError: EBUSY.
    """
    if cond.waiters:
        fail(errno.EBUSY)
    return _OK


def st_cond_timedwait(cond: StCond, timeout_us: int) -> int:
    """Waits for a signal, at most timeout_us microseconds.

    Raises:
        StError: ETIME, EINTR (which wins over ETIME).

    Switches: yes.
    """
    me = st_thread_self()
    cond.waiters.append(me)
    try:
        block(me, ThreadState.COND_WAIT, timeout_us)
    finally:
        if me in cond.waiters:
            cond.waiters.remove(me)
    return _OK


def st_cond_wait(cond: StCond) -> int:
    """Waits for a signal.  Switches: yes."""
    return st_cond_timedwait(cond, ST_UTIME_NO_TIMEOUT)


def st_cond_signal(cond: StCond) -> int:
    """Wakes the thread that has waited longest."""
    while cond.waiters:
        thread = cond.waiters.popleft()
        if thread.state is ThreadState.COND_WAIT:
            wake(thread)
            break
    return _OK


def st_cond_broadcast(cond: StCond) -> int:
    """Wakes all waiting threads, in the order in which they came."""
    while cond.waiters:
        wake(cond.waiters.popleft())
    return _OK


def st_mutex_new() -> StMutex:
    """Makes a mutex."""
    return StMutex()


def st_mutex_destroy(lock: StMutex) -> int:
    """Checks that the mutex is free.

    Raises:
        StError: EBUSY.
    """
    if lock.owner is not None or lock.waiters:
        fail(errno.EBUSY)
    return _OK


def st_mutex_lock(lock: StMutex) -> int:
    """Takes the mutex.

    Raises:
        StError: EDEADLK the caller has it, EINTR.

    Switches: yes, if another thread has it.
    """
    me = st_thread_self()
    if me.interrupted:
        take_interrupt(me)
    if lock.owner is None:
        lock.owner = me
        return _OK
    if lock.owner is me:
        fail(errno.EDEADLK)
    lock.waiters.append(me)
    me.state = ThreadState.LOCK_WAIT
    try:
        switch()
    finally:
        me.state = ThreadState.RUNNING
        if lock.owner is not me:
            lock.waiters.remove(me)
    if lock.owner is not me:
        take_interrupt(me)
    return _OK  # an interrupt that came after the hand-over is for the next blocking call


def st_mutex_unlock(lock: StMutex) -> int:
    """Gives the mutex to the thread that has waited longest, or frees it.

    Raises:
        StError: EPERM the caller does not have it.
    """
    if lock.owner is not st_thread_self():
        fail(errno.EPERM)
    lock.owner = None
    for thread in lock.waiters:
        if thread.state is ThreadState.LOCK_WAIT:  # else it was interrupted and is on its way out
            lock.waiters.remove(thread)
            lock.owner = thread
            wake(thread)
            break
    return _OK


def st_mutex_trylock(lock: StMutex) -> int:
    """Takes the mutex if it is free.

    Raises:
        StError: EBUSY, for the owner too.
    """
    if lock.owner is not None:
        fail(errno.EBUSY)
    lock.owner = st_thread_self()
    return _OK
