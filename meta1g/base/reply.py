"""What was said about a session, a transaction or a recipient: one SMTP reply, and who said it.

Every part of the gateway that decides or passes on such a thing does it with this value: what a client is told, what a server
answered, what is stored with a recipient and written into a report.

Pure.  Ref: invariant I14; RFC 5321 4.2; RFC 2034 and RFC 3463 (enhanced status codes).
"""

import re
from typing import Final

from meta1g.base.dataclass import dataclass

#: RFC 5321 4.5.3.1.5: a reply line that we write, with its CR LF.
REPLY_LINE_MAX_BYTES: Final = 512
_TEXT_MAX_CHARS: Final = REPLY_LINE_MAX_BYTES - len("250-2.1.100 \r\n")
_NOT_PRINTABLE: Final = re.compile(r"[^ -~]")


def printable(text: str) -> str:
    r"""Gives text with everything but printable ASCII written as `\xNN`, byte by byte (invariant I5)."""
    if text.isascii() and text.isprintable():
        return text
    return _NOT_PRINTABLE.sub(_escape, text)


def _escape(match: "re.Match[str]") -> str:
    return "".join(f"\\x{byte:02X}" for byte in match[0].encode("utf-8", "surrogateescape"))


@dataclass(frozen=True, slots=True)
class Reply:
    """One reply.

    Args:
        code: 200 to 599, or 0 if nothing was said (NO_REPLY).
        ecode: enhanced status code such as `2.1.5`, or empty.
        text: one line, or the lines of a multi-line reply; without code and enhanced code.
        origin: the other host that said it, `name[address]`; empty if it is our own word, also about another host.
    """

    code: int
    ecode: str = ""
    text: str | tuple[str, ...] = ""
    origin: str = ""

    @property
    def lines(self) -> tuple[str, ...]:
        """The text as lines, at least one."""
        return (self.text,) if isinstance(self.text, str) else self.text or ("",)

    @property
    def one_line(self) -> str:
        """The text as one line; empty lines leave nothing behind."""
        return self.text if isinstance(self.text, str) else " ".join(filter(None, self.text))

    @property
    def is_ok(self) -> bool:
        """2xx."""
        return 200 <= self.code < 300

    @property
    def is_more(self) -> bool:
        """3xx: the server waits for more."""
        return 300 <= self.code < 400

    @property
    def is_temp(self) -> bool:
        """4xx: trying again can help."""
        return 400 <= self.code < 500

    @property
    def is_perm(self) -> bool:
        """5xx."""
        return self.code >= 500

    def softened(self) -> "Reply":
        """Gives a permanent refusal as a temporary one, with the same words; anything else as it is."""
        if not self.is_perm:
            return self
        ecode = f"4{self.ecode[1:]}" if self.ecode.startswith("5") else self.ecode
        return Reply(self.code - 100, ecode, self.text, self.origin)

    def cut(self, chars: int) -> "Reply":
        """Gives the reply with its text as one line of at most so many characters."""
        text = self.text
        if isinstance(text, str) and len(text) <= chars:
            return self
        return Reply(self.code, self.ecode, self.one_line[:chars], self.origin)

    def encode(self) -> bytes:
        """Gives the reply as it is sent, every line with code and enhanced code, printable and cut to length."""
        ecode = f"{self.ecode} " if self.ecode else ""
        text = self.text
        if isinstance(text, str):
            return f"{self.code} {ecode}{printable(text)[:_TEXT_MAX_CHARS]}\r\n".encode("ascii")
        lines = [printable(line)[:_TEXT_MAX_CHARS] for line in self.lines]
        head = "".join(f"{self.code}-{ecode}{line}\r\n" for line in lines[:-1])
        return f"{head}{self.code} {ecode}{lines[-1]}\r\n".encode("ascii")

    def __str__(self) -> str:
        return " ".join(part for part in (str(self.code), self.ecode, self.one_line) if part)


#: Nothing was said.
NO_REPLY: Final = Reply(0)
