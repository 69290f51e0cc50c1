"""The record format once more, made for reading: asks the plan for each field; the generated codec is compared with it."""

from collections.abc import Callable, Mapping
from struct import Struct
from typing import Any, Final

from meta1g.base.errors import ProtocolError, UnsendableError
from meta1g.base.reply import Reply
from meta1g.rcb.rectypes import RT
from meta1g.rcb.schema import FieldPlan, Kind, Message

HEADER: Final = Struct("!II")
_LENGTH: Final = Struct("!I")
_REC_U32: Final = Struct("!III")
_REC_U64: Final = Struct("!IIQ")
_U64: Final = Struct("!Q")
_PAD: Final = (b"", b"\0\0\0", b"\0\0", b"\0")
_FRAME_HEAD: Final = Struct("!IIII")
_U32_MAX: Final = 0xFFFF_FFFF
_U64_MAX: Final = 0xFFFF_FFFF_FFFF_FFFF
ITEMS_MAX: Final = 100_000


def encode(msg: Message, request_id: int = 0) -> bytes:
    """Gives the frame of a message, ready to send.

    Args:
        msg: the message.
        request_id: number that ties a reply to its request, 0 for posts; 0 to 2**32-1.

    Raises:
        UnsendableError: a value does not fit its kind.
    """
    body = encode_fields(msg)
    return _FRAME_HEAD.pack(len(body) + 12, 4, msg.PLAN.rt, request_id) + body


def encode_fields(msg: Message) -> bytes:
    """Gives the records of a message without its head, as they stand inside other messages and on disk."""
    parts: list[bytes] = []
    for plan in msg.PLAN.fields:
        value = getattr(msg, plan.name)
        if plan.optional and value == plan.default:
            continue
        try:
            _ENCODERS[plan.kind](parts, plan, value)
        except (TypeError, ValueError, OverflowError) as error:
            raise UnsendableError(f"{type(msg).__name__}.{plan.name} cannot be sent: {error}") from error
    return b"".join(parts)


def _put_u32(parts: list[bytes], plan: FieldPlan, value: int) -> None:
    if not 0 <= value <= _U32_MAX:
        raise ValueError(f"{value} is not a 32-bit number")
    parts.append(_REC_U32.pack(4, plan.rt, value))


def _put_u64(parts: list[bytes], plan: FieldPlan, value: int) -> None:
    if not 0 <= value <= _U64_MAX:
        raise ValueError(f"{value} is not a 64-bit number")
    parts.append(_REC_U64.pack(8, plan.rt, value))


def _put_s32(parts: list[bytes], plan: FieldPlan, value: int) -> None:
    if not -0x8000_0000 <= value <= 0x7FFF_FFFF:
        raise ValueError(f"{value} is not a 32-bit number with a sign")
    parts.append(_REC_U32.pack(4, plan.rt, value & _U32_MAX))


def _put_time(parts: list[bytes], plan: FieldPlan, value: float) -> None:
    _put_u64(parts, plan, round(value * 1_000_000))


def _put_octets(parts: list[bytes], plan: FieldPlan, value: bytes) -> None:
    _put_value(parts, plan.rt, value)


def _put_text(parts: list[bytes], plan: FieldPlan, value: str) -> None:
    _put_value(parts, plan.rt, value.encode())


def _put_value(parts: list[bytes], rt: int, value: bytes) -> None:
    length = len(value)
    parts.append(HEADER.pack(length, rt))
    parts.append(value)
    parts.append(_PAD[length & 3])


def _put_items(parts: list[bytes], plan: FieldPlan, value: tuple[Message, ...]) -> None:
    _put_u32(parts, plan, len(value))
    parts.extend(encode_fields(item) for item in value)


def _put_texts(parts: list[bytes], plan: FieldPlan, value: tuple[str, ...]) -> None:
    _put_u32(parts, plan, len(value))
    for text in value:
        _put_value(parts, plan.item_rt or 0, text.encode())


