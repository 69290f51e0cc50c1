"""Clocks, passed to whoever needs the time, so that tests turn them.

Ref: our choice.
"""

import time
from datetime import UTC, datetime
from typing import Protocol


def rfc3339(when: float) -> str:
    """Gives a time as RFC 3339 says, UTC, whole seconds.

    Args:
        when: seconds since the epoch.
    """
    return datetime.fromtimestamp(when, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


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
