"""The content of a message on the wire: dots stuffed and unstuffed, the end found, bare CR and LF noticed.

    state after      ""  "CR"  "CR LF"     "CR LF ."  "CR LF . CR"
                     TEXT  CR  LINE_START   DOT        DOT_CR      -- LF --> END

    TEXT -CR-> CR -LF-> LINE_START -.-> DOT -CR-> DOT_CR -LF-> END        anything else leads back to TEXT (or CR)

Only CR LF . CR LF ends a message and only CR LF ends a line (invariant I6).  The state is how much of CR LF . CR LF
the bytes seen so far end with; these bytes are held back and everything before them is handled in whole chunks, so
the cost does not depend on how the bytes arrive.

Pure.  Ref: RFC 5321 4.1.1.4, 4.5.2, 2.3.8.
"""

import re
from collections.abc import Mapping
from enum import Enum, IntEnum
from typing import Final

from meta1g.smtp.limits import TEXT_LINE_MAX_BYTES

END: Final = b"\r\n.\r\n"
_STUFFED: Final = b"\r\n."
_LINE_ENDS: Final = (b"\n", b"\r")
#: From this mean length of lines on it is faster to split them than to count their ends.
_LINE_BYTES: Final = 24
_BARE: Final = re.compile(rb"\r\n|\r|\n")


class State(IntEnum):
    """How many bytes of END have been seen."""

    TEXT = 0
    CR = 1
    LINE_START = 2
    DOT = 3
    DOT_CR = 4
    END = 5


class Octet(Enum):
    """Classes of bytes."""

    CR = b"\r"
    LF = b"\n"
    DOT = b"."
    OTHER = b""


#: What each byte does; Unstuffer follows it in whole chunks, the tests byte by byte.
TRANSITIONS: Final[Mapping[tuple[State, Octet], State]] = {
    **{(state, octet): State.TEXT for state in State if state is not State.END for octet in Octet},
    **{(state, Octet.CR): State.CR for state in State if state is not State.END},
    (State.CR, Octet.LF): State.LINE_START,
    (State.LINE_START, Octet.DOT): State.DOT,
    (State.DOT, Octet.CR): State.DOT_CR,
    (State.DOT_CR, Octet.LF): State.END,
}


def has_bare(data: bytes) -> bool:
    """Tells whether data has a CR or LF that is not part of a CR LF; data must not begin or end inside one."""
    pairs = data.count(b"\r\n")
    if pairs * _LINE_BYTES > len(data):  # many short lines
        return data.count(b"\r") != pairs or data.count(b"\n") != pairs
    line_ends = len(data.splitlines()) - bool(data) * (not data.endswith(_LINE_ENDS))  # of all three kinds
    return line_ends != pairs


class LineLengths:
    """Looks for a line that is too long, in pieces that cut no line end in two.

    Args:
        limit: longest line with its CR LF, 1 or more.

    Owner: whoever made it.
    """

    __slots__ = ("_limit", "_line_bytes")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._line_bytes = 0

    def feed(self, content: bytes) -> bool:
        """Tells whether there is one, by jumps of about one line limit; not to be called any more once there is."""
        limit = self._limit
        start = -self._line_bytes  # where the current line began
        total = len(content)
        while total - start > limit:
            line_end = content.rfind(b"\n", max(start, 0), max(start + limit, 0))
            if line_end < 0:
                return True
            start = line_end + 1
        line_end = content.rfind(b"\n", max(start, 0))
        self._line_bytes = total - (line_end + 1 if line_end >= 0 else start)
        return False


