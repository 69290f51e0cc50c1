r"""A report as one server takes it: which part of the original comes back, and how each part is labelled and encoded.

    form                                  if
    the whole message, as it is           it is asked for, its bytes may be sent as 7bit or 8bit here, it is not too large
    its header                            it is not too large; quoted-printable if it cannot be sent as it is
    the most telling fields of its header as many as there is room for
    nothing of it                         not even one field fits

Labels follow the content (RFC 2045 6.2, 6.4), never what the client has said of it.  A report needs no extension but
SMTPUTF8 for an address of its own.  A message of type message/rfc822 cannot be encoded (RFC 2046 5.2.1), so it goes only where
its bytes go; the types of RFC 6533 can.

Pure.  Ref: RFC 3464 2, RFC 6522 3 and 4, RFC 6533 4 to 6, RFC 6152, RFC 1870.
"""

import binascii
import os
from collections.abc import Sequence
from typing import Final

from meta1g.base.dataclass import dataclass
from meta1g.rcb.smtpc_qmgr import Deliver, DsnPart
from meta1g.smtp.data import has_bare
from meta1g.smtp.esmtp import Ext, Extensions
from meta1g.smtp.header import Field, fields, header_end
from meta1g.smtpc.limits import RETURNED_HEADER_BYTES

#: RFC 5322 2.1.1: a line of mail, without CR LF; RFC 2045 6.2 demands it of 7bit and 8bit.
_LINE_MAX_BYTES: Final = 998
#: Fields that tell the sender which message it was; they are kept first if there is no room for all.
_TELLING: Final = (b"from", b"to", b"cc", b"subject", b"date", b"message-id")


class Original:
    """What a report has to know of the message that it is about.

    Attributes:
        size_bytes: its size.
        plain: all bytes are ASCII.
        sendable: it is 7bit or 8bit in the sense of RFC 2045 6.2: no NUL, no bare CR or LF, no line that is too long.

    Owner: the delivery.
    """

    __slots__ = ("_cr", "_held", "_line", "plain", "sendable", "size_bytes")

    def __init__(self) -> None:
        self.size_bytes = 0
        self.plain = True
        self.sendable = True
        self._held = b""
        self._cr = b""  # what the last piece ended with, if its LF may follow
        self._line = 0  # bytes of the line that has no end yet

    def feed(self, piece: bytes) -> None:
        """Takes the next piece."""
        self.size_bytes += len(piece)
        self.plain = self.plain and piece.isascii()
        if len(self._held) < RETURNED_HEADER_BYTES:
            self._held += piece[: RETURNED_HEADER_BYTES - len(self._held)]
        if self.sendable:
            self.sendable = b"\0" not in piece and self._short_lines(piece) and self._whole_line_ends(piece)

    def _whole_line_ends(self, piece: bytes) -> bool:
        stream = self._cr + piece
        self._cr = b"\r" if stream.endswith(b"\r") else b""
        return not has_bare(stream[:-1] if self._cr else stream)

    def _short_lines(self, piece: bytes) -> bool:
        lines = piece.split(b"\n")
        longest = max(self._line + len(lines[0]), *map(len, lines)) if len(lines) > 1 else self._line + len(piece)
        self._line = len(lines[-1]) if len(lines) > 1 else self._line + len(piece)
        return longest <= _LINE_MAX_BYTES + len(b"\r")

    def header(self) -> bytes:
        """Gives its header fields, without the empty line behind them; at most RETURNED_HEADER_BYTES of it."""
        end = header_end(self._held)
        block = self._held if end < 0 else self._held[:end]
        if end < 0 and len(self._held) == RETURNED_HEADER_BYTES:
            block = block[: block.rfind(b"\r\n") + 2]
        return b"".join(field.raw for field in fields(block))


@dataclass(frozen=True, slots=True)
class Shape:
    """A report for one server.

    Args:
        head: everything before the whole message, or all but the last boundary if that is not returned.
        full: the whole message comes between head and tail.
        tail: the end.
        eightbit: it needs BODY=8BITMIME.
        smtputf8: it needs SMTPUTF8.
    """

    head: bytes
    full: bool
    tail: bytes
    eightbit: bool
    smtputf8: bool


@dataclass(frozen=True, slots=True)
class _Server:
    """What counts of the extensions of a server; size_max is 0 if it names no limit."""

    size_max: int
    eightbit: bool
    utf8: bool

    @property
    def takes_utf8(self) -> bool:
        """Whether internationalized content may go as it is."""
        return self.utf8 and self.eightbit


def shape(job: Deliver, original: Original, extensions: Extensions) -> Shape:
    """Chooses the form of a report.

    Args:
        job: the delivery of a report.
        original: the message that it is about.
        extensions: what the server offers.

    Returns:
        The fullest form that the server takes; the smallest one if it takes none, refusal() tells it then.
    """
    server = _Server(extensions.size_max_bytes, extensions.has(Ext.EIGHTBITMIME), extensions.has(Ext.SMTPUTF8))
    boundary = f"={job.da_ta_id}.{os.urandom(8).hex()}"
    header = original.header()
    if job.dsn_full and _may_go(job, original, header, server):
        made = _whole(job, original, header, boundary, server)
        if _fits(len(made.head) + original.size_bytes + len(made.tail), server):
            return made
    return _with_header(job, header, boundary, server)


