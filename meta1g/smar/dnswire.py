"""DNS messages: questions are built, answers are understood.  The only user of dnspython.

dnspython is loaded for the first name that needs quoting or IDNA, and for the text of a rare error: with all that it loads
itself it is a seventh of the start of SMAR, and a gateway may never meet such a name.

An answer may contain records of other types than asked for: CNAME records lead on, all others are passed over.

Ref: RFC 1035 4; RFC 2308 (negative answers); RFC 6891 (EDNS0); RFC 4035 3.2.3, RFC 6840 5.7 (AD bit); RFC 6698 2.1 (TLSA).
"""

import ipaddress
import re
import socket
import struct
from dataclasses import replace
from enum import Enum, IntEnum
from typing import TYPE_CHECKING, Final

from meta1g.base.dataclass import dataclass
from meta1g.base.idn import to_ascii
from meta1g.smar.dnsreader import DnsMessage, Record, WireError
from meta1g.smar.limits import EDNS_PAYLOAD_BYTES, NEGATIVE_TTL_DEFAULT_S, NEGATIVE_TTL_MAX_S, TTL_MAX_S

if TYPE_CHECKING:
    from dns.name import Name

_HEADER: Final = struct.Struct(">HHHHHH")
_QR: Final = 0x8000
_AA: Final = 0x0400
_TC: Final = 0x0200
_RD: Final = 0x0100
_RA: Final = 0x0080
_AD: Final = 0x0020
_NOERROR, _FORMERR, _NXDOMAIN = 0, 1, 3
#: Class IN; types of records that are met in answers and not asked for.
_IN: Final = 1
_NS, _SOA = 2, 6
_QUESTION_END: Final = struct.Struct(">HH")
#: OPT record of EDNS0: root name, type 41, our payload size, no flags, no options.
_OPT: Final = struct.pack(">BHHIH", 0, 41, EDNS_PAYLOAD_BYTES, 0, 0)
#: Names that need no quoting and no IDNA, which are nearly all.
_PLAIN: Final = re.compile(r"[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*")
_PLAIN_MAX_CHARS: Final = 253
_CHAIN_MAX: Final = 16
_PREFERENCE: Final = struct.Struct(">H")
_SOA_NUMBERS_BYTES: Final = 20
_TLSA_NUMBERS_BYTES: Final = 3


class RRType(IntEnum):
    """Record types that SMAR asks for."""

    A = 1
    CNAME = 5
    PTR = 12
    MX = 15
    TXT = 16
    AAAA = 28
    TLSA = 52


_FAMILIES: Final = {RRType.A: socket.AF_INET, RRType.AAAA: socket.AF_INET6}


class DnsStatus(Enum):
    """What an answer says."""

    OK = "ok"
    NODATA = "no such record"
    NXDOMAIN = "no such domain"
    TEMP = "no answer"


@dataclass(frozen=True, slots=True)
class DnsRecord:
    """One record: address, host name, text (a byte a character) or TLSA record as in zone files; preference of an MX record."""

    value: str
    pref: int = 0


@dataclass(frozen=True, slots=True)
class DnsAnswer:
    """An answer.

    Args:
        status: what it says.
        records: the records asked for, if OK.
        ttl_s: how long it may be used.
        reason: text for the log, if TEMP.
        next_name: the chain of CNAME records ends at this name, which has to be asked for.
        secure: the name server says that it has validated all of it (RFC 4035 3.2.3).
        canonical: the name that the records belong to, if it is another one than asked for.
    """

    status: DnsStatus
    records: tuple[DnsRecord, ...] = ()
    ttl_s: int = 0
    reason: str = ""
    next_name: str = ""
    secure: bool = False
    canonical: str = ""


class FormatRefusedError(WireError):
    """The server does not understand EDNS0."""


