"""The event loop of mcp: descriptors, timers, signals, one at a time in one thread.

Invariant: a callback runs to its end; nothing is interrupted and nothing needs a lock.

Owner: the process.
Ref: selectors; signal.set_wakeup_fd.
"""

import contextlib
import heapq
import itertools
import os
import selectors
import signal
from collections.abc import Callable
from typing import Final

from meta1g.base.clock import Clock

_WAKEUP_BYTES: Final = 4096


class Timer:
    """A call at a time; `cancel()` prevents it.  Owner: the loop."""

    __slots__ = ("callback", "when_s")

    def __init__(self, when_s: float, callback: Callable[[], object]) -> None:
        self.when_s = when_s
        self.callback: Callable[[], object] | None = callback

    def cancel(self) -> None:
        """Takes the call back; does nothing the second time or when it is over."""
        self.callback = None


class Loop:
    """Waits for descriptors, timers and signals and calls what was registered.

    Args:
        clock: its monotonic time counts for the timers.

    Owner: the process; there is one loop, since signals belong to the process.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._selector = selectors.DefaultSelector()
        self._timers: list[tuple[float, int, Timer]] = []
        self._numbers = itertools.count()
        self._stopped = False
        self._old_handlers: dict[int, object] = {}
        self._signals: dict[int, Callable[[], object]] = {}
        self._wakeup_r, self._wakeup_w = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._old_wakeup = signal.set_wakeup_fd(self._wakeup_w, warn_on_full_buffer=False)
        self.add_reader(self._wakeup_r, self._on_wakeup)

    def close(self) -> None:
        """Gives back descriptors and signal handlers."""
        signal.set_wakeup_fd(self._old_wakeup)
        for signum, handler in self._old_handlers.items():
            signal.signal(signum, handler)  # type: ignore[arg-type]
        self._selector.close()
        os.close(self._wakeup_r)
        os.close(self._wakeup_w)

    def on_signal(self, signum: int, callback: Callable[[], object]) -> None:
        """Calls callback() in the loop after the signal came; several signals may become one call."""
        old = signal.signal(signum, lambda _signum, _frame: None)
        self._old_handlers.setdefault(signum, old)
        self._signals[signum] = callback

    def _on_wakeup(self) -> None:
        with contextlib.suppress(BlockingIOError):
            for signum in set(os.read(self._wakeup_r, _WAKEUP_BYTES)):
                if signum in self._signals:
                    self._signals[signum]()

    def add_reader(self, fd: int, callback: Callable[[], object]) -> None:
        """Calls callback() whenever fd has something to read, until remove()."""
        self._selector.register(fd, selectors.EVENT_READ, callback)

    def remove(self, fd: int) -> None:
        """Forgets fd; does nothing if it is not registered."""
        with contextlib.suppress(KeyError):
            self._selector.unregister(fd)

    def call_later(self, delay_s: float, callback: Callable[[], object]) -> Timer:
        """Calls callback() once after delay_s seconds."""
        timer = Timer(self._clock.monotonic() + delay_s, callback)
        heapq.heappush(self._timers, (timer.when_s, next(self._numbers), timer))
        return timer

    def stop(self) -> None:
        """Makes run() return after the callback at hand."""
        self._stopped = True

    def run(self) -> None:
        """Runs until stop()."""
        self._stopped = False
        while not self._stopped:
            self.turn(self._timeout_s())

    def run_until(self, condition: Callable[[], bool]) -> None:
        """Runs until condition() is true after a turn; for what has to be done before run()."""
        while not condition():
            self.turn(self._timeout_s())

    def turn(self, timeout_s: float | None) -> None:
        """Waits at most timeout_s (None: for ever) for descriptors, then calls what is due."""
        for key, _events in self._selector.select(timeout_s):
            if self._selector.get_map().get(key.fd) is key:  # an earlier callback may have removed it
                key.data()
                if self._stopped:
                    return
        self._run_timers()

    def _timeout_s(self) -> float | None:
        while self._timers and self._timers[0][2].callback is None:
            heapq.heappop(self._timers)
        return max(self._timers[0][0] - self._clock.monotonic(), 0.0) if self._timers else None

    def _run_timers(self) -> None:
        now_s = self._clock.monotonic()
        while self._timers and self._timers[0][0] <= now_s and not self._stopped:
            timer = heapq.heappop(self._timers)[2]
            callback, timer.callback = timer.callback, None
            if callback is not None:
                callback()
