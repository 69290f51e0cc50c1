"""ESMTP extensions: keywords of EHLO, parameters of MAIL and RCPT, as tables.

A parameter is one row: its keyword, the extension that must have been offered, the field it fills and the check of
its value.  Server and client use the same rows.  ENVID and ORCPT stay in the xtext form in which they came.

Pure.  Ref: RFC 5321 4.1.1.1, 4.1.2; RFC 1870, 6152, 6531, 6533, 3461, 2920, 2034, 3030, 2852, 4954, 6710, 9422.
"""

import re
from collections.abc import Callable, Mapping, Set
from dataclasses import field
from enum import StrEnum
from typing import Any, Final, Protocol

from meta1g.base.dataclass import dataclass
from meta1g.base.reply import Reply
from meta1g.smtp import replies, verp, xtext
from meta1g.smtp.limits import (
    AUTH_MAX_CHARS,
    BY_MAX_DIGITS,
    ENVID_MAX_CHARS,
    ORCPT_MAX_CHARS,
    PRIORITY_MAX,
    SIZE_MAX_DIGITS,
)


class Ext(StrEnum):
    """EHLO keywords that meta1g knows."""

    PIPELINING = "PIPELINING"
    EIGHTBITMIME = "8BITMIME"
    SIZE = "SIZE"
    ENHANCEDSTATUSCODES = "ENHANCEDSTATUSCODES"
    DSN = "DSN"
    SMTPUTF8 = "SMTPUTF8"
    CHUNKING = "CHUNKING"
    BINARYMIME = "BINARYMIME"
    DELIVERBY = "DELIVERBY"
    MT_PRIORITY = "MT-PRIORITY"
    LIMITS = "LIMITS"
    STARTTLS = "STARTTLS"
    AUTH = "AUTH"
    REQUIRETLS = "REQUIRETLS"
    XVERP = "XVERP"
    XCLIENT = "XCLIENT"
    XFORWARD = "XFORWARD"


@dataclass(frozen=True, slots=True)
class DeliverBy:
    """A time for delivery (RFC 2852 4): seconds from MAIL on; mode `R` return it then, `N` tell, with `T` trace."""

    seconds: int
    mode: str


@dataclass(frozen=True, slots=True)
class MailParams:
    """Parameters of MAIL.

    body is `7BIT`, `8BITMIME` or `BINARYMIME`, ret `FULL` or `HDRS`, envid xtext, verp a pair of delimiters, priority -9 to 9;
    auth is `<>` or xtext, which nobody passes on: as RFC 4954 5 wants of a server that trusts no client with it.
    """

    size_bytes: int | None = None
    body: str | None = None
    smtputf8: bool = False
    ret: str | None = None
    envid: str | None = None
    verp: str | None = None
    requiretls: bool = False
    auth: str | None = None
    by: DeliverBy | None = None
    priority: int | None = None


@dataclass(frozen=True, slots=True)
class RcptParams:
    """Parameters of RCPT; notify is `NEVER` or a list such as `SUCCESS,FAILURE`, orcpt `type;xtext`."""

    notify: str | None = None
    orcpt: str | None = None


#: The body that keeps every byte (RFC 3030 3).
BINARY: Final = "BINARYMIME"
NO_MAIL_PARAMS: Final = MailParams()
NO_RCPT_PARAMS: Final = RcptParams()
_BODIES: Final = ("7BIT", "8BITMIME", BINARY)
_RETS: Final = ("FULL", "HDRS")
_NOTIFY_EVENTS: Final = frozenset(("SUCCESS", "FAILURE", "DELAY"))
_ORCPT: Final = re.compile(r"([A-Za-z0-9-]+);(.+)")
_BY: Final = re.compile(rf"([+-]?[0-9]{{1,{BY_MAX_DIGITS}}});([NR]T?)", re.IGNORECASE)
_PRIORITY: Final = re.compile(r"-?[0-9]")
#: The value of XVERP may have a `=`, unlike those of RFC 5321 4.1.2, and that of ORCPT other characters than ASCII
#: (RFC 6533 3); all other checks refuse them.
_PARAMETER: Final = re.compile(r"([A-Za-z0-9][A-Za-z0-9-]*)(?:=([!-~]+|[^\x00-\x20\x7f-\xa0]+))?")


def _size(value: str) -> int:
    if not (value.isascii() and value.isdigit() and len(value) <= SIZE_MAX_DIGITS):
        raise ValueError(value)
    return int(value)


def _one_of(allowed: tuple[str, ...]) -> Callable[[str], str]:
    def check(value: str) -> str:
        upper = value.upper()
        if upper not in allowed:
            raise ValueError(value)
        return upper

    return check


def _no_value(value: str) -> bool:
    if value:
        raise ValueError(value)
    return True


def _envid(value: str) -> str:
    if not value or len(value) > ENVID_MAX_CHARS or not xtext.is_xtext(value):
        raise ValueError(value)
    return value


def _auth(value: str) -> str:
    if not value or len(value) > AUTH_MAX_CHARS or (value != "<>" and not xtext.is_xtext(value)):
        raise ValueError(value)
    return value