def _put_reply(parts: list[bytes], plan: FieldPlan, value: Reply) -> None:
    ecode, origin = value.ecode.encode(), value.origin.encode()
    if isinstance(value.text, str):
        count, text = 0, [value.text.encode()]
    else:
        count, text = len(value.lines), [_u16(len(line.encode())) + line.encode() for line in value.lines]
    head = [_u16(number) for number in (value.code, len(ecode), len(origin), count)]
    _put_value(parts, plan.rt, b"".join([*head, ecode, origin, *text]))


def _u16(number: int) -> bytes:
    return number.to_bytes(2, "big")


_ENCODERS: Final[dict[Kind, Callable[[list[bytes], FieldPlan, Any], None]]] = {
    Kind.U32: _put_u32,
    Kind.U64: _put_u64,
    Kind.S32: _put_s32,
    Kind.BOOL: _put_u32,
    Kind.TIME: _put_time,
    Kind.OCTETS: _put_octets,
    Kind.TEXT: _put_text,
    Kind.ITEMS: _put_items,
    Kind.TEXTS: _put_texts,
    Kind.REPLY: _put_reply,
}


class Reader:
    """Reads records one after the other from a frame without its total length.

    Owner: whoever made it.
    """

    __slots__ = ("_body", "_offset", "next_rt")

    def __init__(self, body: bytes, offset: int = 0) -> None:
        self._body = body
        self._offset = offset
        self.next_rt = self._peek()

    def _peek(self) -> int:
        """Gives the type of the next record, 0 at the end."""
        if self._offset == len(self._body):
            return 0
        if self._offset + HEADER.size > len(self._body):
            raise ProtocolError("record header is cut short")
        rt: int = HEADER.unpack_from(self._body, self._offset)[1]
        return rt

    def value(self, rt: int) -> bytes:
        """Gives the value of the next record, which must be of type rt.

        Raises:
            ProtocolError: it is of another type, cut short, or its padding is not NUL.
        """
        if self.next_rt != rt or not rt:
            raise ProtocolError(f"record {rt:#06x} expected, {self.next_rt:#06x} found")
        body = self._body
        length = HEADER.unpack_from(body, self._offset)[0]
        start = self._offset + HEADER.size
        end = start + length
        padded = end + (-length & 3)
        if padded > len(body):
            raise ProtocolError(f"record {rt:#06x} is cut short")
        if padded != end and any(body[end:padded]):
            raise ProtocolError(f"record {rt:#06x} is padded with other bytes than NUL")
        self._offset = padded
        self.next_rt = self._peek()
        return body[start:end]

    def u32(self, rt: int) -> int:
        """Gives the value of the next record as a 32-bit number."""
        value = self.value(rt)
        if len(value) != 4:
            raise ProtocolError(f"record {rt:#06x} has {len(value)} bytes, not 4")
        number: int = _LENGTH.unpack(value)[0]
        return number

    def u64(self, rt: int) -> int:
        """Gives the value of the next record as a 64-bit number."""
        value = self.value(rt)
        if len(value) != 8:
            raise ProtocolError(f"record {rt:#06x} has {len(value)} bytes, not 8")
        number: int = _U64.unpack(value)[0]
        return number

    def finish(self) -> None:
        """Checks that nothing is left over."""
        if self.next_rt or self._offset != len(self._body):
            raise ProtocolError(f"record {self.next_rt:#06x} is left over")


def decode(table: Mapping[int, type[Message]], body: bytes) -> tuple[int, Message]:
    """Reads a frame without its total length.

    Args:
        table: the messages that the sender may send, by record type.
        body: the frame.

    Returns:
        Request id and message.

    Raises:
        ProtocolError: the frame is not what the table allows.
    """
    reader = Reader(body)
    cls = table.get(reader.next_rt)
    if cls is None:
        raise ProtocolError(f"message {reader.next_rt:#06x} is not allowed here")
    request_id = reader.u32(reader.next_rt)
    msg = read_fields(cls, reader)
    reader.finish()
    return request_id, msg


