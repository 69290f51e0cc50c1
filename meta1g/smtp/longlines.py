"""Text lines that are too long for a server: found, and broken.

A line is broken before its last blank that fits, which in a header field is folding (RFC 5322 2.2.3): unfolded it is the same
field, and a relaxed DKIM signature of the header holds.  Where there is no blank, CR LF and a blank go between two characters,
as other mailers do it: base64 and markup do not mind.  Nothing is taken away, and the blank keeps the rest of a field in it.

Pure.  Ref: RFC 5321 4.5.3.1.6; RFC 5322 2.1.1; RFC 6376 3.4.2 (relaxed header canonicalization).
"""

import re
from typing import Final

from meta1g.smtp.limits import TEXT_LINE_MAX_BYTES

#: Octets of a line without its CR LF.
LINE_MAX_BYTES: Final = TEXT_LINE_MAX_BYTES - 2
_BLANKS: Final = (b" ", b"\t")
_UTF8_TAIL: Final = range(0x80, 0xC0)
_UTF8_TAILS_MAX: Final = 3
#: How servers say that a line is too long: Exim `maximum allowed line length is 998 octets`, others `Line too long`.
_COMPLAINT: Final = re.compile(
    r"\blines?\b.{0,60}\b(?:too long|length|longer|limit\w*|exceed\w*|max\w*|99[0-9]|100[0-9])\b"
    r"|\b(?:too long|overlong|longer|long|exceed\w*|max\w*|length)\b.{0,40}\blines?\b",
    re.IGNORECASE,
)
_TOO_LONG_CODE: Final = 500


def refuses_long_lines(code: int, text: str) -> bool:
    """Tells whether the answer to a message may be about the length of its lines.

    Args:
        code: of the reply; 500 means a line that is too long (RFC 5321 4.5.3.1.9).
        text: of the reply.
    """
    return code == _TOO_LONG_CODE or (code > _TOO_LONG_CODE and _COMPLAINT.search(text) is not None)


class LineBreaker:
    """Breaks the long lines of content that comes in pieces; holds no more than one line of the allowed length.

    Attributes:
        found: there was a line that is too long.

    Owner: the delivery.
    """

    __slots__ = ("_held", "found")

    def __init__(self) -> None:
        self._held = b""
        self.found = False

    def feed(self, piece: bytes) -> bytes:
        """Takes content; gives what is certain now."""
        data = self._held + piece if self._held else piece
        begin = data.rfind(b"\n") + 1
        end = len(data) - data.endswith(b"\r")  # it may be half of a line end
        rest = self._broken(data[begin:end])
        self._held = rest.pop() + data[end:]
        if not begin or not _has_long(data[:begin]):
            return b"".join([data[:begin], *rest])
        lines = [part for line in data[:begin].splitlines(keepends=True) for part in self._whole(line)]
        return b"".join(lines + rest)

    def finish(self) -> bytes:
        """Gives the last line, if it has no line end."""
        held, self._held = self._held, b""
        return held

    def _whole(self, line: bytes) -> list[bytes]:
        text = line.rstrip(b"\r\n")
        return [*self._broken(text), line[len(text) :]]

    def _broken(self, line: bytes) -> list[bytes]:
        """Gives a line in parts, each but the last one with its line end."""
        parts, start, head = [], 0, b""
        while len(head) + len(line) - start > LINE_MAX_BYTES:
            self.found = True
            room = LINE_MAX_BYTES - len(head)
            cut = _place(line, start, start + room)
            after = b"" if cut is not None else b" "
            cut = _character(line, start, start + room) if cut is None else cut
            parts.append(head + line[start:cut] + b"\r\n")
            start, head = cut, after
        return [*parts, head + line[start:]]


def _has_long(data: bytes) -> bool:
    """Tells whether data, which ends in a line end, has a line that is too long; by jumps of about one line."""
    start, total = 0, len(data)
    while total - start > LINE_MAX_BYTES:
        end = data.rfind(b"\n", start, start + LINE_MAX_BYTES + 2)
        if end < 0 or (end - start == LINE_MAX_BYTES + 1 and data[end - 1 : end] != b"\r"):
            return True
        start = end + 1
    return False


def _place(line: bytes, start: int, end: int) -> int | None:
    """Gives where the last blank is with something before it that is none, None if there is none."""
    place = max(line.rfind(blank, start + 1, end + 1) for blank in _BLANKS)
    return place if place > 0 and line[start:place].strip(b" \t") else None


def _character(line: bytes, start: int, end: int) -> int:
    """Gives the end of the last whole UTF-8 character before end."""
    for cut in range(end, max(end - _UTF8_TAILS_MAX - 1, start), -1):
        if line[cut] not in _UTF8_TAIL:
            return cut
    return end
