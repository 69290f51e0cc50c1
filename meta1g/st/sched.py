"""State threads: creation, exit, join, interrupt, sleep, and the switch between them.

One runs, nobody is preempted; a switch happens only inside calls whose docstring says so.  The run queue is FIFO: it is
the callback queue of gevent's hub, which plays the idle thread.

A turn, from one switch to the next, has a budget (invariant I10): after TURN_CALLS calls that need not wait, or TURN_S, the
thread gives way inside the next call of the I/O family, or at its next st_checkpoint().  All others that can run then run
before it, those too whose descriptors have become ready meanwhile.

Owner: the process (one native thread).
Ref: State Threads reference, "Thread Control and Identification"; MeTA1 design, "Implementation: use of state threads".
"""

import errno
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable
from enum import IntEnum
from time import monotonic
from typing import Any, Final, cast

import gevent.hub
from greenlet import getcurrent, greenlet

from meta1g.base.errors import BugError, Module
from meta1g.st.errors import fail
from meta1g.st.limits import SPARE_GREENLETS, TURN_CALLS, TURN_S

ST_UTIME_NO_TIMEOUT: Final = -1
ST_UTIME_NO_WAIT: Final = 0
_US: Final = 1_000_000


class ThreadState(IntEnum):
    """States of a thread, numbered as in the C library."""

    RUNNING = 0
    RUNNABLE = 1
    IO_WAIT = 2
    LOCK_WAIT = 3
    COND_WAIT = 4
    SLEEPING = 5
    ZOMBIE = 6
    SUSPENDED = 7


_BLOCKED: Final = frozenset(
    (ThreadState.IO_WAIT, ThreadState.LOCK_WAIT, ThreadState.COND_WAIT, ThreadState.SLEEPING, ThreadState.SUSPENDED)
)


class StThread:
    """One state thread.  Owner: the scheduler; made by st_thread_create."""

    __slots__ = ("greenlet", "interrupted", "joinable", "joiner", "retval", "specific", "state", "timed_out", "uninterruptible")

    def __init__(self, *, joinable: bool) -> None:
        self.greenlet: Any = None
        self.joinable = joinable
        self.joiner: StThread | None = None
        self.retval: Any = None
        self.specific: list[Any] | None = None
        self.state = ThreadState.RUNNABLE
        self.interrupted = False
        self.timed_out = False
        self.uninterruptible = False


class _Greenlet(greenlet):  # type: ignore[misc] # greenlet has no types for its constructor
    __slots__ = ("thread",)


class _ThreadExitError(BaseException):
    """Unwinds a thread that called st_thread_exit."""


class _Runtime:
    """What the process has one of.  Owner: the process."""

    def __init__(self) -> None:
        self.hub: Any = None
        self.loop: Any = None
        self.primordial: StThread | None = None
        self.primordial_greenlet: Any = None
        self.keeper: Any = None
        self.active = 0
        self.switches = 0
        self.watched = False
        self.switch_in: Callable[[], None] | None = None
        self.switch_out: Callable[[], None] | None = None
        self.no_switch = 0
        self.ready: Callable[..., Any] = _not_started
        self.timer: Callable[[float], Any] = _not_started
        self.utime: Callable[[], int] = _monotonic_us
        self.destructors: Callable[[StThread], None] | None = None
        self.on_error: Callable[[BaseException], object] = _print_error
        self.turn_calls = TURN_CALLS
        self.turn_s = TURN_S
        self.calls_left = TURN_CALLS
        self.turn_end_s = 0.0
        self.gave_way: list[StThread] = []
        self.spare: list[Any] = []  # greenlets whose threads have ended
        self.poll_timer: Any = None


def _not_started(*args: object) -> Any:
    raise BugError(Module.ST, "st_init() has not been called")


def _monotonic_us() -> int:
    return time.monotonic_ns() // 1000


def _print_error(error: BaseException) -> None:
    sys.stderr.write("".join(traceback.format_exception(error)))


runtime: Final = _Runtime()


def st_init() -> int:
    """Starts the library: the caller becomes the primordial thread; a second call does nothing.

    SIGPIPE is ignored and the soft limit of descriptors is raised to the hard one, as in the C library.

    Returns:
        0.
    """
    if runtime.primordial is not None:
        return 0
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    runtime.hub = gevent.hub.get_hub()
    runtime.loop = runtime.hub.loop
    runtime.ready = runtime.loop.run_callback
    runtime.timer = runtime.loop.timer
    runtime.keeper = runtime.loop.async_()  # an idle process waits for ever, as in the C library
    runtime.keeper.start(_nothing)
    runtime.poll_timer = runtime.loop.timer(0)
    runtime.hub.handle_error = _hub_error
    runtime.primordial = StThread(joinable=False)
    runtime.primordial.state = ThreadState.RUNNING
    runtime.primordial.greenlet = runtime.primordial_greenlet = getcurrent()
    runtime.active = 1
    return 0


