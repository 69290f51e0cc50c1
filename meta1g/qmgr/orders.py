"""What the operator orders about recipients in AQ: hold, remove, return to the sender, begin anew.

    waits (NEW, GATHERING, READY)          done at once
    failed, its report is not made yet     done at once; there will be no report, unless it is ordered
    busy (SENT_TO_AR, SCHEDULED)           noted, done when it comes back; a success is a success, and ends the order
    an alias that is being expanded        not possible: its members are recipients of their own already
    on its way to a store (WAIT_UPDATE)    to be looked at again when it is there

Locking: caller holds AQ.
Ref: docs/operating.md (commands of qmgrctl); the orders are ours.
"""

from dataclasses import replace
from enum import Enum, auto
from typing import Final

from meta1g.base.reply import NO_REPLY, Reply
from meta1g.db.aq_types import AqRcpt, Order, RcptState
from meta1g.qmgr import retry
from meta1g.qmgr.active import Active
from meta1g.qmgr.attempts import note_attempt
from meta1g.qmgr.bounces import Bounces
from meta1g.qmgr.env import Env
from meta1g.qmgr.gather import Gather
from meta1g.qmgr.outcome import Outcome, log_outcome
from meta1g.qmgr.rcpt_fsm import Event, step
from meta1g.qmgr.storing import Storing
from meta1g.rcb.envelope import HELD_UNTIL, RcptFlags, RcptRecord

#: Why a recipient failed that the operator returns.
RETURNED: Final = Outcome(Reply(554, "5.3.0", "returned by order of the postmaster"))


class Fate(Enum):
    """What becomes of an order."""

    DONE = auto()
    MARKED = auto()  # done when it comes back
    LATER = auto()  # to be looked at again soon
    BUSY = auto()  # not possible now


_FATES: Final = {
    RcptState.NEW: Fate.DONE,
    RcptState.GATHERING: Fate.DONE,
    RcptState.READY: Fate.DONE,
    RcptState.FAILED: Fate.DONE,
    RcptState.SENT_TO_AR: Fate.MARKED,
    RcptState.SCHEDULED: Fate.MARKED,
    RcptState.WAIT_UPDATE: Fate.LATER,
    RcptState.DONE: Fate.LATER,
}


def fate(rcpt: AqRcpt) -> Fate:
    """Tells what would become of an order."""
    return Fate.BUSY if rcpt.expanding else _FATES[rcpt.state]


def held(record: RcptRecord) -> RcptRecord:
    """Gives the record of a recipient that is held."""
    return replace(record, flags=(record.flags & ~RcptFlags.GIVE_UP) | RcptFlags.HOLD, next_try=HELD_UNTIL)


def released(record: RcptRecord, now: float) -> RcptRecord:
    """Gives the record of a recipient that is held no more, due at once."""
    return replace(record, flags=record.flags & ~RcptFlags.HOLD, next_try=retry.as_stored(now))


def requeued(record: RcptRecord, now: float) -> RcptRecord:
    """Gives the record of a recipient that begins anew, due at once: nothing was tried, its time in the queue starts now."""
    return replace(
        record,
        flags=record.flags & ~(RcptFlags.HOLD | RcptFlags.DLY_SENT | RcptFlags.GIVE_UP),
        entered=now,
        tries=0,
        last_try=0.0,
        next_try=retry.as_stored(now),
        reply=NO_REPLY,
    )


def given_up(record: RcptRecord, now: float) -> RcptRecord:
    """Gives the record of a recipient in DEFEDB that fails as soon as it is brought back, which is now."""
    return replace(record, flags=(record.flags & ~RcptFlags.HOLD) | RcptFlags.GIVE_UP, next_try=retry.as_stored(now))


class Orders:
    """Carries them out.

    Args:
        env: surroundings; every recipient that is held or removed is logged.
        active: the recipients in AQ.
        storing: tells the stores.
        bounces: makes bounces.
        gather: recipients that wait for others.

    Locking: caller holds AQ.
    """

    def __init__(self, env: Env, active: Active, storing: Storing, bounces: Bounces, gather: Gather) -> None:
        self._active = active
        self._storing = storing
        self._bounces = bounces
        self._gather = gather
        self._clock = env.clock
        self._log = env.log
        self._functions: Final = {
            Order.HOLD: self._hold,
            Order.REMOVE: self._remove,
            Order.BOUNCE: self._bounce,
            Order.REQUEUE: self._requeue,
        }

    def give(self, rcpt: AqRcpt, order: Order) -> Fate:
        """Does it, or notes it, or tells why not."""
        what = fate(rcpt)
        if what is Fate.DONE:
            self._carry_out(rcpt, order, None)
        elif what is Fate.MARKED:
            rcpt.order = order
        return what

    def came_back(self, rcpt: AqRcpt, outcome: Outcome | None = None) -> bool:
        """Carries out what was ordered while a recipient was busy; tells whether there was anything.

        Args:
            rcpt: it came back without success.
            outcome: why; None if nothing was tried.
        """
        order, rcpt.order = rcpt.order, Order.NONE
        if order is Order.NONE:
            return False
        self._carry_out(rcpt, order, outcome)
        return True

    def _carry_out(self, rcpt: AqRcpt, order: Order, outcome: Outcome | None) -> None:
        if rcpt.state is RcptState.READY:
            self._active.queues.remove(rcpt)
        elif rcpt.state is RcptState.GATHERING:
            self._gather.remove(rcpt)
            step(rcpt, Event.RESOLVED)
        elif rcpt.state is RcptState.FAILED and order is not Order.BOUNCE:
            self._withdraw(rcpt)
        elif rcpt.state is RcptState.FAILED:
            return
        if outcome is not None:
            note_attempt(rcpt, outcome.reply, self._clock.now())
            rcpt.record = replace(outcome.noted(rcpt.record, self._clock.now()), tries=rcpt.record.tries + 1)
        self._functions[order](rcpt, outcome)
        self._bounces.settle(rcpt.ta)

    @staticmethod
    def _withdraw(rcpt: AqRcpt) -> None:
        """Takes the report of a failed recipient back, which is not made yet."""
        rcpt.ta.failed = [one for one in rcpt.ta.failed if one[0] is not rcpt]

    def _hold(self, rcpt: AqRcpt, outcome: Outcome | None) -> None:
        step(rcpt, Event.STORE)
        rcpt.record = held(rcpt.record)
        self._log_order(rcpt, "qmgr.hold")
        self._storing.deferred(rcpt, [rcpt.record], [])

    def _requeue(self, rcpt: AqRcpt, outcome: Outcome | None) -> None:
        step(rcpt, Event.STORE)
        rcpt.record = requeued(rcpt.record, self._clock.now())
        self._log_order(rcpt, "qmgr.requeued")
        self._storing.deferred(rcpt, [rcpt.record], [rcpt.record])

    def _remove(self, rcpt: AqRcpt, outcome: Outcome | None) -> None:
        step(rcpt, Event.STORE)
        self._log_order(rcpt, "qmgr.removed")
        self._storing.forget(rcpt)

    def _bounce(self, rcpt: AqRcpt, outcome: Outcome | None) -> None:
        self._log_order(rcpt, "qmgr.bounced")
        self._bounces.failed(rcpt, outcome if outcome is not None and not outcome.is_temporary else RETURNED)

    def _log_order(self, rcpt: AqRcpt, what: str) -> None:
        log_outcome(self._log, self._clock.now(), rcpt, what, Outcome(Reply(0, "", "by order of the operator")))
