"""A map whose content is one text file, read whole and read again when it changes.

Invariant: a changed file that cannot be read leaves the old content in use, until a readable one comes.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

from meta1g.base.clock import Clock
from meta1g.maps.watch import Loader, WatchedFile

C = TypeVar("C")


class FileMap(Generic[C]):
    """The head of such a map.

    Args:
        name: names it in logs.
        path: the file.
        read: gives the content of the file.
        clock: for tests.
        loader: where a changed file is read.

    Raises:
        PermError: the file cannot be read, or read() found it wrong.

    Locking: none needed; the content is replaced as a whole.
    """

    blocking = False

    def __init__(self, name: str, path: Path, read: Callable[[Path], C], clock: Clock | None, loader: Loader | None) -> None:
        self.name = name
        self._file = WatchedFile(path, read, clock, loader=loader)

    @property
    def content(self) -> C:
        """The content as of now; a changed file is read first."""
        self._file.look()
        return self._file.content

    def version(self) -> int:
        """Gives a number that grows with the content; lets a changed file be read, and keeps the old one if it is wrong."""
        return self._file.look()

    def tags(self) -> frozenset[str] | None:
        """Gives None: what its keys begin with is not known."""
        return None

    def close(self) -> None:
        """Has nothing to close."""
