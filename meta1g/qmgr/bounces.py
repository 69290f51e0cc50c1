"""When a bounce is made: failed recipients wait for the others of their transaction, so that one report tells of all.

Invariant: a failed recipient leaves its store in the batch that records its bounce (I2).

Locking: caller holds AQ.
Ref: MeTA1 design, "Functional Specification: DSN" (modelled on); what a report says: bounce.py, dsn.py.
"""

from meta1g.base import failure
from meta1g.db.aq_types import AqRcpt, AqTa, Home
from meta1g.qmgr import bounce, limits
from meta1g.qmgr.active import Active
from meta1g.qmgr.env import Env
from meta1g.qmgr.gather import Gather
from meta1g.qmgr.outcome import CONFUSED, Outcome, log_outcome
from meta1g.qmgr.rcpt_fsm import Event, step
from meta1g.qmgr.storing import Storing
from meta1g.rcb.envelope import RcptRecord


class Bounces:
    """Collects failures and makes their bounces.

    Args:
        env: surroundings.
        active: the recipients in AQ.
        storing: tells the stores.
        gather: recipients that wait for others.

    Locking: caller holds AQ.
    """

    def __init__(self, env: Env, active: Active, storing: Storing, gather: Gather) -> None:
        self._settings = env.settings
        self._clock = env.clock
        self._log = env.log
        self._storing = storing
        self._aq = active.aq
        self._gather = gather

    @property
    def _report_max(self) -> int:
        """Failed recipients that wait for others at most: they keep others out of AQ."""
        return max(1, min(limits.BOUNCE_RCPTS_MAX, self._aq.limit // limits.FAILED_PART))

    def failed(self, rcpt: AqRcpt, outcome: Outcome) -> None:
        """Gives a recipient up; its bounce is made when no other one is on its way, or enough have failed."""
        now = self._clock.now()
        report = bounce.report_of(rcpt.record, outcome, now)
        step(rcpt, Event.FAIL)
        log_outcome(self._log, now, rcpt, "qmgr.expired" if outcome.is_expired else "qmgr.failed", outcome)
        rcpt.ta.failed.append((rcpt, report))
        self.settle(rcpt.ta)

    def settle_all(self) -> None:
        """Makes the bounces of all who have failed, whoever else is on its way: AQ ends, and with it what is known of them."""
        for ta in self._aq.tas():
            self.settle(ta, at_once=True)

    def settle(self, ta: AqTa, *, at_once: bool = False) -> None:
        """Makes the bounces of a transaction once no recipient is on its way, or one report is full.

        To be called whenever a recipient of it was settled (rcpt_fsm.SETTLED): nobody waits for it any more.

        Args:
            ta: the transaction.
            at_once: whoever is on its way.
        """
        self._gather.answered(ta)
        if not ta.failed or (ta.unsettled and not at_once and len(ta.failed) < self._report_max):
            return
        failed, ta.failed = ta.failed, []
        made: list[list[RcptRecord]] = []
        with failure.item(self._log, "qmgr.bounce", ss_ta=ta.ta_id):
            next_idx = self._storing.next_idx
            made.append(bounce.bounce_records(ta, failed, lambda: next_idx(ta), self._settings, self._clock.now()))
        if not made:  # they fail again later, perhaps with a report
            for rcpt, _ in failed:
                self._storing.postpone(rcpt, CONFUSED, self._clock.now())
            return
        (records,) = made
        for rcpt, _ in failed:
            step(rcpt, Event.STORE)
        for record in records:
            self._log.info(
                "qmgr.bounce", "ok", ss_ta=ta.ta_id, rcpt_idx=record.rcpt_idx, rcpt=record.rcpt, count=len(record.failed)
            )
        old = [rcpt for rcpt, _ in failed]
        self._storing.replace(ta, old, records, Home.DEFEDB if any(rcpt.home is Home.DEFEDB for rcpt in old) else Home.IBDB)