def _may_go(job: Deliver, original: Original, header: bytes, server: _Server) -> bool:
    """Tells whether the whole message can be a part as it is."""
    if original.plain or not original.sendable:
        return original.sendable
    return server.takes_utf8 if _is_global(job, header) else server.eightbit


def _is_global(job: Deliver, header: bytes) -> bool:
    return job.smtputf8 and not header.isascii() and _is_utf8(header)


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _fits(size_bytes: int, server: _Server) -> bool:
    return not server.size_max or size_bytes <= server.size_max


def _whole(job: Deliver, original: Original, header: bytes, boundary: str, server: _Server) -> Shape:
    is_global = _is_global(job, header)
    label = f"Content-Type: {'message/global' if is_global else 'message/rfc822'}\r\nContent-Description: Message\r\n"
    encoding = b"" if original.plain else b"Content-Transfer-Encoding: 8bit\r\n"
    head, eightbit, utf8 = _assemble(job, job.dsn_parts, boundary, server, b"--%b\r\n" % boundary.encode(), not original.plain)
    head += label.encode() + encoding + b"\r\n"
    return Shape(head, True, _end(boundary), eightbit, utf8 or is_global)


def _with_header(job: Deliver, header: bytes, boundary: str, server: _Server) -> Shape:
    """Gives the report with as much of the header as there is room for."""
    kind = "message/global-headers" if _is_global(job, header) else "text/rfc822-headers"
    chosen, about = header, "Header of the message"
    while True:
        parts = (*job.dsn_parts, DsnPart(mime_type=kind, about=about, data=chosen)) if chosen else job.dsn_parts
        head, eightbit, utf8 = _assemble(job, parts, boundary, server)
        made = Shape(head, False, _end(boundary), eightbit, utf8)
        over = len(head) + len(made.tail) - server.size_max
        if not chosen or over <= 0 or not server.size_max:
            return made
        chosen, about = _cut(chosen, len(chosen) - over), "Header of the message, shortened"


def _cut(header: bytes, room: int) -> bytes:
    """Gives the fields of a header that fit, in their order, the most telling ones first of all."""
    all_fields = list(fields(header))
    kept: set[int] = set()
    for index, field in sorted(enumerate(all_fields), key=lambda pair: _rank(pair[1])):
        if len(field.raw) <= room:
            kept.add(index)
            room -= len(field.raw)
    return b"".join(field.raw for index, field in enumerate(all_fields) if index in kept)


def _rank(field: Field) -> int:
    name = field.name.lower()
    return _TELLING.index(name) if name in _TELLING else len(_TELLING)


def _assemble(
    job: Deliver, parts: Sequence[DsnPart], boundary: str, server: _Server, rest: bytes = b"", rest_8bit: bool = False
) -> tuple[bytes, bool, bool]:
    """Puts header and parts together; tells whether something in it is 8bit, and whether it is SMTPUTF8."""
    made = [_part(part, server) for part in parts]
    eightbit = rest_8bit or any(one.eightbit for one in made)
    header = job.dsn_head or b""
    kind = next((part.mime_type.partition("/")[2] for part in parts if part.mime_type.endswith("delivery-status")), "")
    about = f'Content-Type: multipart/report; report-type={kind};\r\n boundary="{boundary}"\r\n'
    encoding = "Content-Transfer-Encoding: 8bit\r\n" if eightbit else ""
    delimiter = b"\r\n--%b\r\n" % boundary.encode()
    body = b"This is a report in MIME format.\r\n" + b"".join(delimiter + one.data for one in made)
    head = header + (about + encoding + "\r\n").encode() + body + (b"\r\n" + rest if rest else b"")
    return head, eightbit, any(one.utf8 for one in made) or not header.isascii()


def _end(boundary: str) -> bytes:
    return f"\r\n--{boundary}--\r\n".encode()


@dataclass(frozen=True, slots=True)
class _Part:
    """A part with its labels; whether it is 8bit and internationalized."""

    data: bytes
    eightbit: bool = False
    utf8: bool = False


def _part(part: DsnPart, server: _Server) -> _Part:
    """Labels a part after what is in it, and encodes what the server does not take."""
    data, main = part.data, part.mime_type
    plain = data.isascii()
    label = f"Content-Type: {main}"
    if main == "text/plain":
        label += f"; charset={'us-ascii' if plain else 'utf-8'}"
    label += f"\r\nContent-Description: {part.about}\r\n"
    is_global = main.startswith("message/global") and not plain
    as_it_is = plain or (server.takes_utf8 if is_global else server.eightbit and main == "text/plain")
    if as_it_is and _sendable(data):
        label += "" if plain else "Content-Transfer-Encoding: 8bit\r\n"
        return _Part(f"{label}\r\n".encode() + data, not plain, is_global)
    label += "Content-Transfer-Encoding: quoted-printable\r\n\r\n"
    return _Part(label.encode() + _quoted_printable(data))


def _sendable(data: bytes) -> bool:
    return b"\0" not in data and max(map(len, data.split(b"\r\n"))) <= _LINE_MAX_BYTES


def _quoted_printable(data: bytes) -> bytes:
    """Encodes lines that end in CR LF; everything else of CR and LF is encoded, too (RFC 2045 6.7)."""
    return b"\r\n".join(_quoted_line(line) for line in data.split(b"\r\n"))


def _quoted_line(line: bytes) -> bytes:
    return binascii.b2a_qp(line, istext=False).replace(b"=\n", b"=\r\n")
