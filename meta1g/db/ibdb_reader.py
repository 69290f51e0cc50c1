"""Reads IBDB files: every good entry in order, and where the file is damaged.

A writer that was killed leaves a torn tail: everything before it is used.  Damage in the middle costs the damaged entries
only: the next good one is looked for.  A file that does not end with a page was cut by somebody else.  Entries behind damage
are marked: something that belongs before them may be lost, so a recipient's DONE there must not be trusted, because the NEW
of its bounce may be what is lost.

Ref: MeTA1 design, "Implementation: IBDB" (reading side modelled on ibdbr_open, ibdbr_get); invariant I3.
"""

import contextlib
import errno
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import field
from pathlib import Path
from typing import Final
from zlib import crc32

from meta1g.base.dataclass import dataclass
from meta1g.base.errors import PermError, ProtocolError
from meta1g.db.files import FILES, Files
from meta1g.db.ibdb_records import (
    ENTRY_HEADER,
    FILE_HEADER,
    LAST_NAME,
    LONE_NUMBER,
    PAGE_BYTES,
    Entry,
    check_header,
    decode_body,
    file_number,
    has_head,
    header_number,
)

_BLOCK_BYTES: Final = 64 << 10


@dataclass(frozen=True, slots=True)
class Damage:
    """A part of a file that cannot be used.

    Args:
        path: the file.
        offset: where it begins, in bytes.
        data: the part.
        tail: nothing good follows, as after a crash of the writer.
    """

    path: Path
    offset: int
    data: bytes
    tail: bool


@dataclass(frozen=True, slots=True)
class FoundEntry:
    """An entry of a file.

    Args:
        entry: what stands there.
        offset: where, in bytes.
        trusted: no damage stands before it in this file.
    """

    entry: Entry
    offset: int
    trusted: bool


@dataclass(slots=True)
class IbdbReader:
    """Reads one file.  Owner: who made it.

    Args:
        path: the file.

    Attributes:
        damage: the parts that cannot be used, complete when entries() has come to its end.
    """

    path: Path
    damage: list[Damage] = field(default_factory=list)

    def entries(self) -> Iterator[FoundEntry]:
        """Gives the good entries in order.

        Raises:
            OSError: the file cannot be opened.
            PermError: the file is of another version.
        """
        data, holes = _read(self.path)
        end = len(data.rstrip(b"\0"))
        offset = FILE_HEADER.size if check_header(data) else 0
        while offset < end or (offset == 0 and not holes):
            entry = _entry_at(data, offset)
            if entry is None:
                after = _next_good(data, offset + 4)
                self._note(data, offset, after)
                if after is None:
                    break
                offset = after
                continue
            yield FoundEntry(entry, offset, not self.damage)
            offset += ENTRY_HEADER.size + ENTRY_HEADER.unpack_from(data, offset)[0]
        self.damage += [Damage(self.path, hole, b"", tail=False) for hole in holes if not self._covered(hole)]
        if len(data) % PAGE_BYTES and header_number(data) != LONE_NUMBER:
            self.damage.append(Damage(self.path, len(data), b"", tail=False))

    def _note(self, data: bytes, offset: int, after: int | None) -> None:
        part = data[offset:].rstrip(b"\0") if after is None else data[offset:after]
        self.damage.append(Damage(self.path, offset, part, tail=after is None))

    def _covered(self, hole: int) -> bool:
        return any(part.offset <= hole < part.offset + len(part.data) for part in self.damage)


def ibdb_files(directory: Path, files: Files = FILES) -> list[Path]:
    """Gives the IBDB files of a directory, the oldest first: by the number in the header, or in the name if that is damaged.

    A file that somebody gave another name is found by its header.

    Raises:
        OSError: a file cannot be opened.
        PermError: a file is of another version.
    """
    found = []
    for name in files.list(directory):
        named = file_number(name)
        number = _stranger(directory / name) if named is None else _number_inside(directory / name) or named
        if number is not None:
            found.append((number, named or 0, name))
    return [directory / name for _, _, name in sorted(found)]


def last_number(directory: Path) -> int:
    """Gives the number of the newest file that there ought to be; 0 if that is not known."""
    try:
        text = (directory / LAST_NAME).read_text(errors="replace").strip()
    except OSError:
        return 0
    return int(text) if text.isascii() and text.isdecimal() else 0


def misplaced(directory: Path, paths: Sequence[Path]) -> list[str]:
    """Gives one text for each file that has the name of another one, and for those that are missing.

    Args:
        directory: where they are.
        paths: ibdb_files() of it.
    """
    texts = []
    last = 0
    for path in paths:
        name = file_number(path.name) or 0
        number = _number_inside(path) or name
        if number != name:
            texts.append(f"{path}: it is file {number} by its header; taken as that")
        if last and number > last + 1:
            texts.append(f"{directory}: files {last + 1} to {number - 1} are missing")
        last = number
    if last_number(directory) > last:
        texts.append(f"{directory}: files up to {last_number(directory)} are missing")
    return texts


def _stranger(path: Path) -> int | None:
    """Gives the number in the header of a file that has none in its name; what is no file of ours stops nobody."""
    with contextlib.suppress(OSError, PermError):
        if stat.S_ISREG(path.lstat().st_mode):
            return _number_inside(path)
    return None


def _number_inside(path: Path) -> int | None:
    try:
        with path.open("rb") as file:
            return header_number(file.read(FILE_HEADER.size))
    except OSError as error:
        if error.errno != errno.EIO:
            raise
        return None


def _read(path: Path) -> tuple[bytes, list[int]]:
    """Reads a file; a block that the disk cannot read is taken as zeros, its offset is noted."""
    holes: list[int] = []
    blocks: list[bytes] = []
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        size = os.fstat(fd).st_size
        for offset in range(0, size, _BLOCK_BYTES):
            try:
                blocks.append(os.pread(fd, _BLOCK_BYTES, offset))
            except OSError as error:
                if error.errno != errno.EIO:
                    raise
                holes.append(offset)
                blocks.append(bytes(min(_BLOCK_BYTES, size - offset)))
    finally:
        os.close(fd)
    return b"".join(blocks), holes


def _entry_at(data: bytes, offset: int) -> Entry | None:
    """Reads the entry at an offset; None if there is no good one."""
    if not has_head(data, offset):
        return None
    length, crc = ENTRY_HEADER.unpack_from(data, offset)
    start = offset + ENTRY_HEADER.size
    body = data[start : start + length]
    if crc32(body) != crc:
        return None
    try:
        return decode_body(body)
    except ProtocolError:
        return None


def _next_good(data: bytes, offset: int) -> int | None:
    """Looks for the next offset, in steps of 4, at which a good entry begins."""
    for candidate in range(offset + (-offset & 3), len(data) - ENTRY_HEADER.size, 4):
        if _entry_at(data, candidate) is not None:
            return candidate
    return None
