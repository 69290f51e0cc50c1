"""Notices that a file was replaced or changed, with at most one look a second.

Ref: behaviour of maps, "changed map files are noticed and reopened".
"""

from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

from meta1g.base.clock import Clock, SystemClock
from meta1g.base.errors import PermError
from meta1g.maps.limits import CHECK_INTERVAL_S

T = TypeVar("T")

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


class WatchedFile(Generic[T]):
    """What a file says, read again when it changes; a file that has become wrong leaves the old content in use.

    Args:
        path: the file.
        read: reads it.
        clock: for tests.

    Raises:
        PermError: it is wrong already.

    Attributes:
        content: what read() gave last.

    Locking: none needed; the content is replaced as a whole.
    """

    __slots__ = ("_read", "_version", "_watch", "content")

    def __init__(self, path: Path, read: Callable[[Path], T], clock: Clock | None = None) -> None:
        self._watch = FileWatch(path, clock)
        self._read = read
        self._version = 0
        self.content = read(path)

    def look(self) -> int:
        """Gives the version of the file; reads it if it is new."""
        seen = self._watch.look()
        if seen != self._version:
            self._version = seen
            try:
                self.content = self._read(self._watch.path)
            except PermError:
                return seen  # the old content stays
        return seen
