"""What stands in DEFEDB.

    data base   key                                    value
    defedb.db   ta_id                                  record of a TaRecord
                ta_id-idx                              record of a RcptRecord
                #count                                 number of recipients u64
                #version                               version of this table u32
    due.db      next-try time in microseconds u64,     nothing
                ta_id-idx

    record      crc32 of the rest u32 | head: record of length 0 whose type is D_TA or D_RCPT | fields     (RCB records)

Network byte order, so that the order of the keys is that of ids, and that of times.  The keys of the recipients follow
the one of their transaction.

Ref: MeTA1 design, "Implementation: DEFEDB" (keys modelled on: transaction id and recipient id).
"""

from struct import Struct
from typing import Final, TypeVar, cast
from zlib import crc32

from meta1g.base.errors import Module, PermError, ProtocolError
from meta1g.base.ids import ID_LENGTH, TaId, idx_text, is_id, parse_idx
from meta1g.db.damage import DamageError
from meta1g.rcb.codec import Reader, encode_fields
from meta1g.rcb.envelope import RcptRecord, TaRecord
from meta1g.rcb.generate import HEADER

VERSION: Final = 2
COUNT_KEY: Final = b"#count"
VERSION_KEY: Final = b"#version"
COUNT: Final = Struct("!Q")
VERSION_VALUE: Final = Struct("!I")
#: Ids sort behind this, the keys with # before it.
FIRST_ID_KEY: Final = b"A"

_CRC: Final = Struct("!I")
_TIME: Final = Struct("!Q")
_MICROSECONDS: Final = 1_000_000

RecordT = TypeVar("RecordT", TaRecord, RcptRecord)
Due = tuple[float, TaId, int]


def ta_key(ta_id: str) -> bytes:
    """Gives the key of a transaction.

    Raises:
        PermError: ta_id is not an id.
    """
    if not is_id(ta_id):
        raise PermError(Module.DEFEDB, f"{ta_id!r} is no transaction id")
    return ta_id.encode()


def rcpt_key(ta_id: str, rcpt_idx: int) -> bytes:
    """Gives the key of a recipient."""
    return ta_key(ta_id) + b"-" + idx_text(rcpt_idx).encode()


def split_rcpt_key(key: bytes) -> tuple[TaId, int]:
    """Gives transaction id and index of the key of a recipient."""
    return TaId(key[:ID_LENGTH].decode()), parse_idx(key[ID_LENGTH + 1 :].decode())


def first_rcpt_key(ta_id: str) -> bytes:
    """Gives the key at or behind which the recipients of a transaction are."""
    return ta_key(ta_id) + b"-"


def behind_ta_key(ta_id: str) -> bytes:
    """Gives the key at or behind which the next transaction is."""
    return ta_key(ta_id) + b"."


def due_key(next_try: float, rcpt: bytes) -> bytes:
    """Gives the key in due.db.

    Args:
        next_try: seconds since the epoch.
        rcpt: key of the recipient, or nothing for the first possible one at this time.
    """
    return _TIME.pack(round(next_try * _MICROSECONDS)) + rcpt


def split_due_key(key: bytes) -> Due:
    """Gives time, transaction id and index of a key in due.db."""
    return (_TIME.unpack_from(key)[0] / _MICROSECONDS, *split_rcpt_key(key[_TIME.size :]))


def encode_record(record: TaRecord | RcptRecord) -> bytes:
    """Gives the value of a transaction or a recipient.

    Raises:
        ProtocolError: a value does not fit its kind.
    """
    body = HEADER.pack(0, record.PLAN.rt) + encode_fields(record)
    return _CRC.pack(crc32(body)) + body


def decode_record(cls: type[RecordT], key: bytes, value: bytes) -> RecordT:
    """Reads the value of a transaction or a recipient.

    Raises:
        DamageError: it is damaged.
    """
    try:
        record = decode_value(cls, value)
        if key and key != key_of(record):
            raise ProtocolError("it belongs to another key")
    except ProtocolError as error:
        raise DamageError(
            Module.DEFEDB, f"record {key.decode('ascii', 'backslashreplace')} is damaged: {error.cause}"
        ) from error
    return record


def key_of(record: TaRecord | RcptRecord) -> bytes:
    """Gives the key of a record; one that no record has if its ids are none."""
    if not is_id(record.ta_id):
        return b""
    return ta_key(record.ta_id) if isinstance(record, TaRecord) else rcpt_key(record.ta_id, record.rcpt_idx)


def decode_value(cls: type[RecordT], value: bytes) -> RecordT:
    """Reads the value of a transaction or a recipient, whatever its key is.

    Raises:
        ProtocolError: it is damaged.
    """
    body = value[_CRC.size :]
    if len(value) < _CRC.size or _CRC.unpack_from(value)[0] != crc32(body):
        raise ProtocolError("wrong checksum")
    reader = Reader(body)
    reader.value(cls.PLAN.rt)
    record = reader.fields(cls)
    reader.finish()
    return cast(RecordT, record)


#: How every value begins behind its checksum, for each kind of record.
HEADS: Final = {HEADER.pack(0, TaRecord.PLAN.rt): TaRecord, HEADER.pack(0, RcptRecord.PLAN.rt): RcptRecord}
CHECKSUM_BYTES: Final = _CRC.size
_HEAD_OF: Final = {cls: head for head, cls in HEADS.items()}
_TA_ID_AT: Final = CHECKSUM_BYTES + 2 * HEADER.size
_TA_ID_END: Final = _TA_ID_AT + ID_LENGTH
#: Where the index of a recipient is: behind its transaction id, whose value is padded.
_IDX_AT: Final = _TA_ID_AT + (ID_LENGTH + 3 & ~3) + HEADER.size
_U32: Final = Struct("!I").unpack_from


def is_sound(key: bytes, value: bytes) -> bool:
    """Tells whether a value is what was written under its key; says nothing about what that means.

    It takes a tenth of the time of decode_record(), which knows what is wrong.
    """
    body = memoryview(value)[CHECKSUM_BYTES:]
    if len(value) < _TA_ID_END or _U32(value)[0] != crc32(body) or value[_TA_ID_AT:_TA_ID_END] != key[:ID_LENGTH]:
        return False
    if len(key) == ID_LENGTH:
        return value.startswith(_HEAD_OF[TaRecord], CHECKSUM_BYTES)
    if not value.startswith(_HEAD_OF[RcptRecord], CHECKSUM_BYTES) or len(value) < _IDX_AT + _CRC.size:
        return False
    return key[ID_LENGTH:] == b"-" + idx_text(_U32(value, _IDX_AT)[0]).encode()


def is_rcpt_key(key: bytes) -> bool:
    """Tells whether a key of defedb.db is that of a recipient."""
    return len(key) > ID_LENGTH + 1 and key[ID_LENGTH : ID_LENGTH + 1] == b"-" and is_ta_key(key[:ID_LENGTH])


def is_ta_key(key: bytes) -> bool:
    """Tells whether a key of defedb.db is that of a transaction."""
    return is_id(key.decode("ascii", "replace"))
