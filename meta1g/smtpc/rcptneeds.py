"""Which recipients of a delivery may go over a session: what their configuration demands of TLS, and what the sender does.

Others may go over the same session; for those who may not, another server is tried.

Pure.  Ref: RFC 8689 4.2.1, 5 (REQUIRETLS); MeTA1 README, "STARTTLS Restrictions" (demands of recipients modelled on).
"""

from collections.abc import Callable
from typing import Final

from meta1g.base.reply import Reply
from meta1g.base.tlsfacts import TlsInfo
from meta1g.base.tlsneeds import TlsRequirements
from meta1g.rcb.common import DeliveryAgent
from meta1g.rcb.smtpc_qmgr import Deliver
from meta1g.smtp.esmtp import Ext, Extensions
from meta1g.smtpc.demands import demanded
from meta1g.smtpc.status import where

NeedsOf = Callable[[str], TlsRequirements | None]
_NO_TLS: Final = "5.7.10"
_NO_REQUIRETLS: Final = "5.7.30"


def unmet(job: Deliver, tls: TlsInfo | None, server: Extensions, needs_of: NeedsOf) -> dict[int, Reply]:
    """Gives why recipients may not go over a session, by their index.

    Args:
        job: the delivery.
        tls: what was agreed on, None in clear.
        server: what the server offers.
        needs_of: gives what a piece of configuration demands; it may raise what it raises.
    """
    refusal = _requiretls(job, tls, server)
    if refusal is not None:
        return {rcpt.rcpt_idx: refusal for rcpt in job.rcpts}
    found = {}
    for rcpt in job.rcpts:
        needs = needs_of(rcpt.conf) if rcpt.conf else None
        text = "" if needs is None else needs.unmet(tls)
        if text:
            text = f"{where(job.server[0])}: {text} (tls_requirements of the recipient)"
            found[rcpt.rcpt_idx] = demanded(text, needs, "4.7.4" if tls is None else "4.7.5")
    return found


def is_strict(job: Deliver) -> bool:
    """Tells whether what is known of the certificate may decide about recipients of a delivery."""
    return job.requiretls or any(rcpt.conf for rcpt in job.rcpts)


def carries_requiretls(job: Deliver, tls: TlsInfo | None, server: Extensions) -> bool:
    """Tells whether MAIL has REQUIRETLS: it is asked for, and this session has what it needs."""
    return job.requiretls and tls is not None and tls.verified and server.has(Ext.REQUIRETLS)


def _requiretls(job: Deliver, tls: TlsInfo | None, server: Extensions) -> Reply | None:
    """Gives why a message may not go over a session that needs REQUIRETLS.

    A report goes in any case (RFC 8689 5), and delivery to a local server ends what the extension is about (4.4).
    """
    if not job.requiretls or not job.mail or job.da == DeliveryAgent.LMTP or carries_requiretls(job, tls, server):
        return None
    at = where(job.server[0])
    if tls is None:
        return Reply(550, _NO_TLS, f"{at}: REQUIRETLS is asked for, and there is no TLS")
    if not tls.verified:
        return Reply(550, _NO_TLS, f"{at}: REQUIRETLS is asked for, and the certificate cannot be verified: {tls.reason}")
    return Reply(550, _NO_REQUIRETLS, f"{at}: REQUIRETLS is asked for, and the server does not offer it")
