"""Clocks, passed to whoever needs the time, so that tests turn them.

Ref: our choice.
"""

import time
from typing import Protocol


class Clock(Protocol):
    """What a clock can do."""

    def now(self) -> float:
        """Gives seconds since the epoch (wall clock: stored times, headers, logs)."""
        ...

    def monotonic(self) -> float:
        """Gives seconds of a clock that never goes back (time-outs)."""
        ...


class SystemClock:
    """The clock of the machine.  Immutable."""

    __slots__ = ()

    def now(self) -> float:
        """Gives seconds since the epoch."""
        return time.time()

    def monotonic(self) -> float:
        """Gives seconds of the monotonic clock."""
        return time.monotonic()
