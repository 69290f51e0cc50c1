"""When success is reported: recipients that one result ends are told of together, in one report for each sender and kind.

Invariant: a delivered recipient leaves its store in the batch that records its report (I2); AQ is held from the first of them
to the report, so that nobody sees one without the other.

Locking: caller holds AQ.
Ref: RFC 3461 5.2, RFC 3464 2 (several recipients of one message in one report); what a report says: bounce.py, dsn.py.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from meta1g.base import failure
from meta1g.db.aq_types import AqRcpt, AqTa, Home
from meta1g.qmgr import bounce, retry
from meta1g.qmgr.bounces import Bounces
from meta1g.qmgr.env import Env
from meta1g.qmgr.limits import SUCCESS_RCPTS_MAX
from meta1g.qmgr.outcome import Outcome, log_outcome, log_report
from meta1g.qmgr.rcpt_fsm import Event, step
from meta1g.qmgr.storing import Storing
from meta1g.rcb.envelope import DsnRcpt

_Group = tuple[AqTa, str, int]


class Successes:
    """Ends recipients that were delivered, with a report if their sender wants one.

    Args:
        env: surroundings.
        storing: tells the stores.
        bounces: hears that recipients are settled.

    Locking: caller holds AQ.
    """

    def __init__(self, env: Env, storing: Storing, bounces: Bounces) -> None:
        self._storing = storing
        self._bounces = bounces
        self._clock = env.clock
        self._log = env.log
        self._gathering = False
        self._told: dict[_Group, list[tuple[AqRcpt, DsnRcpt]]] = {}

    @contextmanager
    def together(self) -> Iterator[None]:
        """Gathers what is delivered meanwhile; AQ is held all the time.  If it cannot be told, the process ends."""
        self._gathering = True
        try:
            yield
        finally:
            self._gathering = False
            self._tell()

    def delivered(self, rcpt: AqRcpt, outcome: Outcome) -> None:
        """Ends a recipient."""
        step(rcpt, Event.STORE)
        now = self._clock.now()
        log_outcome(self._log, now, rcpt, "qmgr.delivered", outcome)
        kind = bounce.success_kind(rcpt, outcome)
        if kind is None:
            self._storing.forget(rcpt)
            self._bounces.settle(rcpt.ta)
            return
        report = bounce.report_of(rcpt.record, outcome, now)
        self._told.setdefault((rcpt.ta, rcpt.sender, kind), []).append((rcpt, report))
        if not self._gathering:
            self._tell()

    def _tell(self) -> None:
        """Puts reports in the place of those who wait for one."""
        told, self._told = self._told, {}
        for group, rcpts in told.items():
            try:
                for first in range(0, len(rcpts), SUCCESS_RCPTS_MAX):
                    self._report(group, rcpts[first : first + SUCCESS_RCPTS_MAX])
            except Exception as error:  # noqa: BLE001  they are delivered and may not be tried again
                failure.end_process(self._log, "qmgr.report", error, ss_ta=group[0].ta_id)

    def _report(self, group: _Group, rcpts: list[tuple[AqRcpt, DsnRcpt]]) -> None:
        ta, to, kind = group
        old, reports = [rcpt for rcpt, _ in rcpts], [report for _, report in rcpts]
        now = retry.as_stored(self._clock.now())
        record = bounce.success_record(ta, self._storing.next_idx(ta), to, kind, reports, now)
        log_report(self._log, record, (rcpt.record.rcpt_idx for rcpt in old), "success")
        home = Home.DEFEDB if any(rcpt.home is Home.DEFEDB for rcpt in old) else Home.IBDB
        self._storing.replace(ta, old, (record,), home)
        self._bounces.settle(ta)
