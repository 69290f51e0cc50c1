"""What becomes of a recipient: resolved, delivered, at the next server, later, never, or as the operator wants.

Decides from an outcome and carries it out.  Whoever has news of a recipient (resolver, scheduler, control socket) tells them
here; an unexpected exception on the way costs that recipient a deferral.

Locking: caller holds AQ.
Ref: MeTA1 design, "Implementation: QMGR, update after a delivery" (modelled on).
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from meta1g.base import failure
from meta1g.base.reply import Reply
from meta1g.db.aq_types import AqRcpt, RcptState
from meta1g.qmgr import bounce, limits, retry
from meta1g.qmgr.active import Active
from meta1g.qmgr.attempts import note_attempt
from meta1g.qmgr.bounces import Bounces
from meta1g.qmgr.env import Env
from meta1g.qmgr.gather import Gather
from meta1g.qmgr.orders import Orders
from meta1g.qmgr.outcome import CONFUSED, Outcome, log_outcome
from meta1g.qmgr.rcpt_fsm import Event, step
from meta1g.qmgr.retry import is_report
from meta1g.qmgr.storing import Storing
from meta1g.qmgr.successes import Successes
from meta1g.rcb.common import ServerAddr
from meta1g.rcb.smtpc_qmgr import Retry


class Update:
    """News of recipients.

    Args:
        env: surroundings.
        active: the recipients in AQ.
        storing: tells the stores.
        bounces: makes bounces.
        gather: lets recipients wait for their companions.
        orders: what the operator wants.

    Locking: caller holds AQ.
    """

    def __init__(self, env: Env, active: Active, storing: Storing, bounces: Bounces, gather: Gather, orders: Orders) -> None:
        self._active = active
        self._storing = storing
        self._bounces = bounces
        self._successes = Successes(env, storing, bounces)
        self._gather = gather
        self._orders = orders
        self._settings = env.settings
        self._clock = env.clock
        self._log = env.log

    # -- on its way ----------------------------------------------------------------------------------------------------

    def resolved(self, rcpt: AqRcpt, da: int, servers: Sequence[ServerAddr]) -> None:
        """Lets a recipient wait for its first server, in DEFEDB if that has far too many here."""
        rcpt.da = da
        rcpt.servers = tuple(servers)
        rcpt.server_idx = 0
        if self._active.aq.routed(rcpt):
            self._send_back(rcpt)
        else:
            self._gather.resolved(rcpt)

    def _send_back(self, rcpt: AqRcpt) -> None:
        self._storing.send_back(rcpt)
        self._bounces.settle(rcpt.ta)

    def ready_again(self, rcpt: AqRcpt) -> None:
        """Lets a recipient wait for its server again: its delivery did not take place."""
        if rcpt.order and self._orders.came_back(rcpt):
            return
        step(rcpt, Event.NEXT)
        self._active.wait((rcpt,))

    def lost(self, rcpt: AqRcpt) -> None:
        """Tries a recipient again whose delivery agent ended, at once at first, then later."""
        rcpt.lost += 1
        if rcpt.lost < limits.LOST_MAX:
            self.ready_again(rcpt)
        else:
            outcome = Outcome(Reply(451, "4.3.0", "the delivery agent ended several times in the middle of the delivery"))
            self.retry_later(rcpt, outcome)

    def next_server(self, rcpt: AqRcpt, outcome: Outcome) -> bool:
        """Lets a recipient wait for its next server, in AQ or in DEFEDB; tells whether there is one.

        Args:
            rcpt: the recipient.
            outcome: what became of it at this server.
        """
        if rcpt.order and self._orders.came_back(rcpt, outcome):
            return True
        if rcpt.server_idx + outcome.tried >= len(rcpt.servers):
            return False
        note_attempt(rcpt, outcome.reply, self._clock.now())
        rcpt.server_idx += outcome.tried
        if self._active.aq.routed(rcpt):
            self._send_back(rcpt)
        else:
            self.ready_again(rcpt)
        return True

    # -- outcomes ------------------------------------------------------------------------------------------------------

    def finish(self, rcpt: AqRcpt, outcome: Outcome) -> None:
        """Sorts an outcome: delivered, later, never, or a case for the operator."""
        if rcpt.order and not outcome.reply.is_ok and self._orders.came_back(rcpt, outcome):
            return
        if outcome.hold:
            self.hold(rcpt, outcome)
        elif outcome.reply.is_ok:
            self._successes.delivered(rcpt, outcome)
        elif outcome.is_temporary:
            self.temp_failed(rcpt, outcome)
        elif self._settings.soft_bounce:
            self.retry_later(rcpt, replace(outcome, retry=Retry.LATER))
        else:
            self.failed(rcpt, outcome)

    def temp_failed(self, rcpt: AqRcpt, outcome: Outcome) -> None:
        """Tries a recipient at its next server, later, or not any more if it is too old."""
        if not self.next_server(rcpt, outcome):
            self.retry_later(rcpt, outcome)

    def retry_later(self, rcpt: AqRcpt, outcome: Outcome) -> None:
        """Tries a recipient later, or not any more if it is too old."""
        if rcpt.order and self._orders.came_back(rcpt, outcome):
            return
        now = self._clock.now()
        if retry.expired(rcpt.record, now, self._settings) or retry.returns_late(rcpt.ta.record, rcpt.record, now):
            self.failed(rcpt, outcome.expired())
        else:
            self._storing.postpone(rcpt, outcome, now)
            self._bounces.settle(rcpt.ta)

    def failed(self, rcpt: AqRcpt, outcome: Outcome) -> None:
        """Gives a recipient up; its sender hears of it, as far as it wants to."""
        if not is_report(rcpt.record) or not self._made_smaller(rcpt, outcome):
            self._bounces.failed(rcpt, outcome)

    def _made_smaller(self, rcpt: AqRcpt, outcome: Outcome) -> bool:
        """Puts smaller reports in the place of one that is too large for its server; tells whether that is possible."""
        ta, now = rcpt.ta, retry.as_stored(self._clock.now())
        records = bounce.smaller(rcpt, outcome, lambda: self._storing.next_idx(ta), now)
        if records:
            step(rcpt, Event.STORE)
            log_outcome(self._log, now, rcpt, "qmgr.smaller", outcome)
            self._storing.replace(ta, (rcpt,), records, rcpt.home)
            self._bounces.settle(ta)
        return bool(records)

    def hold(self, rcpt: AqRcpt, outcome: Outcome) -> None:
        """Keeps a recipient in DEFEDB until the operator releases or removes it."""
        self._storing.hold(rcpt, outcome)
        self._bounces.settle(rcpt.ta)

    # -- exceptions ----------------------------------------------------------------------------------------------------

    def together(self, where: str, verdicts: Iterable[tuple[AqRcpt, Callable[[AqRcpt], object]]]) -> None:
        """Does something with each of several recipients of one delivery; one report tells of those that it has ended."""
        with self._successes.together():
            for rcpt, action in verdicts:
                self.guard(where, rcpt, action)

    def guard(self, where: str, rcpt: AqRcpt, action: Callable[[AqRcpt], object]) -> None:
        """Does something with one recipient; an unexpected exception costs it a deferral, and nobody else."""
        before = rcpt.state
        try:
            action(rcpt)
        except Exception as error:  # noqa: BLE001  failure.item() by hand: this is done for every recipient
            failure.contained(self._log, where, error, ss_ta=rcpt.ta.ta_id)
            self.doubt(where, rcpt, error, before)

    def doubt(self, where: str, rcpt: AqRcpt, error: Exception, *untouched: RcptState) -> None:
        """Tries a recipient later after an unexpected exception.

        If its state has changed meanwhile, or it cannot be deferred, nobody knows what is true: the process ends.
        """
        if rcpt.state not in untouched:
            failure.end_process(self._log, where, error)
        try:
            self.retry_later(rcpt, CONFUSED)
        except Exception as second:  # noqa: BLE001  see above
            failure.end_process(self._log, where, second)