def _notify(value: str) -> str:
    upper = value.upper()
    events = upper.split(",")
    if upper != "NEVER" and (len(set(events)) != len(events) or not _NOTIFY_EVENTS.issuperset(events)):
        raise ValueError(value)
    return upper


def _orcpt(value: str) -> str:
    """Gives the value in ASCII: an address of type utf-8 may have come as it is."""
    match = _ORCPT.fullmatch(value)
    if match is not None and not value.isascii() and match[1].lower() == xtext.UTF8_TYPE and xtext.is_unitext(match[2]):
        value = f"{match[1]};{xtext.embed(xtext.address_of(value)[1])}"
        match = _ORCPT.fullmatch(value)
    if match is None or len(value) > ORCPT_MAX_CHARS or not xtext.is_xtext(match[2]):
        raise ValueError(value)
    return value


def _verp(value: str) -> str:
    if value and not verp.are_delimiters(value):
        raise ValueError(value)
    return value or verp.DELIMITERS


def _by(value: str) -> DeliverBy:
    match = _BY.fullmatch(value)
    if match is None:
        raise ValueError(value)
    by = DeliverBy(int(match[1]), match[2].upper())
    if by.seconds <= 0 and by.mode.startswith("R"):
        raise ValueError(value)
    return by


def _priority(value: str) -> int:
    if _PRIORITY.fullmatch(value) is None or abs(int(value)) > PRIORITY_MAX:
        raise ValueError(value)
    return int(value)


@dataclass(frozen=True, slots=True)
class Parameter:
    """One row: extension that brings the parameter, field that it fills, check of its value."""

    ext: Ext
    field: str
    check: Callable[[str], Any]


MAIL_PARAMETERS: Final[Mapping[str, Parameter]] = {
    "SIZE": Parameter(Ext.SIZE, "size_bytes", _size),
    "BODY": Parameter(Ext.EIGHTBITMIME, "body", _one_of(_BODIES)),
    "SMTPUTF8": Parameter(Ext.SMTPUTF8, "smtputf8", _no_value),
    "RET": Parameter(Ext.DSN, "ret", _one_of(_RETS)),
    "ENVID": Parameter(Ext.DSN, "envid", _envid),
    "AUTH": Parameter(Ext.AUTH, "auth", _auth),
    "XVERP": Parameter(Ext.XVERP, "verp", _verp),
    "REQUIRETLS": Parameter(Ext.REQUIRETLS, "requiretls", _no_value),
    "BY": Parameter(Ext.DELIVERBY, "by", _by),
    "MT-PRIORITY": Parameter(Ext.MT_PRIORITY, "priority", _priority),
}
RCPT_PARAMETERS: Final[Mapping[str, Parameter]] = {
    "NOTIFY": Parameter(Ext.DSN, "notify", _notify),
    "ORCPT": Parameter(Ext.DSN, "orcpt", _orcpt),
}


def parse_mail_params(text: str, offered: frozenset[Ext]) -> MailParams | Reply:
    """Reads what follows the address of MAIL.

    Args:
        text: parameters separated by spaces, may be empty.
        offered: the extensions in the answer to EHLO; none after HELO.

    Returns:
        The parameters, or the reply that refuses them.
    """
    if not text:
        return NO_MAIL_PARAMS
    values = _parse(text, MAIL_PARAMETERS, offered)
    if isinstance(values, Reply):
        return values
    if values.get("body") == BINARY and Ext.BINARYMIME not in offered:
        return replies.BAD_PARAMETER
    return MailParams(**values)


def parse_rcpt_params(text: str, offered: frozenset[Ext]) -> RcptParams | Reply:
    """Reads what follows the address of RCPT; see parse_mail_params."""
    if not text:
        return NO_RCPT_PARAMS
    values = _parse(text, RCPT_PARAMETERS, offered)
    return values if isinstance(values, Reply) else RcptParams(**values)


def _parse(text: str, table: Mapping[str, Parameter], offered: frozenset[Ext]) -> dict[str, Any] | Reply:
    values: dict[str, Any] = {}
    for word in text.split(" "):
        if not word:
            continue
        match = _PARAMETER.fullmatch(word)
        if match is None:
            return replies.BAD_PARAMETER
        row = table.get(match[1].upper())
        if row is None or row.ext not in offered:
            return replies.UNKNOWN_PARAMETER
        try:
            value = row.check(match[2] or "")
        except ValueError:
            return replies.BAD_PARAMETER
        if row.field in values and (row.ext is Ext.DSN or values[row.field] != value):  # those of DSN: RFC 3461 4
            return replies.BAD_PARAMETER
        values[row.field] = value
    return values


