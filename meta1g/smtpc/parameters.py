"""MAIL and RCPT with the parameters that this server knows, and what a server's lack of an extension means.

Pure.  Ref: RFC 1870 (SIZE), RFC 6152 (8BITMIME), RFC 6531 (SMTPUTF8), RFC 3461 4 (DSN).
"""

from collections.abc import Callable

from meta1g.base.reply import Reply
from meta1g.rcb.smtpc_qmgr import Deliver, DeliverRcpt
from meta1g.smtp.esmtp import Ext, Extensions, format_mail_params, format_rcpt_params
from meta1g.smtpc.status import where


def mail_command(job: Deliver, server: Extensions) -> str:
    """Gives the MAIL command of a delivery, without line end."""
    return f"MAIL FROM:<{job.mail}>{format_mail_params(job, server)}"


def rcpt_command(rcpt: DeliverRcpt, server: Extensions) -> str:
    """Gives the RCPT command of a recipient, without line end."""
    return f"RCPT TO:<{rcpt.rcpt}>{format_rcpt_params(rcpt, server)}"


def refusal(job: Deliver, server: Extensions, is_7bit: Callable[[], bool]) -> Reply | None:
    """Tells why a delivery cannot be made to a server with these extensions, or None.

    Args:
        job: the delivery.
        server: what the server offers.
        is_7bit: tells whether the content is ASCII only; asked only if it matters.
    """
    limit = server.size_max_bytes
    if 0 < limit < job.size_bytes:
        return Reply(552, "5.3.4", f"{_server(job)} takes at most {limit} bytes, the message has {job.size_bytes}")
    if job.smtputf8 and not server.has(Ext.SMTPUTF8) and not (_ascii_envelope(job) and is_7bit()):
        return Reply(553, "5.6.7", f"message needs SMTPUTF8, which {_server(job)} does not offer")
    if job.body == "8BITMIME" and not server.has(Ext.EIGHTBITMIME) and not is_7bit():
        return Reply(554, "5.6.3", f"message needs 8BITMIME, which {_server(job)} does not offer")
    return None


def _ascii_envelope(job: Deliver) -> bool:
    return job.mail.isascii() and all(rcpt.rcpt.isascii() for rcpt in job.rcpts)


def _server(job: Deliver) -> str:
    return where(job.server[0])
