"""A text file as a map: `key value` lines, read whole, read again when it changes.

Invariant: a changed file that cannot be read leaves the old content in use, until a readable one comes.

Ref: createmap source form (key and value separated by blanks, `#` comments; modelled on MeTA1).
"""

import codecs
import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

from meta1g.base.clock import Clock
from meta1g.base.errors import Module, PermError, TempError
from meta1g.base.failure import is_shortage
from meta1g.base.reach import user_name
from meta1g.maps.base import NOTFOUND, MapResult, ok
from meta1g.maps.filemap import FileMap
from meta1g.maps.limits import TEXT_FILE_MAX_BYTES
from meta1g.maps.watch import Loader

#: How files begin that are UTF-16, and text of a checker that looks at what is no UTF-8.
_UTF16: Final = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
AS_IT_IS: Final = "surrogateescape"


def read_entries(path: Path, *, tagged: bool = False, errors: str = "strict") -> Iterator[tuple[int, str, str]]:
    """Reads `key value` lines; a line that starts with a blank goes on from the one before.

    Args:
        path: the file.
        tagged: keeps a colon at the end of a key.
        errors: what becomes of bytes that are no UTF-8: `strict`, or AS_IT_IS for a checker that tells of each.

    Returns:
        Iterator of line number, key as written, value; the time for each is bounded by the length of its lines.

    Raises:
        PermError: the file is no file, cannot be read, is too large, or is not UTF-8 without byte order mark.
        TempError: the system is short of descriptors or memory.
    """
    return _entries(_lines(path, errors), tagged=tagged)


def parse_entries(text: str, *, tagged: bool = False) -> Iterator[tuple[int, str, str]]:
    """Reads `key value` lines of a text as read_entries() does."""
    return _entries(text.split("\n"), tagged=tagged)


def _entries(lines: Iterable[str], *, tagged: bool) -> Iterator[tuple[int, str, str]]:
    for number, line in _logical_lines(lines):
        key, *rest = line.split(None, 1)
        if not tagged and len(key) > 1:
            key = key.removesuffix(":")
        yield number, key, rest[0].strip() if rest else ""


def _logical_lines(lines: Iterable[str]) -> Iterator[tuple[int, str]]:
    start, parts = 0, list[str]()
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if not text or text[0] == "#":
            continue
        if line[0] not in " \t" or not parts:
            if parts:
                yield start, " ".join(parts)
            start, parts = number, []
        parts.append(text)
    if parts:
        yield start, " ".join(parts)


def check_begin(begin: bytes, name: str) -> None:
    """Makes sure that a text does not begin with a byte order mark, which would belong to its first key.

    Raises:
        PermError: it does.
    """
    if begin.startswith(_UTF16):
        raise PermError(Module.MAP, f"{name}:1: is UTF-16; save it as UTF-8")
    if begin.startswith(codecs.BOM_UTF8):
        raise PermError(Module.MAP, f"{name}:1: begins with a byte order mark; save it as UTF-8 without")


def _lines(path: Path, errors: str) -> Iterator[str]:
    """Reads a file line by line."""
    number = 0
    try:
        with open(path, "rb", opener=_open_at_once) as file:
            _check(path, os.fstat(file.fileno()))
            for number, line in enumerate(file, 1):
                if number == 1:
                    check_begin(line, str(path))
                yield line.decode(errors=errors)
    except OSError as error:
        text = f"{path}: cannot read map: {error.strerror}"
        if is_shortage(error):
            raise TempError(Module.MAP, text) from error
        who = f" to {user_name()}" if isinstance(error, PermissionError) else ""
        raise PermError(Module.MAP, f"{text}{who}; create it or mend its mode") from error
    except UnicodeDecodeError as error:
        byte = error.object[error.start]
        raise PermError(Module.MAP, f"{path}:{number}: byte {byte:#04x} is no UTF-8; save the file as UTF-8") from error


def _open_at_once(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC)  # a FIFO must not stop us


def _check(path: Path, status: os.stat_result) -> None:
    if stat.S_ISFIFO(status.st_mode):
        raise PermError(Module.MAP, f"{path}: cannot read map: no file; create it")
    if status.st_size > TEXT_FILE_MAX_BYTES:
        raise PermError(Module.MAP, f"{path}: larger than {TEXT_FILE_MAX_BYTES >> 20} MB; make a hash map of it with createmap")


class TextTable(dict[str, str]):
    """The entries of a text file, and what stands before the first colon of their keys."""

    def __init__(self, entries: Mapping[str, str]) -> None:
        super().__init__(entries)
        self.tags = frozenset(key.partition(":")[0] for key in entries if ":" in key)


def _read_table(path: Path) -> TextTable:
    return TextTable({key.lower(): value for _, key, value in read_entries(path)})


class TextMap(FileMap[TextTable]):
    """A text file with one entry a line.

    Args:
        name: names it in logs.
        path: the file.
        clock: for tests.
        loader: where a changed file is read.

    Raises:
        PermError: the file cannot be read.

    Locking: none needed; the table is replaced as a whole.
    """

    def __init__(self, name: str, path: Path, clock: Clock | None = None, loader: Loader | None = None) -> None:
        super().__init__(name, path, _read_table, clock, loader)

    def lookup(self, key: str) -> MapResult:
        """Looks a key up."""
        value = self.content.get(key)
        return NOTFOUND if value is None else ok(value)

    def tags(self) -> frozenset[str] | None:
        """Gives what stands before the first colon of its keys."""
        return self.content.tags
