"""Notices that a file was replaced or changed, with at most one look a second.

Ref: docs/maps.md, "Changed files".
"""

from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

from meta1g.base.clock import Clock, SystemClock
from meta1g.base.errors import FullError, Meta1Error, TempError
from meta1g.base.log import Log
from meta1g.base.signature import signature
from meta1g.maps.limits import CHECK_INTERVAL_S

T = TypeVar("T")


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

    def now(self) -> float:
        """Gives the monotonic time in seconds."""
        return self._clock.monotonic()

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


class Loader:
    """Reads changed files again: at once, or in a thread of its own.

    Args:
        run: called as run(function); lets the function run; raises FullError if it cannot now.  At once without it.
        log: files that cannot be used are logged here.

    Locking: none needed.
    """

    __slots__ = ("_log", "_run")

    def __init__(self, run: Callable[[Callable[[], None]], None] | None = None, log: Log | None = None) -> None:
        self._run = _at_once if run is None else run
        self._log = Log("maps") if log is None else log

    def run(self, function: Callable[[], None]) -> None:
        """Lets a function run.

        Raises:
            FullError: not now.
        """
        self._run(function)

    def wrong(self, path: Path, cause: str) -> None:
        """Logs a file that cannot be used."""
        self._log.error("map.load", cause, path=str(path))


def _at_once(function: Callable[[], None]) -> None:
    function()


class WatchedFile(Generic[T]):
    """What a file says, read again when it changes.

    A changed file is read by the loader and its content put in place when it is complete; until then, and for good if the
    file is wrong, the old content serves.  So reading holds up no look-up, however large the file is.

    Args:
        path: the file.
        read: reads it; a TempError lets it be read again a second later.
        clock: for tests.
        loader: where files are read.
        discard: closes a content that is not used any more.

    Raises:
        PermError: it is wrong already.
        TempError: it cannot be read now.

    Attributes:
        content: what read() gave last.
        version: grows with each new content.

    Locking: none needed; one thread at a time reads, and it replaces the content as a whole, before the version.
    """

    __slots__ = ("_discard", "_loader", "_read", "_retry_s", "_seen", "_turn", "_watch", "content", "version")

    def __init__(
        self,
        path: Path,
        read: Callable[[Path], T],
        clock: Clock | None = None,
        *,
        loader: Loader | None = None,
        discard: Callable[[T], None] | None = None,
    ) -> None:
        self._watch = FileWatch(path, clock)
        self._read = read
        self._loader = Loader() if loader is None else loader
        self._discard = discard
        self._turn: deque[None] = deque((None,))  # whoever takes it out reads the file
        self._seen = 0
        self._retry_s = 0.0
        self.version = 0
        self.content = read(path)

    def look(self) -> int:
        """Gives the version of the content; lets a file that has changed be read."""
        watch = self._watch
        if watch.look() != self._seen and watch.now() >= self._retry_s and self._take_turn():
            try:
                self._loader.run(self._load)
            except FullError:  # the next look tries again
                self._turn.append(None)
        return self.version

    def _take_turn(self) -> bool:
        try:
            self._turn.pop()
        except IndexError:
            return False
        return True

    def _load(self) -> None:
        """Reads the file; one that changes meanwhile is read again."""
        path, seen = self._watch.path, self._watch.version
        try:
            before = signature(path)
            fresh = self._read(path)
            if signature(path) == before:
                self._seen = seen
                old, self.content = self.content, fresh
                self.version += 1
            else:
                old, self._retry_s = fresh, self._watch.now() + CHECK_INTERVAL_S
            if self._discard is not None:
                self._discard(old)
        except TempError as error:
            self._retry_s = self._watch.now() + CHECK_INTERVAL_S
            self._loader.wrong(path, error.cause)
        except Exception as error:  # noqa: BLE001  whatever a file makes of its reader, the old content serves
            self._seen = seen
            self._loader.wrong(path, error.cause if isinstance(error, Meta1Error) else f"{type(error).__name__}: {error}")
        finally:
            self._turn.append(None)
