"""Changes of the envelope that filters ask for: checked when they come, told to QMGR when all filters agree.

QMGR has the envelope already.  Recipients that are added are told to it as others are; if one goes, or the sender changes, it
forgets the transaction and hears of it anew, under the same id: what the recipients are numbered stays.

Ref: sendmail 8, libmilter/docs "smfi_addrcpt", "smfi_addrcpt_par", "smfi_delrcpt", "smfi_chgfrom".
"""

from contextlib import suppress
from dataclasses import replace
from typing import Any

from meta1g.base import idn
from meta1g.base.errors import TempError
from meta1g.base.ids import RCPT_IDX_MAX
from meta1g.base.mailbox import mailbox_of
from meta1g.base.reply import Reply
from meta1g.milter.changes import AddRcpt, ChangeSender, DeleteRcpt
from meta1g.milter.errors import MilterProtocolError
from meta1g.rcb.smtps_qmgr import DiscardTransaction, NewRecipient
from meta1g.smtp import replies
from meta1g.smtp.address import AddressError, Leniency, parse_path, split_path
from meta1g.smtp.esmtp import MAIL_PARAMETERS, NO_MAIL_PARAMS, Ext, MailParams, RcptParams, parse_mail_params, parse_rcpt_params
from meta1g.smtps.dialogue import Dialogue
from meta1g.smtps.filters import Filters
from meta1g.smtps.transaction import Transaction

_LENIENT = Leniency(bare=True, odd_dots=True)
#: Parameters of MAIL that tell of the content, or of what the client may: another sender changes nothing of that.
_OF_CLIENT = ("SIZE", "BODY", "SMTPUTF8", "AUTH")


