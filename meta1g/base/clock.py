"""Clocks, passed to whoever needs the time, so that tests turn them.

Ref: our choice.
"""

import time
from datetime import UTC, datetime
from typing import Final, Protocol


def rfc3339(when: float) -> str:
    """Gives a time as RFC 3339 says, UTC, whole seconds.

    Args:
        when: seconds since the epoch.
    """
    return datetime.fromtimestamp(when, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


_DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def rfc5322(when: float, *, local: bool = True) -> str:
    """Gives a time as the date-time of RFC 5322 3.3; email.utils has the same, and half of that package with it.

    Args:
        when: seconds since the epoch.
        local: with the hours of this place, not UTC.
    """
    now = time.localtime(when) if local else time.gmtime(when)
    zone = now.tm_gmtoff if local else 0
    hours, minutes = divmod(abs(zone) // 60, 60)
    date = f"{_DAYS[now.tm_wday]}, {now.tm_mday:02d} {_MONTHS[now.tm_mon - 1]} {now.tm_year:04d}"
    clock = f"{now.tm_hour:02d}:{now.tm_min:02d}:{now.tm_sec:02d}"
    return f"{date} {clock} {'-' if zone < 0 or not local else '+'}{hours:02d}{minutes:02d}"


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
