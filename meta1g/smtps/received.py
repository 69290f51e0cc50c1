"""The Received header field that every message gets.

Whatever the client said is either of checked form (the argument of EHLO, addresses) or written as printable ASCII
without parentheses and line ends (invariant I5).

Pure but for the clock that is passed.  Ref: RFC 5321 4.4; RFC 3848 and RFC 6531 4.3 (protocol names); RFC 6710 4.1.
"""

from dataclasses import replace

from meta1g.base.clock import rfc5322
from meta1g.base.dataclass import dataclass
from meta1g.base.reply import printable

_ADDRESS_WITH_FOR_MAX_CHARS = 900


@dataclass(frozen=True, slots=True)
class ReceivedFrom:
    """Where a message comes from: facts of its session.

    Args:
        ehlo: checked argument of EHLO or HELO.
        client_name: checked name of the client's address, empty if there is none.
        client_addr: address in text form.
        protocol: `SMTP`, `ESMTP` and so on.
        tls: clause of TLS (RFC 8314 4.3), empty in clear.
        priority: that of the message, None if nobody asked for one.
    """

    ehlo: str
    client_name: str
    client_addr: str
    protocol: str
    tls: str = ""
    priority: int | None = None

    def asking(self, *, utf8: bool, priority: int | None) -> "ReceivedFrom":
        """Gives the same for a message with parameters that show in the field: `UTF8SMTPS` for `ESMTPS`, and the priority."""
        protocol = f"UTF8{self.protocol.removeprefix('E')}" if utf8 else self.protocol
        return replace(self, protocol=protocol, priority=priority)


class DateCache:
    """Time stamps of RFC 5322, made once a second.  Owner: the process."""

    __slots__ = ("_second", "_text")

    def __init__(self) -> None:
        self._second = -1
        self._text = ""

    def text(self, now: float) -> str:
        """Gives the local time as a date of RFC 5322; now in seconds since the epoch."""
        second = int(now)
        if second != self._second:
            self._second, self._text = second, rfc5322(second)
        return self._text


def literal(addr: str) -> str:
    """Gives an address as an address literal (RFC 5321 4.1.3)."""
    return f"[IPv6:{addr}]" if ":" in addr else f"[{addr}]"


def client_text(name: str, addr: str) -> str:
    """Gives what is known of a client: `name [address]`, or the literal alone."""
    return f"{name} {literal(addr)}" if name else literal(addr)


def received(origin: ReceivedFrom, hostname: str, ta_id: str, for_rcpt: str, date: str) -> bytes:
    """Gives the header field with its line ends.

    Args:
        origin: facts of the session.
        hostname: our name.
        ta_id: transaction id.
        for_rcpt: the only recipient, or empty: several recipients must not learn of each other.
        date: time stamp.
    """
    who = client_text(printable(origin.client_name), origin.client_addr)
    rcpt = ""
    if for_rcpt.isascii() and for_rcpt.isprintable() and 0 < len(for_rcpt) < _ADDRESS_WITH_FOR_MAX_CHARS:
        rcpt = f"\r\n\tfor <{for_rcpt}>"
    tls = f"\r\n\t{origin.tls}" if origin.tls else ""
    priority = "" if origin.priority is None else f"\r\n\tPRIORITY {origin.priority}"
    return (
        f"Received: from {printable(origin.ehlo)} ({who})\r\n"
        f"\tby {hostname} (meta1g) with {origin.protocol} id {ta_id}{rcpt}{priority}{tls};\r\n"
        f"\t{date}\r\n"
    ).encode("ascii")
