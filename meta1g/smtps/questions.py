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
from meta1g.rcb.smtps_smar import CheckClient, LookupFlags, Verdict, VerdictFlags
from meta1g.smtp import replies
from meta1g.smtp.address import Address
from meta1g.smtp.command import shown
from meta1g.smtp.esmtp import RcptParams
from meta1g.smtps.dialogue import Dialogue
from meta1g.smtps.filtering import SessionFilters
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
    """Announces a transaction to QMGR and replies; only who may relay may raise its priority (RFC 6710 5).

    Switches: yes (network), if there are filters.
    """
    filters = dialogue.filters
    if filters is not None and (refusal := filters.mail(ta)) is not None:
        _refuse_mail(dialogue, ta, refusal, filters.rule)
        return
    params = ta.params
    by = params.by
    if params.priority is not None:
        may_raise = ta.flags & (LookupFlags.RELAY_ALLOWED | LookupFlags.AUTHENTICATED)
        ta.priority = params.priority if may_raise else min(params.priority, 0)
    announcement = NewTransaction(
        session_id=dialogue.id,
        ta_id=ta.ta_id,
        mail=ta.mail.text,
        size_bytes=params.size_bytes,
        body=params.body,
        smtputf8=params.smtputf8,
        ret=params.ret,
        envid=params.envid,
        requiretls=params.requiretls,
        verp=params.verp,
        by=0.0 if by is None else dialogue.context.clock.now() + by.seconds,
        by_mode=None if by is None else by.mode,
        priority=ta.priority or 0,
    )
    try:
        dialogue.context.qmgr.open_transaction(ta, announcement)
    except TempError:
        _refuse_mail(dialogue, ta, replies.QUEUE_AWAY, "")
        return
    if filters is not None:
        filters.announced = announcement
    if ta.priority == params.priority:
        dialogue.reply(replies.SENDER_OK)
    else:
        dialogue.reply(Reply(250, "2.3.6", f"{ta.priority} is the new priority assigned to the message"))


def learn_relaying(dialogue: Dialogue) -> None:
    """Sees to it that it is known whether the client may relay, even where SMAR is not asked about clients.

    Switches: yes, unless that is known (waits).
    """
    may_relay = LookupFlags.RELAY_ALLOWED | LookupFlags.AUTHENTICATED
    if dialogue.context.smar.asks_client or dialogue.flags & may_relay:
        return
    question = CheckClient(session_id=dialogue.id, client_addr=dialogue.client_addr, flags=dialogue.flags)
    try:
        verdict = dialogue.context.smar.ask(question).client_verdict()
    except TempError:
        return
    except StError as error:
        if error.errno != errno.ETIME:
            raise
        return
    if verdict.flags & VerdictFlags.RELAY:
        dialogue.flags |= LookupFlags.RELAY_ALLOWED


def _refuse_mail(dialogue: Dialogue, ta: Transaction, reply: Reply, rule: str) -> None:
    dialogue.ta = None
    if dialogue.filters is not None:
        dialogue.filters.abort()
    dialogue.mail_refused = True
    dialogue.step(Event.MAIL_REFUSED)
    dialogue.refuse("smtps.mail_refused", reply, rule=rule, ss_ta=ta.ta_id, mail=ta.mail.text)


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
        refusal = self._judged(dialogue, ta, verdict)
        rule = "" if refusal is None or verdict is None else verdict.rule
        refusal = refusal or _too_much(dialogue, self.counted)
        if refusal is None and not ta.discard and ta.denial is None:
            refusal = _unverified_sender(dialogue, ta)
        if refusal is None:
            accept_mail(dialogue, ta)
        else:
            _refuse_mail(dialogue, ta, refusal, rule)

    def _judged(self, dialogue: Dialogue, ta: Transaction, verdict: Verdict | None) -> Reply | None:
        """Takes SMAR's verdict; gives a refusal that counts now, or None."""
        if self.asked is None:
            return None
        reply = replies.RESOLVER_FAILED if verdict is None else told(verdict.reply)
        certified = verdict is not None and bool(verdict.flags & VerdictFlags.CERTIFIED)
        if certified:
            _overrule(ta)
        if verdict is not None and reply.is_ok:
            _take_flags(ta, verdict)
        elif (
            verdict is not None and reply.is_perm and dialogue.settings.delay_checks and not verdict.flags & VerdictFlags.FINAL
        ):
            if ta.denial is None and not dialogue.overrules and not certified:
                ta.denial, ta.rule = reply, verdict.rule
        else:
            return reply
        return None


