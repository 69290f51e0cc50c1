"""A bounded parser for the replies of other servers.

Whatever bytes a server sends, the texts of parsed replies are printable ASCII (invariant I5), and the memory a parser
holds is bounded by PEER_REPLY_MAX_LINES lines of PEER_REPLY_LINE_MAX_BYTES (invariant I4).

Pure.  Ref: RFC 5321 4.2; RFC 2034 and RFC 3463 (enhanced status codes).
"""

import re
from typing import Final

from meta1g.base.errors import Module, TempError
from meta1g.base.reply import Reply, printable
from meta1g.smtp.limits import PEER_REPLY_LINE_MAX_BYTES, PEER_REPLY_MAX_LINES

_LINE: Final = re.compile(rb"([2-5][0-9][0-9])(?:([ -])(.*))?", re.DOTALL)
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
        origin: who the server is, for what it says.

    Owner: the session that reads from the server.
    """

    __slots__ = ("_buffer", "_lines", "_origin")

    def __init__(self, origin: str = "") -> None:
        self._origin = origin
        self._buffer = b""
        self._lines: list[str] = []

    @property
    def pending(self) -> bool:
        """Whether a reply has begun that is not complete."""
        return bool(self._buffer or self._lines)

    def feed(self, data: bytes) -> list[Reply]:
        """Takes received bytes.

        Returns:
            The replies that are complete now.

        Raises:
            ReplyError: a line is no reply line, or a bound is exceeded.
        """
        *lines, self._buffer = (self._buffer + data).split(CR_LF)
        if self._buffer.endswith(b"\n"):
            lines += self._bare_lines()
        if len(self._buffer) > PEER_REPLY_LINE_MAX_BYTES:
            raise ReplyError(f"reply line longer than {PEER_REPLY_LINE_MAX_BYTES} bytes")
        replies = []
        for line in lines:
            code = self._last_line(line)
            if code:
                replies.append(_reply(code, self._lines, self._origin))
                self._lines = []
        return replies

    def _bare_lines(self) -> list[bytes]:
        """Takes the lines that end in LF alone from the buffer, if all are reply lines."""
        lines = self._buffer[:-1].split(b"\n")
        if not all(_LINE.fullmatch(line) for line in lines):
            return []
        self._buffer = b""
        return lines

    def _last_line(self, line: bytes) -> int:
        """Takes one line; gives the code of the reply if the line ends it, else 0."""
        match = _LINE.fullmatch(line)
        if match is None or len(line) > PEER_REPLY_LINE_MAX_BYTES:
            raise ReplyError(f"not a reply: {_text(line[:80])}")
        if len(self._lines) >= PEER_REPLY_MAX_LINES:
            raise ReplyError(f"reply of more than {PEER_REPLY_MAX_LINES} lines")
        self._lines.append(_text(match[3] or b""))
        return 0 if match[2] == b"-" else int(match[1])


def _reply(code: int, lines: list[str], origin: str) -> Reply:
    """Puts a reply together; an enhanced code of the same class is taken from the lines, the last one counts."""
    ecode, texts = "", []
    for text in lines:
        match = _ECODE.match(text)
        if match is not None and int(text[0]) == code // 100:
            ecode, text = match[1], text[match.end() :]  # noqa: PLW2901  the rest of the line
        texts.append(text)
    return Reply(code, ecode, texts[0] if len(texts) == 1 else tuple(texts), origin)


def _text(data: bytes) -> str:
    return printable(data.decode("utf-8", "surrogateescape"))
