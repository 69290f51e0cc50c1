"""The content of a message as the rules see it: fields of the header, then lines of the body, while it arrives.

Pure.  Ref: milter-regex(8), "EVALUATION"; RFC 5322 2.1.
"""

from collections.abc import Iterator
from typing import Final

from meta1g.milter.header import ContentSplitter, value_for_filter

#: The header and its fields that are looked at.  Ref: the gateway takes no more (docs/milters.md).
HEADER_MAX_BYTES: Final = 1 << 20
FIELDS_MAX: Final = 5000
#: Longer lines of a body are looked at in pieces.  Ref: the buffer of milter-regex.
LINE_MAX_BYTES: Final = 2047


class ContentLines:
    """Cuts content into what the rules look at.

    Args:
        lines_max: lines of the body to look at, 0 for all.

    Attributes:
        header_done: the header is over.

    Owner: the session.
    """

    __slots__ = ("_given", "_lines", "_lines_max", "_rest", "_splitter", "header_done")

    def __init__(self, lines_max: int = 0) -> None:
        self._splitter = ContentSplitter(HEADER_MAX_BYTES, FIELDS_MAX)
        self._lines_max = lines_max
        self._lines = 0
        self._rest = b""
        self._given = False
        self.header_done = False

    def feed(self, piece: bytes) -> bytes:
        """Takes the next piece; gives what of it belongs to the body, for lines()."""
        body = self._splitter.feed(piece)
        self.header_done = self._splitter.done
        return body

    def finish(self) -> bytes:
        """Is told that the content is complete; gives what belongs to the body, for lines()."""
        body = self._splitter.finish()
        self.header_done = True
        return body

    def fields(self) -> Iterator[tuple[bytes, bytes]]:
        """Gives name and value of each field, once, when the header is over; lines of a value are parted by LF."""
        if self.header_done and not self._given:
            self._given = True
            for field in self._splitter.fields[:FIELDS_MAX]:
                yield field.name, value_for_filter(field, leading_space=False)

    def lines(self, body: bytes, *, last: bool = False) -> Iterator[bytes]:
        """Gives the lines of the next piece of the body without their ends; of the last piece all of it."""
        *whole, rest = (self._rest + body).split(b"\n")
        for line in [*whole, rest] if last and rest else whole:
            yield from self._counted(line.removesuffix(b"\r"))
        while len(rest) > LINE_MAX_BYTES + 1 and not last:  # the CR of its end may be the last byte
            yield from self._counted(rest[:LINE_MAX_BYTES])
            rest = rest[LINE_MAX_BYTES:]
        self._rest = b"" if last else rest

    def _counted(self, line: bytes) -> Iterator[bytes]:
        for begin in range(0, max(1, len(line)), LINE_MAX_BYTES):
            self._lines += 1
            if self._lines_max and self._lines > self._lines_max:
                return
            yield line[begin : begin + LINE_MAX_BYTES]
