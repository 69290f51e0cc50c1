"""DEFEDB to AQ: recipients whose time has come.

The window EDBC tells which; the records are read in the DEFEDB thread.  A part of AQ is left to new mail.

Locking: AQ.
Ref: MeTA1 design, "Implementation: QMGR, EDBC and DEFEDB to AQ" (modelled on).
"""

from collections.abc import Callable, Sequence
from typing import TypeVar

from meta1g.base import failure
from meta1g.base.clock import Clock
from meta1g.base.errors import FullError
from meta1g.base.ids import TaId
from meta1g.base.log import Log
from meta1g.db.aq_types import Home
from meta1g.db.defedb import DefeDb
from meta1g.db.edbc import FOREVER, Entry
from meta1g.pt.evthr import Evthr
from meta1g.pt.task import Ev, Result, Task
from meta1g.qmgr.active import Active
from meta1g.qmgr.defer import Defer
from meta1g.qmgr.limits import FEED_LEAVES_PERCENT, FEED_TURN, REFILL_MAX
from meta1g.qmgr.retry import as_stored
from meta1g.rcb.envelope import RcptFlags, RcptRecord, TaRecord

T = TypeVar("T")
_LOOK_S = 1.0
Read = list[tuple[TaRecord, RcptRecord]]


class Feeder:
    """Brings deferred recipients back.

    Args:
        active: the recipients in AQ, and the window.
        defer: thread of DEFEDB.
        evthr: runs the task.
        clock: the clock.
        log: the log.

    Owner: its task, but for `_busy`, which the DEFEDB thread clears when the task may go on.
    """

    def __init__(self, active: Active, defer: Defer, evthr: Evthr, clock: Clock, log: Log) -> None:
        self.stopping = False
        self._active = active
        self._defer = defer
        self._clock = clock
        self._log = log
        self._busy = False
        self._task = evthr.task_new(self._run, events=Ev.NONE, run=True, name="feeder")

    def wake(self) -> None:
        """Lets the feeder look soon.  Blocks: no."""
        self._task.wakeup()

    def _run(self, task: Task) -> Result:
        if self.stopping:
            return Result.SLPQ
        if not self._busy:
            self._look()
        delay_s = _LOOK_S
        with self._active.lock:
            soonest = self._active.edbc.next_time()
        if soonest != FOREVER:
            delay_s = min(_LOOK_S, max(0.05, soonest - self._clock.now()))
        task.sleep_for(delay_s)
        return Result.SLPQ

    def _look(self) -> None:
        """Asks DEFEDB for more of the window, or for the records that are due."""
        active = self._active
        with active.lock:
            edbc = active.edbc
            if edbc.needs_refill:
                asked, after = min(edbc.limit, REFILL_MAX), edbc.after
                self._ask(
                    lambda db: db.due(FOREVER, asked, after),
                    lambda found: self._refilled(found, asked, after),
                    lambda error: self._not_read(()),
                )
                return
            room = active.aq.room() - active.aq.limit * FEED_LEAVES_PERCENT // 100
            due = self._take_due(min(room, FEED_TURN))
        if due:
            self._ask(lambda db: _read(db, due), self._feed, lambda error: self._not_read(due))

    def _ask(
        self, function: Callable[[DefeDb], T], on_done: Callable[[T], None], on_error: Callable[[Exception], None]
    ) -> None:
        """Asks DEFEDB; one question at a time."""
        self._busy = True
        try:
            self._defer.ask(function, on_done, on_error)
        except FullError as error:
            on_error(error)

    def _take_due(self, limit: int) -> list[Entry]:
        """Takes what is due from the window; what is in AQ comes back to the window by itself.  Caller holds AQ."""
        due: list[Entry] = []
        now = self._clock.now()
        while len(due) < limit and (entry := self._active.edbc.pop_due(now)) is not None:
            if not self._active.aq.has(entry[1], entry[2]):
                due.append(entry)
        return due

    def _refilled(self, found: Sequence[Entry], asked: int, after: Entry | None) -> None:
        with self._active.lock:
            self._active.edbc.refill(found, asked, after)
        self._go_on()

    def _feed(self, found: Read) -> None:
        active = self._active
        with active.lock:
            for number, (ta, rcpt) in enumerate(found):
                if not self._enter(ta, rcpt):
                    for _, late in found[number:]:
                        active.edbc.add((late.next_try, TaId(late.ta_id), late.rcpt_idx))
                    break
        self._log.debug("qmgr.feed", "ok", count=len(found))
        self._go_on()

    def _enter(self, ta: TaRecord, rcpt: RcptRecord) -> bool:
        """Enters one recipient; tells whether there was room.  Caller holds AQ."""
        with failure.item(self._log, "qmgr.feed", ss_ta=ta.ta_id, rcpt_idx=rcpt.rcpt_idx):
            try:
                self._active.enter(ta, [rcpt], Home.DEFEDB)
            except FullError:
                return False
        return True

    def _not_read(self, due: Sequence[Entry]) -> None:
        """Puts back what could not be read; it is tried again with the next look."""
        self._busy = False
        with self._active.lock:
            for one in due:
                self._active.edbc.add(one)

    def _go_on(self) -> None:
        self._busy = False
        self._task.wakeup()


def _read(db: DefeDb, due: Sequence[Entry]) -> Read:
    """Reads the records that are due; what was removed meanwhile, rescheduled or held is left out.  Blocks: yes (disk)."""
    times = {(ta_id, rcpt_idx): when for when, ta_id, rcpt_idx in due}
    return [
        (ta, rcpt)
        for ta, rcpt in db.read_due(due)
        if not rcpt.flags & RcptFlags.HOLD and as_stored(rcpt.next_try) <= times[TaId(rcpt.ta_id), rcpt.rcpt_idx]
    ]
