"""A Berkeley DB file made by createmap as a map, hash or btree; reopened when the file changes.

Each look-up takes a handle out of a pool, so that any number of threads may ask at the same time; handles of a file
that was replaced are closed as they come back.  A file that is missing for a moment, while it is replaced, leaves the
old one in use.

Ref: MeTA1 README, "Maps" (types `hash` and `btree`).
"""

import contextlib
from collections import deque
from pathlib import Path

from meta1g.base.clock import Clock
from meta1g.base.errors import Meta1Error
from meta1g.db.mapfile import MapFile
from meta1g.maps.base import NOTFOUND, MapResult, ok, temp
from meta1g.maps.limits import HANDLES_MAX
from meta1g.maps.watch import FileWatch


class BdbMap:
    """A map file.

    Args:
        name: names it in logs.
        path: the file.
        clock: for tests.

    Raises:
        PermError: the file is missing or no map file.

    Locking: none needed; the pool is a deque, whose ends are safe to use from several threads.
    """

    blocking = False  # the file is in memory, or costs one read

    def __init__(self, name: str, path: Path, clock: Clock | None = None) -> None:
        self.name = name
        self._path = path
        self._watch = FileWatch(path, clock)
        self._handles: deque[tuple[int, MapFile]] = deque()
        self._handles.append((self._watch.version, MapFile.open(path)))

    def lookup(self, key: str) -> MapResult:
        """Looks a key up."""
        version = self._watch.look()
        try:
            handle = self._take(version)
            value = handle.get(key.encode("utf-8", "surrogateescape"))
        except Meta1Error as error:
            return temp(error.cause)
        self._give_back(version, handle)
        return NOTFOUND if value is None else ok(value.decode("utf-8", "surrogateescape"))

    def version(self) -> int:
        """Gives a number that grows when the file changes."""
        return self._watch.look()

    def close(self) -> None:
        """Closes the idle handles."""
        with contextlib.suppress(IndexError):
            while True:
                self._handles.pop()[1].close()

    def _take(self, version: int) -> MapFile:
        with contextlib.suppress(IndexError):
            while True:
                opened, handle = self._handles.pop()
                if opened == version:
                    return handle
                handle.close()
        return MapFile.open(self._path)

    def _give_back(self, version: int, handle: MapFile) -> None:
        if version == self._watch.version and len(self._handles) < HANDLES_MAX:
            self._handles.append((version, handle))
        else:
            handle.close()
