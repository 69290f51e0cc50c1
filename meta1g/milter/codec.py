"""Frames to bytes and back, by the table of frames.py.

Whatever bytes come are frames or a MilterProtocolError; a FrameReader never holds more than one frame of the greatest size
that was agreed on.

Pure.  Ref: sendmail 8, libmilter/comm.c (framing), mfdef.h.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from struct import Struct
from typing import Any, Final

from meta1g.milter.errors import MilterProtocolError
from meta1g.milter.frames import (
    COMMANDS_BY_CODE,
    KINDS,
    Family,
    Form,
    Frame,
    FrameKind,
    MacroList,
    MilterMacro,
    PeerAddress,
    Smfic,
)
from meta1g.milter.limits import CHUNK_64K_BYTES, FRAME_SLACK_BYTES, MACROS_MAX, WORDS_MAX

_U32: Final = Struct("!I")
_U16: Final = Struct("!H")
_HEAD: Final = Struct("!Ic")
_U32_MAX: Final = 0xFFFFFFFF
_U16_MAX: Final = 0xFFFF


# writing


def encode(frame: Frame) -> bytes:
    """Gives a frame as it goes over the wire.

    Raises:
        MilterProtocolError: a value does not fit its form: NUL in a text, a number that is too great, no word.
    """
    code, parts = _WRITING[frame.kind]
    data = frame.data
    body = b"".join([write(getattr(data, name)) for name, write in parts])
    return _HEAD.pack(len(body) + 1, code) + body


def _write_u32(value: int) -> bytes:
    if not 0 <= value <= _U32_MAX:
        raise MilterProtocolError(f"{value} is no number of 32 bits")
    return _U32.pack(value)


def _write_text(text: bytes) -> bytes:
    if b"\0" in text:
        raise MilterProtocolError("a text must not hold NUL")
    return text + b"\0"


def _write_texts(texts: Sequence[bytes]) -> bytes:
    data = b"\0".join((*texts, b""))
    if data.count(b"\0") != len(texts):
        raise MilterProtocolError("a text must not hold NUL")
    return data


def _write_words(words: tuple[bytes, ...]) -> bytes:
    if not words:
        raise MilterProtocolError("at least one word is needed")
    return _write_texts(words)


def _write_pairs(macros: tuple[MilterMacro, ...]) -> bytes:
    return _write_texts([text for macro in macros for text in (macro.name, macro.value)])


def _write_code(command: Smfic) -> bytes:
    code: bytes = command.value
    return code


def _write_peer(peer: PeerAddress) -> bytes:
    family: bytes = peer.family.value
    if peer.family is Family.UNKNOWN:
        return family
    if not 0 <= peer.port <= _U16_MAX:
        raise MilterProtocolError(f"{peer.port} is no port")
    return family + _U16.pack(peer.port) + _write_text(peer.address)


def _write_lists(lists: tuple[MacroList, ...]) -> bytes:
    return b"".join(_write_u32(one.stage) + _write_text(one.names) for one in lists)


_WRITERS: Final[Mapping[Form, Callable[[Any], bytes]]] = {
    Form.U32: _write_u32,
    Form.TEXT: _write_text,
    Form.LAST: _write_text,
    Form.WORDS: _write_words,
    Form.PAIRS: _write_pairs,
    Form.CODE: _write_code,
    Form.PEER: _write_peer,
    Form.LISTS: _write_lists,
    Form.BYTES: bytes,
}
#: By kind: the code, and for each attribute what writes it.
_WRITING: Final[Mapping[FrameKind, tuple[bytes, tuple[tuple[str, Callable[[Any], bytes]], ...]]]] = {
    kind: (kind.value, tuple((name, _WRITERS[form]) for name, form in layout.forms)) for kind, layout in KINDS.items()
}


# reading: each reader takes the payload and an offset, and gives the value and the offset after it


def decode(code: int, payload: bytes, kinds: Mapping[int, FrameKind]) -> Frame:
    """Reads the data of a frame.

    Args:
        code: its first byte.
        payload: what follows.
        kinds: COMMANDS_BY_CODE or ANSWERS_BY_CODE: who speaks.

    Raises:
        MilterProtocolError: the code is not known, or the data have not its form.
    """
    kind = kinds.get(code)
    if kind is None:
        raise MilterProtocolError(f"unknown code {code:#04x}")
    make, readers = _READING[kind]
    values: list[object] = []
    offset = 0
    for read in readers:
        value, offset = read(payload, offset)
        values.append(value)
    if offset != len(payload):
        raise MilterProtocolError(f"{kind.name} has {len(payload) - offset} bytes too many")
    return _BARE[kind] if make is None else Frame(kind, make(*values))


def _read_u32(payload: bytes, offset: int) -> tuple[int, int]:
    if len(payload) - offset < _U32.size:
        raise MilterProtocolError("the frame ends inside a number")
    return _U32.unpack_from(payload, offset)[0], offset + _U32.size


def _read_text(payload: bytes, offset: int) -> tuple[bytes, int]:
    end = payload.find(b"\0", offset)
    if end < 0:
        raise MilterProtocolError("a text without NUL at its end")
    return payload[offset:end], end + 1


def _read_last(payload: bytes, offset: int) -> tuple[bytes, int]:
    text = payload[offset:].removesuffix(b"\0")
    if b"\0" in text:
        raise MilterProtocolError("a text with NUL in it")
    return text, len(payload)


def _read_words(payload: bytes, offset: int) -> tuple[tuple[bytes, ...], int]:
    if payload[-1:] != b"\0" or offset >= len(payload):
        raise MilterProtocolError("words without NUL at their end")
    if payload.count(b"\0", offset) > WORDS_MAX:
        raise MilterProtocolError(f"more than {WORDS_MAX} words")
    return tuple(payload[offset:-1].split(b"\0")), len(payload)


def _read_pairs(payload: bytes, offset: int) -> tuple[tuple[MilterMacro, ...], int]:
    if offset == len(payload):
        return (), offset
    if payload[-1:] != b"\0" or payload.count(b"\0", offset) > 2 * MACROS_MAX:
        raise MilterProtocolError("macros without NUL at their end, or too many of them")
    texts = payload[offset:-1].split(b"\0")
    if len(texts) % 2:
        raise MilterProtocolError("a macro without a value")
    return tuple(map(MilterMacro, texts[::2], texts[1::2])), len(payload)


def _read_code(payload: bytes, offset: int) -> tuple[Smfic, int]:
    command = COMMANDS_BY_CODE.get(payload[offset]) if offset < len(payload) else None
    if command is None:
        raise MilterProtocolError("macros for no command")
    return command, offset + 1


def _read_peer(payload: bytes, offset: int) -> tuple[PeerAddress, int]:
    try:
        family = Family(payload[offset : offset + 1])
    except ValueError:
        raise MilterProtocolError("an unknown family of addresses") from None
    if family is Family.UNKNOWN:
        return PeerAddress(family), offset + 1
    if len(payload) - offset < 1 + _U16.size:
        raise MilterProtocolError("the frame ends inside a port")
    address, end = _read_text(payload, offset + 1 + _U16.size)
    return PeerAddress(family, _U16.unpack_from(payload, offset + 1)[0], address), end


def _read_lists(payload: bytes, offset: int) -> tuple[tuple[MacroList, ...], int]:
    lists: list[MacroList] = []
    while offset < len(payload):
        stage, offset = _read_u32(payload, offset)
        names, offset = _read_text(payload, offset)
        lists.append(MacroList(stage, names))
        if len(lists) > MACROS_MAX:
            raise MilterProtocolError(f"more than {MACROS_MAX} lists of macros")
    return tuple(lists), offset


def _read_bytes(payload: bytes, offset: int) -> tuple[bytes, int]:
    return payload[offset:], len(payload)


_Reader = Callable[[bytes, int], tuple[object, int]]
_READERS: Final[Mapping[Form, _Reader]] = {
    Form.U32: _read_u32,
    Form.TEXT: _read_text,
    Form.LAST: _read_last,
    Form.WORDS: _read_words,
    Form.PAIRS: _read_pairs,
    Form.CODE: _read_code,
    Form.PEER: _read_peer,
    Form.LISTS: _read_lists,
    Form.BYTES: _read_bytes,
}
#: By kind: the class of the data, and what reads each attribute.
_READING: Final[Mapping[FrameKind, tuple[type[Any] | None, tuple[_Reader, ...]]]] = {
    kind: (layout.data, tuple(_READERS[form] for _name, form in layout.forms)) for kind, layout in KINDS.items()
}
_BARE: Final[Mapping[FrameKind, Frame]] = {kind: Frame(kind) for kind, layout in KINDS.items() if layout.data is None}


class FrameReader:
    """Cuts a stream of bytes into frames.

    Args:
        kinds: COMMANDS_BY_CODE or ANSWERS_BY_CODE: who speaks.

    Attributes:
        max_bytes: greatest frame that is taken, without its length; raised when more has been agreed on.

    Owner: whoever made it.
    """

    __slots__ = ("_buffer", "_kinds", "max_bytes")

    def __init__(self, kinds: Mapping[int, FrameKind]) -> None:
        self._kinds = kinds
        self._buffer = bytearray()
        self.max_bytes = CHUNK_64K_BYTES + FRAME_SLACK_BYTES

    @property
    def held_bytes(self) -> int:
        """Bytes of a frame that is not complete, or of frames that nobody took."""
        return len(self._buffer)

    def feed(self, data: bytes) -> None:
        """Takes what has come."""
        self._buffer += data

    def take(self) -> Frame | None:
        """Gives the next frame, None if it is not complete.

        Raises:
            MilterProtocolError: it is none; nothing that follows can be read.
        """
        buffer = self._buffer
        if len(buffer) < _U32.size:
            return None
        (length,) = _U32.unpack_from(buffer)
        if not 0 < length <= self.max_bytes:
            raise MilterProtocolError(f"a frame of {length} bytes; 1 to {self.max_bytes} are allowed")
        end = _U32.size + length
        if len(buffer) < end:
            return None
        code, payload = buffer[_U32.size], bytes(buffer[_HEAD.size : end])
        del buffer[:end]
        return decode(code, payload, self._kinds)

    def frames(self) -> Iterator[Frame]:
        """Gives all complete frames; errors as those of take()."""
        while (frame := self.take()) is not None:
            yield frame
