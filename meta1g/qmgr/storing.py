"""From AQ to the stores: every change of a recipient's lasting record, and the end of what is done.

    replace    an alias by its members, a recipient by its report
    postpone   to DEFEDB until the next try, perhaps with a warning to the sender; hold: until the operator says so
    forget     nothing is left to do
    move       from IBDB to DEFEDB, while the recipient stays in AQ

Invariants: the lasting record of a recipient is closed only after its successor is durable (I2): a deferred one leaves
IBDB after DEFEDB has it, a failed one after its bounce is recorded in the same batch.  The content file goes when no
store has a recipient of the transaction any more.

Locking: caller holds AQ, or it is taken where a docstring says so.
Ref: MeTA1 design, "Implementation: QMGR, update after a delivery" (modelled on).
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import islice

from meta1g.base.errors import BugError, Module
from meta1g.base.ids import RCPT_IDX_MAX, CdbId
from meta1g.db.aq_types import AqRcpt, AqTa, Home, RcptState
from meta1g.qmgr import bounce, limits, retry
from meta1g.qmgr.active import Active
from meta1g.qmgr.attempts import note_attempt
from meta1g.qmgr.defer import Change
from meta1g.qmgr.destinations import COMMON, DestinationLimits
from meta1g.qmgr.env import Env
from meta1g.qmgr.outcome import Outcome, log_outcome, log_report
from meta1g.qmgr.rcpt_fsm import Event, step
from meta1g.rcb.envelope import HELD_UNTIL, RcptFlags, RcptRecord, TaRecord


class Storing:
    """Tells the stores.

    Args:
        env: surroundings.
        active: the recipients in AQ.

    Locking: caller holds AQ.
    """

    def __init__(self, env: Env, active: Active) -> None:
        self._active = active
        self._aq = active.aq
        self._commit = active.commit
        self._defer = active.defer
        self._settings = env.settings
        self._destinations = env.destinations
        self._clock = env.clock
        self._log = env.log

    # -- indexes -------------------------------------------------------------------------------------------------------

    def next_idx(self, ta: AqTa) -> int:
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

    # -- successors ----------------------------------------------------------------------------------------------------

    def replace(
        self,
        ta: AqTa,
        old: Sequence[AqRcpt],
        records: Sequence[RcptRecord],
        home: Home,
        then: Callable[[], None] | None = None,
    ) -> None:
        """Puts new recipients in the place of old ones (all in WAIT_UPDATE), in one batch of their store.

        If the old ones are in DEFEDB (`home`), or AQ has no room, the new ones go there; otherwise to IBDB.

        Args:
            ta: the transaction.
            old: they leave AQ.
            records: they enter AQ if there is room for all of them.
            home: where the old ones are.
            then: called when that is done; AQ is held.
        """
        fits = self._aq.fits(records)
        if fits:
            self._active.resolve([self._aq.add_rcpt(ta, record, home) for record in records])
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
            with self._active.lock:
                if in_ibdb:
                    self._commit.rcpts_replaced((), ta.ta_id, in_ibdb)
                ta.in_defedb = not gone
                if not in_aq:
                    self._active.into_window(records)
                for one in old:
                    self._leave(one)
                if then is not None:
                    then()

        self._defer.add(Change(ta=self._numbered(ta), put=tuple(records), removed=in_defedb, stored=stored))

    # -- later ---------------------------------------------------------------------------------------------------------

    def send_back(self, rcpt: AqRcpt) -> None:
        """Lets DEFEDB keep a recipient until there is room for its destination; that is no attempt."""
        step(rcpt, Event.STORE)
        rcpt.record = replace(rcpt.record, next_try=retry.as_stored(self._clock.now()))
        self.deferred(rcpt, [rcpt.record], [rcpt.record])

    def postpone(self, rcpt: AqRcpt, outcome: Outcome, now: float) -> None:
        """Lets DEFEDB keep a recipient until its next try; its sender is warned once of a long delay."""
        ta = rcpt.ta
        warn = retry.delay_warning_due(ta.record, rcpt.record, now, self._settings) and bounce.may_answer(rcpt)
        step(rcpt, Event.STORE)
        note_attempt(rcpt, outcome.reply, now)
        rcpt.record = record = replace(
            outcome.noted(rcpt.record, now),
            flags=rcpt.record.flags | (RcptFlags.DLY_SENT if warn else 0),
            tries=rcpt.record.tries + 1,
            next_try=retry.in_time(
                ta.record, rcpt.record, retry.next_try(rcpt.record, now, self._settings, self._own(rcpt)), now
            ),
        )
        log_outcome(self._log, self._clock.now(), rcpt, "qmgr.deferred", outcome)
        put = waiting = [record]
        joined = self._joined_warning(rcpt, outcome, now) if warn else None
        if warn:
            warning = joined or bounce.delay_record(rcpt, self.next_idx(ta), outcome, now)
            log_report(self._log, warning, (rcpt.record.rcpt_idx,), "delay")
            put = [record, warning]
            if joined is None and self._aq.fits((warning,)):
                self._active.resolve([self._aq.add_rcpt(ta, warning, Home.DEFEDB)])
            elif joined is None:
                waiting = put
        self.deferred(rcpt, put, waiting)

    def _own(self, rcpt: AqRcpt) -> DestinationLimits:
        """Gives what the destination of a recipient has of its own, as far as it is known."""
        found = self._destinations.of(lambda: rcpt.server) if rcpt.servers else None
        return COMMON if found is None else found

    def _joined_warning(self, rcpt: AqRcpt, outcome: Outcome, now: float) -> RcptRecord | None:
        """Lets the last warning of a transaction tell of one more recipient, if it is not on its way yet; gives its record."""
        warning = rcpt.ta.rcpts.get(rcpt.ta.next_idx - 1)
        if warning is None or not bounce.can_join(warning, rcpt):
            return None
        report = bounce.report_of(rcpt.record, outcome, now)
        warning.record = replace(warning.record, failed=(*warning.record.failed, report))
        return warning.record

    def hold(self, rcpt: AqRcpt, outcome: Outcome) -> None:
        """Keeps a recipient in DEFEDB until the operator releases or removes it."""
        step(rcpt, Event.STORE)
        note_attempt(rcpt, outcome.reply, self._clock.now())
        ta, record = rcpt.ta.record, rcpt.record
        noted = outcome.noted(record, self._clock.now())
        rcpt.record = replace(noted, flags=record.flags | RcptFlags.HOLD, next_try=HELD_UNTIL)
        text = f"held: {outcome.reply.one_line}; mend the content, then qmgrctl release, or remove it"
        self._log.error("qmgr.held", text, ss_ta=ta.ta_id, rcpt_idx=record.rcpt_idx, rcpt=record.rcpt, cdb_id=ta.cdb_id)
        self.deferred(rcpt, [rcpt.record], [])

    def deferred(self, rcpt: AqRcpt, put: list[RcptRecord], waiting: list[RcptRecord]) -> None:
        """Stores recipients in DEFEDB, and lets one leave AQ.

        Args:
            rcpt: leaves AQ; in WAIT_UPDATE.
            put: what DEFEDB is responsible for from now on.
            waiting: those of them that wait there for the feeder.
        """
        ta, record, from_ibdb = rcpt.ta, rcpt.record, rcpt.home is Home.IBDB
        ta.in_defedb = True

        def stored(gone: bool) -> None:
            with self._active.lock:
                if from_ibdb:
                    self._commit.rcpts_replaced((), ta.ta_id, [record.rcpt_idx])
                ta.in_defedb = True
                self._leave(rcpt)
                self._active.into_window(waiting)

        self._defer.add(Change(ta=self._numbered(ta), put=tuple(put), stored=stored))

    # -- the end -------------------------------------------------------------------------------------------------------

    def forget(self, rcpt: AqRcpt) -> None:
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

    def _forgotten(self, rcpt: AqRcpt, gone: bool) -> None:
        with self._active.lock:
            rcpt.ta.in_defedb = not gone
            self._leave(rcpt)

    def _leave(self, rcpt: AqRcpt) -> None:
        """Takes a recipient out of AQ, and its transaction with the last one."""
        step(rcpt, Event.STORED)
        ta = rcpt.ta
        if not self._aq.remove(rcpt):
            return
        content = None if ta.in_defedb else CdbId(ta.record.cdb_id)
        if ta.in_ibdb:
            self._commit.ta_done(ta.ta_id, content)
        elif content is not None:
            self._commit.unlink(content)

    # -- IBDB clean-up -------------------------------------------------------------------------------------------------

    def move_to_defedb(self, ta_id: str) -> int:
        """Lets DEFEDB keep recipients of a transaction that has been in IBDB for long; they stay in AQ.  Takes AQ.

        Returns:
            How many move now.
        """
        with self._active.lock:
            ta = self._aq.get(ta_id)
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
                with self._active.lock:
                    ta.moving -= 1
                    self._left_ibdb(ta)

            self._defer.add(Change(ta=self._numbered(ta), put=tuple(rcpt.record for rcpt in moving), stored=stored))
            return len(moving)

    def _left_ibdb(self, ta: AqTa) -> None:
        """Closes a transaction in IBDB if none of its recipients has its record there."""
        if ta.in_ibdb and not ta.moving and not any(rcpt.home is Home.IBDB for rcpt in ta.rcpts.values()):
            ta.in_ibdb = False
            self._commit.ta_done(ta.ta_id, None)
