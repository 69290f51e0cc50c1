"""What happens to the recipients in AQ: every change of their state is made here, and told to the stores.

    enter ─> to be resolved ─> ready in a destination queue ─> delivery ─> delivered | deferred | failed ─> leave

Invariants: the lasting record of a recipient is closed only after its successor is durable (I2): a deferred one leaves
IBDB after DEFEDB has it, a failed one after its bounce is recorded in the same batch.  The content file goes when no
store has a recipient of the transaction any more.  What is made here (members, reports) enters AQ if there is room for all of
it, and waits in DEFEDB otherwise (I4, I11); no call works on more than a slice of recipients (I10).

Locking: own lock AQ (`lock`), held by the caller where a docstring says so.
Ref: MeTA1 design, "Implementation: QMGR, update after a delivery" (modelled on).
"""

import random
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import islice
from typing import Final

from meta1g.base import failure
from meta1g.base.clock import Clock
from meta1g.base.errors import BugError, Module
from meta1g.base.ids import RCPT_IDX_MAX, CdbId, TaId
from meta1g.base.log import Log
from meta1g.db.aq import Aq
from meta1g.db.aq_types import AqRcpt, AqTa, Home, RcptState
from meta1g.db.aqrdq import DestQueues
from meta1g.db.edbc import Edbc
from meta1g.pt.lock import Lock
from meta1g.qmgr import bounce, limits, retry
from meta1g.qmgr.commit import Commit
from meta1g.qmgr.defer import Change, Defer
from meta1g.qmgr.outcome import Outcome, log_outcome
from meta1g.qmgr.rcpt_fsm import Event, step
from meta1g.qmgr.settings import Settings
from meta1g.rcb.common import ServerAddr
from meta1g.rcb.envelope import RcptFlags, RcptRecord, TaRecord

CONFUSED: Final = Outcome(451, "4.3.0", "internal error, see the log of qmgr")
_TOO_MANY: Final = Outcome(554, "5.3.4", "the list has more members than one message can have recipients")


