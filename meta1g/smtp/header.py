"""The header of a message: where it ends, its fields, how many Received fields it has, whether a program replied by it.

Pure.  Ref: RFC 5322 2.2, 2.2.3; RFC 5321 6.3 (loop detection); RFC 3834 (automatic replies); RFC 8689 3
(TLS-Required).
"""

import re
from collections.abc import Iterator
from typing import Final

from meta1g.base.dataclass import dataclass
from meta1g.smtp.limits import TEXT_LINE_MAX_BYTES

_FIELD: Final = re.compile(rb"([!-9;-~]+)[ \t]*:")
_FOLD: Final = re.compile(rb"\r\n(?=[ \t])")
#: RFC 3834 5, RFC 5436 2.7.1 (auto-notified); RFC 6522.  Comments may stand before the value.
_AUTOMATIC: Final = re.compile(
    rb"(?:auto-submitted[ \t]*:(?:\s|\([^()]*\))*auto-(?:replied|notified)|content-type[ \t]*:\s*multipart/report)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Field:
    """One header field: its name as written, and all its bytes with every line end."""

    name: bytes
    raw: bytes

    @property
    def value(self) -> bytes:
        """The value, unfolded, without surrounding blanks."""
        return unfold(self.raw.partition(b":")[2]).strip()


def unfold(raw: bytes) -> bytes:
    """Removes the line ends of a folded value."""
    return _FOLD.sub(b"", raw)


_MESSAGE_ID: Final = re.compile(rb"(?:^|\r\n)message-id[ \t]*:[ \t]*(?:\r\n[ \t]+)?(<[^<>\r\n]+>)", re.IGNORECASE)


def header_end(content: bytes) -> int:
    """Gives where the header ends: the offset after its last line end, before the empty line; -1 if that is not there."""
    if content.startswith(b"\r\n"):
        return 0
    end = content.find(b"\r\n\r\n")
    return end + 2 if end >= 0 else -1


class HeaderMeter:
    """Measures the header of a message while its content passes by, in pieces of any size.

    The header ends before the empty line, or before a line that is neither a field nor a continuation.

    Attributes:
        size_bytes: bytes of the header so far, with its line ends.
        lines: lines of it so far.
        done: it has ended; what follows is the body, the empty line included.

    Owner: whoever made it.
    """

    __slots__ = ("_in_line", "_rest", "done", "lines", "size_bytes")

    def __init__(self) -> None:
        self.size_bytes = 0
        self.lines = 0
        self.done = False
        self._rest = b""
        self._in_line = False  # the line at hand is one of the header; most of it is counted already

    def feed(self, piece: bytes) -> None:
        """Takes the next piece."""
        data, start = self._rest + piece, 0
        while not self.done and (end := data.find(b"\r\n", start)) >= 0:
            self._line(data[start:end])
            start = end + 2
        if not self.done:
            self._hold(data[start:])

    def _line(self, line: bytes) -> None:
        if not self._in_line and not self._belongs(line):
            self.done = True
            return
        self._in_line = False
        self.size_bytes += len(line) + 2
        self.lines += 1

    def _hold(self, rest: bytes) -> None:
        """Keeps the beginning of a line; of a long one only whether it belongs to the header."""
        if self._in_line or len(rest) > TEXT_LINE_MAX_BYTES:
            if not self._in_line and not self._belongs(rest):
                self.done = True
                return
            self._in_line = True
            self.size_bytes += len(rest) - 1
            rest = rest[-1:]  # it may be the CR of the line end
        self._rest = rest

    def _belongs(self, line: bytes) -> bool:
        return _FIELD.match(line) is not None or (line[:1] in (b" ", b"\t") and self.lines > 0)


def split_header(content: bytes) -> tuple[bytes, bytes]:
    """Splits content into header and body, without the empty line between them.

    The header also ends before a line that is neither a field nor a continuation; a message that ends in its header
    has an empty body.
    """
    end = header_end(content)
    header, body = (content, b"") if end < 0 else (content[:end], content[end + 2 :])
    good = sum(len(field.raw) for field in fields(header))
    return (header, body) if good == len(header) else (content[:good], content[good:])


def fields(header: bytes) -> Iterator[Field]:
    """Gives the fields of a header in order, up to the first line that is none."""
    name, parts = b"", list[bytes]()
    for line in _lines(header):
        if line[:1] in (b" ", b"\t") and name:
            parts.append(line)
            continue
        if name:
            yield Field(name, b"".join(parts))
        match = _FIELD.match(line)
        if match is None:
            return
        name, parts = match[1], [line]
    if name:
        yield Field(name, b"".join(parts))


def _lines(header: bytes) -> list[bytes]:
    """Cuts after CR LF only (invariant I6)."""
    *lines, last = header.split(b"\r\n")
    return [line + b"\r\n" for line in lines] + ([last] if last else [])


def count_received(header: bytes) -> int:
    """Gives the number of Received fields of a header, in one pass over it."""
    lowered = header.lower()
    return lowered.count(b"\r\nreceived:") + lowered.startswith(b"received:")


def is_automatic(header: bytes) -> bool:
    """Tells whether a message is a report, or an automatic reply or notification: no report may answer it.

    What a program sends of its own accord (`auto-generated`) is none of them: its owner wants to hear that it did not arrive.

    Args:
        header: a header, or the beginning of a message.
    """
    lowered = header.lower()
    if b"auto-submitted" not in lowered and b"multipart/report" not in lowered:
        return False
    return any(_AUTOMATIC.match(field.raw) for field in fields(header))


def makes_tls_optional(header: bytes) -> bool:
    """Tells whether a message asks to be sent even where the receiving side demands TLS: `TLS-Required: No` (RFC 8689 3).

    Args:
        header: a header, or the beginning of a message.
    """
    if b"tls-required" not in header.lower():
        return False
    said = [field.raw.partition(b":")[2].strip().lower() for field in fields(header) if field.name.lower() == b"tls-required"]
    return said == [b"no"]


def message_id(header: bytes) -> str | None:
    """Gives the Message-ID of a header in its angle brackets, None if it has none (RFC 5322 3.6.4).

    Args:
        header: a header, or the beginning of a message; a field that is folded before its value is one, too.
    """
    found = _MESSAGE_ID.search(header)
    return None if found is None else found[1].decode("utf-8", "surrogateescape")
