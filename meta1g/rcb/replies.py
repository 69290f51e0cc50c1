"""How a reply stands in one record.

    code u16 | length of ecode u16 | length of origin u16 | number of lines u16 | ecode | origin | text

Without lines the text is what is left; otherwise each line is `length u16 | line`.  All of it is UTF-8.

Pure.
"""

from collections.abc import Iterator
from functools import lru_cache
from struct import Struct
from typing import Any, Final

from meta1g.base.errors import ProtocolError
from meta1g.base.reply import Reply

_HEAD: Final = Struct("!HHHH")
_LENGTH: Final = Struct("!H")
_pack_head: Final = _HEAD.pack
_HEAD_BYTES: Final = _HEAD.size
#: Replies of this size, such as `250 2.1.5 Recipient ok`, are kept, so many of them; our choice.
_SHORT_BYTES: Final = 32
_SHORT_KEPT: Final = 64

_slots: Final[Any] = Reply
_new: Final = Reply.__new__
_set_code: Final = _slots.code.__set__
_set_ecode: Final = _slots.ecode.__set__
_set_text: Final = _slots.text.__set__
_set_origin: Final = _slots.origin.__set__


def write_reply(reply: Reply) -> bytes:
    """Gives the value of the record.

    Raises:
        ValueError: a text has no UTF-8 form.
        struct.error: the code or a length is more than 65535.
    """
    ecode, text, origin = reply.ecode.encode(), reply.text, reply.origin.encode()
    if isinstance(text, str):
        return _pack_head(reply.code, len(ecode), len(origin), 0) + ecode + origin + text.encode()
    lines = [line.encode() for line in reply.lines]
    parts = [_pack_head(reply.code, len(ecode), len(origin), len(lines)), ecode, origin]
    for line in lines:
        parts += (_LENGTH.pack(len(line)), line)
    return b"".join(parts)


def read_reply(value: bytes) -> Reply:
    """Reads what write_reply wrote.

    Raises:
        ProtocolError: a length goes past the end, or something is left over.
        UnicodeDecodeError: a text is not UTF-8.
    """
    return _read_short(value) if len(value) <= _SHORT_BYTES else _read(value)


def _read(value: bytes) -> Reply:
    size = len(value)
    if size < _HEAD_BYTES:
        raise ProtocolError(f"reply of {size} bytes")
    code, ecode_bytes, origin_bytes, lines = _HEAD.unpack_from(value)
    text_at = _HEAD_BYTES + ecode_bytes + origin_bytes
    if text_at > size:
        raise ProtocolError("reply is cut short")
    origin_at = _HEAD_BYTES + ecode_bytes
    reply = _new(Reply)
    _set_code(reply, code)
    _set_ecode(reply, value[_HEAD_BYTES:origin_at].decode())
    _set_origin(reply, value[origin_at:text_at].decode())
    _set_text(reply, tuple(_lines(value, text_at, lines)) if lines else value[text_at:].decode())
    return reply


#: The same few answers come again and again.
_read_short: Final = lru_cache(maxsize=_SHORT_KEPT)(_read)


def _lines(value: bytes, at: int, count: int) -> Iterator[str]:
    for _ in range(count):
        start = at + _LENGTH.size
        if start > len(value):
            raise ProtocolError("reply is cut short")
        at = start + _LENGTH.unpack_from(value, start - _LENGTH.size)[0]
        if at > len(value):
            raise ProtocolError("reply is cut short")
        yield value[start:at].decode()
    if at != len(value):
        raise ProtocolError("reply has more than its lines")
