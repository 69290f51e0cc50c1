"""Signals as tasks: the function of a signal runs in a worker thread, where it may lock and log.

The interpreter writes the signal's number into a socket; a task reads it and wakes the task of the signal.  Nothing runs
inside the signal handler.

Invariant: SIGTERM and SIGINT always end the system: whatever another signal's function does, and even if their own fails.

Ref: our choice; base/startup.py (SIGTERM, SIGUSR1, SIGHUP).
"""

import contextlib
import signal
import socket
from collections.abc import Callable

from meta1g.base import failure
from meta1g.pt.evthr import Evthr
from meta1g.pt.task import Ev, Result, Task

_READ_BYTES = 64
#: Signals that end the system.
_ENDS = (signal.SIGTERM, signal.SIGINT)


class Signals:
    """The signals of one event-thread system.

    Args:
        evthr: the system whose workers run the functions.

    Owner: the process; made, changed and closed by its main thread.
    """

    def __init__(self, evthr: Evthr) -> None:
        self._evthr = evthr
        self._functions: dict[int, Callable[[], None]] = {}
        self._tasks: dict[int, Task] = {}
        self._old: dict[int, object] = {}
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)
        self._old_fd = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        self._task = evthr.task_new(self._on_readable, fd=self._reader.fileno(), events=Ev.RD, name="signals", frame=True)

    def on_signal(self, signum: int, function: Callable[[], None]) -> None:
        """Lets function() run in a worker for each signal; signals of one number that come close together may be one.

        A function that fails costs this signal; the system is stopped at once if it was to end by it.

        Raises:
            ValueError: not called in the main thread.
        """
        self._functions[signum] = function
        if signum not in self._tasks:
            name = signal.Signals(signum).name
            self._tasks[signum] = self._evthr.task_new(lambda task: self._call(signum, name), events=Ev.NONE, name=name)
        old = signal.signal(signum, _nothing)
        signal.siginterrupt(signum, False)
        self._old.setdefault(signum, old)

    def close(self) -> None:
        """Puts the former handlers back; called by the main thread after loop()."""
        for signum, old in self._old.items():
            with contextlib.suppress(TypeError):  # a handler that was not installed from Python
                signal.signal(signum, old)  # type: ignore[arg-type]
        self._old.clear()
        signal.set_wakeup_fd(self._old_fd)
        for task in (self._task, *self._tasks.values()):
            task.delete()
        self._reader.close()
        self._writer.close()
        _Registry.of.pop(id(self._evthr), None)

    def _on_readable(self, task: Task) -> Result:
        try:
            numbers = set(self._reader.recv(_READ_BYTES))
        except BlockingIOError:
            return Result.WAITQ
        for signum in sorted(numbers):
            if signum in self._tasks:
                self._tasks[signum].wakeup()
        return Result.WAITQ

    def _call(self, signum: int, name: str) -> Result:
        """Calls the function of a signal in the signal's own task, so that none waits for another."""

        def stop(error: Exception) -> None:
            if signum in _ENDS:
                self._evthr.stop()

        with failure.item(self._evthr.log, "evthr.signal", stop, name=name):
            self._functions[signum]()
        return Result.SLPQ


class _Registry:
    """The Signals of each system.  Owner: the main thread."""

    of: dict[int, Signals] = {}  # noqa: RUF012  one table of the process


def on_signal(evthr: Evthr, signum: int, function: Callable[[], None]) -> None:
    """Lets function() run in a worker of evthr for each signal; called by the main thread.

    Raises:
        ValueError: not called in the main thread.
    """
    signals_of(evthr).on_signal(signum, function)


def signals_of(evthr: Evthr) -> Signals:
    """Gives the Signals of a system, made at the first call; called by the main thread."""
    key = id(evthr)
    if key not in _Registry.of:
        _Registry.of[key] = Signals(evthr)
    return _Registry.of[key]


def _nothing(signum: int, frame: object) -> None:
    """Stands as handler so that the signal interrupts nothing; the number is in the socket already."""