def normal_name(text: str) -> str:
    """Gives a domain name in the form used as key: lower case, ASCII, without the last dot.

    Raises:
        WireError: it cannot stand in the DNS.
    """
    lowered = text.lower()
    if len(text) <= _PLAIN_MAX_CHARS and _PLAIN.fullmatch(lowered) is not None:
        return lowered
    try:
        return _name(to_ascii(text)).canonicalize().to_text(omit_final_dot=True)
    except ValueError as error:
        raise WireError(f"not a domain name: {error}") from error


def _name(text: str) -> "Name":
    """Gives a name that needs quoting or IDNA.

    Raises:
        ValueError: it is none.
    """
    import dns.exception
    import dns.name

    try:
        return dns.name.from_text(text)
    except dns.exception.DNSException as error:
        raise ValueError(str(error)) from error


def ascii_name(text: str) -> str:
    """Gives a domain name as normal_name() does; empty if it cannot stand in the DNS."""
    try:
        return normal_name(text)
    except WireError:
        return ""


def reverse_name(address: str, zone: str = "") -> str:
    """Gives the name below which the PTR records of an address stand, or its entry in the zone of a DNS list.

    Args:
        address: IP address.
        zone: zone of the list, empty for the PTR name.
    """
    ip = ipaddress.ip_address(address.partition("%")[0])
    pointer = (getattr(ip, "ipv4_mapped", None) or ip).reverse_pointer
    if not zone:
        return pointer
    plain = _PLAIN.fullmatch(zone.lower()) is not None
    return f"{pointer.rsplit('.', 2)[0]}.{zone if plain else _name(zone).to_text(omit_final_dot=True)}"


def build_question(name: str, rrtype: RRType, question_id: int, *, edns: bool, validated: bool = False) -> bytes:
    """Gives the packet of a question.

    Args:
        name: a name from normal_name.
        rrtype: type of the records.
        question_id: 0 to 65535.
        edns: announces EDNS_PAYLOAD_BYTES.
        validated: asks to be told whether the answer was validated (RFC 6840 5.7).
    """
    head = _HEADER.pack(question_id, _RD | _AD if validated else _RD, 1, 0, 0, 1 if edns else 0)
    return head + _wire_name(name) + _QUESTION_END.pack(rrtype, _IN) + (_OPT if edns else b"")


def _wire_name(name: str) -> bytes:
    """Gives a name as it stands in packets."""
    if _PLAIN.fullmatch(name) is None:
        return _name(name).to_wire() or b"\0"
    return b"".join(bytes((len(label),)) + label.encode("ascii") for label in name.split(".")) + b"\0"


def question_id_of(packet: bytes) -> int:
    """Gives the id of an answer.

    Raises:
        WireError: it is too short, or a question.
    """
    if len(packet) < _HEADER.size:
        raise WireError("packet is too short")
    number, flags, *_ = _HEADER.unpack_from(packet)
    if not flags & _QR:
        raise WireError("packet is a question")
    return int(number)


def is_truncated(packet: bytes) -> bool:
    """Tells whether the answer did not fit and has to be asked for over TCP."""
    return bool(_HEADER.unpack_from(packet)[1] & _TC)


def parse_answer(packet: bytes, name: str, rrtype: RRType) -> DnsAnswer:
    """Reads an answer.

    Args:
        packet: the packet.
        name: the name asked for, from normal_name.
        rrtype: the type asked for.

    Returns:
        The answer; TEMP with the reason if the server failed.

    Raises:
        WireError: the packet is damaged, or answers another question.
        FormatRefusedError: ask again without EDNS0.
    """
    message = DnsMessage(packet)
    if message.rcode == _FORMERR:
        raise FormatRefusedError("server does not understand the question")
    if not any((one, rrt) == (name, rrtype) for one, rrt, _ in message.questions):
        raise WireError("answer to another question")
    if message.rcode not in (_NOERROR, _NXDOMAIN):
        return DnsAnswer(DnsStatus.TEMP, reason=_rcode_text(message.rcode))
    answer = _read_chain(message, name, rrtype, nxdomain=message.rcode == _NXDOMAIN)
    return replace(answer, secure=True) if message.flags & _AD else answer


