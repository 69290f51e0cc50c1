"""A report as a message.

Pure.  Ref: RFC 8460 5.3 (form of the message), RFC 6522 (multipart/report), RFC 8689 5 (TLS-Required).
"""

import base64
import textwrap
from typing import Final

from meta1g.base.clock import rfc5322
from meta1g.tls.tlsrpt import GZIP_TYPE, DayReport

_LINE_CHARS: Final = 76
_TEXT: Final = (
    "This is a report about TLS in SMTP sessions with servers of {domain} on {day} (UTC), as RFC 8460 has it.\r\n"
    "It was asked for by the record _smtp._tls.{domain}.\r\n"
)


def report_message(report: DayReport, to: str, now_s: float) -> bytes:
    """Gives the message.

    Args:
        report: the report.
        to: who gets it.
        now_s: the time, seconds since the epoch.

    Returns:
        The message with CR LF; its lines are short and ASCII.
    """
    domain, sender, boundary = report.domain, report.sender, f"=tlsrpt.{report.day}"
    body = "\r\n".join(textwrap.wrap(base64.b64encode(report.packed()).decode(), _LINE_CHARS))
    lines = (
        f"From: <{sender.contact}>",
        f"To: <{to}>",
        f"Date: {rfc5322(now_s, local=False)}",
        f"Message-ID: <{report.report_id}>",
        f"Subject: Report Domain: {domain}",
        f" Submitter: {sender.submitter}",
        f" Report-ID: <{report.report_id}>",
        f"TLS-Report-Domain: {domain}",
        f"TLS-Report-Submitter: {sender.submitter}",
        "TLS-Required: No",
        "Auto-Submitted: auto-generated",
        "MIME-Version: 1.0",
        f'Content-Type: multipart/report; report-type="tlsrpt"; boundary="{boundary}"',
        "",
        f"--{boundary}",
        "Content-Type: text/plain; charset=us-ascii",
        "",
        _TEXT.format(domain=domain, day=report.day),
        f"--{boundary}",
        f"Content-Type: {GZIP_TYPE}",
        "Content-Transfer-Encoding: base64",
        "Content-Disposition: attachment;",
        f' filename="{report.file_name}"',
        "",
        body,
        f"--{boundary}--",
        "",
    )
    return "\r\n".join(lines).encode("ascii")
