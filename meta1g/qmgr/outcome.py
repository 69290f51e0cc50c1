"""What became of a recipient, as QMGR sees it: what is said of it counts before the transaction, and that before the session.

Pure but for the log.  Ref: MeTA1 design, "Functional Specification: QMGR, delivery status" (the precedence is ours).
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Final

from meta1g.base.clock import rfc3339
from meta1g.base.dataclass import dataclass
from meta1g.base.events import EVENTS
from meta1g.base.log import Log
from meta1g.base.logkeys import Sev
from meta1g.base.reply import Reply
from meta1g.db.aq_types import AqRcpt
from meta1g.qmgr.limits import STATUS_TEXT_MAX_CHARS
from meta1g.rcb.envelope import RcptRecord
from meta1g.rcb.smtpc_qmgr import DeliveryResult, Retry

_CODE_TELLS: Final = (Retry.BY_CODE, Retry.OTHER_SERVER)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What decides about a recipient.

    Args:
        reply: what was said, and by whom.
        dsn: the server is responsible for reports of success.
        hold: no server can help: the content is damaged.
        retry: what the code does not tell.
        of_session: nothing was said about the recipient: another server may do, whatever the code.
        is_expired: it was tried for too long (RFC 3463 X.4.7).
        tried: of how many servers it speaks, from the one on that was to be tried.
        by: the server has taken over the time for delivery.
    """

    reply: Reply
    dsn: bool = False
    hold: bool = False
    retry: Retry = Retry.BY_CODE
    of_session: bool = False
    is_expired: bool = False
    tried: int = 1
    by: bool = False

    @property
    def is_temporary(self) -> bool:
        """Whether trying again can help."""
        return (self.reply.is_temp and not self.is_expired) or (self.retry not in _CODE_TELLS and self.reply.is_perm)

    @property
    def lets_others_try(self) -> bool:
        """Whether another server may do, whatever the code."""
        return self.of_session or self.retry is Retry.OTHER_SERVER

    @property
    def is_final(self) -> bool:
        """Whether it is a reply that decides; 0, 1xx, 3xx and what is no code of SMTP are none."""
        return self.reply.is_ok or 400 <= self.reply.code < 600

    def noted(self, record: RcptRecord, now: float) -> RcptRecord:
        """Gives the record of a recipient with this as its last outcome."""
        return replace(record, last_try=now, reply=self.reply.cut(STATUS_TEXT_MAX_CHARS))

    def expired(self) -> "Outcome":
        """The final failure of a recipient that could not be delivered for too long; the reply is that of the last attempt."""
        return replace(self, is_expired=True, retry=Retry.BY_CODE)


CONFUSED: Final = Outcome(Reply(451, "4.3.0", "internal error, see the log of qmgr"))
_NOTHING: Final = Outcome(Reply(451, "4.3.0", "delivery agent reported nothing"))


def session_failure(result: DeliveryResult) -> Outcome | None:
    """Gives the failure of the session, or None if it was fine, or if its failure does not matter."""
    said = result.session
    if said.code < 400 or result.damage:
        return None
    reply = said if said.code < 600 else Reply(451, "4.3.0", f"delivery agent reported {said.code}")
    return Outcome(reply, of_session=True, tried=_tried(result))


def _tried(result: DeliveryResult) -> int:
    return max(1, result.tried)


def outcomes(result: DeliveryResult, rcpt_idxs: Iterable[int]) -> Iterator[tuple[int, Outcome]]:
    """Gives the outcome of each recipient: its own, that of the transaction, or the failure of the session.

    A recipient nobody says anything about is tried again: whether it was delivered is not known.  If the content is damaged, it
    is held instead.  Of two statements about a recipient the first holds; those about others than rcpt_idxs do not matter.
    """
    own = {one.rcpt_idx: one for one in reversed(result.rcpts)}
    others = _others(result)
    served = any(one.reply.is_ok for one in own.values())
    asked = any(one.retry != Retry.NEXT_TRANSACTION for one in own.values())
    for rcpt_idx in rcpt_idxs:
        outcome = others
        if (one := own.get(rcpt_idx)) is not None:
            retry = _retry(one.retry, served=served, asked=asked)
            outcome = Outcome(one.reply, result.dsn, retry=retry, by=result.by, tried=_tried(result))
        yield rcpt_idx, outcome if outcome.is_final else _NOTHING


def _others(result: DeliveryResult) -> Outcome:
    """Gives the outcome of those about whom nothing is said."""
    if result.damage:
        return Outcome(Reply(451, "4.3.0", f"content is damaged: {result.damage}"), hold=True)
    if result.transaction.code:
        return Outcome(result.transaction, result.dsn, tried=_tried(result))
    return session_failure(result) or _NOTHING


def _retry(number: int, *, served: bool, asked: bool) -> Retry:
    """Reads what an agent says of another attempt; one follows at once only if somebody was decided about: that ends."""
    if number == Retry.NEXT_TRANSACTION and asked:
        return Retry.OTHER_TRANSACTION
    if number == Retry.OTHER_TRANSACTION and served:
        return Retry.OTHER_TRANSACTION
    if number == Retry.OTHER_SERVER:
        return Retry.OTHER_SERVER
    return Retry.LATER if number else Retry.BY_CODE


def log_report(log: Log, record: RcptRecord, told: Iterable[int], what: str) -> None:
    """Writes the line of a report that is on its way.

    Args:
        log: the log.
        record: the recipient of the report.
        told: indexes of those that it tells of.
        what: `success`, `delay` or `expansion`.
    """
    indexes = " ".join(map(str, told))
    log.info("qmgr.report", what, ss_ta=record.ta_id, rcpt_idx=record.rcpt_idx, rcpt=record.rcpt, told=indexes)


def log_outcome(log: Log, now: float, rcpt: AqRcpt, what: str, outcome: Outcome) -> None:
    """Writes the line of a recipient that tells what became of it.

    Args:
        log: the log.
        now: seconds since the epoch.
        rcpt: the recipient.
        what: the event, `qmgr.delivered` and the like.
        outcome: why.
    """
    ta, record = rcpt.ta.record, rcpt.record
    write = log.info if EVENTS[what].sevr is Sev.INFO else log.notice
    write(
        what,
        f"{'delivery time expired; ' if outcome.is_expired else ''}{outcome.reply.one_line}" or "ok",
        ss_ta=ta.ta_id,
        rcpt_idx=record.rcpt_idx,
        mail=rcpt.sender,
        rcpt=record.rcpt,
        relay=outcome.reply.origin or None,
        reply=outcome.reply.code,
        ecode=outcome.reply.ecode or None,
        delay_ms=(now - ta.entered) * 1000,
        tries=record.tries or None,
        next_try=rfc3339(record.next_try) if what == "qmgr.deferred" else None,
    )
