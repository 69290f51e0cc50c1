"""The content of a report: a text for people, a delivery status for programs, and the message or its header.

QMGR makes the header and the first two parts, each in the characters that it needs; SMTPC adds the original and labels and
encodes all of it as the server of the sender takes it.

What a server said is quoted as it was said, and only that: what we found out ourselves stands in the text for people alone
(RFC 3464 2.3.6).

Pure.  Ref: RFC 3461 6.2, RFC 3464 2, RFC 2852 4, RFC 6522 (multipart/report), RFC 6533 (SMTPUTF8); RFC 3834 5 (Auto-Submitted).
"""

import textwrap
from collections.abc import Iterator, Mapping
from typing import Final

from meta1g.base.clock import rfc5322
from meta1g.base.dataclass import dataclass
from meta1g.base.idn import address_in_ascii
from meta1g.base.ids import idx_text
from meta1g.base.reply import Reply, printable
from meta1g.conf.templates import Template, periods, sender_of
from meta1g.qmgr.settings import Settings
from meta1g.rcb.envelope import DsnRcpt, RcptFlags, RcptRecord, TaRecord
from meta1g.rcb.smtpc_qmgr import DsnPart
from meta1g.smtp import xtext

#: Template and action of each kind of report.
_KINDS: Final[Mapping[int, tuple[str, str]]] = {
    int(RcptFlags.IS_BNC): ("failure_template", "failed"),
    int(RcptFlags.IS_DBNC): ("double_bounce_template", "failed"),
    int(RcptFlags.IS_DLY): ("delay_template", "delayed"),
    int(RcptFlags.IS_RELAYED): ("success_template", "relayed"),
    int(RcptFlags.IS_DELIVERED): ("success_template", "delivered"),
    int(RcptFlags.IS_EXPANDED): ("success_template", "expanded"),
}
#: First digit of the status of each action (RFC 3463 2).
_CLASSES: Final[Mapping[str, str]] = {"failed": "5", "delayed": "4"}
_SUCCESS: Final = "2"
#: RFC 3463 X.4.7: delivery time expired.
_EXPIRED: Final = "5.4.7"
_TEXT_CHARS: Final = 72
_FIELD_CHARS: Final = 78


@dataclass(frozen=True, slots=True)
class Report:
    """A report without the original.

    Args:
        header: its header, without Content-Type and Content-Transfer-Encoding.
        parts: its first parts.
        full: the whole message is to be returned, not only its header.
    """

    header: bytes
    parts: tuple[DsnPart, ...]
    full: bool


def make(ta: TaRecord, rcpt: RcptRecord, settings: Settings, now: float) -> Report:
    """Makes the report for a recipient that has one of the flags of reports.

    Args:
        ta: the transaction the report is about.
        rcpt: the recipient of the report, with what it tells.
        settings: our name, how long mail is tried, the texts, and what is returned.
        now: seconds since the epoch.
    """
    return _Maker(ta, rcpt, settings).make(now)


