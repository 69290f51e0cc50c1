"""What became of a recipient, as QMGR sees it; precedence of the statuses in a result.

Pure but for the log.  Ref: MeTA1 design, "Functional Specification: QMGR, delivery status" (precedence modelled on).
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Final

from meta1g.base.log import Log
from meta1g.base.reply import Reply
from meta1g.db.aq_types import AqRcpt
from meta1g.qmgr.attempts import with_attempt
from meta1g.qmgr.limits import STATUS_TEXT_MAX_CHARS
from meta1g.rcb.envelope import RcptRecord
from meta1g.rcb.smtpc_qmgr import Result


@dataclass(frozen=True, slots=True)
class Outcome:
    """A reply that decides about a recipient.  Immutable."""

    code: int
    ecode: str
    text: str
    remote_mta: str = ""
    dsn: bool = False  # the server is responsible for reports of success
    hold: bool = False  # no server can help: the content is damaged

    @property
    def is_ok(self) -> bool:
        """Whether it was delivered."""
        return 200 <= self.code < 300

    @property
    def is_temporary(self) -> bool:
        """Whether trying again can help."""
        return 400 <= self.code < 500

    @property
    def is_final(self) -> bool:
        """Whether it is a reply that decides; 0, 1xx, 3xx and what is no code of SMTP are none."""
        return self.is_ok or 400 <= self.code < 600

    def noted(self, record: RcptRecord, now: float) -> RcptRecord:
        """Gives the record of a recipient with this as its last outcome."""
        return replace(
            with_attempt(record, self.reply, now),
            last_try=now,
            code=self.code,
            ecode=self.ecode,
            text=self.text[:STATUS_TEXT_MAX_CHARS],
            remote_mta=self.remote_mta,
        )

    @property
    def reply(self) -> Reply:
        """What was said, and by whom."""
        return Reply(self.code, self.ecode, self.text, self.remote_mta)

    def expired(self) -> "Outcome":
        """The final failure of a recipient that could not be delivered for too long (RFC 3463 X.4.7)."""
        return replace(self, code=554, ecode="5.4.7", text=f"delivery time expired; last reply: {self.text}")


#: What is told of a recipient after an unexpected exception.
CONFUSED: Final = Outcome(451, "4.3.0", "internal error, see the log of qmgr")


def session_failure(result: Result) -> Outcome | None:
    """Gives the failure of the whole session, or None if it was fine, or if its failure does not matter."""
    if result.session_code < 400 or result.damage:
        return None
    if result.session_code >= 600:
        return Outcome(451, "4.3.0", f"delivery agent reported {result.session_code}", result.remote_mta)
    return Outcome(result.session_code, result.session_ecode, result.session_text, result.remote_mta)


def outcomes(result: Result, rcpt_idxs: Iterable[int]) -> Iterator[tuple[int, Outcome]]:
    """Gives the outcome of each recipient of a session that was fine: its own, or that of the transaction.

    A recipient nobody says anything about is tried again: whether it was delivered is not known.  If the content is damaged, it
    is held instead.  Of two statements about a recipient the first holds; those about others than rcpt_idxs do not matter.
    """
    own = {
        one.rcpt_idx: Outcome(one.code, one.ecode, one.text, result.remote_mta, result.dsn) for one in reversed(result.rcpts)
    }
    common = Outcome(result.ta_code, result.ta_ecode, result.ta_text, result.remote_mta, result.dsn)
    if result.damage:
        common = Outcome(451, "4.3.0", f"content is damaged: {result.damage}", hold=True)
    nothing = Outcome(451, "4.3.0", "delivery agent reported nothing", result.remote_mta)
    for rcpt_idx in rcpt_idxs:
        outcome = own.get(rcpt_idx, common)
        yield rcpt_idx, outcome if outcome.is_final else nothing


def log_outcome(log: Log, now: float, rcpt: AqRcpt, what: str, outcome: Outcome) -> None:
    """Writes the line of a recipient that tells what became of it.

    Args:
        log: the log.
        now: seconds since the epoch.
        rcpt: the recipient.
        what: `delivered`, `deferred`, `failed`, `removed`.
        outcome: why.
    """
    ta, record = rcpt.ta.record, rcpt.record
    write = log.notice if what == "failed" else log.info
    write(
        f"qmgr.{what}",
        outcome.text or "ok",
        ss_ta=ta.ta_id,
        rcpt_idx=record.rcpt_idx,
        mail=rcpt.sender,
        rcpt=record.rcpt,
        relay=outcome.remote_mta or None,
        reply=outcome.code,
        ecode=outcome.ecode or None,
        delay_s=round(now - ta.entered, 3),
        tries=record.tries or None,
        next_try=record.next_try if what == "deferred" else None,
    )