def decode_fields(cls: type[Message], body: bytes) -> Message:
    """Reads what encode_fields wrote; all of it has to be used."""
    reader = Reader(body)
    msg = read_fields(cls, reader)
    reader.finish()
    return msg


def read_fields(cls: type[Message], reader: Reader) -> Message:
    """Reads the fields of a message in order."""
    values: dict[str, Any] = {}
    for plan in cls.PLAN.fields:
        if plan.optional and reader.next_rt != plan.rt:
            values[plan.name] = plan.default
        else:
            values[plan.name] = _DECODERS[plan.kind](reader, plan)
    return cls(**values)


def _get_u32(reader: Reader, plan: FieldPlan) -> int:
    return reader.u32(plan.rt)


def _get_u64(reader: Reader, plan: FieldPlan) -> int:
    return reader.u64(plan.rt)


def _get_s32(reader: Reader, plan: FieldPlan) -> int:
    value = reader.u32(plan.rt)
    return value - 0x1_0000_0000 if value > 0x7FFF_FFFF else value


def _get_bool(reader: Reader, plan: FieldPlan) -> bool:
    number = reader.u32(plan.rt)
    if number > 1:
        raise ProtocolError(f"record {plan.rt:#06x} is {number}, not 0 or 1")
    return bool(number)


def _get_time(reader: Reader, plan: FieldPlan) -> float:
    return reader.u64(plan.rt) / 1_000_000


def _get_octets(reader: Reader, plan: FieldPlan) -> bytes:
    return reader.value(plan.rt)


def _get_text(reader: Reader, plan: FieldPlan) -> str:
    return _text(plan.rt, reader.value(plan.rt))


def _text(rt: int, value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise ProtocolError(f"record {rt:#06x} is not UTF-8") from error


def _count(reader: Reader, plan: FieldPlan) -> int:
    count = reader.u32(plan.rt)
    if count > ITEMS_MAX:
        raise ProtocolError(f"record {plan.rt:#06x} announces {count} items, more than {ITEMS_MAX}")
    return count


def _get_items(reader: Reader, plan: FieldPlan) -> tuple[Message, ...]:
    item = plan.item
    if item is None:
        raise ProtocolError(f"record {plan.rt:#06x} has no item class")
    items = []
    for _ in range(_count(reader, plan)):
        before = reader.next_rt
        items.append(read_fields(item, reader))
        if not before:
            raise ProtocolError(f"record {plan.rt:#06x} announces more items than there are")
    return tuple(items)


def _get_texts(reader: Reader, plan: FieldPlan) -> tuple[str, ...]:
    rt = plan.item_rt or RT(0x0001)
    return tuple(_text(rt, reader.value(rt)) for _ in range(_count(reader, plan)))


def _get_reply(reader: Reader, plan: FieldPlan) -> Reply:
    left = reader.value(plan.rt)

    def take(size: int) -> bytes:
        nonlocal left
        if size > len(left):
            raise ProtocolError("reply is cut short")
        taken, left = left[:size], left[size:]
        return taken

    code, ecode, origin, count = (int.from_bytes(take(2), "big") for _ in range(4))
    ecode_text, origin_text = _text(plan.rt, take(ecode)), _text(plan.rt, take(origin))
    if not count:
        return Reply(code, ecode_text, _text(plan.rt, left), origin_text)
    lines = tuple(_text(plan.rt, take(int.from_bytes(take(2), "big"))) for _ in range(count))
    if left:
        raise ProtocolError("reply has more than its lines")
    return Reply(code, ecode_text, lines, origin_text)


_DECODERS: Final[dict[Kind, Callable[[Reader, FieldPlan], Any]]] = {
    Kind.U32: _get_u32,
    Kind.U64: _get_u64,
    Kind.S32: _get_s32,
    Kind.BOOL: _get_bool,
    Kind.TIME: _get_time,
    Kind.OCTETS: _get_octets,
    Kind.TEXT: _get_text,
    Kind.ITEMS: _get_items,
    Kind.TEXTS: _get_texts,
    Kind.REPLY: _get_reply,
}
