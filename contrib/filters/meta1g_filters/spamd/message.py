"""One message while it arrives: it is kept for spamd, in memory or, if it is large, in a file without a name.

spamd is given a field Received in front of it, as the gateway will put one there: without it, tests that look at the client
could not be made.

Ref: RFC 5321 4.4; Mail::SpamAssassin::Conf (trusted_networks, envelope_sender_header).
"""

import re
from collections.abc import Iterator
from email.utils import formatdate
from tempfile import SpooledTemporaryFile
from typing import Final

from meta1g.base.dataclass import dataclass
from meta1g.milter.header import ContentSplitter
from meta1g.smtp.header import Field

#: Header and its fields that are looked at; the gateway takes no more (docs/milters.md).
_HEADER_MAX_BYTES: Final = 1 << 20
_FIELDS_MAX: Final = 5000
#: What is held in memory of one message.
_MEMORY_BYTES: Final = 256 * 1024
_PIECE_BYTES: Final = 64 * 1024
_UNSAFE: Final = re.compile(r"[^!-'*-~]")
_NAME_MAX_CHARS: Final = 255


@dataclass(frozen=True, slots=True)
class Origin822:
    """Who sent a message.

    Args:
        address: IP address of the client.
        name: its name, empty if it is not known.
        helo: what it calls itself.
        protocol: ESMTP with S for TLS and A for AUTH, or SMTP.
        host: the gateway.
        ta_id: of the transaction.
        mail: the sender, without brackets.
    """

    address: str
    name: str
    helo: str
    protocol: str
    host: str
    ta_id: str
    mail: str


class SpamdMessage:
    """A message that arrives.

    Args:
        max_bytes: a larger one is not kept.

    Attributes:
        size_bytes: of it so far.
        too_big: it is larger than max_bytes.
        mail: the sender.
        protocol: by which it comes.

    Owner: the session.
    """

    __slots__ = ("_file", "_max_bytes", "_splitter", "mail", "protocol", "size_bytes", "too_big")

    def __init__(self, max_bytes: int, mail: str, protocol: str) -> None:
        self._file: SpooledTemporaryFile[bytes] = SpooledTemporaryFile(_MEMORY_BYTES)  # noqa: SIM115  closed with the message
        self._splitter = ContentSplitter(_HEADER_MAX_BYTES, _FIELDS_MAX)
        self._max_bytes = max_bytes
        self.size_bytes = 0
        self.too_big = False
        self.mail = mail
        self.protocol = protocol

    def feed(self, piece: bytes) -> bool:
        """Takes a piece; tells whether more is needed.  Blocks: yes (disk), if it is large."""
        self._splitter.feed(piece)
        self.size_bytes += len(piece)
        if self.size_bytes > self._max_bytes and not self.too_big:
            self.too_big = True
            self._file.close()
        if not self.too_big:
            self._file.write(piece)
        return not (self.too_big and self._splitter.done)

    def finish(self) -> tuple[Field, ...]:
        """Is told that it is complete; gives its header."""
        self._splitter.finish()
        return self._splitter.fields[:_FIELDS_MAX]

    def pieces(self, head: bytes) -> Iterator[bytes]:
        """Gives the message with something in front.  Blocks: yes (disk), if it is large."""
        yield head
        self._file.seek(0)
        while piece := self._file.read(_PIECE_BYTES):
            yield piece

    def close(self) -> None:
        """Forgets it."""
        self._file.close()


def received(origin: Origin822, rcpts: list[str]) -> bytes:
    """Gives the fields that stand in front of a message for spamd."""
    name = f"{_safe(origin.name) or 'unknown'} [{_safe(origin.address)}]"
    to = f"\r\n\tfor <{_safe(rcpts[0])}>" if len(rcpts) == 1 else ""
    return (
        f"X-Envelope-From: <{_safe(origin.mail)}>\r\n"
        f"Received: from {_safe(origin.helo) or 'unknown'} ({name})\r\n"
        f"\tby {_safe(origin.host) or 'localhost'} (meta1g) with {origin.protocol} id {_safe(origin.ta_id)}{to};\r\n"
        f"\t{formatdate()}\r\n"
    ).encode()


def _safe(text: str) -> str:
    """Gives a text that means nothing in a header: no blanks, parentheses, control characters."""
    return _UNSAFE.sub("?", text[:_NAME_MAX_CHARS])
