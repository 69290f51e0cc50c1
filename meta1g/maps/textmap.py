"""A text file as a map: `key value` lines, read whole, read again when it changes.

Invariant: a changed file that cannot be read leaves the old content in use, until a readable one comes.

Ref: createmap source form (key and value separated by blanks, `#` comments; modelled on MeTA1).
"""

from collections.abc import Iterator
from pathlib import Path

from meta1g.base.clock import Clock
from meta1g.base.errors import Module, PermError
from meta1g.maps.base import NOTFOUND, MapResult, ok
from meta1g.maps.limits import TEXT_FILE_MAX_BYTES
from meta1g.maps.watch import WatchedFile


def read_entries(path: Path, *, tagged: bool = False) -> Iterator[tuple[int, str, str]]:
    """Reads `key value` lines; a line that starts with a blank goes on from the one before.

    Args:
        path: the file.
        tagged: keeps a colon at the end of a key.

    Returns:
        Iterator of line number, key as written, value.

    Raises:
        PermError: the file cannot be read, is too large, or is not UTF-8.
    """
    return parse_entries(read_text(path), tagged=tagged)


def parse_entries(text: str, *, tagged: bool = False) -> Iterator[tuple[int, str, str]]:
    """Reads `key value` lines of a text as read_entries() does."""
    for number, line in _logical_lines(text):
        key, *rest = line.split(None, 1)
        if not tagged and len(key) > 1:
            key = key.removesuffix(":")
        yield number, key, rest[0].strip() if rest else ""


def _logical_lines(text: str) -> Iterator[tuple[int, str]]:
    start, logical = 0, ""
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        if line[0] in " \t" and logical:
            logical += " " + line.strip()
            continue
        if logical:
            yield start, logical
        start, logical = number, line.strip()
    if logical:
        yield start, logical


def read_text(path: Path) -> str:
    """Reads a map source.

    Raises:
        PermError: it cannot be read, is too large, or is not UTF-8.
    """
    try:
        if path.stat().st_size > TEXT_FILE_MAX_BYTES:
            raise PermError(
                Module.MAP, f"{path}: larger than {TEXT_FILE_MAX_BYTES >> 20} MB; make a hash map of it with createmap"
            )
        return path.read_text()
    except OSError as error:
        raise PermError(Module.MAP, f"{path}: cannot read map: {error.strerror}; create it or mend its mode") from error
    except UnicodeDecodeError as error:
        raise PermError(Module.MAP, f"{path}: not UTF-8 at byte {error.start}; convert it") from error


def _read_table(path: Path) -> dict[str, str]:
    return {key.lower(): value for _, key, value in read_entries(path)}


class TextMap:
    """A text file with one entry a line.

    Args:
        name: names it in logs.
        path: the file.
        clock: for tests.

    Raises:
        PermError: the file cannot be read.

    Locking: none needed; the table is replaced as a whole.
    """

    blocking = False

    def __init__(self, name: str, path: Path, clock: Clock | None = None) -> None:
        self.name = name
        self._file = WatchedFile(path, _read_table, clock)

    def lookup(self, key: str) -> MapResult:
        """Looks a key up."""
        self.version()
        value = self._file.content.get(key)
        return NOTFOUND if value is None else ok(value)

    def version(self) -> int:
        """Gives a number that grows when the file changes; reads the file then."""
        return self._file.look()

    def close(self) -> None:
        """Has nothing to close."""
