"""The frames of the milter protocol: what the MTA tells a filter, what a filter answers, and the data of each kind.

    length u32 | code, one byte | data                        length counts code and data; network byte order

KINDS is the one table: the code's data, form by form.  Codec, limits, documentation of the forms and tests are made from it.

Pure.  Text is bytes, as it came.  Nobody changes a frame; they are not frozen, as that doubles the time to make one.
Ref: sendmail 8, libmilter/mfdef.h (SMFIC_, SMFIR_, SMFIA_); libmilter/docs.
"""

from collections.abc import Mapping
from enum import Enum, auto
from typing import Final

from meta1g.base.dataclass import dataclass


class _Kind(Enum):
    """A kind of frames; that of the standard library makes the hash of a member anew each time."""

    __hash__ = object.__hash__


class Smfic(_Kind):
    """Commands of the MTA."""

    ABORT = b"A"
    BODY = b"B"
    CONNECT = b"C"
    MACRO = b"D"
    BODYEOB = b"E"
    HELO = b"H"
    QUIT_NC = b"K"
    HEADER = b"L"
    MAIL = b"M"
    EOH = b"N"
    OPTNEG = b"O"
    QUIT = b"Q"
    RCPT = b"R"
    DATA = b"T"
    UNKNOWN = b"U"


class Smfir(_Kind):
    """Answers of a filter; OPTNEG is answered by OPTNEG."""

    ADDRCPT = b"+"
    DELRCPT = b"-"
    ADDRCPT_PAR = b"2"
    SHUTDOWN = b"4"
    OPTNEG = b"O"
    ACCEPT = b"a"
    REPLBODY = b"b"
    CONTINUE = b"c"
    DISCARD = b"d"
    CHGFROM = b"e"
    CONN_FAIL = b"f"
    ADDHEADER = b"h"
    INSHEADER = b"i"
    CHGHEADER = b"m"
    PROGRESS = b"p"
    QUARANTINE = b"q"
    REJECT = b"r"
    SKIP = b"s"
    TEMPFAIL = b"t"
    REPLYCODE = b"y"


FrameKind = Smfic | Smfir


class Family(Enum):
    """SMFIA_: families of addresses."""

    UNKNOWN = b"U"
    UNIX = b"L"
    INET = b"4"
    INET6 = b"6"


class Form(Enum):
    """How one item of data is written."""

    U32 = auto()
    TEXT = auto()  # bytes without NUL, then NUL
    LAST = auto()  # the same at the end of a frame, where some filters leave the NUL away
    WORDS = auto()  # texts up to the end, at least one
    PAIRS = auto()  # name and value, up to the end
    CODE = auto()  # the code of a command
    PEER = auto()  # family; but for UNKNOWN: port u16, address as a text
    LISTS = auto()  # stage u32 and names of macros as one text, up to the end
    BYTES = auto()  # all that is left


@dataclass(slots=True)
class PeerAddress:
    """Address of a client; a family UNKNOWN has neither port nor address."""

    family: Family
    port: int = 0
    address: bytes = b""


@dataclass(slots=True)
class MilterMacro:
    """One macro: its name without or with braces, as libmilter writes it (`i`, `{client_addr}`), and its value."""

    name: bytes
    value: bytes


@dataclass(slots=True)
class MacroList:
    """The macros that a filter wants at a stage: its number, and the names with blanks between them."""

    stage: int
    names: bytes


# data of the frames


@dataclass(slots=True)
class OptNeg:
    """Version, SMFIF_ and SMFIP_ bits, and lists of macros, which filters alone send."""

    version: int
    actions: int
    steps: int
    lists: tuple[MacroList, ...] = ()


@dataclass(slots=True)
class ConnectData:
    """Name of the client, or its address in brackets, and its address."""

    hostname: bytes
    peer: PeerAddress


@dataclass(slots=True)
class MacroData:
    """Values of macros for a command that follows."""

    command: Smfic
    macros: tuple[MilterMacro, ...]