def _overrule(ta: Transaction) -> None:
    """Lets a certificate that allows relaying overrule what was denied and only not told yet."""
    ta.flags |= LookupFlags.RELAY_ALLOWED
    if ta.denial is not None:
        ta.denial, ta.rule = None, ""


def _take_flags(ta: Transaction, verdict: Verdict) -> None:
    flags = verdict.flags
    if flags & VerdictFlags.RELAY:
        ta.flags |= LookupFlags.RELAY_ALLOWED
    if flags & VerdictFlags.QUICK:
        ta.flags |= LookupFlags.QUICK
    if flags & VerdictFlags.DISCARD and not ta.discard:
        ta.discard, ta.rule = True, verdict.rule


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
        verified: the address is to be verified.
        probe: the question to QMGR about it, None if QMGR is away.
    """

    asked: Asked | None
    address: Address
    params: RcptParams
    counted: Pending | None = None
    verdict: Verdict | None = None
    looked: bool = False
    verified: bool = False
    probe: Pending | None = None

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
            command = f"RCPT TO:{self.address.text}"
            dialogue.refuse("smtps.command_refused", replies.SENDER_REFUSED, command=shown(command))
            return
        reply, rule = self._judged(dialogue, ta, verdict)
        if dialogue.filters is not None:
            reply, rule = self._filtered(dialogue.filters, ta, reply, rule)
        if verdict is None or not reply.is_ok:
            self._refuse(dialogue, ta, reply, rule)
            return
        if verdict.flags & VerdictFlags.DISCARD or ta.discard:
            self._discard(dialogue, ta, ta.rule if ta.discard else rule)
        else:
            self._post(dialogue, ta)
        if dialogue.state is not State.CLOSING:
            dialogue.step(Event.RCPT_OK)
            dialogue.reply(replies.RCPT_OK)

    def _judged(self, dialogue: Dialogue, ta: Transaction, verdict: Verdict | None) -> tuple[Reply, str]:
        """Gives what all say together, and the entry of a map that it comes from.  Switches: yes, if QMGR was asked (waits)."""
        reply, rule = (replies.RESOLVER_FAILED, "") if verdict is None else (told(verdict.reply), verdict.rule)
        if reply.is_ok and (said := ta.refused or ta.denial) is not None:
            return said, "" if ta.refused else ta.rule
        refusal = _too_much(dialogue, self.counted) if reply.is_ok else None
        if reply.is_ok and refusal is None and self.verified:
            refusal = _probed(dialogue, self.address, self.probe)
        return (reply, rule) if refusal is None else (refusal, "")

    def _filtered(self, filters: SessionFilters, ta: Transaction, reply: Reply, rule: str) -> tuple[Reply, str]:
        """Tells the filters; gives what they say if nobody else refuses the recipient.  Switches: yes (network)."""
        if reply.is_ok:
            refusal = filters.rcpt(ta, self.address, self.params)
            return (reply, rule) if refusal is None else (refusal, filters.rule)
        filters.refused_rcpt(ta, self.address, reply)
        return reply, rule

    def _post(self, dialogue: Dialogue, ta: Transaction) -> None:
        text = self.address.text
        notify, orcpt = self.params.notify, self.params.orcpt
        recipient = NewRecipient(ta_id=ta.ta_id, rcpt_idx=ta.posted, rcpt=text, notify=notify, orcpt=orcpt)
        context = dialogue.context
        try:
            context.qmgr.add_recipient(ta, recipient)
        except TempError:
            self._refuse(dialogue, ta, replies.QUEUE_AWAY, "")
            return
        if dialogue.filters is not None:
            dialogue.filters.rcpts.append(recipient)
        context.log.info("smtps.rcpt", "ok", ss_ta=ta.ta_id, rcpt_idx=ta.posted, rcpt=text, notify=notify, orcpt=orcpt)
        ta.add(text, posted=True)

    def _discard(self, dialogue: Dialogue, ta: Transaction, rule: str) -> None:
        """Accepts a recipient who gets nothing."""
        table, _, key = rule.partition(" ")
        dialogue.context.log.info(
            "smtps.rcpt_discarded",
            "accepted and dropped",
            ss_ta=ta.ta_id,
            client=dialogue.client_addr,
            mail=ta.mail.text,
            rcpt=self.address.text,
            map=table or None,
            key=key or None,
        )
        ta.rule = rule
        ta.add(self.address.text, posted=False)

    def _refuse(self, dialogue: Dialogue, ta: Transaction, reply: Reply, rule: str) -> None:
        ta.failed += 1
        dialogue.refuse("smtps.rcpt_refused", reply, rule=rule, ss_ta=ta.ta_id, mail=ta.mail.text, rcpt=self.address.text)