@dataclass(frozen=True, slots=True)
class Extensions:
    """What a server offered in its answer to EHLO: keywords in upper case with their arguments."""

    keywords: Mapping[str, str] = field(default_factory=dict)

    def has(self, ext: Ext) -> bool:
        """Tells whether the extension was offered."""
        return ext._value_ in self.keywords

    def without(self, ext: Ext) -> "Extensions":
        """Gives them as if one had not been offered."""
        return Extensions({keyword: argument for keyword, argument in self.keywords.items() if keyword != ext.value})

    @property
    def by_min_s(self) -> int:
        """The least time for delivery that the server may promise, seconds; 0 if it names none."""
        value = self.keywords.get(Ext.DELIVERBY.value, "").partition(",")[0]
        return int(value) if value.isascii() and value.isdigit() and len(value) <= BY_MAX_DIGITS else 0

    @property
    def size_max_bytes(self) -> int:
        """Greatest message the server takes, 0 if it names no limit."""
        value = self.keywords.get("SIZE", "")
        return int(value) if value.isascii() and value.isdigit() and len(value) <= SIZE_MAX_DIGITS else 0


def parse_ehlo(reply: Reply) -> Extensions:
    """Reads a server's answer to EHLO or LHLO; the first line names the server, each other one an extension."""
    keywords: dict[str, str] = {}
    for line in reply.lines[1:]:
        keyword, _, argument = line.strip().partition(" ")
        if keyword:
            keywords.setdefault(keyword.upper(), argument.strip())
    return Extensions(keywords)


class MailFacts(Protocol):
    """What parameters of MAIL are made from: MailParams, or a delivery."""

    @property
    def size_bytes(self) -> int | None: ...  # noqa: D102  as in MailParams, and so are the others
    @property
    def body(self) -> str | None: ...  # noqa: D102
    @property
    def smtputf8(self) -> bool: ...  # noqa: D102
    @property
    def ret(self) -> str | None: ...  # noqa: D102
    @property
    def envid(self) -> str | None: ...  # noqa: D102
    @property
    def requiretls(self) -> bool: ...  # noqa: D102
    @property
    def priority(self) -> int | None: ...  # noqa: D102


class RcptFacts(Protocol):
    """What parameters of RCPT are made from: RcptParams, or a recipient of a delivery."""

    @property
    def notify(self) -> str | None: ...  # noqa: D102  as in RcptParams
    @property
    def orcpt(self) -> str | None: ...  # noqa: D102


def format_mail_params(params: MailFacts, server: Extensions, by: DeliverBy | None = None) -> str:
    """Gives the parameters of MAIL for a server, each with a leading space, without those it does not know.

    Whether the message may be sent without them is the caller's decision.

    Args:
        params: what they are made from.
        server: what the server offers.
        by: what is left of the time for delivery, None if that does not matter.
    """
    parts = []
    if params.size_bytes and server.has(Ext.SIZE):
        parts.append(f" SIZE={params.size_bytes}")
    if params.body and server.has(Ext.BINARYMIME if params.body == BINARY else Ext.EIGHTBITMIME):
        parts.append(f" BODY={params.body}")
    if params.smtputf8 and server.has(Ext.SMTPUTF8):
        parts.append(" SMTPUTF8")
    if params.requiretls and server.has(Ext.REQUIRETLS):
        parts.append(" REQUIRETLS")
    if server.has(Ext.DSN):
        parts.append(f" RET={params.ret}" if params.ret else "")
        parts.append(f" ENVID={params.envid}" if params.envid else "")
    if by is not None and server.has(Ext.DELIVERBY):
        parts.append(f" BY={by.seconds};{by.mode}")
    if params.priority and server.has(Ext.MT_PRIORITY):
        parts.append(f" MT-PRIORITY={params.priority}")
    return "".join(parts)


def format_rcpt_params(params: RcptFacts, server: Extensions) -> str:
    """Gives the parameters of RCPT for a server; see format_mail_params."""
    if not server.has(Ext.DSN):
        return ""
    notify = f" NOTIFY={params.notify}" if params.notify else ""
    return f"{notify} ORCPT={params.orcpt}" if params.orcpt else notify


#: What a server may offer whoever the client is; the others depend on the session.
_OFFERED: Final = tuple(ext for ext in Ext if ext not in (Ext.AUTH, Ext.REQUIRETLS, Ext.XCLIENT, Ext.XFORWARD))
#: What one cannot be used without.  Ref: RFC 6531 3.1; RFC 3030 3.
_NEEDS: Final = {Ext.SMTPUTF8: Ext.EIGHTBITMIME, Ext.BINARYMIME: Ext.CHUNKING}


def offered_but(off: Set[Ext], arguments: Mapping[Ext, str]) -> dict[Ext, str]:
    """Gives the extensions that the server offers, in the order of the answer to EHLO.

    Args:
        off: those that are not, and what needs one of them is not, either.
        arguments: of those that have one.
    """
    return {ext: arguments.get(ext, "") for ext in _OFFERED if ext not in off and _NEEDS.get(ext) not in off}


def ehlo_reply(hostname: str, client: str, offered: Mapping[Ext, str]) -> Reply:
    """Gives the answer to EHLO.

    Args:
        hostname: our name.
        client: what we call the client.
        offered: extensions with their arguments.
    """
    lines = [f"{keyword} {argument}".rstrip() for keyword, argument in offered.items()]
    return Reply(250, "", (f"{hostname} greets {client}", *lines))