def _rcode_text(code: int) -> str:
    import dns.rcode

    try:
        return str(dns.rcode.to_text(dns.rcode.Rcode(code)))
    except ValueError:
        return f"RCODE{code}"


def _read_chain(message: DnsMessage, asked: str, rrtype: RRType, *, nxdomain: bool) -> DnsAnswer:
    """Follows the CNAME records of an answer to the records asked for."""
    sets: dict[tuple[str, int], list[Record]] = {}
    for one in message.answer:
        if one.rrclass == _IN:
            sets.setdefault((one.name, one.rrtype), []).append(one)
    name, ttl_s = asked, TTL_MAX_S
    for _ in range(_CHAIN_MAX):
        found = sets.get((name, int(rrtype)))
        if found is not None:
            values = dict.fromkeys(_value(message, one, rrtype) for one in found)
            canonical = name if name != asked else ""
            return DnsAnswer(DnsStatus.OK, tuple(values), min(ttl_s, *(one.ttl_s for one in found)), canonical=canonical)
        alias = sets.get((name, int(RRType.CNAME)))
        if alias is None:
            break
        name, ttl_s = message.name_at(alias[0]), min(ttl_s, alias[0].ttl_s)
    if nxdomain:
        return DnsAnswer(DnsStatus.NXDOMAIN, ttl_s=_negative_ttl(message))
    if name != asked and not any(one.rrtype == _SOA for one in message.authority):
        return DnsAnswer(DnsStatus.NODATA, ttl_s=ttl_s, next_name=name)
    if _is_referral(message):
        return DnsAnswer(DnsStatus.TEMP, reason="server does not resolve for us")
    return DnsAnswer(DnsStatus.NODATA, ttl_s=_negative_ttl(message))


def _value(message: DnsMessage, record: Record, rrtype: RRType) -> DnsRecord:
    data = message.data(record)
    if rrtype is RRType.MX:
        if len(data) < _PREFERENCE.size:
            raise WireError("MX record is cut short")
        return DnsRecord(message.name_at(record, _PREFERENCE.size), int(_PREFERENCE.unpack_from(data)[0]))
    if rrtype is RRType.TLSA:
        if len(data) <= _TLSA_NUMBERS_BYTES:
            raise WireError("TLSA record is cut short")
        return DnsRecord(f"{data[0]} {data[1]} {data[2]} {data[3:].hex()}")
    if rrtype in (RRType.PTR, RRType.CNAME):
        return DnsRecord(message.name_at(record))
    if rrtype is RRType.TXT:
        return DnsRecord(_text(data))
    try:
        return DnsRecord(socket.inet_ntop(_FAMILIES[rrtype], data))
    except ValueError as error:
        raise WireError("address record of a wrong length") from error


def _text(data: bytes) -> str:
    """Joins the strings of a TXT record (RFC 1035 3.3.14)."""
    joined, at = bytearray(), 0
    while at < len(data):
        end = at + 1 + data[at]
        if end > len(data):
            raise WireError("TXT record is cut short")
        joined += data[at + 1 : end]
        at = end
    return joined.decode("latin-1")


def _is_referral(message: DnsMessage) -> bool:
    """Tells whether a server only names other servers: it is none that looks up for others."""
    if message.answer or message.flags & (_AA | _RA):
        return False
    types = {one.rrtype for one in message.authority}
    return _NS in types and _SOA not in types


def _negative_ttl(message: DnsMessage) -> int:
    """Gives how long "there is none" may be believed (RFC 2308 5)."""
    for one in message.authority:
        if one.rrtype == _SOA and one.end - one.start >= _SOA_NUMBERS_BYTES:
            return min(NEGATIVE_TTL_MAX_S, one.ttl_s, int.from_bytes(message.data(one)[-4:]))
    return NEGATIVE_TTL_DEFAULT_S