class _Maker:
    """Makes one report.  Owner: the call."""

    def __init__(self, ta: TaRecord, rcpt: RcptRecord, settings: Settings) -> None:
        name, action = next(kind for flag, kind in _KINDS.items() if rcpt.flags & flag)
        self._ta = ta
        self._rcpt = rcpt
        self._action = action
        self._hostname = hostname = settings.hostname
        #: what the sender of the message asked for does not concern the owner of a list (RFC 3461 5.2.7.1)
        asked = not rcpt.flags & RcptFlags.LIST
        self._ret, self._envid = (ta.ret, ta.envid) if asked else (None, None)
        self._headers_only = settings.dsn_headers_only
        self._template: Template = settings.templates[name]
        self._until = rfc5322(ta.entered + settings.return_timeout_s)
        #: addresses are written as they are, otherwise in ASCII (RFC 6533 4)
        self._utf8 = ta.smtputf8 and not all(one.rcpt.isascii() for one in rcpt.failed)
        self._words = {
            "hostname": hostname,
            "myhostname": hostname,
            "mydomain": hostname.partition(".")[2] or hostname,
            "queue_id": ta.ta_id,
            "retry_until": self._until,
            **periods("delay_warning_time", settings.delay_dsn_timeout_s),
            **periods("maximal_queue_lifetime", settings.return_timeout_s),
        }

    def make(self, now: float) -> Report:
        wanted = self._ret == "FULL" or (self._ret is None and not self._headers_only)
        full = self._action == "failed" and wanted and not self._rcpt.flags & RcptFlags.SHORT
        full = full and not self._ta.requiretls  # RFC 8689 5
        status_type = "message/global-delivery-status" if self._utf8 else "message/delivery-status"
        return Report(
            _lines(self._header(now)),
            (
                DsnPart(mime_type="text/plain", about="Notification", data=_lines(self._text())),
                DsnPart(mime_type=status_type, about="Delivery report", data=_lines(self._status())),
            ),
            full,
        )

    # -- header --------------------------------------------------------------------------------------------------------

    def _header(self, now: float) -> Iterator[str]:
        from email.utils import formataddr  # loads much, for few

        rcpt, template, words = self._rcpt, self._template, self._words
        yield f"Date: {rfc5322(now)}"
        yield f"From: {formataddr(sender_of(template.line('From', words), self._hostname))}"
        yield f"To: <{address_in_ascii(rcpt.rcpt)}>"  # so that servers without SMTPUTF8 take it, if it can be said
        yield f"Subject: {_encoded(template.line('Subject', words), 'Subject')}"
        yield f"Message-ID: <{self._ta.ta_id}.{idx_text(rcpt.rcpt_idx)}.{int(now)}@{self._hostname}>"
        yield "Auto-Submitted: auto-replied"
        yield "MIME-Version: 1.0"

    # -- for people ----------------------------------------------------------------------------------------------------

    def _text(self) -> Iterator[str]:
        yield from self._template.text(self._words)
        for told in self._rcpt.failed:
            yield ""
            alias = f" (from <{told.orig_rcpt}>)" if told.orig_rcpt and told.orig_rcpt != told.rcpt else ""
            happened = self._template.line(self._action.capitalize(), self._words)
            yield f"<{told.rcpt}>{alias}{f' {happened}' if happened else ':'}"
            yield from self._reason(told)

    def _reason(self, told: DsnRcpt) -> Iterator[str]:
        reply = told.reply
        if told.expired:
            yield from _wrapped(self._template.line("Expired", self._words), 4)
        if not reply.code:
            return
        if not reply.origin:
            if self._action in _CLASSES:
                yield from _wrapped(printable(reply.one_line) or str(reply), 4)
            return
        yield from _wrapped(self._template.line("Answered", {**self._words, "host": _host(reply.origin)}), 4)
        for line in reply.lines:
            yield from _wrapped(_said(reply, line), 8)

    # -- for programs --------------------------------------------------------------------------------------------------

    def _status(self) -> Iterator[str]:
        ta = self._ta
        if self._envid:
            yield f"Original-Envelope-Id: {_decoded(self._envid)}"
        yield f"Reporting-MTA: dns; {self._hostname}"
        yield f"Arrival-Date: {rfc5322(ta.entered)}"
        if ta.by_mode and not self._rcpt.flags & RcptFlags.LIST:
            yield f"Deliver-By-Date: {rfc5322(ta.by)}"
        for told in self._rcpt.failed:
            yield ""
            yield from self._group(told)

    def _group(self, told: DsnRcpt) -> Iterator[str]:
        """Gives the fields of one recipient."""
        reply = told.reply
        if told.orcpt:
            kind, address = xtext.address_of(told.orcpt)
            yield f"Original-Recipient: {printable(kind)}; {self._address(kind, address)}"
        kind = "rfc822" if told.rcpt.isascii() else xtext.UTF8_TYPE
        yield f"Final-Recipient: {kind}; {self._address(kind, told.rcpt)}"
        yield f"Action: {self._action}"
        yield f"Status: {self._code(told)}"
        if reply.origin:
            yield f"Remote-MTA: {_mta(reply.origin)}"
            yield _folded(f"Diagnostic-Code: smtp; {_said(reply, reply.one_line)}")
        if told.last_try:
            yield f"Last-Attempt-Date: {rfc5322(told.last_try)}"
        if self._action == "delayed":
            yield f"Will-Retry-Until: {self._until}"

    def _address(self, kind: str, address: str) -> str:
        if kind.lower() != xtext.UTF8_TYPE:
            return printable(address)
        return address if self._utf8 and address.isprintable() else xtext.embed(address)

    def _code(self, told: DsnRcpt) -> str:
        """Gives the status: the enhanced code if its class is that of the action."""
        if told.expired:
            return _EXPIRED
        digit = _CLASSES.get(self._action, _SUCCESS)
        return told.reply.ecode if told.reply.ecode.startswith(digit) else f"{digit}.0.0"


_EOL: Final = "\r\n"


def _lines(lines: Iterator[str]) -> bytes:
    return "".join(f"{line}{_EOL}" for line in lines).encode("utf-8", "surrogateescape")


def _encoded(text: str, field: str) -> str:
    """Gives the text of a header field in ASCII (RFC 2047)."""
    if text.isascii():
        return text
    from email.header import Header  # few need it

    return Header(text, "utf-8", header_name=field).encode(linesep=_EOL)


def _wrapped(text: str, indent: int) -> list[str]:
    blanks = " " * indent
    return textwrap.wrap(
        text, _TEXT_CHARS, initial_indent=blanks, subsequent_indent=blanks, break_long_words=False, break_on_hyphens=False
    )


def _said(reply: Reply, text: str) -> str:
    """Gives what a server said, as it said it: code, its enhanced code if there was one, text."""
    return " ".join(word for word in (str(reply.code), reply.ecode, printable(text)) if word)


def _folded(field: str) -> str:
    """Folds a field at its blanks (RFC 5322 2.2.3)."""
    lines = [""]
    for word in field.split(" "):
        if word and lines[-1].strip() and len(lines[-1]) + 1 + len(word) > _FIELD_CHARS:
            lines.append("")
        lines[-1] += word if len(lines) == 1 and not lines[-1] else f" {word}"
    return _EOL.join(lines)


def _mta(origin: str) -> str:
    """Gives the field of the host that said something, `name[address]` or `unix:PATH`; an address stands as a literal."""
    if origin.startswith("unix:"):
        return f"x-unix; {printable(origin)}"
    name, _, rest = origin.partition("[")
    address = rest.removesuffix("]")
    if name and name != address:
        return f"dns; {printable(name)}"
    return f"dns; [{'IPv6:' if ':' in address else ''}{printable(address)}]"


def _host(origin: str) -> str:
    """Names the host that said something for people."""
    name, _, rest = origin.partition("[")
    return printable(name if rest.removesuffix("]") == name else origin)


def _decoded(text: str) -> str:
    """Gives what an xtext says, in printable characters; what is no xtext stays as it is."""
    return printable(xtext.decode(text) if xtext.is_xtext(text) else text)