class EnvelopeEdit:
    """An envelope that filters change.

    Args:
        filters: those of the session, who know what QMGR was told.
        ta: the transaction.

    Attributes:
        mail: the sender.
        params: the parameters of MAIL.

    Owner: the state thread of the session.
    """

    __slots__ = ("_filters", "_next_idx", "_rcpts", "_ta", "mail", "params")

    def __init__(self, filters: Filters, ta: Transaction) -> None:
        self._filters = filters
        self._ta = ta
        self._next_idx = ta.posted
        self.mail = "" if filters.announced is None else filters.announced.mail
        self.params = ta.params
        self._rcpts: dict[str, list[NewRecipient]] = {}  # a client may name a mailbox twice
        for one in filters.rcpts:
            self._rcpts.setdefault(mailbox_of(one.rcpt), []).append(one)

    @property
    def rcpts(self) -> list[NewRecipient]:
        """The recipients, as they are numbered."""
        return sorted((one for same in self._rcpts.values() for one in same), key=lambda one: one.rcpt_idx)

    def copy(self) -> "EnvelopeEdit":
        """Gives the same envelope, to be changed by itself."""
        other = EnvelopeEdit(self._filters, self._ta)
        other.mail, other.params, other._rcpts, other._next_idx = self.mail, self.params, dict(self._rcpts), self._next_idx
        return other

    def apply(self, change: AddRcpt | DeleteRcpt | ChangeSender) -> None:
        """Makes one change.

        Raises:
            MilterProtocolError: it has no address, or parameters that are none.
        """
        if isinstance(change, ChangeSender):
            self._set_sender(change)
        elif isinstance(change, DeleteRcpt):
            gone, _rest = self._address(change.path)
            self._rcpts.pop(mailbox_of(gone), None)
        else:
            self._add(change)

    def _set_sender(self, change: ChangeSender) -> None:
        """Sets the sender; parameters that come with it take the place of the client's."""
        self.mail, rest = self._address(change.path)
        text = _parameters(rest, change.params)
        params = parse_mail_params(text, frozenset(Ext))
        if isinstance(params, Reply):
            raise MilterProtocolError(f"a sender with parameters that are none: {text[:80]!r}")
        named = _differing(params, NO_MAIL_PARAMS)
        fixed = [name for name in _OF_CLIENT if MAIL_PARAMETERS[name].field in named]
        if fixed:
            raise MilterProtocolError(f"a sender with {fixed[0]}: leave it away since that is the client's to say")
        self.params = replace(self.params, **named)
        if not self.mail:
            self.params = replace(self.params, verp=None)  # nobody to make senders of

    def _add(self, change: AddRcpt) -> None:
        rcpt, rest = self._address(change.path)
        if not rcpt:
            raise MilterProtocolError("the null address is no recipient")
        text = _parameters(rest, change.params)
        params = parse_rcpt_params(text, frozenset(Ext))
        if isinstance(params, Reply):
            raise MilterProtocolError(f"a recipient with parameters that are none: {text[:80]!r}")
        if self._next_idx >= RCPT_IDX_MAX:
            raise MilterProtocolError("too many recipients")
        if mailbox_of(rcpt) not in self._rcpts:
            self._rcpts[mailbox_of(rcpt)] = [self._recipient(rcpt, params)]
            self._next_idx += 1

    def _recipient(self, rcpt: str, params: RcptParams) -> NewRecipient:
        return NewRecipient(ta_id=self._ta.ta_id, rcpt_idx=self._next_idx, rcpt=rcpt, notify=params.notify, orcpt=params.orcpt)

    def _address(self, path: bytes) -> tuple[str, str]:
        """Gives an address and what follows it; filters leave the brackets away, and our own domain."""
        text = path.decode("utf-8", "surrogateescape").strip()
        try:
            if not text:
                return "", ""
            path_text, rest = split_path(text, _LENIENT) if text.startswith("<") else (text, "")
            return self._qualified(path_text), rest
        except AddressError as error:
            raise MilterProtocolError(f"{text[:80]!r} is no address: {error}") from error

    def _qualified(self, text: str) -> str:
        """Gives an address; one without a domain gets the name of the gateway, as at the other MTAs that filters know.

        In a message that does not need SMTPUTF8 a domain in U-labels becomes one in A-labels, which is the same domain; a local
        part has no other form (RFC 6531 3.2).

        Raises:
            AddressError: it is none, or needs SMTPUTF8.
        """
        utf8 = self._ta.params.smtputf8
        form = (lambda address: address) if utf8 else idn.address_in_ascii
        try:
            return parse_path(form(text), _LENIENT, null_ok=True, utf8=utf8).text
        except AddressError:
            hostname = self._filters.dialogue.settings.hostname
            with suppress(AddressError):
                return parse_path(form(f"{text}@{hostname}"), _LENIENT, utf8=utf8).text
            raise

    def tell(self, dialogue: Dialogue) -> Reply | None:
        """Tells QMGR what has changed; gives the reason why it cannot be told, or None."""
        ta, filters = self._ta, self._filters
        before, rcpts = {one.rcpt_idx for one in filters.rcpts}, self.rcpts
        added = [one for one in rcpts if one.rcpt_idx not in before]
        announced = filters.announced
        if announced is None or (self.mail == announced.mail and self.params == ta.params and rcpts == filters.rcpts):
            return None
        if not rcpts:
            ta.discard, ta.rule = True, filters.rule
            return None
        changed = replace(announced, mail=self.mail, **self._changed_params(dialogue.context.clock.now()))
        anew = changed != announced or len(rcpts) - len(added) < len(filters.rcpts)
        qmgr = dialogue.context.qmgr
        try:
            if anew:
                qmgr.post(DiscardTransaction(ta_id=ta.ta_id))
                qmgr.open_transaction(ta, changed)
            for one in rcpts if anew else added:
                qmgr.add_recipient(ta, one)
        except TempError:
            return replies.QUEUE_AWAY
        self._log(dialogue, added)
        ta.posted = len(rcpts)
        ta.params = self.params
        filters.announced = changed
        return None

    def _changed_params(self, now: float) -> dict[str, Any]:
        """Gives the fields of the announcement that other parameters of MAIL change; a filter of ours may raise a priority."""
        values, by = _differing(self.params, self._ta.params), self.params.by
        if by is not None and values.pop("by", None):
            values |= {"by": now + by.seconds, "by_mode": by.mode}
        return values

    def _log(self, dialogue: Dialogue, added: list[NewRecipient]) -> None:
        """Logs who came and who went: envelopes are made again from the log."""
        log, ta_id, rule = dialogue.context.log, self._ta.ta_id, self._filters.rule
        table, _, key = rule.partition(" ")
        left = {one.rcpt_idx for one in self.rcpts}
        for one in self._filters.rcpts:
            if one.rcpt_idx not in left:
                log.info(
                    "smtps.rcpt_discarded",
                    "removed by a filter",
                    ss_ta=ta_id,
                    client=dialogue.client_addr,
                    mail=self.mail,
                    rcpt=one.rcpt,
                    rcpt_idx=one.rcpt_idx,
                    map=table,
                    key=key,
                )
        for one in added:
            log.info(
                "smtps.rcpt",
                f"added by {rule}",
                ss_ta=ta_id,
                rcpt_idx=one.rcpt_idx,
                rcpt=one.rcpt,
                notify=one.notify,
                orcpt=one.orcpt,
            )


def _parameters(rest: str, params: bytes) -> str:
    """Gives the parameters of an address: what stood behind it, and what came by itself."""
    return f"{rest} {params.decode('ascii', 'replace')}".strip()


def _differing(params: MailParams, others: MailParams) -> dict[str, Any]:
    """Gives the parameters, by their fields, that are not those of others."""
    fields = [row.field for row in MAIL_PARAMETERS.values()]
    return {field: value for field in fields if (value := getattr(params, field)) != getattr(others, field)}