@dataclass(slots=True)
class TextData:
    """One text."""

    text: bytes


@dataclass(slots=True)
class WordsData:
    """An address, and parameters."""

    words: tuple[bytes, ...]


@dataclass(slots=True)
class FieldData:
    """A header field; lines of its value end in LF."""

    name: bytes
    value: bytes


@dataclass(slots=True)
class IndexedField:
    """A header field and where it stands."""

    index: int
    name: bytes
    value: bytes


@dataclass(slots=True)
class BodyChunk:
    """A piece of a body; lines end in CR LF."""

    data: bytes


FrameData = OptNeg | ConnectData | MacroData | TextData | WordsData | FieldData | IndexedField | BodyChunk | None


@dataclass(slots=True)
class Frame:
    """One frame; the class of its data is that of its kind."""

    kind: FrameKind
    data: FrameData = None


@dataclass(frozen=True, slots=True)
class Layout:
    """The data of a kind of frame: its class, and for each attribute its form.

    Args:
        data: None if the frame has no data.
        forms: attribute and form, in the order of the wire.
    """

    data: type | None = None
    forms: tuple[tuple[str, Form], ...] = ()


_NONE: Final = Layout()
_TEXT: Final = Layout(TextData, (("text", Form.TEXT),))
_LAST: Final = Layout(TextData, (("text", Form.LAST),))
_WORDS: Final = Layout(WordsData, (("words", Form.WORDS),))
_FIELD: Final = Layout(FieldData, (("name", Form.TEXT), ("value", Form.TEXT)))
_INDEXED: Final = Layout(IndexedField, (("index", Form.U32), ("name", Form.TEXT), ("value", Form.TEXT)))
_CHUNK: Final = Layout(BodyChunk, (("data", Form.BYTES),))
_OPTNEG: Final = Layout(OptNeg, (("version", Form.U32), ("actions", Form.U32), ("steps", Form.U32), ("lists", Form.LISTS)))
_C, _R = Smfic, Smfir
KINDS: Final[Mapping[FrameKind, Layout]] = {
    _C.ABORT: _NONE,
    _C.BODY: _CHUNK,
    _C.CONNECT: Layout(ConnectData, (("hostname", Form.TEXT), ("peer", Form.PEER))),
    _C.MACRO: Layout(MacroData, (("command", Form.CODE), ("macros", Form.PAIRS))),
    _C.BODYEOB: _CHUNK,
    _C.HELO: _TEXT,
    _C.QUIT_NC: _NONE,
    _C.HEADER: _FIELD,
    _C.MAIL: _WORDS,
    _C.EOH: _NONE,
    _C.OPTNEG: _OPTNEG,
    _C.QUIT: _NONE,
    _C.RCPT: _WORDS,
    _C.DATA: _NONE,
    _C.UNKNOWN: _TEXT,
    _R.ADDRCPT: _TEXT,
    _R.DELRCPT: _TEXT,
    _R.ADDRCPT_PAR: _WORDS,
    _R.SHUTDOWN: _NONE,
    _R.OPTNEG: _OPTNEG,
    _R.ACCEPT: _NONE,
    _R.REPLBODY: _CHUNK,
    _R.CONTINUE: _NONE,
    _R.DISCARD: _NONE,
    _R.CHGFROM: _WORDS,
    _R.CONN_FAIL: _NONE,
    _R.ADDHEADER: _FIELD,
    _R.INSHEADER: _INDEXED,
    _R.CHGHEADER: _INDEXED,
    _R.PROGRESS: _NONE,
    _R.QUARANTINE: _LAST,
    _R.REJECT: _NONE,
    _R.SKIP: _NONE,
    _R.TEMPFAIL: _NONE,
    _R.REPLYCODE: _LAST,
}
COMMANDS_BY_CODE: Final[Mapping[int, Smfic]] = {kind.value[0]: kind for kind in Smfic}
ANSWERS_BY_CODE: Final[Mapping[int, Smfir]] = {kind.value[0]: kind for kind in Smfir}