class Unstuffer:
    """Takes the bytes after 354 and gives the content.

    Args:
        max_line_bytes: longest line with its CR LF; a longer one sets long_line; 0 for any.

    Attributes:
        done: the end of the message has been seen.
        rest: bytes after the end, which are commands.
        bare: the content has a bare CR or LF.
        long_line: the content has a line that is too long.

    Owner: the session that receives the message.
    """

    __slots__ = ("_held", "_lengths", "_virtual", "bare", "done", "long_line", "rest")

    def __init__(self, max_line_bytes: int = TEXT_LINE_MAX_BYTES) -> None:
        self._held = b"\r\n"  # the message begins at the start of a line; this line end is not part of it
        self._virtual = 2
        self._lengths = LineLengths(max_line_bytes) if max_line_bytes else None
        self.done = False
        self.rest = b""
        self.bare = False
        self.long_line = False

    @property
    def state(self) -> State:
        """The state of the machine."""
        return State.END if self.done else State(len(self._held))

    def feed(self, data: bytes) -> bytes:
        """Takes received bytes; must not be called when done.

        Returns:
            The content that is certain now, unstuffed; a line end is never cut in two.
        """
        stream = self._held + data
        end = stream.find(END)
        if end >= 0:
            self.done = True
            self.rest = stream[end + 5 :]
            content = stream[: end + 2]
        else:
            held = held_back(stream)
            content = stream[: len(stream) - held]
            self._held = stream[len(stream) - held :]
        if not content:
            return content
        content = content.replace(_STUFFED, b"\r\n")
        if self._virtual:
            content = content[2:]
            self._virtual = 0
        if not self.bare and has_bare(content):
            self.bare = True
        if self._lengths is not None and not self.long_line:
            self.long_line = self._lengths.feed(content)
        return content


def held_back(stream: bytes) -> int:
    """Gives how many bytes at the end of stream may be the beginning of END."""
    if stream[-1:] in b"\r\n.":
        for length in (4, 3, 2, 1):
            if stream.endswith(END[:length]):
                return length
    return 0


class LineEnds:
    """Makes a CR LF of each bare CR or LF, and lets the last line end, in content that does not come from the wire.

    Owner: whoever made it.
    """

    __slots__ = ("_ended", "_held")

    def __init__(self) -> None:
        self._held = b""
        self._ended = True

    def feed(self, content: bytes) -> bytes:
        """Gives the next bytes; a CR at the end is held back until the next call."""
        stream = self._held + content if self._held else content
        self._held = b""
        if stream.endswith(b"\r"):
            self._held, stream = b"\r", stream[:-1]
        if not stream:
            return stream
        if has_bare(stream):
            stream = _BARE.sub(b"\r\n", stream)
        self._ended = stream.endswith(b"\r\n")
        return stream

    def finish(self) -> bytes:
        """Gives what is behind the last byte."""
        return b"\r\n" if self._held or not self._ended else b""


class Stuffer:
    """Turns content into what is sent after 354.

    A bare CR or LF would be a line end to some servers and none to others; it leaves as CR LF (invariant I6).

    Owner: the session that sends the message.
    """

    __slots__ = ("_held", "_line_start")

    def __init__(self) -> None:
        self._held = b""
        self._line_start = True

    def feed(self, content: bytes) -> bytes:
        """Gives the next bytes to send; a CR at the end is held back until the next call."""
        stream = self._held + content if self._held else content
        self._held = b""
        if stream.endswith(b"\r"):
            self._held = b"\r"
            stream = stream[:-1]
        if not stream:
            return stream
        if has_bare(stream):
            stream = _BARE.sub(b"\r\n", stream)
        stuffed = stream.replace(_STUFFED, b"\r\n..")
        if self._line_start and stream.startswith(b"."):
            stuffed = b"." + stuffed
        self._line_start = stream.endswith(b"\r\n")
        return stuffed

    def finish(self) -> bytes:
        """Gives the last bytes to send: a line end if it is missing, and the final dot."""
        complete = self._line_start and not self._held
        self._held, self._line_start = b"", True
        return b".\r\n" if complete else END


def stuff(content: bytes) -> bytes:
    """Gives a whole message as it is sent after 354, with its final dot."""
    stuffer = Stuffer()
    return stuffer.feed(content) + stuffer.finish()
