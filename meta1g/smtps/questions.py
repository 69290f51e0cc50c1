"""MAIL and RCPT while they wait: for SMAR's verdict, for QMGR's count of the client, for a probe of the address.

What is asked at once travels together; an address is only probed when nothing else is against it, and those of one pipelined
group are probed side by side.

    MAIL, RCPT -> SMAR, count of QMGR -> probe by QMGR -> reply

Ref: RFC 5321 4.1.1.2, 4.1.1.3; MeTA1 design, "Functional Specification: SMTPS" (order of questions modelled on MeTA1's).
"""

import errno
from typing import Final

from meta1g.base.dataclass import dataclass
from meta1g.base.errors import TempError
from meta1g.base.reply import Reply
from meta1g.rcb.smtps_qmgr import NewRecipient, NewTransaction
from meta1g.rcb.smtps_smar import LookupFlags, Verdict, VerdictFlags
from meta1g.smtp import replies
from meta1g.smtp.address import Address
from meta1g.smtp.esmtp import RcptParams
from meta1g.smtps.dialogue import Dialogue
from meta1g.smtps.fsm import Event, State
from meta1g.smtps.link import told
from meta1g.smtps.smar_link import Asked
from meta1g.smtps.transaction import Transaction
from meta1g.st import StError
from meta1g.st.rcbpending import Pending

#: X.1.8 of RFC 3463: what is wrong with an address is wrong with the sender's.
_SENDER_CODE: Final = "1.8"
_WELCOME: Final = Verdict(reply=Reply(250))


# MAIL


def accept_mail(dialogue: Dialogue, ta: Transaction) -> None:
    """Announces a transaction to QMGR and replies."""
    params = ta.params
    announcement = NewTransaction(
        session_id=dialogue.id,
        ta_id=ta.ta_id,
        mail=ta.mail.text,
        size_bytes=params.size_bytes,
        body=params.body,
        smtputf8=params.smtputf8,
        ret=params.ret,
        envid=params.envid,
        verp=params.verp,
    )
    try:
        dialogue.context.qmgr.open_transaction(ta, announcement)
    except TempError:
        dialogue.reply(replies.QUEUE_AWAY)
        return
    dialogue.reply(replies.SENDER_OK)


def _refuse_mail(dialogue: Dialogue, reply: Reply) -> None:
    ta, dialogue.ta = dialogue.ta, None
    dialogue.mail_refused = True
    dialogue.step(Event.MAIL_REFUSED)
    if ta is not None:
        dialogue.context.log.notice(
            "smtps.mail",
            str(dialogue.said(reply)),
            ss_sess=dialogue.id,
            ss_ta=ta.ta_id,
            client=dialogue.client_addr,
            mail=ta.mail.text,
        )
    dialogue.reply(reply)


@dataclass(slots=True)
class MailQuestion:
    """MAIL waits for SMAR or QMGR.  Owner: the state thread of the session.

    Args:
        asked: the question to SMAR, None if it has no opinion on senders.
        counted: the question to QMGR, None if messages have no rate.
    """

    asked: Asked | None
    counted: Pending | None

    def settle(self, dialogue: Dialogue) -> None:
        """Waits for the answers and replies.  Switches: yes (waits)."""
        verdict = None if self.asked is None else _answer(self.asked)
        ta = dialogue.ta
        if ta is None:
            return
        refusal = self._judged(dialogue, ta, verdict) or _too_much(dialogue, self.counted)
        if refusal is None and not ta.discard and ta.denial is None:
            refusal = _unverified_sender(dialogue, ta)
        if refusal is None:
            accept_mail(dialogue, ta)
        else:
            _refuse_mail(dialogue, refusal)

    def _judged(self, dialogue: Dialogue, ta: Transaction, verdict: Verdict | None) -> Reply | None:
        """Takes SMAR's verdict; gives a refusal that counts now, or None."""
        if self.asked is None:
            return None
        reply = replies.RESOLVER_FAILED if verdict is None else told(verdict.reply)
        if verdict is not None and reply.is_ok:
            _take_flags(ta, verdict)
        elif reply.is_perm and dialogue.settings.delay_checks:
            ta.denial = ta.denial or reply
        else:
            return reply
        return None


def _take_flags(ta: Transaction, verdict: Verdict) -> None:
    flags = verdict.flags
    if flags & VerdictFlags.RELAY:
        ta.flags |= LookupFlags.RELAY_ALLOWED
    if flags & VerdictFlags.QUICK:
        ta.flags |= LookupFlags.QUICK
    if flags & VerdictFlags.DISCARD:
        ta.discard = True


def _answer(asked: Asked) -> Verdict | None:
    """Waits for SMAR; None if it does not answer.  Switches: yes (waits)."""
    try:
        return asked.verdict()
    except TempError:
        return None
    except StError as error:
        if error.errno != errno.ETIME:
            raise
        return None


# QMGR's opinion


def _too_much(dialogue: Dialogue, counted: Pending | None) -> Reply | None:
    """Waits for QMGR's count, if it was asked; gives a refusal or None.  Switches: yes, if it was asked (waits)."""
    if counted is None:
        return None
    reply = dialogue.context.qmgr.said(counted) or replies.QUEUE_FAILED
    return None if reply.is_ok else reply


