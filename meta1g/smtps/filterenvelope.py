"""Changes of the envelope that filters ask for: checked when they come, told to QMGR when all filters agree.

QMGR has the envelope already.  Recipients that are added are told to it as others are; if one goes, or the sender changes, it
forgets the transaction and hears of it anew, under the same id: what the recipients are numbered stays.

Ref: sendmail 8, libmilter/docs "smfi_addrcpt", "smfi_addrcpt_par", "smfi_delrcpt", "smfi_chgfrom".
"""

from dataclasses import replace

from meta1g.base.errors import TempError
from meta1g.base.ids import RCPT_IDX_MAX
from meta1g.base.reply import Reply
from meta1g.milter.changes import AddRcpt, ChangeSender, DeleteRcpt
from meta1g.milter.errors import MilterProtocolError
from meta1g.rcb.smtps_qmgr import DiscardTransaction, NewRecipient
from meta1g.smtp import replies
from meta1g.smtp.address import AddressError, Leniency, parse_path, split_path
from meta1g.smtp.esmtp import Ext, RcptParams, parse_rcpt_params
from meta1g.smtps.dialogue import Dialogue
from meta1g.smtps.filters import Filters
from meta1g.smtps.transaction import Transaction

_LENIENT = Leniency(bare=True, odd_dots=True)


class EnvelopeEdit:
    """An envelope that filters change.

    Args:
        filters: those of the session, who know what QMGR was told.
        ta: the transaction.

    Attributes:
        mail: the sender.
        rcpts: the recipients.

    Owner: the state thread of the session.
    """

    __slots__ = ("_filters", "_next_idx", "_ta", "mail", "rcpts")

    def __init__(self, filters: Filters, ta: Transaction) -> None:
        self._filters = filters
        self._ta = ta
        self._next_idx = ta.posted
        self.mail = "" if filters.announced is None else filters.announced.mail
        self.rcpts = list(filters.rcpts)

    def copy(self) -> "EnvelopeEdit":
        """Gives the same envelope, to be changed by itself."""
        other = EnvelopeEdit(self._filters, self._ta)
        other.mail, other.rcpts, other._next_idx = self.mail, list(self.rcpts), self._next_idx
        return other

    def apply(self, change: AddRcpt | DeleteRcpt | ChangeSender) -> None:
        """Makes one change.

        Raises:
            MilterProtocolError: it has no address, or parameters that are none.
        """
        if isinstance(change, ChangeSender):
            self.mail, _rest = self._address(change.path)
        elif isinstance(change, DeleteRcpt):
            gone, _rest = self._address(change.path)
            self.rcpts = [one for one in self.rcpts if _key(one.rcpt) != _key(gone)]
        else:
            self._add(change)

    def _add(self, change: AddRcpt) -> None:
        rcpt, rest = self._address(change.path)
        if not rcpt:
            raise MilterProtocolError("the null address is no recipient")
        text = f"{rest} {change.params.decode('ascii', 'replace')}".strip()
        params = parse_rcpt_params(text, frozenset(Ext))
        if isinstance(params, Reply):
            raise MilterProtocolError(f"a recipient with parameters that are none: {text[:80]!r}")
        if self._next_idx >= RCPT_IDX_MAX:
            raise MilterProtocolError("too many recipients")
        if all(_key(one.rcpt) != _key(rcpt) for one in self.rcpts):
            self.rcpts.append(self._recipient(rcpt, params))
            self._next_idx += 1

    def _recipient(self, rcpt: str, params: RcptParams) -> NewRecipient:
        return NewRecipient(ta_id=self._ta.ta_id, rcpt_idx=self._next_idx, rcpt=rcpt, notify=params.notify, orcpt=params.orcpt)

    def _address(self, path: bytes) -> tuple[str, str]:
        """Gives an address and what follows it; filters leave the brackets away."""
        text = path.decode("utf-8", "surrogateescape").strip()
        try:
            if not text:
                return "", ""
            path_text, rest = split_path(text, _LENIENT) if text.startswith("<") else (text, "")
            return parse_path(path_text, _LENIENT, null_ok=True, utf8=self._ta.params.smtputf8).text, rest
        except AddressError as error:
            raise MilterProtocolError(f"{text[:80]!r} is no address: {error}") from error

    def tell(self, dialogue: Dialogue) -> Reply | None:
        """Tells QMGR what has changed; gives the reason why it cannot be told, or None."""
        ta, filters = self._ta, self._filters
        before = {one.rcpt_idx for one in filters.rcpts}
        added = [one for one in self.rcpts if one.rcpt_idx not in before]
        announced = filters.announced
        if announced is None or (self.mail == announced.mail and self.rcpts == filters.rcpts):
            return None
        if not self.rcpts:
            ta.discard, ta.rule = True, filters.rule
            return None
        anew = self.mail != announced.mail or len(self.rcpts) - len(added) < len(filters.rcpts)
        qmgr = dialogue.context.qmgr
        try:
            if anew:
                qmgr.post(DiscardTransaction(ta_id=ta.ta_id))
                qmgr.open_transaction(ta, replace(announced, mail=self.mail))
            for one in self.rcpts if anew else added:
                qmgr.add_recipient(ta, one)
        except TempError:
            return replies.QUEUE_AWAY
        self._log(dialogue, added)
        ta.posted = len(self.rcpts)
        filters.announced = replace(announced, mail=self.mail)
        return None

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


def _key(rcpt: str) -> str:
    """Gives what two addresses of one mailbox have in common: the domain in any case of letters."""
    local, at, domain = rcpt.rpartition("@")
    return f"{local}{at}{domain.lower()}"
