"""For tests: a clock that runs only when everybody waits, another order of the run queue, and a check for leaks.

Ref: style, "clocks are passed in, so tests turn them" (ours; modelled on the clocks of trio).
"""

import heapq
import itertools
import math
import os
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from meta1g.base.errors import BugError, Module
from meta1g.st.offload import offloaded
from meta1g.st.sched import runtime, set_turn, st_usleep

_US = 1_000_000


class DeadlockError(BugError):
    """All threads wait, none of them for a time.  Immutable."""

    def __init__(self) -> None:
        super().__init__(Module.ST, "all threads wait for ever")


class _Timer:
    """Stands for a timer of the event loop.  Owner: the thread that waits."""

    __slots__ = ("_after_us", "_clock", "callback")

    def __init__(self, clock: "VirtualClock", after_us: int) -> None:
        self._clock = clock
        self._after_us = after_us
        self.callback: Callable[[], object] | None = None

    def start(self, callback: Callable[..., object], *args: object) -> None:
        self.callback = lambda: callback(*args)
        self._clock.enter(self, self._after_us)
        self._after_us = 0  # as in the event loop: one that has run out and is started again is due at once

    def stop(self) -> None:
        self.callback = None

    def close(self) -> None:
        self.callback = None


class VirtualClock:
    """Time that goes on in leaps: to the next deadline, when no thread can run and no descriptor is ready.

    All ends of all connections have to be in this process; off-loaded calls are waited for.

    Attributes:
        now_us: the time, from 0 on.

    Owner: the test.
    """

    def __init__(self) -> None:
        self.now_us = 0
        self._heap: list[tuple[int, int, _Timer]] = []
        self._numbers = itertools.count()

    def timer(self, after_s: float) -> _Timer:
        """Makes a timer."""
        return _Timer(self, round(after_s * _US))

    def enter(self, timer: _Timer, after_us: int) -> None:
        """Starts a timer."""
        heapq.heappush(self._heap, (self.now_us + after_us, next(self._numbers), timer))

    def leap(self) -> None:
        """Goes to the next deadline and calls all timers that are due then, in the order of their start."""
        if offloaded() or runtime.gave_way:
            return
        while self._heap and self._heap[0][2].callback is None:
            heapq.heappop(self._heap)
        if not self._heap:
            runtime.primordial_greenlet.throw(DeadlockError())
            return  # the main thread has waited again since then
        self.now_us = self._heap[0][0]
        while self._heap and self._heap[0][0] <= self.now_us:
            callback = heapq.heappop(self._heap)[2].callback
            if callback is not None:
                callback()


@contextmanager
def virtual_clock() -> Iterator[VirtualClock]:
    """Puts a virtual clock in place of the event loop's timers and of st_utime(); a turn ends by its calls alone.

    Raises:
        DeadlockError: in the main thread, when nobody can go on.
    """
    clock = VirtualClock()
    old = runtime.timer, runtime.utime
    idle = runtime.loop.idle()
    idle.start(clock.leap)
    runtime.timer, runtime.utime = clock.timer, lambda: clock.now_us
    turn = set_turn(runtime.turn_calls, math.inf)
    try:
        yield clock
    finally:
        set_turn(*turn)
        runtime.timer, runtime.utime = old
        idle.stop()
        idle.close()


@contextmanager
def shuffled(seed: int) -> Iterator[None]:
    """Lets runnable threads run in an order that depends on the seed alone, to find code that relies on the usual one."""
    chance = random.Random(seed)
    old = runtime.ready
    waiting: list[tuple[Callable[..., object], tuple[object, ...]]] = []

    def run_one() -> None:
        function, args = waiting.pop(chance.randrange(len(waiting)))
        function(*args)

    def ready(function: Callable[..., object], *args: object) -> Any:
        waiting.append((function, args))
        return old(run_one)

    runtime.ready = ready
    try:
        yield
    finally:
        runtime.ready = old


@contextmanager
def no_leaks() -> Iterator[None]:
    """Checks that no state thread, descriptor or off-loaded call is left; threads that can end get their turn first.

    Raises:
        AssertionError: something is left; the text says what.

    Switches: yes.
    """
    threads, descriptors = runtime.active, open_descriptors()
    yield
    for _ in range(100):
        if runtime.active == threads and not offloaded():
            break
        st_usleep(1000)
    left = [f"{runtime.active - threads} state threads"] if runtime.active != threads else []
    left += [f"descriptor {fd}" for fd in sorted(open_descriptors() - descriptors)]
    left += [f"{offloaded()} off-loaded calls"] if offloaded() else []
    if left:
        raise AssertionError("left behind: " + ", ".join(left))


def open_descriptors() -> set[int]:
    """Gives the numbers of all open descriptors."""
    with os.scandir("/proc/self/fd") as entries:
        numbers = {int(entry.name) for entry in entries}
    return {fd for fd in numbers if Path(f"/proc/self/fd/{fd}").is_symlink()}  # without the one that read the list
