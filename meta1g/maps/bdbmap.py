"""A Berkeley DB file made by createmap as a map, hash or btree; reopened when the file changes.

Each look-up takes a handle out of a pool, so that any number of threads may ask at the same time; handles of a file
that was replaced are closed as they come back.  A file that is missing for a moment, while it is replaced, leaves the
old one in use.  All of a file is looked at before it is used.

Ref: MeTA1 README, "Maps" (types `hash` and `btree`).
"""

import contextlib
import os
from collections import deque
from pathlib import Path

from meta1g.base.clock import Clock
from meta1g.base.errors import Meta1Error, Module, PermError, TempError
from meta1g.db.mapfile import MapFile
from meta1g.maps.base import NOTFOUND, MapResult, ok, temp
from meta1g.maps.limits import HANDLES_MAX
from meta1g.maps.watch import Loader, WatchedFile


class _ClosedError(Exception):
    """The handles are closed; others have taken their place."""


class _Pinned:
    """A descriptor that is closed when nobody refers to it any more.  Immutable."""

    __slots__ = ("fd",)

    def __init__(self, path: Path) -> None:
        self.fd = -1
        self.fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)

    def __del__(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)


class _Handles:
    """The handles of one state of a file; all are opened by its descriptor, whatever has the name of the file meanwhile.

    Args:
        path: the file.
        damage: why it cannot be used, empty if it can.

    Raises:
        Meta1Error: it cannot be used.

    Locking: none needed; the ends of a deque are safe to use from several threads.
    """

    def __init__(self, path: Path, damage: str = "") -> None:
        self.damage = damage
        self.tags: frozenset[str] | None = None
        self._idle: deque[MapFile] = deque()
        self._closed = False
        self._pinned: _Pinned | None = None
        if not damage:
            self._idle.append(MapFile.open_checked(path))
            self.tags = self._idle[0].tags()
            self._pinned = self._pin(path)

    def _pin(self, path: Path) -> _Pinned:
        """Opens the file that was looked at; if it was replaced right now, all of this is read again."""
        try:
            return _Pinned(path)
        except OSError as error:
            self._idle.pop().close()
            raise TempError(Module.MAP, f"{path}: cannot read map: {error.strerror}") from error

    def get(self, key: bytes) -> bytes | None:
        """Looks a key up.

        Raises:
            Meta1Error: the file cannot be opened or read.
            _ClosedError: others have taken the place of these.
        """
        try:
            handle = self._idle.pop()
        except IndexError:
            handle = self._open()
        try:
            value = handle.get(key)
        except BaseException:
            handle.close()
            raise
        if self._closed or len(self._idle) >= HANDLES_MAX:
            handle.close()
        else:
            self._idle.append(handle)
        return value

    def _open(self) -> MapFile:
        pinned = self._pinned
        if pinned is None:
            raise _ClosedError
        return MapFile.open(Path(f"/proc/self/fd/{pinned.fd}"))

    def close(self) -> None:
        """Closes the idle handles; the others are closed as they come back."""
        self._closed = True
        self._pinned = None
        with contextlib.suppress(IndexError):
            while True:
                self._idle.pop().close()


class BdbMap:
    """A map file.

    Args:
        name: names it in logs.
        path: the file.
        clock: for tests.
        loader: where a changed file is looked at.

    Raises:
        PermError: the file is missing, damaged or no map file.

    Locking: none needed; handles are taken out of a pool.
    """

    blocking = False  # the file is in memory, or costs one read

    def __init__(self, name: str, path: Path, clock: Clock | None = None, loader: Loader | None = None) -> None:
        self.name = name
        self._loader = Loader() if loader is None else loader
        self._started = False
        self._file = WatchedFile(path, self._open, clock, loader=self._loader, discard=_Handles.close)
        self._started = True

    def lookup(self, key: str) -> MapResult:
        """Looks a key up; a damaged file is a temporary error."""
        self._file.look()
        while True:
            handles = self._file.content
            if handles.damage:
                return temp(handles.damage)
            try:
                value = handles.get(key.encode("utf-8", "surrogateescape"))
            except _ClosedError:
                if self._file.content is handles:
                    return temp(f"map {self.name} is closed")
                continue  # the file was read again right now
            except Meta1Error as error:
                return temp(error.cause)
            return NOTFOUND if value is None else ok(value.decode("utf-8", "surrogateescape"))

    def version(self) -> int:
        """Gives a number that grows when the file changes."""
        return self._file.look()

    def tags(self) -> frozenset[str] | None:
        """Gives what stands before the first colon of its keys, as createmap noted it."""
        self._file.look()
        return self._file.content.tags

    def close(self) -> None:
        """Closes the idle handles."""
        self._file.content.close()

    def _open(self, path: Path) -> _Handles:
        """Opens the file; a damaged one in the place of a good one gives no answers, rather than those of yesterday."""
        try:
            return _Handles(path)
        except PermError as error:
            if not self._started:
                raise
            self._loader.wrong(path, error.cause)
            return _Handles(path, error.cause)
