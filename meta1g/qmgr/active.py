"""What happens to the recipients in AQ: every change of their state is made here, and told to the stores.

    enter ─> to be resolved ─> ready in a destination queue ─> delivery ─> delivered | deferred | failed ─> leave

Invariants: the lasting record of a recipient is closed only after its successor is durable (I2): a deferred one leaves
IBDB after DEFEDB has it, a failed one after its bounce is recorded in the same batch.  The content file goes when no
store has a recipient of the transaction any more.

Locking: own lock AQ (`lock`), held by the caller where a docstring says so.
Ref: MeTA1 design, "Implementation: QMGR, update after a delivery" (modelled on).
"""

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from meta1g.base.clock import Clock
from meta1g.base.ids import CdbId, TaId
from meta1g.base.log import Log
from meta1g.db.aq import Aq
from meta1g.db.aq_types import AqRcpt, AqTa, Home, RcptState
from meta1g.db.aqrdq import DestQueues
from meta1g.db.edbc import Edbc
from meta1g.pt.lock import Lock
from meta1g.qmgr import bounce, retry
from meta1g.qmgr.commit import Commit
from meta1g.qmgr.defer import Change, Defer
from meta1g.qmgr.limits import HELD_UNTIL, LOST_MAX, STATUS_TEXT_MAX_CHARS
from meta1g.qmgr.outcome import Outcome
from meta1g.qmgr.rcpt_fsm import SETTLED, Event, step
from meta1g.qmgr.settings import Settings
from meta1g.rcb.common import ServerAddr
from meta1g.rcb.envelope import RcptFlags, RcptRecord, TaRecord


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
        self.unresolved: list[AqRcpt] = []
        self.on_unresolved: Callable[[], None] = _nothing
        self.on_ready: Callable[[], None] = _nothing
        self._settings = settings
        self._commit = commit
        self._defer = defer
        self._clock = clock
        self._log = log
        self._rng = random.Random()  # noqa: S311  jitter is no secret

    # -- into AQ -------------------------------------------------------------------------------------------------------

    def enter(self, ta: TaRecord, rcpts: Sequence[RcptRecord], home: Home) -> None:
        """Enters recipients; those that are here already stay as they are.  Caller holds AQ.

        Raises:
            FullError: they do not fit.
        """
        fresh = self.aq.add_ta(ta, rcpts, home)
        if fresh and home is Home.DEFEDB:
            fresh[0].ta.in_defedb = True
        self._new(fresh)

    def overflow(self, ta: TaRecord, rcpts: Sequence[RcptRecord]) -> None:
        """Hands a transaction from IBDB to DEFEDB, since AQ is full.  Takes AQ later."""
        now = retry.as_stored(self._clock.now())
        records = tuple(replace(rcpt, next_try=now) for rcpt in rcpts)

        def stored(gone: bool) -> None:
            with self.lock:
                for record in records:
                    self.edbc.add((record.next_try, TaId(record.ta_id), record.rcpt_idx))
            self._commit.ta_done(ta.ta_id, None)

        self._defer.add(Change(ta=ta, put=records, stored=stored))

    def _new(self, rcpts: Iterable[AqRcpt]) -> None:
        before = len(self.unresolved)
        self.unresolved.extend(rcpts)
        if len(self.unresolved) > before:
            self.on_unresolved()

    # -- from the resolver ---------------------------------------------------------------------------------------------

    def resolved(self, rcpt: AqRcpt, da: int, servers: Sequence[ServerAddr]) -> None:
        """Lets a recipient wait for its first server.  Caller holds AQ."""
        step(rcpt, Event.RESOLVED)
        rcpt.da = da
        rcpt.servers = tuple(servers)
        rcpt.server_idx = 0
        self.queues.add(rcpt)
        self.on_ready()

    def expanded(self, rcpt: AqRcpt, members: Sequence[str], owner: str | None) -> None:
        """Replaces an alias by its members, in memory and in the store of the alias.  Caller holds AQ."""
        step(rcpt, Event.STORE)
        ta, old = rcpt.ta, rcpt.record
        records = [
            replace(
                old,
                rcpt_idx=self._next_idx(ta),
                rcpt=member,
                orig_rcpt=old.orig_rcpt or old.rcpt,
                sender=owner if owner is not None else old.sender,
                flags=old.flags | RcptFlags.EXPANDED,
                next_try=retry.as_stored(self._clock.now()),
            )
            for member in members
        ]
        self._log.info(
            "qmgr.alias", "ok", ss_ta=ta.ta_id, rcpt_idx=old.rcpt_idx, rcpt=old.rcpt, count=len(members), owner=owner
        )
        self._replace(ta, [rcpt], records)

    def _next_idx(self, ta: AqTa) -> int:
        """Gives a new recipient index; the record of the transaction keeps the greatest one."""
        index = ta.next_idx
        ta.next_idx += 1
        ta.record = replace(ta.record, rcpts=ta.next_idx)
        return index

    def _replace(self, ta: AqTa, old: Sequence[AqRcpt], records: Sequence[RcptRecord]) -> None:
        """Puts new recipients in the place of old ones (all in WAIT_UPDATE), in one batch of their store.

        If one of the old ones is in DEFEDB, the new ones go there; otherwise to IBDB.
        """
        in_defedb = tuple(one.record.rcpt_idx for one in old if one.home is Home.DEFEDB)
        in_ibdb = [one.record.rcpt_idx for one in old if one.home is Home.IBDB]
        home = Home.DEFEDB if in_defedb else Home.IBDB
        fresh = [self.aq.add_rcpt(ta, record, home) for record in records]
        self._new(fresh)
        if home is Home.IBDB:
            self._commit.rcpts_replaced(records, ta.ta_id, in_ibdb)
            for one in old:
                self._leave(one)
            return
        if records:
            ta.in_defedb = True

        def stored(gone: bool) -> None:
            with self.lock:
                if in_ibdb:
                    self._commit.rcpts_replaced((), ta.ta_id, in_ibdb)
                ta.in_defedb = not gone
                for one in old:
                    self._leave(one)

        self._defer.add(Change(ta=ta.record, put=tuple(records), removed=in_defedb, stored=stored))

    # -- outcomes ------------------------------------------------------------------------------------------------------

    def ready_again(self, rcpt: AqRcpt) -> None:
        """Lets a recipient wait for its server again: its delivery did not take place.  Caller holds AQ."""
        step(rcpt, Event.NEXT)
        self.queues.add(rcpt)
        self.on_ready()

    def lost(self, rcpt: AqRcpt) -> None:
        """Tries a recipient again whose delivery agent ended, at once at first, then later.  Caller holds AQ."""
        rcpt.lost += 1
        if rcpt.lost < LOST_MAX:
            self.ready_again(rcpt)
        else:
            outcome = Outcome(451, "4.3.0", "the delivery agent ended several times in the middle of the delivery")
            self._retry_later(rcpt, outcome)

    def next_server(self, rcpt: AqRcpt) -> bool:
        """Lets a recipient wait for its next server; tells whether there is one.  Caller holds AQ."""
        if rcpt.server_idx + 1 >= len(rcpt.servers):
            return False
        rcpt.server_idx += 1
        self.ready_again(rcpt)
        return True

    def delivered(self, rcpt: AqRcpt, outcome: Outcome) -> None:
        """Ends a recipient that was delivered.  Caller holds AQ."""
        step(rcpt, Event.STORE)
        self._log_outcome(rcpt, "delivered", outcome)
        ta = rcpt.ta
        report = bounce.success_record(rcpt, lambda: self._next_idx(ta), outcome, retry.as_stored(self._clock.now()))
        if report is None:
            self._forget(rcpt)
        else:
            self._replace(ta, [rcpt], [report])
            self._settle(ta)

    def temp_failed(self, rcpt: AqRcpt, outcome: Outcome) -> None:
        """Tries a recipient at its next server, later, or not any more if it is too old.  Caller holds AQ."""
        if not self.next_server(rcpt):
            self._retry_later(rcpt, outcome)

    def _retry_later(self, rcpt: AqRcpt, outcome: Outcome) -> None:
        now = self._clock.now()
        if retry.expired(rcpt.record, now, self._settings):
            self.failed(rcpt, outcome.expired())
        else:
            self._postpone(rcpt, outcome, now)

    def failed(self, rcpt: AqRcpt, outcome: Outcome) -> None:
        """Gives a recipient up; its bounce is made when no recipient of the transaction is on its way.  Caller holds AQ."""
        step(rcpt, Event.FAIL)
        self._log_outcome(rcpt, "failed", outcome)
        rcpt.ta.failed.append((rcpt, bounce.report_of(rcpt.record, outcome, self._clock.now())))
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

    def removed(self, rcpt: AqRcpt, reason: str) -> None:
        """Ends a recipient by order of the operator; it must not be on its way.  Caller holds AQ."""
        if rcpt.state is RcptState.READY:
            self.queues.remove(rcpt)
        step(rcpt, Event.STORE)
        self._log_outcome(rcpt, reason, Outcome(0, "", "by order of the operator"))
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
        record = replace(
            rcpt.record,
            flags=rcpt.record.flags | (RcptFlags.DLY_SENT if warn else 0),
            tries=rcpt.record.tries + 1,
            last_try=now,
            next_try=retry.next_try(rcpt.record.entered, now, self._settings, self._rng),
            code=outcome.code,
            ecode=outcome.ecode,
            text=outcome.text[:STATUS_TEXT_MAX_CHARS],
            remote_mta=outcome.remote_mta,
        )
        rcpt.record = record
        self._log_outcome(rcpt, "deferred", outcome)
        put = [record]
        if warn:
            warning = bounce.delay_record(rcpt, self._next_idx(ta), outcome, now)
            put.append(warning)
            self._new([self.aq.add_rcpt(ta, warning, Home.DEFEDB)])
        self._store_deferred(rcpt, put)

    def hold(self, rcpt: AqRcpt, outcome: Outcome) -> None:
        """Keeps a recipient in DEFEDB until the operator releases or removes it.  Caller holds AQ."""
        step(rcpt, Event.STORE)
        ta, record = rcpt.ta.record, rcpt.record
        rcpt.record = replace(
            record,
            flags=record.flags | RcptFlags.HOLD,
            last_try=self._clock.now(),
            next_try=HELD_UNTIL,
            code=outcome.code,
            ecode=outcome.ecode,
            text=outcome.text[:STATUS_TEXT_MAX_CHARS],
        )
        text = f"held: {outcome.text}; mend the content, then qmgrctl release, or remove it"
        self._log.error("qmgr.held", text, ss_ta=ta.ta_id, rcpt_idx=record.rcpt_idx, rcpt=record.rcpt, cdb_id=ta.cdb_id)
        self._store_deferred(rcpt, [rcpt.record])

    def _store_deferred(self, rcpt: AqRcpt, put: list[RcptRecord]) -> None:
        ta, record, from_ibdb = rcpt.ta, rcpt.record, rcpt.home is Home.IBDB
        ta.in_defedb = True

        def stored(gone: bool) -> None:
            with self.lock:
                if from_ibdb:
                    self._commit.rcpts_replaced((), ta.ta_id, [record.rcpt_idx])
                ta.in_defedb = True
                self._leave(rcpt)
                self.edbc.add((record.next_try, ta.ta_id, record.rcpt_idx))

        self._defer.add(Change(ta=ta.record, put=tuple(put), stored=stored))
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
        """Makes the bounces of a transaction once none of its recipients is on its way.  Caller holds AQ."""
        if not ta.failed or any(rcpt.state not in SETTLED for rcpt in ta.rcpts.values()):
            return
        failed, ta.failed = ta.failed, []
        for rcpt, _ in failed:
            step(rcpt, Event.STORE)
        records = bounce.bounce_records(ta, failed, lambda: self._next_idx(ta), self._settings, self._clock.now())
        for record in records:
            self._log.info(
                "qmgr.bounce", "ok", ss_ta=ta.ta_id, rcpt_idx=record.rcpt_idx, rcpt=record.rcpt, count=len(record.failed)
            )
        self._replace(ta, [rcpt for rcpt, _ in failed], records)

    # -- IBDB clean-up -------------------------------------------------------------------------------------------------

    def move_to_defedb(self, ta_id: str) -> int:
        """Lets DEFEDB keep the recipients of a transaction that has been in IBDB for long; they stay in AQ.

        Returns:
            How many are moved.
        """
        with self.lock:
            ta = self.aq.get(ta_id)
            if ta is None or not ta.in_ibdb:
                return 0
            in_ibdb = [rcpt for rcpt in ta.rcpts.values() if rcpt.home is Home.IBDB]
            if not in_ibdb:
                self._left_ibdb(ta)
            moving = [rcpt for rcpt in in_ibdb if rcpt.state is not RcptState.WAIT_UPDATE]
            if not moving:
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

            self._defer.add(Change(ta=ta.record, put=tuple(rcpt.record for rcpt in moving), stored=stored))
            return len(moving)

    def _left_ibdb(self, ta: AqTa) -> None:
        """Closes a transaction in IBDB if none of its recipients has its record there.  Caller holds AQ."""
        if ta.in_ibdb and not ta.moving and not any(rcpt.home is Home.IBDB for rcpt in ta.rcpts.values()):
            ta.in_ibdb = False
            self._commit.ta_done(ta.ta_id, None)

    def _log_outcome(self, rcpt: AqRcpt, what: str, outcome: Outcome) -> None:
        ta, record = rcpt.ta.record, rcpt.record
        write = self._log.notice if what == "failed" else self._log.info
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
            delay_s=round(self._clock.now() - ta.entered, 3),
            tries=record.tries or None,
            next_try=record.next_try if what == "deferred" else None,
        )


def _nothing() -> None:
    """Stands for a callback that is not set yet."""
