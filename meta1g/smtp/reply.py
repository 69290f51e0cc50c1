"""A bounded parser for the replies of other servers.

Whatever bytes a server sends, the texts of parsed replies are printable ASCII (invariant I5), and the memory a parser
holds is bounded by PEER_REPLY_MAX_LINES lines of PEER_REPLY_LINE_MAX_BYTES (invariant I4): of a longer reply the first lines
and the last one are kept, for the last one decides.

Pure.  Ref: RFC 5321 4.2; RFC 2034 and RFC 3463 (enhanced status codes).
"""

import re
from typing import Final

from meta1g.base.errors import Module, TempError
from meta1g.base.reply import Reply, printable
from meta1g.smtp.limits import PEER_REPLY_LINE_MAX_BYTES, PEER_REPLY_LINES_END, PEER_REPLY_MAX_LINES

#: Some servers write a tab; those that wait for a blank then wait in vain.
_LINE: Final = re.compile(rb"([2-5][0-9][0-9])(?:([ \t-])(.*))?", re.DOTALL)
#: What is a line of a reply for a liberal reader, too.
_LIKE_A_LINE: Final = re.compile(rb"([2-5][0-9][0-9])(?=([^0-9A-Za-z]))(.*)", re.DOTALL)
_ECODE: Final = re.compile(r"([245]\.[0-9]{1,3}\.[0-9]{1,3})(?: |$)")
CR_LF: Final = b"\r\n"


class ReplyError(TempError):
    """A server sent what is no SMTP reply; the connection is of no further use."""

    def __init__(self, cause: str) -> None:
        super().__init__(Module.DA, cause, code=421, ecode="4.5.0")


class ReplyParser:
    """Turns the bytes of a server into replies.

    CR LF ends a line (invariant I6); what has come so far and ends in LF alone is taken too if all of it is reply lines, since
    some servers write so.  If the lines of a reply differ in their codes, the last one decides: after the final dot a reply
    that is understood beats a message that is delivered once more.

    Args:
        origin: who speaks, see Reply.

    Attributes:
        nonsense: the beginning of a line that was passed over since it is no reply line, or empty.

    Owner: the session that reads from the server.
    """

    __slots__ = ("_buffer", "_code", "_count", "_error", "_lines", "_origin", "nonsense")

    def __init__(self, origin: str = "") -> None:
        self._buffer = b""
        self._lines: list[str] = []
        self._code = self._count = 0
        self._error: ReplyError | None = None
        self._origin = origin
        self.nonsense = ""

    @property
    def pending(self) -> bool:
        """Whether a reply has begun that is not complete."""
        return bool(self._buffer or self._lines)

    @property
    def has_more(self) -> bool:
        """Whether something has come behind the replies that feed() gave."""
        return self.pending or self._error is not None

    def check(self) -> None:
        """Finds what was wrong behind the replies that feed() gave.

        Raises:
            ReplyError: a line is no reply line, or a bound is exceeded.
        """
        if self._error is not None:
            raise self._error

    def feed(self, data: bytes, *, liberal: bool = False) -> list[Reply]:
        """Takes received bytes.

        Args:
            data: the bytes.
            liberal: a code may end at any character but a letter or digit; lines that are no reply lines are passed over
                (`nonsense`).

        Returns:
            The replies that are complete now; check() tells what is wrong behind them.

        Raises:
            ReplyError: a line is no reply line, or a bound is exceeded, and no reply came before it.
        """
        self.check()
        replies: list[Reply] = []
        try:
            self._take(data, replies, liberal=liberal)
        except ReplyError as error:
            self._error = error
            if not replies:
                raise
        return replies

    def _take(self, data: bytes, replies: list[Reply], *, liberal: bool) -> None:
        *whole, self._buffer = (self._buffer + data).split(CR_LF)
        lines = [line for one in whole for line in (_bare_lines(one) if b"\n" in one else (one,))]
        if self._buffer.endswith(b"\n"):
            lines += self._last_bare_lines()
        for line in lines:
            try:
                last = self._is_last(line, liberal=liberal)
            except ReplyError as error:
                if not liberal:
                    raise
                self.nonsense = self.nonsense or error.cause
                continue
            if last:
                replies.append(self._reply())
        if len(self._buffer) > PEER_REPLY_LINE_MAX_BYTES:
            cause = f"reply line longer than {PEER_REPLY_LINE_MAX_BYTES} bytes"
            if not liberal:
                raise ReplyError(cause)
            self._buffer, self.nonsense = b"", self.nonsense or cause

    def rest(self) -> Reply | None:
        """Gives the reply that has begun and will not be completed any more, if its code has come."""
        match = _LINE.fullmatch(self._buffer)
        if match is not None:
            self._code = int(match[1])
            self._lines.append(_text(match[3] or b""))
        self._buffer = b""
        return self._reply() if self._lines else None

    def _last_bare_lines(self) -> list[bytes]:
        """Takes the lines that end in LF alone from the buffer, if all are reply lines."""
        lines = self._buffer[:-1].split(b"\n")
        if not all(_LINE.fullmatch(line) for line in lines):
            return []
        self._buffer = b""
        return lines

    def _is_last(self, line: bytes, *, liberal: bool) -> bool:
        """Takes one line; tells whether it ends its reply."""
        match = _LINE.fullmatch(line) or (_LIKE_A_LINE.fullmatch(line) if liberal else None)
        if match is None or len(line) > PEER_REPLY_LINE_MAX_BYTES:
            raise ReplyError(f"not a reply: {_text(line[:80])}")
        self._count += 1
        if self._count > PEER_REPLY_LINES_END:
            self._lines, self._count = [], 0
            raise ReplyError(f"reply of more than {PEER_REPLY_LINES_END} lines")
        self._code = int(match[1])
        is_last = match[2] != b"-"
        if is_last or len(self._lines) < PEER_REPLY_MAX_LINES - 1:
            self._lines.append(_text(match[3] or b""))
        return is_last

    def _reply(self) -> Reply:
        """Puts a reply together; its enhanced code is the last one of its class, another one stays in the text of its line."""
        found = [_ECODE.match(text) for text in self._lines]
        codes = [match[1] for match in found if match is not None and int(match[1][0]) == self._code // 100]
        ecode = codes[-1] if codes else ""
        texts = [
            text if match is None or match[1] != ecode else text[match.end() :]
            for text, match in zip(self._lines, found, strict=True)
        ]
        self._lines, self._count = [], 0
        return Reply(self._code, ecode, texts[0] if len(texts) == 1 else tuple(texts), self._origin)


def _bare_lines(line: bytes) -> list[bytes]:
    """Gives the lines of a reply all but the last of which end in LF alone; a LF in the text of one line ends no line."""
    lines = line.split(b"\n")
    found = [match for match in map(_LINE.fullmatch, lines) if match is not None]
    one_reply = len(found) == len(lines) and len({match[1] for match in found}) == 1
    return lines if one_reply and all(match[2] == b"-" for match in found[:-1]) else [line]


def _text(data: bytes) -> str:
    return printable(data.decode("utf-8", "surrogateescape"))
