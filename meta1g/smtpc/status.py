"""What became of a delivery: what is known of a recipient counts before the transaction, and that before the session.

Pure.  Ref: MeTA1 design, "Functional Specification: QMGR, delivery status" (precedence modelled on MeTA1).
"""

from dataclasses import dataclass, field, replace

from meta1g.base.reply import NO_REPLY, Reply
from meta1g.rcb.smtpc_qmgr import Deliver, RcptResult, Result, Retry
from meta1g.smtpc.limits import REPLY_TEXT_MAX_CHARS, RESULT_TEXT_MAX_CHARS


class SessionError(Exception):
    """The session cannot be used: nothing of the transaction at hand was delivered.

    Args:
        reply: what to report, a 4xx or 5xx code: what the server said, or our own words.
        stale: a session that had been idle turned out to be closed before anything was asked of it.
    """

    def __init__(self, reply: Reply, *, stale: bool = False) -> None:
        super().__init__(reply.one_line)
        self.reply = reply
        self.stale = stale


@dataclass(slots=True)
class DeliveryStatus:
    """Collects the outcomes of one delivery.  Owner: one state thread (the session's)."""

    session: Reply | None = None
    transaction: Reply | None = None
    damage: str = ""
    rcpts: dict[int, Reply] = field(default_factory=dict)
    retry: dict[int, Retry] = field(default_factory=dict)

    def rest(self, job: Deliver, reply: Reply) -> None:
        """Sets the outcome of every recipient that has none of its own yet."""
        for rcpt in job.rcpts:
            self.rcpts.setdefault(rcpt.rcpt_idx, reply)

    def result(self, job: Deliver, *, session_open: bool, tls: str = "", dsn: bool = False) -> Result:
        """Makes the message for QMGR; the texts are cut so that it takes it."""
        text_chars = min(REPLY_TEXT_MAX_CHARS, RESULT_TEXT_MAX_CHARS // max(len(self.rcpts), 1))
        retry = self.retry
        return Result(
            session_id=job.session_id,
            ta_id=job.da_ta_id,
            session=_cut(self.session or NO_REPLY, REPLY_TEXT_MAX_CHARS),
            transaction=_cut(self.transaction or NO_REPLY, REPLY_TEXT_MAX_CHARS),
            session_open=session_open,
            tls=tls,
            dsn=dsn,
            damage=self.damage[:REPLY_TEXT_MAX_CHARS],
            rcpts=tuple(
                RcptResult(rcpt_idx=idx, reply=_cut(reply, text_chars), retry=retry.get(idx, Retry.BY_CODE))
                for idx, reply in self.rcpts.items()
            ),
        )


def _cut(reply: Reply, text_chars: int) -> Reply:
    """Gives a reply with its text as one line of bounded length."""
    text = reply.text
    if isinstance(text, str) and len(text) <= text_chars:
        return reply
    return replace(reply, text=reply.one_line[:text_chars])