def _nothing() -> None:
    """Is never called."""


def st_getfdlimit() -> int:
    """Gives the number of descriptors the process may have, -1 before st_init."""
    return -1 if runtime.primordial is None else resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def set_error_hook(hook: Callable[[BaseException], object]) -> None:
    """Sets who hears of an exception that ends a thread or a callback of the loop; the default prints it on standard error."""
    runtime.on_error = hook


def _hub_error(context: object, kind: type[BaseException], error: Any, _trace: object) -> None:
    """Takes the place of the hub's own way with an exception of a callback, which is to print it and go on."""
    value = error if isinstance(error, BaseException) else kind(error)
    if issubclass(kind, runtime.hub.SYSTEM_ERROR):
        runtime.hub.handle_system_error(kind, value, value.__traceback__)
    elif context is None or not issubclass(kind, runtime.hub.NOT_ERROR):
        runtime.on_error(value)


def st_thread_self() -> StThread:
    """Gives the running thread."""
    thread = getattr(getcurrent(), "thread", runtime.primordial)
    return cast("StThread", thread)


def st_thread_create(start: Callable[[Any], Any], arg: Any = None, joinable: bool = False, stack_size: int = 0) -> StThread:
    """Makes a thread that runs start(arg); it goes to the end of the run queue, the creator goes on running.

    Args:
        start: its function; what it returns is the result of the thread.
        arg: its argument.
        joinable: somebody will join it; otherwise it vanishes when it ends.
        stack_size: accepted as in the C library; the stack grows by itself.
    """
    thread = StThread(joinable=joinable)
    made = runtime.spare.pop() if runtime.spare else _Greenlet(_serve, runtime.hub)
    made.thread = thread
    thread.greenlet = made
    runtime.active += 1
    runtime.ready(made.switch, thread, start, arg)
    return thread


def _serve(thread: StThread | None, start: Callable[[Any], Any] | None, arg: Any) -> None:
    """Runs threads one after the other: the interpreter maps 16 KiB anew for each greenlet that begins."""
    me = getcurrent()
    while thread is not None and start is not None:
        _main(thread, start, arg)
        thread = start = arg = me.thread = None  # nothing of it is kept while the greenlet waits
        if len(runtime.spare) < SPARE_GREENLETS:
            runtime.spare.append(me)
            thread, start, arg = runtime.hub.switch()


def _main(thread: StThread, start: Callable[[Any], Any], arg: Any) -> None:
    thread.state = ThreadState.RUNNING
    runtime.switches += 1
    _begin_turn()
    try:
        thread.retval = start(arg)
    except _ThreadExitError as leaving:
        thread.retval = leaving.args[0]
    except SystemExit as leaving:
        runtime.hub.parent.throw(leaving)
    except BaseException as error:  # noqa: BLE001 - the end of a thread reports whatever ended it
        runtime.on_error(error)
    finally:
        _finish(thread)


def _finish(thread: StThread) -> None:
    """Runs the key destructors; a joinable thread stays a zombie until it is joined."""
    if runtime.destructors is not None and thread.specific is not None:
        try:
            runtime.destructors(thread)
        except BaseException as error:  # noqa: BLE001 - the thread ends all the same
            runtime.on_error(error)
    thread.state = ThreadState.ZOMBIE
    thread.greenlet = None  # no cycle for the garbage collector
    runtime.active -= 1
    if thread.joiner is not None:
        wake(thread.joiner)
    if runtime.active == 0:
        _end_process()


def _end_process() -> None:
    """Ends the process with 0, through the primordial thread, so that exit functions run."""
    if getcurrent() is runtime.primordial_greenlet:
        raise SystemExit(0)
    runtime.primordial_greenlet.throw(SystemExit(0))


def st_thread_exit(retval: Any = None) -> None:
    """Ends the running thread with a result; the process ends with 0 if it was the last one."""
    thread = st_thread_self()
    if thread is runtime.primordial:
        thread.retval = retval
        _finish(thread)
        runtime.hub.switch()
    raise _ThreadExitError(retval)


def st_thread_join(thread: StThread) -> Any:
    """Waits for the end of a joinable thread and gives its result.

    Raises:
        StError: EINVAL it is not joinable or somebody waits already, EDEADLK it is the caller, EINTR.

    Switches: yes, unless it has ended.
    """
    me = st_thread_self()
    if not thread.joinable:
        fail(errno.EINVAL)
    if thread is me:
        fail(errno.EDEADLK)
    if thread.joiner is not None:
        fail(errno.EINVAL)
    thread.joiner = me
    while thread.state is not ThreadState.ZOMBIE:
        try:
            block(me, ThreadState.COND_WAIT, ST_UTIME_NO_TIMEOUT)
        except BaseException:
            thread.joiner = None
            raise
    thread.joinable = False
    return thread.retval


