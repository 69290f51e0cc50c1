"""Reads the records of DEFEDB out of damaged files, page by page, without the library, which gives up or worse.

A page whose head makes sense says itself which records it has; they are `sure`.  In other pages, and in log files, everything
is taken that has the head and the checksum of a record; that may have been removed or replaced before.

    log        offset of the record before 4 | length 4 | checksum 4 | data      and so on; zeros behind the last one

    page       lsn 8 | number 4 | previous 4 | next 4 | entries 2 | offset of the data 2 | level 1 | type 1
               | with page checksums: 2 unused, checksum 4 | offset of each item 2 ... | room | items
    item       length 2 | type 1 | data
    or         unused 2 | type 1 | unused 1 | first page 4 | length 4      for data on pages of its own

Native byte order, as the library writes.  Ref: Berkeley DB 5.3, dbinc/db_page.h; invariant I3.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from struct import Struct
from typing import Final

from meta1g.base.dataclass import dataclass
from meta1g.base.errors import ProtocolError
from meta1g.db.bdb import PAGE_BYTES
from meta1g.db.defedb_records import CHECKSUM_BYTES, HEADS, decode_value
from meta1g.rcb.envelope import RcptRecord, TaRecord

_HEAD: Final = Struct("=8sIIIHHBB")
_LSN: Final = Struct("=II")
_PLAIN_BYTES: Final = _HEAD.size
_CHECKED_BYTES: Final = _HEAD.size + 6
_LEAF: Final = 5
_OVERFLOW: Final = 7
_OTHER_TYPES: Final = frozenset((3, 9))  # inner pages and the first page hold no records
_ITEM: Final = Struct("=HB")
_ELSEWHERE: Final = Struct("=HBBII")
_IN_PAGE: Final = 1
_ON_PAGES: Final = 3
_HEADS: Final = re.compile(b"|".join(re.escape(head) for head in HEADS), re.DOTALL)
#: How a log record begins: offset of the one before, length, checksum.
_LOG_HEAD: Final = Struct("=III")
#: A record is not longer: pages that lead in a circle end here.
_RECORD_MAX_BYTES: Final = 64 << 20

AnyRecord = TaRecord | RcptRecord


@dataclass(frozen=True, slots=True)
class PageRecord:
    """A record in a file.

    Args:
        record: the record.
        place: where its value begins in the file, in bytes.
        sure: the page says that it has it.
    """

    record: AnyRecord
    place: int
    sure: bool


def record_of(value: bytes) -> AnyRecord | None:
    """Reads a value of either kind; None if it is none, or damaged."""
    cls = HEADS.get(value[CHECKSUM_BYTES : CHECKSUM_BYTES + 8])
    if cls is None:
        return None
    try:
        return decode_value(cls, value)
    except ProtocolError:
        return None


class Pages:
    """The pages of a data base file.  Owner: the repair.

    Args:
        path: the file; it may be cut, or hold anything.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb", buffering=0)
        self._count = -(-path.stat().st_size // PAGE_BYTES)

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def records(self, *, sure: bool) -> Iterator[PageRecord]:
        """Gives the records of pages that make sense, or those in all others."""
        for number in range(self._count):
            page = self._page(number)
            offsets = _offsets(page, number)
            if offsets is None:
                if not sure:
                    yield from self._anything(page, number)
            elif sure:
                for offset in offsets:
                    yield from self._at(page, number, offset)

    def newest(self) -> tuple[int, int]:
        """Gives number and offset of the latest log record that changed a page."""
        return max((_LSN.unpack_from(self._page(number)) for number in range(self._count)), default=(0, 0))

    def record_at(self, place: int) -> AnyRecord | None:
        """Reads the record again that was found at a place."""
        page = self._page(place // PAGE_BYTES)
        offset = place % PAGE_BYTES
        return record_of(self._value(page, offset))

    def _page(self, number: int) -> bytes:
        try:
            self._file.seek(number * PAGE_BYTES)
            data = self._file.read(PAGE_BYTES)
        except OSError:  # the disk cannot read it
            data = b""
        return data.ljust(PAGE_BYTES, b"\0")

    def _at(self, page: bytes, number: int, offset: int) -> Iterator[PageRecord]:
        record = record_of(self._value(page, offset))
        if record is not None:
            yield PageRecord(record, number * PAGE_BYTES + offset, sure=True)

    def _value(self, page: bytes, offset: int) -> bytes:
        """Gives the data of an item, or nothing."""
        if offset + _ELSEWHERE.size > PAGE_BYTES:
            return b""
        length, kind = _ITEM.unpack_from(page, offset)
        if kind == _IN_PAGE:
            return page[offset + _ITEM.size : offset + _ITEM.size + length]
        if kind != _ON_PAGES:
            return b""
        _, _, _, first, size = _ELSEWHERE.unpack_from(page, offset)
        return self._chain(first, size)

    def _chain(self, number: int, size: int) -> bytes:
        """Joins data that stands on pages of its own; nothing if they do not hold together."""
        parts: list[bytes] = []
        left = size if size <= _RECORD_MAX_BYTES else 0
        overhead = 0
        while left > 0 and 0 < number < self._count:
            page = self._page(number)
            _, own, _, behind, _, length, _, kind = _HEAD.unpack_from(page)
            if own != number or kind != _OVERFLOW or not 0 < length <= left:
                return b""
            overhead = overhead or _chain_overhead(page, length, size)
            parts.append(page[overhead : overhead + length])
            left -= length
            number = behind
        return b"".join(parts) if not left else b""

    def _anything(self, page: bytes, number: int) -> Iterator[PageRecord]:
        """Takes what looks like a record, from a page whose head makes no sense."""
        for start in _starts(page):
            offset = start - _ITEM.size
            if offset >= 0:
                record = record_of(self._value(page, offset))
                if record is not None:
                    yield PageRecord(record, number * PAGE_BYTES + offset, sure=False)


def _starts(data: bytes) -> Iterator[int]:
    """Gives where values may begin."""
    for match in _HEADS.finditer(data):
        if match.start() >= CHECKSUM_BYTES:
            yield match.start() - CHECKSUM_BYTES


def _offsets(page: bytes, number: int) -> list[int] | None:
    """Gives where the items of a leaf begin; none for other pages; None if the head makes no sense."""
    _, own, _, _, entries, low, _, kind = _HEAD.unpack_from(page)
    if own == number and (kind in _OTHER_TYPES or kind == _OVERFLOW):
        return []
    if own != number or kind != _LEAF or entries > PAGE_BYTES // 2:
        return [] if not any(page) else None
    for overhead in (_CHECKED_BYTES, _PLAIN_BYTES):
        end = overhead + 2 * entries
        if end > PAGE_BYTES:
            continue
        offsets = [int(one) for one in memoryview(page)[overhead:end].cast("H")]
        if all(max(low, end) <= one < PAGE_BYTES - _ITEM.size for one in offsets):
            return offsets
    return None


def _chain_overhead(page: bytes, length: int, size: int) -> int:
    """Tells how long the head of an overflow page is: the record begins behind it."""
    checked = page[_CHECKED_BYTES : _CHECKED_BYTES + length]
    return _CHECKED_BYTES if checked[CHECKSUM_BYTES : CHECKSUM_BYTES + 8] in HEADS else _PLAIN_BYTES


def in_log(data: bytes) -> Iterator[AnyRecord]:
    """Gives everything in a log file that was a record once, the oldest first.

    How long it is stands in front of it, in one of two forms.
    """
    for start in _starts(data):
        for value in _lengths(data, start):
            record = record_of(value)
            if record is not None:
                yield record
                break


class LogTail:
    """The newest log file as it was before recovery.

    Recovery takes the first damaged record for the end of the log, and goes on writing there.  Owner: the repair.

    Args:
        directory: where the log files are.
    """

    def __init__(self, directory: Path) -> None:
        names = sorted(directory.glob("log.*"))
        self.path = names[-1] if names else directory / "log"
        self._inode = _inode(self.path)
        self._data = self._read()

    def _read(self) -> bytes:
        try:
            return self.path.read_bytes()
        except OSError:
            return b""

    def moved_to(self, target: Path) -> None:
        """Notes that files were moved: it may be there, or have another name at its place."""
        for path in (target / self.path.name, self.path.with_name(f"{target.name}.{self.path.name}")):
            if _inode(path) == self._inode:
                self.path = path

    def is_cut(self) -> bool:
        """Tells whether the file was cut: behind the last record is no room, which is made beforehand, or a torn one."""
        end = _chain_end(self._data)
        return bool(self._data) and (end == len(self._data) or any(self._data[end:]))

    def lost(self) -> tuple[int, bytes]:
        """Gives offset and bytes of what recovery did not see, if there are records in it; after recovery."""
        if _inode(self.path) != self._inode:  # another one stands there by now
            return 0, b""
        end = _chain_end(self._data)
        now = self._read()
        offset = end if self._data[:end] == now[:end] else _first_difference(self._data[:end], now)
        behind = self._data[offset:].rstrip(b"\0")
        return (offset, behind) if next(in_log(behind), None) is not None else (offset, b"")


def _inode(path: Path) -> int:
    """Gives what tells a file from others under its name; 0 if there is none."""
    try:
        return path.stat().st_ino
    except OSError:
        return 0


def _chain_end(data: bytes) -> int:
    """Gives where the records of a log file end, by their lengths."""
    offset = before = 0
    while offset + _LOG_HEAD.size <= len(data):
        previous, length, _ = _LOG_HEAD.unpack_from(data, offset)
        if length < _LOG_HEAD.size or offset + length > len(data) or (offset and previous != before):
            break
        before, offset = offset, offset + length
    return offset


def _first_difference(one: bytes, other: bytes) -> int:
    low, high = 0, len(one)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if one[:middle] == other[:middle] else (low, middle - 1)
    return low


def _lengths(data: bytes, start: int) -> Iterator[bytes]:
    """Gives the value that begins at start, as long as the length before it says: that of a log item, or of a page's."""
    for form, back in (("=I", 4), ("=H", 3)):
        if start >= back:
            length = Struct(form).unpack_from(data, start - back)[0]
            if length <= PAGE_BYTES:
                yield data[start : start + length]
