"""Clocks, passed to whoever needs the time, so that tests turn them.

Ref: our choice.
"""

import time
from datetime import UTC, datetime
from typing import Final, Protocol

_DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def rfc3339(when: float) -> str:
    """Gives a time as RFC 3339 says, UTC, whole seconds.

    Args:
        when: seconds since the epoch.
    """
    return datetime.fromtimestamp(when, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def rfc5322(when: float) -> str:
    """Gives a time as the date of a header, local time, whole seconds (RFC 5322 3.3).

    email.utils does the same, and loads 15 modules for it.

    Args:
        when: seconds since the epoch.
    """
    local = time.localtime(int(when))
    minutes = (local.tm_gmtoff or 0) // 60
    zone = f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02}{abs(minutes) % 60:02}"
    day = f"{_DAYS[local.tm_wday]}, {local.tm_mday:02} {_MONTHS[local.tm_mon - 1]} {local.tm_year:04}"
    return f"{day} {local.tm_hour:02}:{local.tm_min:02}:{local.tm_sec:02} {zone}"


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