def st_thread_interrupt(thread: StThread) -> None:
    """Makes the blocking call of a thread, or its next one, fail with EINTR."""
    if thread.state is ThreadState.ZOMBIE:
        return
    thread.interrupted = True
    if not thread.uninterruptible:
        wake(thread)


def st_sleep(secs: int) -> None:
    """Sleeps for seconds; 0 yields, a negative number sleeps until interrupted.  Switches: yes."""
    st_usleep(secs * _US if secs >= 0 else ST_UTIME_NO_TIMEOUT)


def st_usleep(usecs: int) -> None:
    """Sleeps for microseconds; 0 yields, ST_UTIME_NO_TIMEOUT sleeps until interrupted.

    Raises:
        StError: EINTR.

    Switches: yes.
    """
    wait(st_thread_self(), ThreadState.SLEEPING, usecs)


def st_randomize_stacks(on: bool) -> int:
    """Does nothing: stacks are the interpreter's; gives 0, the former state."""
    return 0


# -- for the other files of this package ------------------------------------------------------------------------------------


def switch() -> None:
    """Gives the processor away until somebody switches back."""
    if runtime.watched:
        _watched_switch()
        return
    runtime.hub.switch()
    runtime.switches += 1
    _begin_turn()


def _begin_turn() -> None:
    runtime.calls_left = runtime.turn_calls
    runtime.turn_end_s = monotonic() + runtime.turn_s


def st_checkpoint() -> None:
    """Counts one step of work that does not wait, and gives way if the turn is used up.

    Every call of the I/O family does so; loops over bytes in memory, whose length a peer decides, call it in each round.  An
    interrupt is left for the next blocking call.  Inside no_switch() nobody gives way.

    Switches: yes, if the turn is used up.
    """
    runtime.calls_left -= 1
    if (runtime.calls_left < 0 or monotonic() > runtime.turn_end_s) and not runtime.no_switch:
        give_way()


def give_way() -> None:
    """Lets all others run that can, and the event loop look for more, before the caller goes on.  Switches: yes."""
    me = st_thread_self()
    runtime.gave_way.append(me)
    if len(runtime.gave_way) == 1:
        runtime.poll_timer.start(runtime.ready, _next_turns)  # a timer is due only after the loop has polled
    me.state = ThreadState.RUNNABLE
    try:
        switch()
    finally:
        me.state = ThreadState.RUNNING


def _next_turns() -> None:
    """Puts all that gave way at the end of the run queue, behind those that the poll has found.  Runs in the hub."""
    threads, runtime.gave_way = runtime.gave_way, []
    for thread in threads:
        runtime.ready(thread.greenlet.switch)


def set_turn(calls: int, seconds: float) -> tuple[int, float]:
    """Sets the budget of a turn and gives the former one; for tests that want one half of it alone."""
    old = runtime.turn_calls, runtime.turn_s
    runtime.turn_calls, runtime.turn_s = calls, seconds
    _begin_turn()
    return old


def _watched_switch() -> None:
    """Switches with callbacks, or refuses to."""
    if runtime.no_switch:
        raise BugError(Module.ST, "a thread switched inside no_switch()")
    if runtime.switch_out is not None:
        runtime.switch_out()
    runtime.hub.switch()
    runtime.switches += 1
    _begin_turn()
    if runtime.switch_in is not None:
        runtime.switch_in()


def wake(thread: StThread) -> None:
    """Puts a blocked thread at the end of the run queue; others are left alone."""
    if thread.state in _BLOCKED:
        thread.state = ThreadState.RUNNABLE
        runtime.ready(thread.greenlet.switch)


def take_interrupt(thread: StThread) -> None:
    """Fails with EINTR if the thread was interrupted."""
    if thread.interrupted:
        thread.interrupted = False
        fail(errno.EINTR)


def _expired(thread: StThread) -> None:
    if thread.state in _BLOCKED:
        thread.timed_out = True
        wake(thread)


def wait(thread: StThread, state: ThreadState, timeout_us: int) -> bool:
    """Blocks the running thread until it is woken.

    Returns:
        True if it was woken, False if the time is over.

    Raises:
        StError: EINTR.

    Switches: yes.
    """
    if thread.interrupted:
        take_interrupt(thread)
    thread.state = state
    if timeout_us < 0:
        switch()
        thread.state = ThreadState.RUNNING
        if thread.interrupted:
            take_interrupt(thread)
        return True
    thread.timed_out = False
    timer = runtime.timer(timeout_us / _US)
    timer.start(_expired, thread)
    try:
        switch()
    finally:
        timer.stop()
        timer.close()
    thread.state = ThreadState.RUNNING
    if thread.interrupted:
        take_interrupt(thread)
    return not thread.timed_out


def block(thread: StThread, state: ThreadState, timeout_us: int) -> None:
    """Blocks as wait does and fails with ETIME when the time is over.  Switches: yes."""
    if not wait(thread, state, timeout_us):
        fail(errno.ETIME)
