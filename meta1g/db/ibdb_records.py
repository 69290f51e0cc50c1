"""What stands in an IBDB file.

    file     header | entry | entry | ... | zeros that were reserved, up to the end of a page
    header   magic 8 bytes | version u32 | file number u32 | crc32 of these 16 bytes u32
    entry    length of the body u32 | crc32 of the body u32 | body
    body     head: record of length 0 whose type says what the entry is | records of the fields         (RCB records)

    head       entry              fields
    D_TA       transaction NEW    those of TaRecord, then for each recipient a D_RCPT head and those of RcptRecord
    D_RCPT     recipient NEW      those of RcptRecord; the transaction stands before it
    D_DONE     recipient DONE     those of RcptDone
    D_TADONE   transaction DONE   those of TaDone
    D_CANCEL   transaction void   those of TaCancel

Network byte order.  A transaction and its recipients are one entry: it is there as a whole or not at all.

Pure.  Ref: MeTA1 design, "Implementation: IBDB" (NEW, DONE, CANCEL and the file names modelled on MeTA1's).
"""

import re
from collections.abc import Sequence
from struct import Struct
from typing import Final, cast
from zlib import crc32

from meta1g.base.dataclass import dataclass
from meta1g.base.errors import Module, PermError, ProtocolError
from meta1g.rcb.codec import Reader, encode_fields
from meta1g.rcb.envelope import RcptDone, RcptRecord, TaCancel, TaDone, TaRecord
from meta1g.rcb.generate import HEADER
from meta1g.rcb.rectypes import RT
from meta1g.rcb.schema import Message

MAGIC: Final = b"m1g-ibdb"
VERSION: Final = 2
FILE_HEADER: Final = Struct("!8sIII")
ENTRY_HEADER: Final = Struct("!II")
#: The size of a file is a multiple of this, so that one that was cut is told from one that ends.
PAGE_BYTES: Final = 4096
#: An entry that announces more is damaged: a transaction with 65536 recipients is smaller.
BODY_MAX_BYTES: Final = 64 << 20
#: Number in the header of a file of lost+found, which has one envelope and no reserved room.
LONE_NUMBER: Final = 0

#: Beside the files: the number of the newest one, so that it is noticed if it is missing.
LAST_NAME: Final = "LAST"
_CHECKED_BYTES: Final = 16
_CRC: Final = Struct("!I")
_NAME: Final = re.compile(r"ibdb([0-9A-F]{8})", re.ASCII)
_HEADS: Final = {rt: HEADER.pack(0, rt) for rt in (RT.D_TA, RT.D_RCPT, RT.D_DONE, RT.D_TADONE, RT.D_CANCEL)}
_SINGLE: Final[dict[int, type[Message]]] = {
    RT.D_RCPT: RcptRecord,
    RT.D_DONE: RcptDone,
    RT.D_TADONE: TaDone,
    RT.D_CANCEL: TaCancel,
}


@dataclass(frozen=True, slots=True)
class TaNew:
    """A transaction and its recipients as they were accepted."""

    ta: TaRecord
    rcpts: tuple[RcptRecord, ...]


Entry = TaNew | RcptRecord | RcptDone | TaDone | TaCancel


def file_name(number: int) -> str:
    """Gives the name of file number 1 to 2**32-1."""
    return f"ibdb{number:08X}"


def file_number(name: str) -> int | None:
    """Gives the number of a file by its name, None if it is not the name of an IBDB file."""
    match = _NAME.fullmatch(name)
    return int(match[1], 16) if match else None


def file_header(number: int) -> bytes:
    """Gives the header of file number."""
    checked = FILE_HEADER.pack(MAGIC, VERSION, number, 0)[:_CHECKED_BYTES]
    return checked + _CRC.pack(crc32(checked))


def check_header(data: bytes) -> bool:
    """Tells whether a file begins with a good header.

    Raises:
        PermError: the header is good, but of a version that is not ours.
    """
    if len(data) < FILE_HEADER.size:
        return False
    magic, version, _, crc = FILE_HEADER.unpack_from(data)
    if magic != MAGIC or crc != crc32(data[:_CHECKED_BYTES]):
        return False
    if version != VERSION:
        raise PermError(
            Module.IBDB,
            f"version {version} of the queue files is not {VERSION}: let the release that wrote them empty the queue",
        )
    return True


def header_number(data: bytes) -> int | None:
    """Gives the file number in a good header, None if the header is not good."""
    return int(FILE_HEADER.unpack_from(data)[2]) if check_header(data) else None


def ta_entry(ta: TaRecord, rcpts: Sequence[RcptRecord]) -> bytes:
    """Gives the entry of a new transaction.

    Raises:
        ProtocolError: a value does not fit its kind.
    """
    parts = [_HEADS[RT.D_TA], encode_fields(ta)]
    head = _HEADS[RT.D_RCPT]
    for rcpt in rcpts:
        parts += (head, encode_fields(rcpt))
    return _entry(b"".join(parts))


def entry(record: RcptRecord | RcptDone | TaDone | TaCancel) -> bytes:
    """Gives the entry of a record that stands alone.

    Raises:
        ProtocolError: a value does not fit its kind.
    """
    return _entry(_HEADS[record.PLAN.rt] + encode_fields(record))


def _entry(body: bytes) -> bytes:
    return ENTRY_HEADER.pack(len(body), crc32(body)) + body


def decode_body(body: bytes) -> Entry:
    """Reads the body of an entry.

    Raises:
        ProtocolError: it is none.
    """
    reader = Reader(body)
    rt = reader.next_rt
    if reader.value(rt):
        raise ProtocolError(f"head {rt:#06x} has a value")
    if rt == RT.D_TA:
        return _ta_new(reader)
    cls = _SINGLE.get(rt)
    if cls is None:
        raise ProtocolError(f"entry {rt:#06x} is unknown")
    record = reader.fields(cls)
    reader.finish()
    return cast(Entry, record)


def _ta_new(reader: Reader) -> TaNew:
    ta = cast(TaRecord, reader.fields(TaRecord))
    rcpts: list[RcptRecord] = []
    while reader.next_rt == RT.D_RCPT:
        reader.value(RT.D_RCPT)
        rcpts.append(cast(RcptRecord, reader.fields(RcptRecord)))
    reader.finish()
    return TaNew(ta, tuple(rcpts))


def has_head(data: bytes, offset: int) -> bool:
    """Tells whether an entry may begin at offset: its length is possible and its body begins with a known head."""
    start = offset + ENTRY_HEADER.size
    if start + HEADER.size > len(data):
        return False
    length = ENTRY_HEADER.unpack_from(data, offset)[0]
    if not HEADER.size <= length <= min(BODY_MAX_BYTES, len(data) - start) or length & 3:
        return False
    size, rt = HEADER.unpack_from(data, start)
    return size == 0 and rt in _HEADS