def _unverified_sender(dialogue: Dialogue, ta: Transaction) -> Reply | None:
    """Has the sender probed if the configuration wants that; gives a refusal or None.  Switches: yes, if it is (waits)."""
    if not dialogue.settings.verify.wants_sender(ta.mail):
        return None
    reply = _probed(dialogue, ta.mail, dialogue.context.qmgr.verify(dialogue.id, ta.mail.text))
    return None if reply is None else Reply(reply.code, f"{reply.code // 100}.{_SENDER_CODE}", f"Sender: {reply.one_line}")


def _probed(dialogue: Dialogue, address: Address, pending: Pending | None) -> Reply | None:
    """Waits for the result of a probe; gives a refusal or None.  Switches: yes (waits)."""
    context = dialogue.context
    reply = (None if pending is None else context.qmgr.said(pending)) or replies.NOT_VERIFIED
    if reply.is_temp and dialogue.settings.verify.accept_unknown:
        context.log.info("smtps.unverified", str(reply), ss_sess=dialogue.id, rcpt=address.text, reply=reply.code)
        return None
    return None if reply.is_ok else reply


# RCPT


@dataclass(slots=True)
class RcptQuestion:
    """RCPT waits for SMAR, for QMGR, or only for its turn.  Owner: the state thread of the session.

    Args:
        asked: the question to SMAR, None if its answer is known to be yes.
        address: the recipient.
        params: parameters of RCPT.
        counted: the question to QMGR, None if recipients have no rate.

    Attributes:
        verdict: what SMAR has said, once it was waited for.
        looked: SMAR was waited for.
        probe: the probe of the address, None if there is none.
    """

    asked: Asked | None
    address: Address
    params: RcptParams
    counted: Pending | None = None
    verdict: Verdict | None = None
    looked: bool = False
    probe: Pending | None = None
    verified: bool = False

    def _answered(self) -> Verdict | None:
        """Waits for SMAR, if it was asked; None if it does not answer.  Switches: yes, if it was asked (waits)."""
        return _WELCOME if self.asked is None else _answer(self.asked)

    def begin_probe(self, dialogue: Dialogue, ta: Transaction) -> None:
        """Waits for SMAR, and lets the address be probed if nothing is against it.  Switches: yes (waits)."""
        self.verdict, self.looked = self._answered(), True
        verdict = self.verdict
        if verdict is None or not told(verdict.reply).is_ok or verdict.flags & VerdictFlags.DISCARD:
            return
        if ta.refused is None and ta.denial is None and not ta.discard:
            self.verified = True
            self.probe = dialogue.context.qmgr.verify(dialogue.id, self.address.text)

    def settle(self, dialogue: Dialogue) -> None:
        """Waits for the answers, tells QMGR and replies.  Switches: yes (waits)."""
        together, dialogue.to_verify = dialogue.to_verify, []
        for question in together:
            if dialogue.ta is not None:
                question.begin_probe(dialogue, dialogue.ta)
        verdict = self.verdict if self.looked else self._answered()
        ta = dialogue.ta
        if ta is None:
            dialogue.reply(replies.SENDER_REFUSED)
            return
        reply = self._judged(dialogue, ta, verdict)
        if verdict is None or not reply.is_ok:
            self._refuse(dialogue, ta, reply)
            return
        if verdict.flags & VerdictFlags.DISCARD or ta.discard:
            ta.add(self.address.text, posted=False)
        else:
            self._post(dialogue, ta)
        if dialogue.state is not State.CLOSING:
            dialogue.step(Event.RCPT_OK)
            dialogue.reply(replies.RCPT_OK)

    def _judged(self, dialogue: Dialogue, ta: Transaction, verdict: Verdict | None) -> Reply:
        """Gives what all say together.  Switches: yes, if QMGR was asked (waits)."""
        reply = replies.RESOLVER_FAILED if verdict is None else told(verdict.reply)
        if reply.is_ok:
            reply = ta.refused or ta.denial or reply
        if reply.is_ok:
            reply = _too_much(dialogue, self.counted) or reply
        if reply.is_ok and self.verified:
            reply = _probed(dialogue, self.address, self.probe) or reply
        return reply

    def _post(self, dialogue: Dialogue, ta: Transaction) -> None:
        text = self.address.text
        recipient = NewRecipient(
            ta_id=ta.ta_id, rcpt_idx=ta.posted, rcpt=text, notify=self.params.notify, orcpt=self.params.orcpt
        )
        context = dialogue.context
        try:
            context.qmgr.post(recipient)
        except TempError:
            dialogue.reply(replies.QUEUE_AWAY)
            return
        context.log.info("smtps.rcpt", "ok", ss_ta=ta.ta_id, rcpt_idx=ta.posted, rcpt=text)
        ta.add(text, posted=True)

    def _refuse(self, dialogue: Dialogue, ta: Transaction, reply: Reply) -> None:
        ta.failed += 1
        dialogue.context.log.notice(
            "smtps.rcpt",
            str(dialogue.said(reply)),
            ss_ta=ta.ta_id,
            client=dialogue.client_addr,
            mail=ta.mail.text,
            rcpt=self.address.text,
        )
        dialogue.reply(reply)
