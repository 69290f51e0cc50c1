"""Records of DEFEDB on their way from QMGR to whoever lists them: as they stand, so that QMGR need not read them.

    page        record | record | ...
    record      length u32 | Q2K_RECORD u32 | value as in defedb_records.py, whose length is a multiple of 4

A recipient stands behind its transaction; where there is none, nobody can read that.

Pure.  Ref: docs/operating.md.
"""

from collections.abc import Iterable, Iterator
from typing import Final, cast

from meta1g.base.errors import ProtocolError
from meta1g.db.defedb_records import CHECKSUM_BYTES, HEADS
from meta1g.rcb.envelope import RcptRecord, TaRecord
from meta1g.rcb.generate import HEADER, reader_of
from meta1g.rcb.rectypes import RT

_peek: Final = HEADER.unpack_from
_head: Final = HEADER.pack
_SIZE: Final = HEADER.size
_RECORD: Final = int(RT.Q2K_RECORD)


def page_of(values: Iterable[bytes]) -> bytes:
    """Gives values of DEFEDB as a page."""
    return b"".join(part for value in values for part in (_head(len(value), _RECORD), value))


def read_page(page: bytes) -> Iterator[TaRecord | RcptRecord | ProtocolError]:
    """Gives the records of a page in their order; for one that cannot be read, what is wrong with it.

    Their checksums are not looked at: who made the page has done it.

    Raises:
        ProtocolError: it is no page.
    """
    at = 0
    while at < len(page):
        length, rt = _peek(page, at) if at + _SIZE <= len(page) else (0, 0)
        begin, end = at + _SIZE + CHECKSUM_BYTES, at + _SIZE + length
        if rt != _RECORD or end > len(page):
            raise ProtocolError("a page of records is cut short")
        try:
            yield _read(page, begin, end)
        except ProtocolError as error:
            yield error
        at = end


def _read(page: bytes, begin: int, end: int) -> TaRecord | RcptRecord:
    """Reads the record in a part of a page.

    Raises:
        ProtocolError: it is none.
    """
    cls = HEADS.get(page[begin : begin + _SIZE])
    begin += _SIZE
    if cls is None or begin + _SIZE > end:
        raise ProtocolError("neither a transaction nor a recipient")
    record, behind, _, _ = reader_of(cls)(page, begin, *_peek(page, begin))
    if behind != end:
        raise ProtocolError("its fields do not end where it does")
    return cast("TaRecord | RcptRecord", record)
