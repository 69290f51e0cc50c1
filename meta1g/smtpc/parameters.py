"""MAIL and RCPT with the parameters that this server knows, and what a server's lack of an extension means.

Pure.  Ref: RFC 1870 (SIZE), RFC 6152 (8BITMIME), RFC 6531 (SMTPUTF8), RFC 3461 4 (DSN), RFC 8689 (REQUIRETLS).
"""

from collections.abc import Callable, Mapping

from meta1g.base.reply import Reply
from meta1g.rcb.smtpc_qmgr import Deliver, DeliverRcpt


def mail_command(job: Deliver, extensions: Mapping[str, str]) -> str:
    """Gives the MAIL command of a delivery, without line end."""
    words = [f"MAIL FROM:<{job.mail}>"]
    if "SIZE" in extensions and job.size_bytes:
        words.append(f"SIZE={job.size_bytes}")
    if "8BITMIME" in extensions and job.body:
        words.append(f"BODY={job.body}")
    if "SMTPUTF8" in extensions and job.smtputf8:
        words.append("SMTPUTF8")
    if "DSN" in extensions:
        if job.ret:
            words.append(f"RET={job.ret}")
        if job.envid:
            words.append(f"ENVID={job.envid}")
    return " ".join(words)


def rcpt_command(rcpt: DeliverRcpt, extensions: Mapping[str, str]) -> str:
    """Gives the RCPT command of a recipient, without line end."""
    words = [f"RCPT TO:<{rcpt.rcpt}>"]
    if "DSN" in extensions:
        if rcpt.notify:
            words.append(f"NOTIFY={rcpt.notify}")
        if rcpt.orcpt:
            words.append(f"ORCPT={rcpt.orcpt}")
    return " ".join(words)


def refusal(job: Deliver, extensions: Mapping[str, str], is_7bit: Callable[[], bool]) -> Reply | None:
    """Tells why a delivery cannot be made to a server with these extensions, or None.

    Args:
        job: the delivery.
        extensions: what the server offers.
        is_7bit: tells whether the content is ASCII only; asked only if it matters.
    """
    limit = extensions.get("SIZE", "")
    if limit.isascii() and limit.isdigit() and 0 < int(limit) < job.size_bytes:
        return Reply(552, "5.3.4", f"message of {job.size_bytes} bytes is larger than the {limit} bytes this server takes")
    if job.requiretls:
        return Reply(550, "5.7.30", "REQUIRETLS is asked for, and this server is not reached by TLS with REQUIRETLS")
    if "SMTPUTF8" not in extensions and job.smtputf8 and not (_ascii_envelope(job) and is_7bit()):
        return Reply(553, "5.6.7", "message needs SMTPUTF8, which this server does not offer")
    if "8BITMIME" not in extensions and job.body == "8BITMIME" and not is_7bit():
        return Reply(554, "5.6.3", "message needs 8BITMIME, which this server does not offer")
    return None


def _ascii_envelope(job: Deliver) -> bool:
    return job.mail.isascii() and all(rcpt.rcpt.isascii() for rcpt in job.rcpts)