class Active:
    """The recipients in AQ.

    Args:
        settings: configuration.
        aq: the active queue.
        edbc: window onto DEFEDB.
        lock: the lock AQ.
        commit: writer of IBDB.
        defer: writer of DEFEDB.
        clock: the clock.
        log: the log.

    Attributes:
        queues: destination queues.
        unresolved: recipients that the resolver is to be asked for.
        on_unresolved, on_ready: called when there are some; set before the first thread.

    Locking: own lock AQ.
    """

    def __init__(
        self, settings: Settings, aq: Aq, edbc: Edbc, lock: Lock, commit: Commit, defer: Defer, clock: Clock, log: Log
    ) -> None:
        self.aq = aq
        self.edbc = edbc
        self.lock = lock
        self.queues = DestQueues()
        self.unresolved: deque[AqRcpt] = deque()
        self.on_unresolved: Callable[[], None] = lambda: None
        self.on_ready: Callable[[], None] = lambda: None
        self._settings = settings
        self._report_max = max(
            1, min(limits.BOUNCE_RCPTS_MAX, aq.limit // limits.FAILED_PART)
        )  # failed ones keep others out of AQ
        self._commit = commit
        self._defer = defer
        self._clock = clock
        self._log = log
        self._rng = random.Random()  # noqa: S311  jitter is no secret

    # -- into AQ -------------------------------------------------------------------------------------------------------

    def enter(self, ta: TaRecord, rcpts: Sequence[RcptRecord], home: Home) -> None:
        """Enters recipients; those that are here already stay as they are.  Caller holds AQ.

        New mail leaves half of the share of its destination to older mail that waits in DEFEDB, so that it does not starve.

        Raises:
            FullError: they do not fit.
        """
        fresh = self.aq.add_ta(ta, rcpts, home, self.edbc.lanes if home is Home.IBDB else ())
        if fresh and home is Home.DEFEDB:
            fresh[0].ta.in_defedb = True
        self._new(fresh)

    def overflow(self, ta: TaRecord, rcpts: Sequence[RcptRecord]) -> None:
        """Hands a transaction from IBDB to DEFEDB, since AQ has no room for it.  Takes AQ later, in slices."""
        now = retry.as_stored(self._clock.now())
        records = tuple(replace(rcpt, next_try=now) for rcpt in rcpts)

        def stored(gone: bool) -> None:
            for first in range(0, len(records), limits.SLICE):
                with self.lock:
                    self._into_window(records[first : first + limits.SLICE])
            self._commit.ta_done(ta.ta_id, None)

        self._defer.add(Change(ta=ta, put=records, stored=stored))

    def _into_window(self, records: Iterable[RcptRecord]) -> None:
        """Lets the feeder bring recipients of DEFEDB when their time has come.  Caller holds AQ."""
        for record in records:
            self.edbc.add((record.next_try, TaId(record.ta_id), record.rcpt_idx))

    def _new(self, rcpts: Iterable[AqRcpt]) -> None:
        before = len(self.unresolved)
        self.unresolved.extend(rcpts)
        if len(self.unresolved) > before:
            self.on_unresolved()

    # -- from the resolver ---------------------------------------------------------------------------------------------

    def resolved(self, rcpt: AqRcpt, da: int, servers: Sequence[ServerAddr]) -> None:
        """Lets a recipient wait for its first server, in DEFEDB if that has far too many here.  Caller holds AQ."""
        step(rcpt, Event.RESOLVED)
        rcpt.da = da
        rcpt.servers = tuple(servers)
        rcpt.server_idx = 0
        if self.aq.routed(rcpt):
            self._send_back(rcpt)
            return
        self.queues.add(rcpt)
        self.on_ready()

    def _send_back(self, rcpt: AqRcpt) -> None:
        """Lets DEFEDB keep a recipient until there is room for its destination; that is no attempt."""
        step(rcpt, Event.STORE)
        rcpt.record = replace(rcpt.record, next_try=retry.as_stored(self._clock.now()))
        self._store_deferred(rcpt, [rcpt.record], [rcpt.record])

    def expanded(
        self,
        rcpt: AqRcpt,
        members: Sequence[str],
        owner: str | None,
        *,
        more: bool = False,
        then: Callable[[], None] | None = None,
    ) -> None:
        """Replaces an alias by its members, in memory and in its store; a long list comes in parts.  Caller holds AQ.

        The record of the alias is closed with the last part only, when all parts before are durable: then() tells.

        Args:
            rcpt: the alias.
            members: the next ones, a slice at most; may be empty for the last part.
            owner: envelope sender for them, None to keep it.
            more: others follow; the alias stays.
            then: called when the next part may come, or after the last one when the alias is gone; AQ is held.
        """
        ta, old = rcpt.ta, rcpt.record
        if ta.next_idx + len(members) > RCPT_IDX_MAX - limits.IDX_RESERVED:
            self.failed(rcpt, _TOO_MANY)
            return
        template = replace(
            old,
            orig_rcpt=old.orig_rcpt or old.rcpt,
            sender=owner if owner is not None else old.sender,
            flags=old.flags | RcptFlags.EXPANDED,
            next_try=retry.as_stored(self._clock.now()),
        )
        records = [replace(template, rcpt_idx=self._next_idx(ta), rcpt=member) for member in members]
        self._log.info(
            "qmgr.alias", "ok", ss_ta=ta.ta_id, rcpt_idx=old.rcpt_idx, rcpt=old.rcpt, count=len(members), owner=owner
        )
        if not more:
            step(rcpt, Event.STORE)
        self._replace(ta, () if more else (rcpt,), records, rcpt.home, then)
        self._settle(ta)

    def _next_idx(self, ta: AqTa) -> int:
        """Gives a new recipient index; the record of the transaction keeps the greatest one."""
        index = ta.next_idx
        if index > RCPT_IDX_MAX:
            raise BugError(Module.AQ, f"{ta.ta_id} has used up its recipient indexes")
        ta.next_idx += 1
        return index

    @staticmethod
    def _numbered(ta: AqTa) -> TaRecord:
        """Gives the record of a transaction with the next free index."""
        if ta.record.rcpts != ta.next_idx:
            ta.record = replace(ta.record, rcpts=ta.next_idx)
        return ta.record

    def _replace(
        self,
        ta: AqTa,
        old: Sequence[AqRcpt],
        records: Sequence[RcptRecord],
        home: Home,
        then: Callable[[], None] | None = None,
    ) -> None:
        """Puts new recipients in the place of old ones (all in WAIT_UPDATE), in one batch of their store.

        If the old ones are in DEFEDB (`home`), or AQ has no room, the new ones go there; otherwise to IBDB.
        """
        fits = self.aq.fits(records)
        if fits:
            self._new([self.aq.add_rcpt(ta, record, home) for record in records])
        if home is Home.DEFEDB or not fits:
            self._replace_in_defedb(ta, old, records, fits, then)
            return
        self._commit.rcpts_replaced(records, ta.ta_id, [one.record.rcpt_idx for one in old])
        for one in old:
            self._leave(one)
        if then is not None:
            then()

    def _replace_in_defedb(
        self, ta: AqTa, old: Sequence[AqRcpt], records: Sequence[RcptRecord], in_aq: bool, then: Callable[[], None] | None
    ) -> None:
        in_defedb = tuple(one.record.rcpt_idx for one in old if one.home is Home.DEFEDB)
        in_ibdb = [one.record.rcpt_idx for one in old if one.home is Home.IBDB]
        if records:
            ta.in_defedb = True

        def stored(gone: bool) -> None:
            with self.lock:
                if in_ibdb:
                    self._commit.rcpts_replaced((), ta.ta_id, in_ibdb)
                ta.in_defedb = not gone
                if not in_aq:
                    self._into_window(records)
                for one in old:
                    self._leave(one)
                if then is not None:
                    then()

        self._defer.add(Change(ta=self._numbered(ta), put=tuple(records), removed=in_defedb, stored=stored))

    # -- outcomes ------------------------------------------------------------------------------------------------------

    def ready_again(self, rcpt: AqRcpt) -> None:
        """Lets a recipient wait for its server again: its delivery did not take place.  Caller holds AQ."""
        step(rcpt, Event.NEXT)
        self.queues.add(rcpt)
        self.on_ready()

    def lost(self, rcpt: AqRcpt) -> None:
        """Tries a recipient again whose delivery agent ended, at once at first, then later.  Caller holds AQ."""
        rcpt.lost += 1
        if rcpt.lost < limits.LOST_MAX:
            self.ready_again(rcpt)
        else:
            outcome = Outcome(451, "4.3.0", "the delivery agent ended several times in the middle of the delivery")
            self.retry_later(rcpt, outcome)

    def next_server(self, rcpt: AqRcpt) -> bool:
        """Lets a recipient wait for its next server, in AQ or in DEFEDB; tells whether there is one.  Caller holds AQ."""
        if rcpt.server_idx + 1 >= len(rcpt.servers):
            return False
        rcpt.server_idx += 1
        if self.aq.routed(rcpt):
            self._send_back(rcpt)
        else:
            self.ready_again(rcpt)
        return True

    def delivered(self, rcpt: AqRcpt, outcome: Outcome) -> None:
        """Ends a recipient that was delivered.  Caller holds AQ."""
        step(rcpt, Event.STORE)
        log_outcome(self._log, self._clock.now(), rcpt, "delivered", outcome)
        ta = rcpt.ta
        report = bounce.success_record(rcpt, lambda: self._next_idx(ta), outcome, retry.as_stored(self._clock.now()))
        if report is None:
            self._forget(rcpt)
        else:
            self._replace(ta, (rcpt,), (report,), rcpt.home)
            self._settle(ta)

    def temp_failed(self, rcpt: AqRcpt, outcome: Outcome) -> None:
        """Tries a recipient at its next server, later, or not any more if it is too old.  Caller holds AQ."""
        if not self.next_server(rcpt):
            self.retry_later(rcpt, outcome)

    def retry_later(self, rcpt: AqRcpt, outcome: Outcome) -> None:
        """Tries a recipient later, or not any more if it is too old.  Caller holds AQ."""
        now = self._clock.now()
        if retry.expired(rcpt.record, now, self._settings):
            self.failed(rcpt, outcome.expired())
        else:
            self._postpone(rcpt, outcome, now)

    def failed(self, rcpt: AqRcpt, outcome: Outcome) -> None:
        """Gives a recipient up; its bounce is made when no other one is on its way, or enough have failed.  Caller holds AQ."""
        report = bounce.report_of(rcpt.record, outcome, self._clock.now())
        step(rcpt, Event.FAIL)
        log_outcome(self._log, self._clock.now(), rcpt, "failed", outcome)
        rcpt.ta.failed.append((rcpt, report))
        self._settle(rcpt.ta)

    def finish(self, rcpt: AqRcpt, outcome: Outcome) -> None:
        """Sorts an outcome: delivered, later, never, or a case for the operator.  Caller holds AQ."""
        if outcome.hold:
            self.hold(rcpt, outcome)
        elif outcome.is_ok:
            self.delivered(rcpt, outcome)
        elif outcome.is_temporary:
            self.temp_failed(rcpt, outcome)
        else:
            self.failed(rcpt, outcome)

    def guard(self, where: str, rcpt: AqRcpt, action: Callable[[AqRcpt], object]) -> None:
        """Does something with one recipient; an unexpected exception costs it a deferral, and nobody else.  Caller holds AQ."""
        before = rcpt.state
        try:
            action(rcpt)
        except Exception as error:  # noqa: BLE001  failure.item() by hand: this is done for every recipient
            failure.contained(self._log, where, error, ss_ta=rcpt.ta.ta_id)
            self.doubt(where, rcpt, error, before)

    def doubt(self, where: str, rcpt: AqRcpt, error: Exception, *untouched: RcptState) -> None:
        """Tries a recipient later after an unexpected exception.  Caller holds AQ.

        If its state has changed meanwhile, or it cannot be deferred, nobody knows what is true: the process ends.
        """
        if rcpt.state not in untouched:
            failure.end_process(self._log, where, error)
        try:
            self.retry_later(rcpt, CONFUSED)
        except Exception as second:  # noqa: BLE001  see above
            failure.end_process(self._log, where, second)

    def removed(self, rcpt: AqRcpt, reason: str) -> None:
        """Ends a recipient by order of the operator; it must not be on its way.  Caller holds AQ."""
        if rcpt.state is RcptState.READY:
            self.queues.remove(rcpt)
        step(rcpt, Event.STORE)
        log_outcome(self._log, self._clock.now(), rcpt, reason, Outcome(0, "", "by order of the operator"))
        self._forget(rcpt)

    def removed_from_defedb(self, record: TaRecord, gone: bool) -> None:
        """Notes that a recipient that was not in AQ was removed; the content goes with the last one.  Takes AQ."""
        with self.lock:
            ta = self.aq.get(record.ta_id)
            if ta is not None:
                ta.in_defedb = not gone
            elif gone:
                self._commit.unlink(CdbId(record.cdb_id))

    def _postpone(self, rcpt: AqRcpt, outcome: Outcome, now: float) -> None:
        """Lets DEFEDB keep a recipient until its next try."""
        ta = rcpt.ta
        warn = retry.delay_warning_due(ta.record, rcpt.record, now, self._settings) and rcpt.sender != ""
        step(rcpt, Event.STORE)
        rcpt.record = record = replace(
            outcome.noted(rcpt.record, now),
            flags=rcpt.record.flags | (RcptFlags.DLY_SENT if warn else 0),
            tries=rcpt.record.tries + 1,
            next_try=retry.next_try(rcpt.record.entered, now, self._settings, self._rng),
        )
        log_outcome(self._log, self._clock.now(), rcpt, "deferred", outcome)
        put = waiting = [record]
        if warn:
            warning = bounce.delay_record(rcpt, self._next_idx(ta), outcome, now)
            put = [record, warning]
            if self.aq.fits((warning,)):
                self._new([self.aq.add_rcpt(ta, warning, Home.DEFEDB)])
            else:
                waiting = put
        self._store_deferred(rcpt, put, waiting)

    def hold(self, rcpt: AqRcpt, outcome: Outcome) -> None:
        """Keeps a recipient in DEFEDB until the operator releases or removes it.  Caller holds AQ."""
        step(rcpt, Event.STORE)
        ta, record = rcpt.ta.record, rcpt.record
        noted = outcome.noted(record, self._clock.now())
        rcpt.record = replace(noted, flags=record.flags | RcptFlags.HOLD, next_try=limits.HELD_UNTIL)
        text = f"held: {outcome.text}; mend the content, then qmgrctl release, or remove it"
        self._log.error("qmgr.held", text, ss_ta=ta.ta_id, rcpt_idx=record.rcpt_idx, rcpt=record.rcpt, cdb_id=ta.cdb_id)
        self._store_deferred(rcpt, [rcpt.record], [])

    def _store_deferred(self, rcpt: AqRcpt, put: list[RcptRecord], waiting: list[RcptRecord]) -> None:
        """Stores recipients in DEFEDB, those that wait there for the feeder among them, and lets one leave AQ."""
        ta, record, from_ibdb = rcpt.ta, rcpt.record, rcpt.home is Home.IBDB
        ta.in_defedb = True

        def stored(gone: bool) -> None:
            with self.lock:
                if from_ibdb:
                    self._commit.rcpts_replaced((), ta.ta_id, [record.rcpt_idx])
                ta.in_defedb = True
                self._leave(rcpt)
                self._into_window(waiting)

        self._defer.add(Change(ta=self._numbered(ta), put=tuple(put), stored=stored))
        self._settle(ta)

    def _forget(self, rcpt: AqRcpt) -> None:
        """Closes the lasting record of a recipient in WAIT_UPDATE; it leaves when that is as safe as it has to be."""
        ta = rcpt.ta
        if rcpt.home is Home.IBDB:
            if len(ta.rcpts) > 1 or ta.in_defedb:
                self._commit.rcpts_replaced((), ta.ta_id, [rcpt.record.rcpt_idx])
            self._leave(rcpt)
        else:
            self._defer.add(
                Change(ta=ta.record, removed=(rcpt.record.rcpt_idx,), stored=lambda gone: self._forgotten(rcpt, gone))
            )
        self._settle(ta)

    def _forgotten(self, rcpt: AqRcpt, gone: bool) -> None:
        with self.lock:
            rcpt.ta.in_defedb = not gone
            self._leave(rcpt)

    def _leave(self, rcpt: AqRcpt) -> None:
        """Takes a recipient out of AQ, and its transaction with the last one.  Caller holds AQ."""
        step(rcpt, Event.STORED)
        ta = rcpt.ta
        if not self.aq.remove(rcpt):
            return
        content = None if ta.in_defedb else CdbId(ta.record.cdb_id)
        if ta.in_ibdb:
            self._commit.ta_done(ta.ta_id, content)
        elif content is not None:
            self._commit.unlink(content)

    # -- bounces -------------------------------------------------------------------------------------------------------

    def _settle(self, ta: AqTa) -> None:
        """Makes the bounces of a transaction once no recipient is on its way, or one report is full.  Caller holds AQ."""
        if not ta.failed or (ta.unsettled and len(ta.failed) < self._report_max):
            return
        failed, ta.failed = ta.failed, []
        made: list[list[RcptRecord]] = []
        with failure.item(self._log, "qmgr.bounce", ss_ta=ta.ta_id):
            made.append(bounce.bounce_records(ta, failed, lambda: self._next_idx(ta), self._settings, self._clock.now()))
        if not made:  # they fail again later, perhaps with a report
            for rcpt, _ in failed:
                self._postpone(rcpt, CONFUSED, self._clock.now())
            return
        (records,) = made
        for rcpt, _ in failed:
            step(rcpt, Event.STORE)
        for record in records:
            self._log.info(
                "qmgr.bounce", "ok", ss_ta=ta.ta_id, rcpt_idx=record.rcpt_idx, rcpt=record.rcpt, count=len(record.failed)
            )
        old = [rcpt for rcpt, _ in failed]
        self._replace(ta, old, records, Home.DEFEDB if any(rcpt.home is Home.DEFEDB for rcpt in old) else Home.IBDB)

    # -- IBDB clean-up -------------------------------------------------------------------------------------------------

    def move_to_defedb(self, ta_id: str) -> int:
        """Lets DEFEDB keep recipients of a transaction that has been in IBDB for long; they stay in AQ.  Gives how many."""
        with self.lock:
            ta = self.aq.get(ta_id)
            if ta is None or not ta.in_ibdb:
                return 0
            here = ta.rcpts.values()
            free = (rcpt for rcpt in here if rcpt.home is Home.IBDB and rcpt.state is not RcptState.WAIT_UPDATE)
            moving = list(islice(free, limits.MOVE_MAX))
            if not moving:
                self._left_ibdb(ta)
                return 0
            now = retry.as_stored(self._clock.now())
            for rcpt in moving:
                rcpt.record = replace(rcpt.record, next_try=now)
                rcpt.home = Home.DEFEDB  # what happens to it from now on comes behind this change in the list
            ta.in_defedb = True
            ta.moving += 1
            indexes = [rcpt.record.rcpt_idx for rcpt in moving]

            def stored(gone: bool) -> None:
                self._commit.rcpts_replaced((), ta_id, indexes)
                with self.lock:
                    ta.moving -= 1
                    self._left_ibdb(ta)

            self._defer.add(Change(ta=self._numbered(ta), put=tuple(rcpt.record for rcpt in moving), stored=stored))
            return len(moving)

    def _left_ibdb(self, ta: AqTa) -> None:
        """Closes a transaction in IBDB if none of its recipients has its record there.  Caller holds AQ."""
        if ta.in_ibdb and not ta.moving and not any(rcpt.home is Home.IBDB for rcpt in ta.rcpts.values()):
            ta.in_ibdb = False
            self._commit.ta_done(ta.ta_id, None)
