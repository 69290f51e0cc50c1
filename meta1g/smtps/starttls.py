"""STARTTLS: the handshake, and what is forgotten with it.

Invariant: nothing that the client said in clear counts afterwards: not its EHLO, not its transaction, not what it sent behind
the command, which may be somebody else's (RFC 3207 4.2).

Ref: RFC 3207; MeTA1 design, "Functional Specification: SMTPS, STARTTLS" (modelled on).
"""

from meta1g.base.tlsfacts import TlsInfo
from meta1g.smtp import replies
from meta1g.smtp.esmtp import Ext
from meta1g.smtps.dialogue import ClientGoneError, Dialogue
from meta1g.smtps.fsm import Event
from meta1g.smtps.limits import HANDSHAKE_TIMEOUT_US
from meta1g.st import StError


def starttls(dialogue: Dialogue, argument: str) -> None:
    """Answers STARTTLS and makes the handshake.  Switches: yes (network).

    Raises:
        ClientGoneError: the handshake failed; nothing can be sent any more.
    """
    certificates = dialogue.context.certificates
    if certificates is None or Ext.STARTTLS not in dialogue.settings.offered:
        dialogue.refuse("smtps.command_refused", replies.NOT_IMPLEMENTED, command="STARTTLS")
    elif argument:
        dialogue.refuse("smtps.command_refused", replies.NO_ARGUMENT_WANTED, command="STARTTLS")
    elif dialogue.tls is not None:
        dialogue.refuse("smtps.command_refused", replies.TLS_ALREADY, command="STARTTLS")
    else:
        dialogue.reply(replies.TLS_READY)
        dialogue.flush()
        _drop_rest(dialogue)
        dialogue.secured(_handshake(dialogue))


def _drop_rest(dialogue: Dialogue) -> None:
    """Drops what the client sent in clear behind the command; a client waits for 220 before it says more."""
    rest = dialogue.take_rest()
    if rest:
        text = "sent behind STARTTLS in clear, dropped: it may be somebody else's"
        dialogue.context.log.notice(
            "smtps.tls_injection", text, ss_sess=dialogue.id, client=dialogue.client_addr, size=len(rest)
        )


def _handshake(dialogue: Dialogue) -> TlsInfo:
    """Switches: yes (network)."""
    context, certificates = dialogue.context, dialogue.context.certificates
    assert certificates is not None
    from meta1g.st.tls import st_tls_accept

    try:
        info = st_tls_accept(dialogue.nfd, certificates.context, HANDSHAKE_TIMEOUT_US)
    except StError as error:
        reason = error.strerror or str(error)
        context.log.notice("smtps.tls_failed", reason, ss_sess=dialogue.id, client=dialogue.client_addr)
        dialogue.step(Event.CLOSE)
        raise ClientGoneError from error
    context.log.info(
        "smtps.tls",
        "ok",
        ss_sess=dialogue.id,
        client=dialogue.client_addr,
        tls=f"{info.version} {info.cipher}",
        bits=info.bits,
        verify="ok" if info.verified else info.reason,
        cert_subject=info.subject or None,
        cert_issuer=info.issuer or None,
    )
    return info
