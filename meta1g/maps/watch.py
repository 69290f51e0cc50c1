"""Notices that a file was replaced or changed, with at most one look a second.

Ref: behaviour of maps, "changed map files are noticed and reopened".
"""

from pathlib import Path

from meta1g.base.clock import Clock, SystemClock
from meta1g.maps.limits import CHECK_INTERVAL_S

Signature = tuple[int, int, int, int]


def signature(path: Path) -> Signature | None:
    """Gives what changes with the content of a file, or None if there is no file."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size


class FileWatch:
    """Watches one file.

    Args:
        path: the file.
        clock: tells when to look again.

    Locking: none needed; two threads that look at the same time see the same.
    """

    __slots__ = ("_clock", "_next_s", "current", "path", "version")

    def __init__(self, path: Path, clock: Clock | None = None) -> None:
        self.path = path
        self.version = 0
        self.current = signature(path)
        self._clock: Clock = SystemClock() if clock is None else clock
        self._next_s = self._clock.monotonic() + CHECK_INTERVAL_S

    def look(self) -> int:
        """Gives the version of the content, a number that grows with each change.  Blocks: no (one system call)."""
        now = self._clock.monotonic()
        if now >= self._next_s:
            self._next_s = now + CHECK_INTERVAL_S
            fresh = signature(self.path)
            if fresh is not None and fresh != self.current:  # a file on its way to be replaced is not a change yet
                self.current = fresh
                self.version += 1
        return self.version
