"""Time, switch callbacks, and the main loop of a program.

Owner: the process (one native thread).
Ref: State Threads reference, "Timing", "Library Initialization" (event systems, switch callbacks).
"""

import errno
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from meta1g.st.errors import fail
from meta1g.st.sched import StThread, ThreadState, runtime, st_thread_self, switch, wake

ST_EVENTSYS_DEFAULT: Final = 0
ST_EVENTSYS_SELECT: Final = 1
ST_EVENTSYS_POLL: Final = 2
ST_EVENTSYS_ALT: Final = 3

SwitchCallback = Callable[[], None]


class _Loop:
    """The main loop of the program.  Owner: the process."""

    def __init__(self) -> None:
        self.runner: StThread | None = None
        self.stopped = False
        self.cached_time = False


_loop: Final = _Loop()


def st_utime() -> int:
    """Gives the time in microseconds since some point in the past; it never goes back."""
    return runtime.utime()


def st_set_utime_function(function: Callable[[], int]) -> int:
    """Replaces the source of st_utime; time-outs are measured by the event loop all the same.

    Raises:
        StError: EINVAL, st_init() has been called already.
    """
    if runtime.primordial is not None:
        fail(errno.EINVAL)
    runtime.utime = function
    return 0


def st_timecache_set(on: bool) -> int:
    """Turns the cache of st_time on or off and gives the former state, 0 or 1."""
    old, _loop.cached_time = _loop.cached_time, bool(on)
    return int(old)


def st_time() -> int:
    """Gives the seconds since 1970; with the cache on, those of the last look of the event loop at the clock."""
    return int(runtime.loop.now()) if _loop.cached_time and runtime.loop is not None else int(time.time())


def st_set_eventsys(eventsys: int) -> int:
    """Chooses the event system before st_init(); there is only one here, the best of the system.

    Raises:
        StError: EBUSY it is chosen, EINVAL it is another one.
    """
    if runtime.primordial is not None:
        fail(errno.EBUSY)
    if eventsys not in (ST_EVENTSYS_DEFAULT, ST_EVENTSYS_ALT):
        fail(errno.EINVAL)
    return 0


def st_get_eventsys() -> int:
    """Gives ST_EVENTSYS_ALT, or -1 before st_init()."""
    return -1 if runtime.primordial is None else ST_EVENTSYS_ALT


def st_get_eventsys_name() -> str:
    """Gives `epoll` or what the system has, empty before st_init()."""
    return "" if runtime.loop is None else str(runtime.loop.backend)


def st_set_switch_in_cb(callback: SwitchCallback | None) -> SwitchCallback | None:
    """Sets what is called when a thread goes on after a switch; gives the former one."""
    old, runtime.switch_in = runtime.switch_in, callback
    _note_watched()
    return old


def st_set_switch_out_cb(callback: SwitchCallback | None) -> SwitchCallback | None:
    """Sets what is called before a thread gives the processor away; gives the former one."""
    old, runtime.switch_out = runtime.switch_out, callback
    _note_watched()
    return old


def _note_watched() -> None:
    runtime.watched = bool(runtime.no_switch or runtime.switch_in or runtime.switch_out)


def switch_count() -> int:
    """Gives the number of switches so far: equal before and after a call that did not switch."""
    return runtime.switches


@contextmanager
def no_switch() -> Iterator[None]:
    """Guards code that must not switch.

    Raises:
        BugError: at the call that would switch.
    """
    runtime.no_switch += 1
    _note_watched()
    try:
        yield
    finally:
        runtime.no_switch -= 1
        _note_watched()


def run_forever() -> None:
    """Keeps the calling thread, which is that of the main program, until stop() is called.

    Interrupts do not end it; a stop() that came before ends it at once.

    Switches: yes.
    """
    me = _loop.runner = st_thread_self()
    while not _loop.stopped:
        me.state = ThreadState.SUSPENDED
        switch()
        me.state = ThreadState.RUNNING
    _loop.runner = None
    _loop.stopped = False


def stop() -> None:
    """Ends run_forever(); other threads stay as they are."""
    _loop.stopped = True
    if _loop.runner is not None:
        wake(_loop.runner)
