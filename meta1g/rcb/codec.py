"""Encodes and decodes messages as records.

    total length u32 | record: value length u32, type u32, value padded with NUL to 4 | record | ...   network byte order

A message is a frame of its own: the first record has the type of the message and the request id (u32) as value, the
fields follow in the order of their declaration.  A field that may be missing is recognised by the type of the next
record.  What the table does not allow is a ProtocolError, never another exception.

The functions of each message are made from its plan by `generate`.

Pure.  Ref: MeTA1 design, "Functional Specification: IPC record format" (scheme modelled on MeTA1's RCB).
"""

from collections.abc import Mapping
from struct import Struct
from typing import Final

from meta1g.base.errors import ProtocolError, UnsendableError
from meta1g.rcb.framing import FRAME_MAX_BYTES
from meta1g.rcb.generate import HEADER, reader_of, writer_of
from meta1g.rcb.schema import Message

_FRAME_HEAD: Final = Struct("!IIII")
_MESSAGE_HEAD: Final = Struct("!III")


def encode(msg: Message, request_id: int = 0) -> bytes:
    """Gives the frame of a message, ready to send.

    Args:
        msg: the message.
        request_id: number that ties a reply to its request, 0 for posts; 0 to 2**32-1.

    Raises:
        UnsendableError: a value does not fit its kind, or all of them do not fit a frame.
    """
    body = b"".join(writer_of(type(msg))(msg))
    if len(body) + 12 > FRAME_MAX_BYTES:
        raise UnsendableError(f"{type(msg).__name__} cannot be sent: frame of {len(body) + 12} bytes")
    return _FRAME_HEAD.pack(len(body) + 12, 4, msg.PLAN.rt, request_id) + body


def encode_fields(msg: Message) -> bytes:
    """Gives the records of a message without its head, as they stand inside other messages and on disk."""
    return b"".join(writer_of(type(msg))(msg))


class Reader:
    """Reads the fields of messages one after the other from a frame without its total length.

    Owner: whoever made it.
    """

    __slots__ = ("_body", "_length", "_offset", "next_rt")

    def __init__(self, body: bytes, offset: int = 0) -> None:
        self._body = body
        self._offset = offset
        self._length = 0
        self.next_rt = 0
        self._peek()

    def _peek(self) -> None:
        """Looks at the next record; its type is 0 at the end."""
        if self._offset == len(self._body):
            self._length = self.next_rt = 0
        elif self._offset + HEADER.size > len(self._body):
            raise ProtocolError("record header is cut short")
        else:
            self._length, self.next_rt = HEADER.unpack_from(self._body, self._offset)

    def value(self, rt: int) -> bytes:
        """Gives the value of the next record, which must be of type rt.

        Raises:
            ProtocolError: it is of another type, cut short, or its padding is not NUL.
        """
        if self.next_rt != rt or not rt:
            raise ProtocolError(f"record {rt:#06x} expected, {self.next_rt:#06x} found")
        body = self._body
        start = self._offset + HEADER.size
        end = start + self._length
        padded = end + (-self._length & 3)
        if padded > len(body):
            raise ProtocolError(f"record {rt:#06x} is cut short")
        if any(body[end:padded]):
            raise ProtocolError(f"record {rt:#06x} is padded with other bytes than NUL")
        self._offset = padded
        self._peek()
        return body[start:end]

    def fields(self, cls: type[Message]) -> Message:
        """Reads the fields of a message in order.

        Raises:
            ProtocolError: they are not what the table allows.
        """
        msg, self._offset, self._length, self.next_rt = reader_of(cls)(self._body, self._offset, self._length, self.next_rt)
        return msg

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
    size = len(body)
    length, rt = HEADER.unpack_from(body) if size >= HEADER.size else (0, 0)
    cls = table.get(rt)
    if cls is None:
        raise ProtocolError(f"message {rt:#06x} is not allowed here")
    if length != 4 or size < _MESSAGE_HEAD.size:
        raise ProtocolError(f"record {rt:#06x} has {length} bytes, not 4")
    request_id: int = _MESSAGE_HEAD.unpack_from(body)[2]
    offset = _MESSAGE_HEAD.size
    if size == offset:
        length = rt = 0
    elif size >= offset + HEADER.size:
        length, rt = HEADER.unpack_from(body, offset)
    else:
        raise ProtocolError("record header is cut short")
    msg, offset, _, rt = reader_of(cls)(body, offset, length, rt)
    if rt or offset != size:
        raise ProtocolError(f"record {rt:#06x} is left over")
    return request_id, msg


def decode_fields(cls: type[Message], body: bytes) -> Message:
    """Reads what encode_fields wrote; all of it has to be used."""
    reader = Reader(body)
    msg = reader.fields(cls)
    reader.finish()
    return msg
