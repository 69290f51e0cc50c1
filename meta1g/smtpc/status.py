"""What became of a delivery: session over transaction over recipient.

Pure.  Ref: MeTA1 design, "Functional Specification: QMGR, delivery status" (precedence modelled on MeTA1).
"""

from dataclasses import dataclass, field

from meta1g.rcb.smtpc_qmgr import Deliver, RcptResult, Result
from meta1g.smtpc.limits import REPLY_TEXT_MAX_CHARS, RESULT_TEXT_MAX_CHARS


@dataclass(frozen=True, slots=True)
class Outcome:
    """A reply as QMGR gets it: code, enhanced code, text.  Immutable."""

    code: int
    ecode: str
    text: str

    @property
    def is_ok(self) -> bool:
        """Tells whether the server agreed (2xx or 3xx)."""
        return self.code < 400


class SessionError(Exception):
    """The session cannot be used: nothing of the transaction at hand was delivered.

    Args:
        outcome: what to report, a 4xx or 5xx code.
        stale: a session that had been idle turned out to be closed before anything was asked of it.
    """

    def __init__(self, outcome: Outcome, *, stale: bool = False) -> None:
        super().__init__(outcome.text)
        self.outcome = outcome
        self.stale = stale


@dataclass(slots=True)
class DeliveryStatus:
    """Collects the outcomes of one delivery.  Owner: one state thread (the session's)."""

    session: Outcome | None = None
    transaction: Outcome | None = None
    damage: str = ""
    rcpts: dict[int, Outcome] = field(default_factory=dict)

    def rest(self, job: Deliver, outcome: Outcome) -> None:
        """Sets the outcome of every recipient that has none of its own yet."""
        for rcpt in job.rcpts:
            self.rcpts.setdefault(rcpt.rcpt_idx, outcome)

    def result(self, job: Deliver, *, session_open: bool, remote_mta: str, tls: str = "", dsn: bool = False) -> Result:
        """Makes the message for QMGR; the texts are cut so that it takes it."""
        text_chars = min(REPLY_TEXT_MAX_CHARS, RESULT_TEXT_MAX_CHARS // max(len(self.rcpts), 1))
        session = self.session or _NONE
        transaction = self.transaction or _NONE
        return Result(
            session_id=job.session_id,
            ta_id=job.da_ta_id,
            session_code=session.code,
            session_ecode=session.ecode,
            session_text=session.text[:REPLY_TEXT_MAX_CHARS],
            ta_code=transaction.code,
            ta_ecode=transaction.ecode,
            ta_text=transaction.text[:REPLY_TEXT_MAX_CHARS],
            session_open=session_open,
            remote_mta=remote_mta,
            tls=tls,
            dsn=dsn,
            damage=self.damage[:REPLY_TEXT_MAX_CHARS],
            rcpts=tuple(
                RcptResult(rcpt_idx=idx, code=o.code, ecode=o.ecode, text=o.text[:text_chars]) for idx, o in self.rcpts.items()
            ),
        )


_NONE = Outcome(0, "", "")
