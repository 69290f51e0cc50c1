"""Content that comes by BDAT: octets that were announced, without dots to unstuff and without a final dot.

    BODY                 what counts                                                      at the end
    7BIT, 8BITMIME       only CR LF ends a line, wherever the chunks are cut              a line end that is missing is added
    BINARYMIME           the header has lines; every octet behind it is kept              nothing is added

A message that came by BDAT is stored as if it had come by DATA, so nobody behind has to know of it: a bare CR or LF is noticed
here as it is there, and what looks like a final dot is two lines of text (invariant I6).

Pure.  Ref: RFC 3030 2 and 3; RFC 5321 2.3.8.
"""

import re
from typing import Final

from meta1g.base.dataclass import dataclass
from meta1g.smtp.data import LineLengths, has_bare
from meta1g.smtp.limits import SIZE_MAX_DIGITS

_ARGUMENT: Final = re.compile(rf"([0-9]{{1,{SIZE_MAX_DIGITS}}})(?: +(LAST))?", re.IGNORECASE)
_HEADER_END: Final = b"\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Chunk:
    """The argument of BDAT: how many octets follow, and whether they are the last of the message."""

    size_bytes: int
    last: bool


def parse_chunk(argument: str) -> Chunk | None:
    """Reads the argument of BDAT; None if it is none, and then nobody knows what follows."""
    match = _ARGUMENT.fullmatch(argument)
    return None if match is None else Chunk(int(match[1]), match[2] is not None)


class BadContentError(ValueError):
    """Content that must not go out by BDAT; the message says why, in words for an operator."""


class ChunkSender:
    """Sends content as one chunk: it goes as it is, so what would be a line end to some servers only must not be in it.

    Args:
        head: the BDAT command.
        size_bytes: what it announces.
        binary: the body is BINARYMIME, where every octet is right.

    Owner: the session that sends the message.
    """

    __slots__ = ("_bare", "_binary", "_head", "_held", "_left")

    def __init__(self, head: bytes, size_bytes: int, *, binary: bool) -> None:
        self._head = head
        self._left = size_bytes
        self._binary = binary
        self._held = b""
        self._bare = False

    def feed(self, content: bytes) -> bytes:
        """Gives the next bytes to send."""
        self._left -= len(content)
        if self._left < 0:
            raise BadContentError(f"it has {-self._left} bytes more than were announced")
        if not self._binary and not self._bare:
            stream = self._held + content
            self._held = stream[-1:] if stream.endswith(b"\r") else b""
            self._bare = has_bare(stream[:-1] if self._held else stream)
        if self._bare:
            raise BadContentError("it has a bare CR or LF")
        head, self._head = self._head, b""
        return head + content if head else content

    def finish(self) -> bytes:
        """Gives the last bytes to send.

        Raises:
            BadContentError: not all of it is there, or it ends in a bare CR.
        """
        if self._left or self._held:
            raise BadContentError(
                f"it has {self._left} bytes less than were announced" if self._left else "it ends in a bare CR"
            )
        return self._head


class Joiner:
    """Takes the octets of all chunks of a message and gives its content.

    Args:
        binary: the body is BINARYMIME.
        max_line_bytes: longest line with its CR LF; a longer one sets long_line; 0 for any.  A binary body has no lines.

    Attributes:
        bare: the content has a bare CR or LF where it must not.
        long_line: the content has a line that is too long.

    Owner: the session that receives the message.
    """

    __slots__ = ("_binary", "_held", "_in_lines", "_lengths", "_seen", "bare", "long_line")

    def __init__(self, *, binary: bool, max_line_bytes: int = 0) -> None:
        self._binary = binary
        self._in_lines = True  # until the body of a binary message begins
        self._held = b""  # a CR whose LF may follow
        self._seen = b"\r\n"  # how the content ends so far; a message begins at the start of a line
        self._lengths = LineLengths(max_line_bytes) if max_line_bytes else None
        self.bare = False
        self.long_line = False

    def feed(self, data: bytes) -> bytes:
        """Takes octets, cut anywhere; gives the content that is certain now, where a line end is never cut in two."""
        if not self._in_lines:
            return data
        stream = self._held + data if self._held else data
        self._held = b""
        body = self._body_begins(stream) if self._binary else -1
        if body >= 0:
            self._check(stream[:body])
            self._in_lines = False
            return stream
        if stream.endswith(b"\r"):
            self._held, stream = b"\r", stream[:-1]
        self._check(stream)
        return stream

    def finish(self) -> bytes:
        """Gives what is behind the last octet."""
        if not self._in_lines:
            return b""
        rest, self._held = self._held, b""
        self.bare = self.bare or bool(rest)
        return rest if not rest and self._seen.endswith(b"\r\n") else rest + b"\r\n"

    def _body_begins(self, stream: bytes) -> int:
        """Gives where the body begins, -1 if not here."""
        before = self._seen[-len(_HEADER_END) + 1 :]
        end = (before + stream[: len(_HEADER_END)]).find(_HEADER_END) - len(before)
        if end < -len(before):
            end = stream.find(_HEADER_END)
            return end if end < 0 else end + len(_HEADER_END)
        return end + len(_HEADER_END)

    def _check(self, lines: bytes) -> None:
        if not lines:
            return
        self._seen = (self._seen + lines if len(lines) < len(_HEADER_END) else lines)[-len(_HEADER_END) :]
        if not self.bare and has_bare(lines):
            self.bare = True
        if self._lengths is not None and not self.long_line:
            self.long_line = self._lengths.feed(lines)
