"""Reads DNS messages record by record, in time that grows with the packet, whatever its names look like.

A name is at most 255 bytes long (RFC 1035 2.3.4) and compression leads only back, a few times; what names share is read once.

Pure.  Ref: RFC 1035 4.1.
"""

import re
import struct
from typing import Final

from meta1g.base.dataclass import dataclass
from meta1g.smar.limits import NAME_HOPS_MAX, RECORDS_MAX

_HEADER: Final = struct.Struct(">HHHHHH")
_QUESTION: Final = struct.Struct(">HH")
_RECORD: Final = struct.Struct(">HHIH")
_POINTER: Final = 0xC0
_LABEL_MAX: Final = 63
_NAME_MAX: Final = 255
_TTL_SIGN: Final = 0x8000_0000
_PLAIN: Final = re.compile(rb"[a-z0-9_-]+")
_QUOTED: Final = frozenset(b'"().;\\@$')
_OPT: Final = 41


class WireError(ValueError):
    """A packet is not the answer to our question."""


@dataclass(frozen=True, slots=True)
class Record:
    """One record; start and end are the place of its data in the packet."""

    name: str
    rrtype: int
    rrclass: int
    ttl_s: int
    start: int
    end: int


class DnsMessage:
    """A message that was read.

    Args:
        packet: the packet; trailing bytes are passed over.

    Attributes:
        flags: the flags of the header.
        rcode: the response code, its extension by EDNS0 included.
        questions: name, type and class of each question.
        answer, authority: the records of these sections.

    Raises:
        WireError: it is damaged, or has more than RECORDS_MAX records.

    Immutable.
    """

    __slots__ = ("_names", "_packet", "answer", "authority", "flags", "questions", "rcode")

    def __init__(self, packet: bytes) -> None:
        self._packet = packet
        self._names: dict[int, tuple[str, int]] = {}
        try:
            _, self.flags, questions, *counts = _HEADER.unpack_from(packet)
            if questions + sum(counts) > RECORDS_MAX:
                raise WireError(f"more than {RECORDS_MAX} records")
            self.questions, at = self._questions(_HEADER.size, questions)
            self.answer, at = self._records(at, counts[0])
            self.authority, at = self._records(at, counts[1])
            further, at = self._records(at, counts[2])
        except (struct.error, IndexError) as error:
            raise WireError("packet is cut short") from error
        extended = next((one.ttl_s >> 24 for one in further if one.rrtype == _OPT), 0)
        self.rcode = extended << 4 | (self.flags & 0xF)

    def name_at(self, record: Record, skip: int = 0) -> str:
        """Gives the name that is the data of a record, behind so many bytes.

        Raises:
            WireError: it is damaged, or other bytes follow.
        """
        try:
            name, end = self._name(record.start + skip)
        except IndexError as error:
            raise WireError("name is cut short") from error
        if end != record.end:
            raise WireError("name does not end with its record")
        return name

    def data(self, record: Record) -> bytes:
        """Gives the data of a record."""
        return self._packet[record.start : record.end]

    def _questions(self, at: int, count: int) -> tuple[list[tuple[str, int, int]], int]:
        found = []
        for _ in range(count):
            name, at = self._name(at)
            rrtype, rrclass = _QUESTION.unpack_from(self._packet, at)
            at += _QUESTION.size
            found.append((name, rrtype, rrclass))
        return found, at

    def _records(self, at: int, count: int) -> tuple[list[Record], int]:
        found = []
        for _ in range(count):
            name, at = self._name(at)
            rrtype, rrclass, ttl_s, length = _RECORD.unpack_from(self._packet, at)
            start = at + _RECORD.size
            at = start + length
            if at > len(self._packet):
                raise WireError("record is cut short")
            if ttl_s & _TTL_SIGN and rrtype != _OPT:  # RFC 2181 8
                ttl_s = 0
            found.append(Record(name, rrtype, rrclass, ttl_s, start, at))
        return found, at

    def _name(self, at: int) -> tuple[str, int]:
        """Reads a name; gives it in lower case without its last dot, and the place behind it."""
        text, end, _ = self._read(at, 0)
        return text, end

    def _read(self, at: int, hops: int) -> tuple[str, int, int]:
        """Reads a name or the rest of one; gives it, the place behind it, and its length when written out."""
        packet = self._packet
        labels: list[str] = []
        size, here = 1, at
        while length := packet[here]:
            if length >= _POINTER:
                text, more = self._suffix(((length & ~_POINTER) << 8) | packet[here + 1], at, hops)
                if text:
                    labels.append(text)
                size, here = size + more - 1, here + 1
                break
            if length > _LABEL_MAX or here + 1 + length > len(packet):
                raise WireError("damaged name")
            labels.append(_label(packet[here + 1 : here + 1 + length]))
            size += length + 1
            if size > _NAME_MAX:
                break
            here += length + 1
        if size > _NAME_MAX:
            raise WireError("name is too long")
        return ".".join(labels), here + 1, size

    def _suffix(self, target: int, at: int, hops: int) -> tuple[str, int]:
        known = self._names.get(target)
        if known is None:
            if target >= at or hops >= NAME_HOPS_MAX:
                raise WireError("compression leads nowhere")
            text, _, size = self._read(target, hops + 1)
            known = self._names[target] = (text, size)
        return known


def _label(data: bytes) -> str:
    """Gives a label in lower case; what is no letter, digit, `-` or `_` as in zone files (RFC 1035 5.1)."""
    lowered = data.lower()
    if _PLAIN.fullmatch(lowered):
        return lowered.decode("ascii")
    return "".join(_character(byte) for byte in lowered)


def _character(byte: int) -> str:
    if byte in _QUOTED:
        return f"\\{chr(byte)}"
    return chr(byte) if 0x20 < byte < 0x7F else f"\\{byte:03d}"
