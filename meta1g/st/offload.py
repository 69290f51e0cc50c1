"""Runs blocking calls (flushing a file, reading a slow disk) in native threads, so that other state threads go on.

Each native thread is started once and then takes jobs from a queue; a pipe with one byte for each job is what they wait on.
That costs less than half of a task of gevent's pool for each job, and results that come close together cost one wake-up of the
event loop.

Set-up is all or nothing: a shortage costs the call at hand, and the next one tries again (invariant I12).

Invariants: at most OFFLOAD_THREADS calls run at a time, others wait in order; a thread has at most one job, and does not
go on before it has ended, so that nothing runs for a thread that is gone.

Owner: the process; the two queues are shared with the native threads by their atomic operations alone.
Ref: MeTA1 design, "Implementation: use of state threads" (disk input and output, ours).
"""

import errno
import os
from _thread import start_new_thread
from collections import deque
from collections.abc import Callable
from typing import Any, Final, ParamSpec, TypeVar

from meta1g.st.sched import StThread, ThreadState, runtime, st_thread_self, switch, take_interrupt, wake

#: Native threads at most.  Our choice: enough to fill a disk's queue, few enough for the interpreter lock.
OFFLOAD_THREADS: Final = 8

_P = ParamSpec("_P")
_R = TypeVar("_R")


class _Job:
    """One call.  Owner: the state thread that made it; the native thread between start and end."""

    __slots__ = ("ended", "error", "function", "result", "thread")

    def __init__(self, thread: StThread, function: Callable[[], Any]) -> None:
        self.thread = thread
        self.function = function
        self.ended = False
        self.result: Any = None
        self.error: BaseException | None = None


class _Offload:
    """The queues and the native threads.  Owner: the process."""

    def __init__(self) -> None:
        self.open_jobs = 0
        self._waiting: deque[_Job] = deque()
        self._ended: deque[_Job] = deque()
        self._threads = 0
        self._bell: Any = None
        self._take_fd = self._give_fd = -1

    def start(self, job: _Job) -> None:
        """Queues a job; one more native thread is started if all are busy and there may be more.

        Raises:
            OSError: there is no native thread, and none can be made now; the job is not queued.
        """
        if self._bell is None:
            self._prepare()
        if self.open_jobs >= self._threads < OFFLOAD_THREADS:
            self._add_thread()
        self.open_jobs += 1
        self._waiting.append(job)
        os.write(self._give_fd, b"j")

    def _prepare(self) -> None:
        take_fd, give_fd = os.pipe()
        bell = runtime.loop.async_(ref=False)
        bell.start(self._deliver)
        self._bell, self._take_fd, self._give_fd = bell, take_fd, give_fd

    def _add_thread(self) -> None:
        """Starts a native thread; if that fails, those that there are have to do."""
        try:
            start_new_thread(self._work, ())
        except (RuntimeError, MemoryError) as error:  # "can't start new thread" is a RuntimeError
            if not self._threads:
                raise OSError(errno.EAGAIN, f"no native thread for a blocking call: {error}") from error
            return
        self._threads += 1

    def _work(self) -> None:
        """Takes one job for each byte of the pipe, for ever.  Runs in a native thread."""
        while os.read(self._take_fd, 1):
            job = self._waiting.popleft()
            try:
                job.result = job.function()
            except BaseException as error:  # noqa: BLE001 - it is raised again by the thread that asked
                job.error = error
            self._ended.append(job)
            self._bell.send()

    def _deliver(self) -> None:
        """Wakes the threads whose jobs have ended.  Runs in the hub."""
        while self._ended:
            job = self._ended.popleft()
            job.ended = True
            self.open_jobs -= 1
            wake(job.thread)


_offload: Final = _Offload()


def offload(function: Callable[_P, _R], *args: _P.args, **kwargs: _P.kwargs) -> _R:
    """Runs a blocking call in a native thread and gives its result; it must not use anything of State Threads.

    Raises:
        StError: EINTR.  An interrupt from before the call keeps it from being made; one during the call is raised after
            its end, and the result is lost.  An error of the call itself wins; the interrupt then is for the next call.
        OSError: there is no native thread, and none can be made now.
        Exception: what the call raised.

    Switches: yes.
    """
    me = st_thread_self()
    if me.interrupted:
        take_interrupt(me)
    job = _Job(me, (lambda: function(*args, **kwargs)) if args or kwargs else function)
    _offload.start(job)
    me.uninterruptible = True
    try:
        while not job.ended:
            me.state = ThreadState.SUSPENDED
            switch()
    finally:
        me.state = ThreadState.RUNNING
        me.uninterruptible = False
    if job.error is not None:
        raise job.error
    if me.interrupted:
        take_interrupt(me)
    result: _R = job.result
    return result


def offloaded() -> int:
    """Gives the number of calls that wait or run."""
    return _offload.open_jobs
