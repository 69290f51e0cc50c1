"""MAIL and RCPT with the parameters that this server knows, and what a server's lack of an extension means.

    a message that needs     and a server without it
    SMTPUTF8                 goes with A-labels if nothing but domains needs it, else 5.6.7
    BINARYMIME               goes as lines if it has none but lines, else 5.6.3
    8BITMIME                 goes if it is ASCII, else 5.6.3
    DELIVERBY in mode R      5.3.3; 5.4.7 if the server promises too little, or the time is over

What a message needs is read from it, not from what its client said of it.  Nothing is converted (RFC 3030 3, RFC 6152 3).

Pure.  Ref: RFC 1870 (SIZE), RFC 6152 (8BITMIME), RFC 6531 3.2 and 3.7.1 (SMTPUTF8), RFC 3030 3 (BINARYMIME), RFC 3461 4 (DSN),
RFC 2852 4 (DELIVERBY), RFC 6710 4 (MT-PRIORITY).
"""

import math
import re
from dataclasses import replace
from typing import Final, Protocol

from meta1g.base import idn
from meta1g.base.reply import Reply
from meta1g.rcb.common import DeliveryAgent
from meta1g.rcb.smtpc_qmgr import Deliver, DeliverRcpt
from meta1g.smtp.esmtp import BINARY, DeliverBy, Ext, Extensions, format_mail_params, format_rcpt_params
from meta1g.smtpc.status import where


class ContentFacts(Protocol):
    """What a message needs, asked only if it matters; each reads all of it."""

    def is_7bit(self) -> bool:
        """Tells whether it is ASCII only."""
        ...

    def has_ascii_header(self) -> bool:
        """Tells whether its header is."""
        ...

    def has_lines(self) -> bool:
        """Tells whether it has nothing but lines: no NUL, no bare CR or LF, and a line end at the end."""
        ...


class _Nothing:
    """No content."""

    def is_7bit(self) -> bool:
        return True

    def has_ascii_header(self) -> bool:
        return True

    def has_lines(self) -> bool:
        return True


#: smtps lets none of these in; a line end would be the begin of another command.
_CONTROL: Final = re.compile(r"[\0-\x1f\x7f]")
NOTHING: Final[ContentFacts] = _Nothing()


def mail_command(job: Deliver, server: Extensions, by: DeliverBy | None = None) -> str:
    """Gives the MAIL command of a delivery, without line end; by is what is left of its time."""
    return f"MAIL FROM:<{job.mail}>{format_mail_params(job, server, by)}"


def rcpt_command(rcpt: DeliverRcpt, server: Extensions) -> str:
    """Gives the RCPT command of a recipient, without line end."""
    return f"RCPT TO:<{rcpt.rcpt}>{format_rcpt_params(rcpt, server)}"


def fitted(job: Deliver, server: Extensions, content: ContentFacts) -> Deliver:
    """Gives a delivery in the form that a server takes, as far as that changes nothing of what it means."""
    if not _ascii_envelope(job):
        if not server.has(Ext.SMTPUTF8):
            job = _with_a_labels(job)
        elif not job.smtputf8:  # an alias led there
            job = replace(job, smtputf8=True)
    if job.body == BINARY and not _takes_binary(server) and content.has_lines():
        job = replace(job, body="8BITMIME")
    return job


def _with_a_labels(job: Deliver) -> Deliver:
    rcpts = tuple(replace(rcpt, rcpt=idn.address_in_ascii(rcpt.rcpt)) for rcpt in job.rcpts)
    return replace(job, mail=idn.address_in_ascii(job.mail), rcpts=rcpts)


def _takes_binary(server: Extensions) -> bool:
    return server.has(Ext.BINARYMIME) and server.has(Ext.CHUNKING)


def refusal(job: Deliver, server: Extensions, content: ContentFacts) -> Reply | None:
    """Tells why a delivery cannot be made to a server with these extensions, or None.

    Args:
        job: the delivery, as fitted() gave it.
        server: what the server offers.
        content: tells what the message needs.
    """
    if _CONTROL.search(_envelope(job)):
        return Reply(554, "5.5.2", "envelope has a control character, which may not be in a command")
    limit = server.size_max_bytes
    if 0 < limit < job.size_bytes:
        return Reply(552, "5.3.4", f"{_server(job)} takes at most {limit} bytes, the message has {job.size_bytes}")
    return _utf8_refusal(job, server, content) or _body_refusal(job, server, content)


def _envelope(job: Deliver) -> str:
    """Gives all that was said of a message and is said again in commands."""
    texts = [job.mail, job.body, job.ret, job.envid, job.by_mode]
    for rcpt in job.rcpts:
        texts += (rcpt.rcpt, rcpt.notify, rcpt.orcpt)
    return "".join(text for text in texts if text)


def _utf8_refusal(job: Deliver, server: Extensions, content: ContentFacts) -> Reply | None:
    if server.has(Ext.SMTPUTF8):
        return None
    if not _ascii_envelope(job):
        return Reply(553, "5.6.7", f"address needs SMTPUTF8, which {_server(job)} does not offer")
    if job.smtputf8 and not content.has_ascii_header():
        return Reply(554, "5.6.7", f"message header needs SMTPUTF8, which {_server(job)} does not offer")
    return None


def _body_refusal(job: Deliver, server: Extensions, content: ContentFacts) -> Reply | None:
    if job.body == BINARY:
        if _takes_binary(server):
            return None
        return Reply(554, "5.6.3", f"message needs BINARYMIME and CHUNKING, which {_server(job)} does not offer")
    eightbit = job.body == "8BITMIME" or job.smtputf8
    if eightbit and not server.has(Ext.EIGHTBITMIME) and not content.is_7bit():
        return Reply(554, "5.6.3", f"message needs 8BITMIME, which {_server(job)} does not offer")
    return None


# -- time for delivery


def time_left(job: Deliver, now: float) -> DeliverBy | None:
    """Gives what is left of the time of a delivery, None if it has none; now in seconds since the epoch."""
    return None if job.by_mode is None else DeliverBy(math.floor(job.by - now), job.by_mode)


def late(job: Deliver, server: Extensions, now: float) -> Reply | None:
    """Tells why a message that is to be returned if it is late cannot go to a server, or None.

    What is said to an LMTP server is the delivery itself.
    """
    left = time_left(job, now)
    if left is None or not left.mode.startswith("R"):
        return None
    if left.seconds <= 0:
        return Reply(554, "5.4.7", "time for delivery is over")
    if job.da == DeliveryAgent.LMTP:
        return None
    if not server.has(Ext.DELIVERBY):
        return Reply(554, "5.3.3", f"message has to be returned if it is late, and {_server(job)} does not offer DELIVERBY")
    if server.by_min_s > left.seconds:
        return Reply(554, "5.4.7", f"{left.seconds} s are left for delivery, {_server(job)} wants {server.by_min_s} s at least")
    return None


def _ascii_envelope(job: Deliver) -> bool:
    return job.mail.isascii() and all(rcpt.rcpt.isascii() for rcpt in job.rcpts)


def _server(job: Deliver) -> str:
    return where(job.server[0])
