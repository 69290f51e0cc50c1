"""A Berkeley DB file made by createmap as a map, hash or btree; reopened when the file changes.

Each look-up takes a handle out of a pool, so that any number of threads may ask at the same time; handles of a file
that was replaced are closed as they come back.  A file that is missing for a moment, while it is replaced, leaves the
old one in use.  All of a file is looked at before it is used.

Ref: MeTA1 README, "Maps" (types `hash` and `btree`).
"""

import contextlib
from collections import deque
from pathlib import Path

from meta1g.base.clock import Clock
from meta1g.base.errors import Meta1Error, Module, PermError, TempError
from meta1g.db.mapfile import MapFile
from meta1g.maps.base import NOTFOUND, MapResult, ok, temp
from meta1g.maps.limits import HANDLES_MAX
from meta1g.maps.watch import Loader, WatchedFile, signature


class _Handles:
    """The handles of one state of a file.

    Args:
        path: the file.
        damage: why it cannot be used, empty if it can.

    Locking: none needed; the ends of a deque are safe to use from several threads.
    """

    def __init__(self, path: Path, damage: str = "") -> None:
        self.damage = damage
        self._path = path
        self._idle: deque[MapFile] = deque()
        self._closed = False
        self._signature = signature(path)
        if not damage:
            self._idle.append(MapFile.open_checked(path))

    def get(self, key: bytes) -> bytes | None:
        """Looks a key up.

        Raises:
            Meta1Error: the file cannot be opened or read.
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
        if signature(self._path) != self._signature:  # a file that nobody has looked at yet
            raise TempError(Module.MAP, f"{self._path}: the map is being replaced")
        return MapFile.open(self._path)

    def close(self) -> None:
        """Closes the idle handles; the others are closed as they come back."""
        self._closed = True
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
        handles = self._file.content
        if handles.damage:
            return temp(handles.damage)
        try:
            value = handles.get(key.encode("utf-8", "surrogateescape"))
        except Meta1Error as error:
            return temp(error.cause)
        return NOTFOUND if value is None else ok(value.decode("utf-8", "surrogateescape"))

    def version(self) -> int:
        """Gives a number that grows when the file changes."""
        return self._file.look()

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
