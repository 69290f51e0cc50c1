"""Commands that change recipients: hold release remove bounce retry requeue, wherever they are.

What is in AQ is changed there (orders.py), what is in DEFEDB alone is changed there, both in slices.
The answer tells how many:

    held released removed bounced retried requeued    changed, on stable storage or in a store's list
    marked       busy with a delivery now; done when that ends without success
    busy         an alias that is being expanded, or what did not become free in time: not done
    active       (retry, release) is in AQ already: it is being tried
    held         (retry) is held, and stays so
    already      (hold) is held already
    due          (retry) is due, and waits for room
    not_held     (release) is not held
    damaged      its transaction is not readable: it goes to lost+found when it is due
    unknown      ids that are in no queue
    nothing      why nothing was done at all

Locking: takes AQ for a slice; DEFEDB is changed in its thread.
Ref: docs/operating.md.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

from meta1g.base.dataclass import dataclass
from meta1g.base.errors import PermError, TempError
from meta1g.base.ids import CdbId, TaId, rcpt_id
from meta1g.db.aq_types import AqRcpt, Order
from meta1g.db.defedb import DefeDb
from meta1g.qmgr import orders
from meta1g.qmgr.active import Active
from meta1g.qmgr.control.rows import QueuedRcpt
from meta1g.qmgr.control.selection import Selector, parse
from meta1g.qmgr.control.walk import QueueWalk
from meta1g.qmgr.defer import ReadSteps
from meta1g.qmgr.env import Env
from meta1g.qmgr.feeder import Feeder
from meta1g.qmgr.limits import SLICE
from meta1g.qmgr.orders import Fate, Orders
from meta1g.qmgr.sched import Scheduler
from meta1g.rcb.envelope import RcptFlags, RcptRecord

#: How often what is on its way to a store is looked at again, and the pause between, seconds.
_LOOKS: Final = 100
_PAUSE_S: Final = 0.05
#: Unknown ids that are named.
_UNKNOWN_MAX: Final = 1000
DRY_RUN: Final = "--dry-run"


@dataclass(frozen=True, slots=True)
class QueueCommand:
    """One command.

    Args:
        done: what the answer calls those that were changed.
        event: what the log calls it.
        order: what it is for recipients in AQ; NONE if it is nothing for them.
        skip: why a recipient in DEFEDB is left as it is, empty if it is not.
        change: makes the new record of a recipient in DEFEDB; None removes it.
        feed: what is changed is due now.
    """

    done: str
    event: str
    order: Order
    skip: Callable[[RcptRecord, float], str]
    change: Callable[[RcptRecord, float], RcptRecord | None]
    feed: bool = True


def _is_held(record: RcptRecord) -> bool:
    return bool(record.flags & RcptFlags.HOLD)


def _skip_retry(record: RcptRecord, now: float) -> str:
    return "held" if _is_held(record) else "" if record.next_try > now else "due"


def _nothing_skipped(record: RcptRecord, now: float) -> str:
    return ""


VERBS: Final[Mapping[str, QueueCommand]] = {
    "hold": QueueCommand(
        "held",
        "qmgr.hold",
        Order.HOLD,
        lambda record, now: "already" if _is_held(record) else "",
        lambda record, now: orders.held(record),
        feed=False,
    ),
    "release": QueueCommand(
        "released", "qmgr.released", Order.NONE, lambda record, now: "" if _is_held(record) else "not_held", orders.released
    ),
    "remove": QueueCommand("removed", "qmgr.removed", Order.REMOVE, _nothing_skipped, lambda record, now: None, feed=False),
    "bounce": QueueCommand("bounced", "qmgr.bounced", Order.BOUNCE, _nothing_skipped, orders.given_up),
    "retry": QueueCommand("retried", "qmgr.retried", Order.NONE, _skip_retry, orders.released),
    "requeue": QueueCommand("requeued", "qmgr.requeued", Order.REQUEUE, _nothing_skipped, orders.requeued),
}


class _Job:
    """One command at work.  Owner: the DEFEDB thread.

    Args:
        verb: what is done.
        selector: to whom.
        dry: nothing is changed.
        now: seconds since the epoch.
    """

    def __init__(self, verb: QueueCommand, selector: Selector, now: float, *, dry: bool) -> None:
        self.verb = verb
        self.selector = selector
        self.dry = dry
        self.now = now
        self.counts: Counter[str] = Counter()
        self.unknown = set(selector.ids or ())
        self.in_aq: set[tuple[str, int]] = set()  # dealt with there
        self.later: set[tuple[TaId, int]] = set()

    def selects(self, one: QueuedRcpt) -> bool:
        """Tells whether a recipient is meant; notes that it is known."""
        if self.unknown:
            self.unknown.discard((TaId(one.rcpt.ta_id), None))
            self.unknown.discard((TaId(one.rcpt.ta_id), one.rcpt.rcpt_idx))
        return self.selector.matches(one, self.now)

    def result(self) -> dict[str, Any]:
        """Gives the answer."""
        result: dict[str, Any] = {self.verb.done: 0, **{name: count for name, count in self.counts.items() if count}}
        if self.dry:
            result["dry_run"] = True
        if self.unknown:
            names = sorted(ta_id if idx is None else rcpt_id(ta_id, idx) for ta_id, idx in self.unknown)
            result["unknown"] = names[:_UNKNOWN_MAX]
            result["unknown_count"] = len(names)
        elif not self.counts and not self.selector.everything:
            result["nothing"] = f"no recipient in the queues matches {self.selector.text}"
        return result


class Changing:
    """The commands.

    Args:
        env: surroundings; what is held or removed is logged.
        active: recipients in AQ, and the stores behind it.
        given: carries orders out there.
        scheduler: destinations.
        feeder: brings recipients back.
    """

    def __init__(self, env: Env, active: Active, given: Orders, scheduler: Scheduler, feeder: Feeder) -> None:
        self._active = active
        self._orders = given
        self._commit = active.commit
        self._defer = active.defer
        self._scheduler = scheduler
        self._feeder = feeder
        self._clock = env.clock
        self._log = env.log
        self._walk = QueueWalk(active)

    def work(self, word: str, words: Sequence[str], gone: Callable[[], bool]) -> Callable[[DefeDb], ReadSteps[dict[str, Any]]]:
        """Gives the work of a command.

        Args:
            word: the command, one of VERBS.
            words: its other words.
            gone: tells whether nobody waits for it any more; then it ends, with what is done.

        Raises:
            CommandError: the words are wrong.
        """
        selector = parse(word, [one for one in words if one != DRY_RUN])
        job = _Job(VERBS[word], selector, self._clock.now(), dry=DRY_RUN in words)
        return partial(self._run, job, gone)

    def _run(self, job: _Job, gone: Callable[[], bool], db: DefeDb) -> ReadSteps[dict[str, Any]]:
        try:
            for phase in (self._walk.in_aq(job.selector, partial(self._aq_one, job)), self._all_stored(db, job)):
                for pause_s in phase:
                    if gone():
                        return job.result()
                    yield pause_s
            yield from self._look_again(db, job)
        except (TempError, PermError) as error:  # what was done is done
            return {**job.result(), "error": f"DEFEDB: {error.cause}"}
        finally:
            self._finish(job)
        return job.result()

    def _aq_one(self, job: _Job, rcpt: AqRcpt) -> None:
        """Deals with a recipient in AQ.  Caller holds AQ."""
        if not job.selects(QueuedRcpt.of_aq(rcpt)):
            return
        job.in_aq.add((rcpt.ta.ta_id, rcpt.record.rcpt_idx))
        self._order(job, rcpt)

    def _order(self, job: _Job, rcpt: AqRcpt) -> None:
        """Gives the order, and counts what becomes of it.  Caller holds AQ."""
        verb = job.verb
        if verb.order is Order.NONE:
            what = Fate.LATER if orders.fate(rcpt) is Fate.LATER else None
            if verb.done == "released" and not job.dry:
                rcpt.order = Order.NONE
        else:
            what = orders.fate(rcpt) if job.dry else self._orders.give(rcpt, verb.order)
        if what is Fate.LATER:
            job.later.add((rcpt.ta.ta_id, rcpt.record.rcpt_idx))
            return
        names = {Fate.DONE: verb.done, Fate.MARKED: "marked", Fate.BUSY: "busy", None: "active"}
        job.counts[names[what]] += 1

    # -- DEFEDB --------------------------------------------------------------------------------------------------------

    def _all_stored(self, db: DefeDb, job: _Job) -> ReadSteps[None]:
        chosen: list[tuple[TaId, int]] = []
        for entries in self._walk.stored(db, job.selector):
            ids = ((TaId(one.rcpt.ta_id), one.rcpt.rcpt_idx) for one in entries if job.selects(one))
            chosen += [one for one in ids if one not in job.in_aq]
            if len(chosen) >= SLICE:
                self._stored(db, job, chosen)
                chosen = []
            yield None
        self._stored(db, job, chosen)

    def _stored(self, db: DefeDb, job: _Job, ids: Sequence[tuple[TaId, int]]) -> None:
        """Deals with recipients that were in DEFEDB in a step before: they may be in AQ now, changed, or gone."""
        with self._active.lock:
            here = [rcpt for rcpt in (self._walk.find(*one) for one in ids) if rcpt is not None]
            for rcpt in here:
                self._order(job, rcpt)
        known = {(rcpt.ta.ta_id, rcpt.record.rcpt_idx) for rcpt in here}
        self._change(db, job, self._entries(db, [one for one in ids if one not in known]))

    def _change(self, db: DefeDb, job: _Job, entries: Sequence[QueuedRcpt]) -> None:
        """Changes recipients that are in DEFEDB alone."""
        verb, put, removed = job.verb, [], []
        counts: Counter[str] = Counter()
        for one in entries:
            skipped = verb.skip(one.rcpt, job.now)
            if one.ta is None and verb.order is not Order.REMOVE:
                skipped = "damaged"
            if not skipped:
                record = verb.change(one.rcpt, job.now)
                if record is None:
                    removed.append(one)
                else:
                    put.append(record)
            counts[skipped or verb.done] += 1
        if (put or removed) and not job.dry:
            self._write(db, verb, put, removed)
        job.counts += counts

    def _write(self, db: DefeDb, verb: QueueCommand, put: list[RcptRecord], removed: list[QueuedRcpt]) -> None:
        gone = self._defer.store_now(db, put, [(TaId(one.rcpt.ta_id), one.rcpt.rcpt_idx) for one in removed])
        told = () if verb.order is Order.BOUNCE else (*put, *(one.rcpt for one in removed))  # AQ gives up, and tells it
        for record in told:
            self._log.notice(
                verb.event, "by order of the operator", ss_ta=record.ta_id, rcpt_idx=record.rcpt_idx, rcpt=record.rcpt
            )
        content = {one.ta.ta_id: one.ta.cdb_id for one in removed if one.ta is not None}
        if gone:
            self._without_rcpts(sorted(gone), content)

    def _without_rcpts(self, ta_ids: Sequence[TaId], content: Mapping[str, str]) -> None:
        """Lets the content of transactions go that are in no store any more."""
        free = []
        with self._active.lock:
            for ta_id in ta_ids:
                ta = self._active.aq.get(ta_id)
                if ta is not None:
                    ta.in_defedb = False
                elif ta_id in content:
                    free.append(content[ta_id])
        for cdb_id in free:
            self._commit.unlink_closed(CdbId(cdb_id))  # what is open in IBDB is on its way to DEFEDB

    # -- what was on its way -------------------------------------------------------------------------------------------

    def _look_again(self, db: DefeDb, job: _Job) -> ReadSteps[None]:
        """Deals with recipients that were on their way to a store; they are gone, or in DEFEDB, in moments."""
        for _ in range(_LOOKS):
            if not job.later:
                return
            yield _PAUSE_S
            waiting, job.later = sorted(job.later), set()
            job.in_aq.difference_update(waiting)
            for first in range(0, len(waiting), SLICE):
                self._stored(db, job, waiting[first : first + SLICE])
                yield None
        job.counts["busy"] += len(job.later)
        job.later.clear()

    @staticmethod
    def _entries(db: DefeDb, ids: Sequence[tuple[TaId, int]]) -> list[QueuedRcpt]:
        found = ((db.get_ta(ta_id), db.get_rcpt(ta_id, rcpt_idx)) for ta_id, rcpt_idx in ids)
        return [QueuedRcpt(ta, rcpt) for ta, rcpt in found if rcpt is not None]

    def _finish(self, job: _Job) -> None:
        """Lets the others see what was changed."""
        if job.dry or not job.counts:
            return
        if job.verb.done == "retried":
            self._scheduler.retry_dests()
        if job.verb.feed and job.counts[job.verb.done]:
            with self._active.lock:
                self._active.edbc.reset()
            self._feeder.wake()
        self._defer.count_held()
