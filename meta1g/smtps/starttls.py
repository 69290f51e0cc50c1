"""The handshake, behind STARTTLS or as the begin of a session, and what is forgotten with it.

Invariant: nothing that the client said in clear counts afterwards: not its EHLO, not its transaction, not what it sent behind
the command, which may be somebody else's (RFC 3207 4.2).

Ref: RFC 3207; RFC 8314 3 (implicit TLS); MeTA1 design, "Functional Specification: SMTPS, STARTTLS" (modelled on).
"""

import errno
from typing import TYPE_CHECKING

from meta1g.base.reply import Reply
from meta1g.base.tlsfacts import TlsInfo
from meta1g.base.tlsneeds import TlsRequirements, Violation
from meta1g.smtp import replies
from meta1g.smtp.esmtp import Ext
from meta1g.smtps.dialogue import ClientGoneError, Dialogue
from meta1g.smtps.fsm import Event
from meta1g.st import StError

if TYPE_CHECKING:
    from meta1g.smtps.certificates import Certificates


def starttls(dialogue: Dialogue, argument: str) -> None:
    """Answers STARTTLS and makes the handshake.  Switches: yes (network).

    Raises:
        ClientGoneError: the handshake failed; nothing can be sent any more.
        StError: EINTR.
    """
    certificates = dialogue.context.certificates
    if certificates is None or Ext.STARTTLS not in dialogue.settings.offered:
        dialogue.refuse("smtps.command_refused", replies.NOT_IMPLEMENTED, command="STARTTLS")
    elif argument:
        dialogue.refuse("smtps.command_refused", replies.NO_ARGUMENT_WANTED, command="STARTTLS")
    elif dialogue.tls is not None:
        dialogue.refuse("smtps.command_refused", replies.TLS_ALREADY, command="STARTTLS")
    elif dialogue.context.stopping:
        dialogue.refuse("smtps.closed", replies.SHUTTING_DOWN)
    elif not certificates.handshakes.has_room(dialogue.client_addr):
        dialogue.refuse("smtps.command_refused", replies.TLS_BUSY, command="STARTTLS")
    else:
        dialogue.forget_mail()
        dialogue.reply(replies.TLS_READY)
        with certificates.handshakes.place(dialogue.client_addr):
            dialogue.flush()
            _drop_rest(dialogue)
            info = _handshake(dialogue, certificates)
        dialogue.secured(info)


def begin_with_tls(dialogue: Dialogue, refusal: Reply | None) -> bool:
    """Makes the handshake that a session with implicit TLS begins with; tells whether the client can be greeted.

    Args:
        dialogue: the session.
        refusal: why the client may not stay, None if it may.  For a passing reason no handshake is made: its time is short,
            and nothing can be said without one.

    Raises:
        ClientGoneError: the handshake failed; nothing can be sent any more.
        StError: EINTR.

    Switches: yes (network).
    """
    certificates = dialogue.context.certificates
    if dialogue.context.stopping:
        refusal = replies.SHUTTING_DOWN
    if refusal is None or refusal.is_perm:
        if certificates is not None and certificates.handshakes.has_room(dialogue.client_addr):
            with certificates.handshakes.place(dialogue.client_addr):
                dialogue.tls = _handshake(dialogue, certificates)
            return True
        refusal = replies.TLS_BUSY
    dialogue.log_refusal("smtps.connect_refused", refusal, rule=dialogue.rule)
    dialogue.step(Event.CLOSE)
    return False


def tls_refusal(needs: TlsRequirements, info: TlsInfo | None) -> Reply | None:
    """Gives what MAIL is answered if demands on TLS are not met, None if they are.

    Args:
        needs: the demands.
        info: what was agreed on, None in clear.

    Ref: RFC 3207 4 (530 and its text).
    """
    why = needs.unmet(info)
    if not why:
        return None
    if needs.violation is Violation.ABORT:
        return Reply(421, "4.7.0", f"{why}; closing connection")
    if info is None:
        return replies.TLS_FIRST if needs.violation is Violation.PERMANENT else replies.TLS_FIRST_FOR_NOW
    return Reply(550, "5.7.1", why) if needs.violation is Violation.PERMANENT else Reply(451, "4.7.1", why)


def _drop_rest(dialogue: Dialogue) -> None:
    """Drops what the client sent in clear behind the command; a client waits for 220 before it says more."""
    rest = dialogue.take_rest()
    if rest:
        text = "sent behind STARTTLS in clear, dropped: it may be somebody else's"
        dialogue.context.log.notice(
            "smtps.tls_injection", text, ss_sess=dialogue.id, client=dialogue.client_addr, size=len(rest)
        )


def _handshake(dialogue: Dialogue, certificates: "Certificates") -> TlsInfo:
    """Switches: yes (network)."""
    context = dialogue.context
    from meta1g.st.tls import st_tls_accept

    dialogue.handshaking = True
    try:
        choose = None if certificates.names is None else certificates.names.choose
        info = st_tls_accept(dialogue.nfd, certificates.context, certificates.handshakes.timeout_us(), choose)
    except StError as error:
        if error.errno == errno.EINTR:
            raise
        reason = error.strerror or str(error)
        context.log.notice("smtps.tls_failed", reason, ss_sess=dialogue.id, client=dialogue.client_addr)
        dialogue.step(Event.CLOSE)
        raise ClientGoneError from error
    finally:
        dialogue.handshaking = False
    context.log.info("smtps.tls", "ok", ss_sess=dialogue.id, client=dialogue.client_addr, **info.logged())
    return info
