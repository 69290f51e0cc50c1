"""The content of a report: multipart/report with a text, a delivery status, and the message or its header.

QMGR makes everything up to the original message and what follows it; SMTPC puts the message between them.

Pure.  Ref: RFC 3461 6.2, RFC 3464 2, RFC 6522 (multipart/report), RFC 6533 (SMTPUTF8); RFC 3834 5 (Auto-Submitted).
"""

import secrets
from collections.abc import Iterator
from email.utils import formatdate
from typing import Final

from meta1g.base.dataclass import dataclass
from meta1g.base.ids import idx_text
from meta1g.base.reply import printable
from meta1g.rcb.envelope import DsnRcpt, RcptFlags, RcptRecord, TaRecord
from meta1g.smtp import xtext


@dataclass(frozen=True, slots=True)
class _Wording:
    """Words of one kind of report.  Immutable."""

    subject: str
    action: str
    intro: tuple[str, ...]


_WORDING: Final = {
    int(RcptFlags.IS_BNC): _Wording(
        "Undelivered mail returned to sender",
        "failed",
        ("Your message could not be delivered to the recipients below.", "It will not be tried again."),
    ),
    int(RcptFlags.IS_DBNC): _Wording(
        "Undeliverable bounce",
        "failed",
        ("A report of a failed delivery could not be delivered to the sender of the message.", "It is sent to you instead."),
    ),
    int(RcptFlags.IS_DLY): _Wording(
        "Delayed mail, still being tried",
        "delayed",
        (
            "Your message could not be delivered yet to the recipients below.",
            "You need not do anything: it will be tried again.",
        ),
    ),
    int(RcptFlags.IS_RELAYED): _Wording(
        "Mail relayed",
        "relayed",
        ("Your message was taken by the server of the recipients below.", "That server sends no reports of success itself."),
    ),
}
_KINDS: Final = tuple(_WORDING)


@dataclass(frozen=True, slots=True)
class Report:
    """The parts of a report around the original message.

    Args:
        head: everything before it.
        tail: everything after it.
        full: the whole message is returned, not only its header.

    Immutable.
    """

    head: bytes
    tail: bytes
    full: bool


def make(ta: TaRecord, rcpt: RcptRecord, hostname: str, now: float, give_up_s: int, *, headers_only: bool) -> Report:
    """Makes the report for a recipient that has one of the flags IS_BNC, IS_DBNC, IS_DLY, IS_RELAYED.

    Args:
        ta: the transaction the report is about.
        rcpt: the recipient of the report, with what has failed.
        hostname: our name.
        now: seconds since the epoch.
        give_up_s: how long after its acceptance a message is given up, seconds.
        headers_only: a bounce returns the header alone unless the sender asked for the whole (RFC 3461 4.3).
    """
    wording = next(_WORDING[kind] for kind in _KINDS if rcpt.flags & kind)
    full = wording.action == "failed" and (ta.ret == "FULL" or (ta.ret is None and not headers_only))
    boundary = f"={ta.ta_id}.{secrets.token_hex(8)}"
    lines = [
        *_header(wording, ta, rcpt, hostname, boundary, now),
        f"--{boundary}",
        *_text(wording, ta, rcpt, hostname, give_up_s),
        f"--{boundary}",
        *_status(wording, ta, rcpt, hostname, give_up_s),
        f"--{boundary}",
        f"Content-Type: {_original_type(ta, full=full)}",
        f"Content-Transfer-Encoding: {'7bit' if ta.body is None or ta.body == '7BIT' else '8bit'}",
        "",
        "",
    ]
    return Report("\r\n".join(lines).encode("utf-8", "surrogateescape"), f"\r\n--{boundary}--\r\n".encode(), full)


def _original_type(ta: TaRecord, *, full: bool) -> str:
    if ta.smtputf8:
        return "message/global" if full else "message/global-headers"
    return "message/rfc822" if full else "text/rfc822-headers"


def _header(wording: _Wording, ta: TaRecord, rcpt: RcptRecord, hostname: str, boundary: str, now: float) -> Iterator[str]:
    yield f"Date: {formatdate(now, localtime=True)}"
    yield f"From: Mail Delivery System <MAILER-DAEMON@{hostname}>"
    yield f"To: <{rcpt.rcpt}>"
    yield f"Subject: {wording.subject}"
    yield f"Message-ID: <{ta.ta_id}.{idx_text(rcpt.rcpt_idx)}.{int(now)}@{hostname}>"
    yield "Auto-Submitted: auto-replied"
    yield "MIME-Version: 1.0"
    yield f'Content-Type: multipart/report; report-type={_status_type(ta)[8:]};\r\n boundary="{boundary}"'
    yield ""
    yield "This is a report in MIME format."


def _status_type(ta: TaRecord) -> str:
    return "message/global-delivery-status" if ta.smtputf8 else "message/delivery-status"


def _text(wording: _Wording, ta: TaRecord, rcpt: RcptRecord, hostname: str, give_up_s: int) -> Iterator[str]:
    yield "Content-Type: text/plain; charset=utf-8" if ta.smtputf8 else "Content-Type: text/plain; charset=us-ascii"
    yield ""
    yield f"This is the mail system of {hostname}."
    yield ""
    yield from wording.intro
    if wording.action == "delayed":
        yield f"It will be given up on {formatdate(ta.entered + give_up_s, localtime=True)}."
    yield ""
    for failed in rcpt.failed:
        yield f"<{failed.rcpt}>"
        yield f"    {_diagnostic(failed)}"
        if failed.reply.origin:
            yield f"    (said by {printable(failed.reply.origin)})"
    yield ""


def _diagnostic(failed: DsnRcpt) -> str:
    return printable(str(failed.reply))


def _status(wording: _Wording, ta: TaRecord, rcpt: RcptRecord, hostname: str, give_up_s: int) -> Iterator[str]:
    yield f"Content-Type: {_status_type(ta)}"
    yield ""
    if ta.envid:
        yield f"Original-Envelope-Id: {_decoded(ta.envid)}"
    yield f"Reporting-MTA: dns; {hostname}"
    yield f"Arrival-Date: {formatdate(ta.entered, localtime=True)}"
    kind = "utf-8" if ta.smtputf8 else "rfc822"
    for failed in rcpt.failed:
        yield ""
        if failed.orcpt:
            yield f"Original-Recipient: {_original_recipient(failed.orcpt)}"
        yield f"Final-Recipient: {kind}; {failed.rcpt}"
        yield f"Action: {wording.action}"
        yield f"Status: {failed.reply.ecode or f'{failed.reply.code // 100 or 5}.0.0'}"
        if failed.reply.origin:
            yield f"Remote-MTA: dns; {printable(failed.reply.origin.partition('[')[0] or failed.reply.origin)}"
        yield f"Diagnostic-Code: smtp; {_diagnostic(failed)}"
        if failed.last_try:
            yield f"Last-Attempt-Date: {formatdate(failed.last_try, localtime=True)}"
        if wording.action == "delayed":
            yield f"Will-Retry-Until: {formatdate(ta.entered + give_up_s, localtime=True)}"
    yield ""


def _original_recipient(orcpt: str) -> str:
    """Gives the field of an ORCPT parameter: `type;address` with its xtext decoded (RFC 3464 2.3.1)."""
    kind, _, address = orcpt.partition(";")
    return f"{printable(kind)}; {_decoded(address)}"


def _decoded(text: str) -> str:
    """Gives what an xtext says, in printable characters; what is no xtext stays as it is."""
    return printable(xtext.decode(text) if xtext.is_xtext(text) else text)
