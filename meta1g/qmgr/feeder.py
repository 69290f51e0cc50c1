"""DEFEDB to AQ: recipients whose time has come.

The window EDBC tells which; the records are read in the DEFEDB thread.  A part of AQ is left to new mail.  Recipients whose
destination has used up its share of AQ stand aside in a lane of their own, and do not hold up those behind them (I11).

Locking: AQ.
Ref: MeTA1 design, "Implementation: QMGR, EDBC and DEFEDB to AQ" (modelled on).
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

from meta1g.base import failure
from meta1g.base.errors import FullError
from meta1g.base.ids import TaId
from meta1g.db.aq_types import Home, Order, Place
from meta1g.db.defedb import DefeDb
from meta1g.db.edbc import FOREVER
from meta1g.db.lanes import LaneEntry
from meta1g.db.times import bounded, bounded_ta
from meta1g.pt.task import Ev, Result, Task
from meta1g.qmgr.active import Active
from meta1g.qmgr.env import Env
from meta1g.qmgr.limits import FEED_AGAIN_S, FEED_LEAST, FEED_LEAVES_PERCENT, FEED_TURN, LANE_LOOK_S, REFILL_MAX
from meta1g.qmgr.orders import Orders
from meta1g.qmgr.retry import as_stored
from meta1g.rcb.envelope import RcptFlags, RcptRecord, TaRecord

T = TypeVar("T")
_LOOK_S = 1.0
Read = list[tuple[TaRecord, RcptRecord]]


class Feeder:
    """Brings deferred recipients back.

    Args:
        env: surroundings.
        active: the recipients in AQ, and the window.
        orders: those of the operator.

    Owner: its task, but for `_busy`, which the DEFEDB thread clears when the task may go on.
    """

    def __init__(self, env: Env, active: Active, orders: Orders) -> None:
        self.stopping = self.pausing = False
        self._active = active
        self._orders = orders
        self._defer = active.defer
        self._clock = env.clock
        self._log = env.log
        self._settings = env.settings
        self._busy = False
        self._task = env.evthr.task_new(self._run, events=Ev.NONE, run=True, name="feeder")

    def wake(self) -> None:
        """Lets the feeder look soon."""
        self._task.wakeup()

    def _run(self, task: Task) -> Result:
        if self.stopping or self.pausing:
            return Result.SLPQ
        if not self._busy:
            self._look()
        delay_s = _LOOK_S
        with self._active.lock:
            edbc = self._active.edbc
            soonest = FOREVER if edbc.lanes.crowded else edbc.next_time()
            if len(edbc.lanes):
                delay_s = LANE_LOOK_S
        if soonest != FOREVER:
            delay_s = min(delay_s, max(0.05, soonest - self._clock.now()))
        task.sleep_for(delay_s)
        return Result.SLPQ

    def _look(self) -> None:
        """Asks DEFEDB for more of the window, or for the records that are due."""
        active = self._active
        refill, lane = None, None
        due: list[LaneEntry] = []
        with active.lock:
            edbc = active.edbc
            if edbc.needs_refill:
                refill = min(edbc.limit, REFILL_MAX), edbc.after
            elif (lane := edbc.lanes.to_read()) is None:
                due = self._take_due(FEED_TURN)
        if refill is not None:
            self._refill(*refill)
        elif lane is not None:
            self._read_lane(*lane)
        elif due:
            self._ask(lambda db: _read(db, due), self._feed, lambda error: self._not_read(due))

    def _refill(self, asked: int, after: LaneEntry | None) -> None:
        """Asks for more of the window.  Not with AQ held: who cannot ask is told at once, and takes it."""
        self._ask(
            lambda db: db.due(FOREVER, asked, after),
            lambda found: self._refilled(found, asked, after),
            lambda error: self._not_read(()),
        )

    def _read_lane(self, place: Place, after: LaneEntry) -> None:
        """Reads on the disk what a lane had no room for; much of what is found there is in memory already."""
        now = self._clock.now()

        def done(found: Sequence[tuple[LaneEntry, str | None]]) -> None:
            active = self._active
            with active.lock:
                aq = active.aq
                fresh = [(aq.place_of(rcpt), one) for one, rcpt in found if rcpt is not None and not aq.has(one[1], one[2])]
                active.edbc.lanes.was_read(place, fresh, found[-1][0] if len(found) == FEED_TURN else None)
            self._go_on()

        self._ask(lambda db: _addresses(db, now, after), done, lambda error: self._not_read(()))

    def _ask(
        self, function: Callable[[DefeDb], T], on_done: Callable[[T], None], on_error: Callable[[Exception], None]
    ) -> None:
        """Asks DEFEDB; one question at a time."""
        self._busy = True
        try:
            self._defer.ask(function, on_done, on_error)
        except FullError as error:
            on_error(error)

    def _take_due(self, limit: int) -> list[LaneEntry]:
        """Takes what is due, from lanes that have room now and from the window; what is in AQ comes back there by itself.

        Caller holds AQ.
        """
        active = self._active
        due = [one for one in active.edbc.lanes.take(self._room, limit // 2) if not active.aq.has(one[1], one[2])]
        now = self._clock.now()
        while len(due) < limit and not active.edbc.lanes.crowded and (entry := active.edbc.pop_due(now)) is not None:
            if not active.aq.has(entry[1], entry[2]):
                due.append(entry)
        return due

    def _room(self, place: Place) -> int:
        """Gives how many deferred recipients of a destination may enter AQ beside new mail.  Caller holds AQ."""
        aq = self._active.aq
        left = aq.room_for(place)
        few = min(left, FEED_LEAST - aq.places.held(place))
        return max(few, min(left, aq.room_for(place, aq.limit * FEED_LEAVES_PERCENT // 100)))

    def _refilled(self, found: Sequence[LaneEntry], asked: int, after: LaneEntry | None) -> None:
        with self._active.lock:
            self._active.edbc.refill(found, asked, after)
        self._go_on()

    def _feed(self, found: Read) -> None:
        active, now = self._active, self._clock.now()
        with active.lock:
            for ta, rcpt in found:
                with failure.item(self._log, "qmgr.feed", partial(self._feed_later, rcpt), ss_ta=rcpt.ta_id):
                    self._enter(bounded_ta(ta, now), bounded(rcpt, now, self._settings.max_retry_delay_s))
            for _, rcpt in found:  # all of them are here: one report tells of those that were given up
                if rcpt.flags & RcptFlags.GIVE_UP:
                    with failure.item(self._log, "qmgr.feed", ss_ta=rcpt.ta_id):
                        self._give_up(rcpt)
        self._log.debug("qmgr.feed", "ok", count=len(found))
        self._go_on()

    def _enter(self, ta: TaRecord, rcpt: RcptRecord) -> None:
        """Lets a recipient enter AQ, or wait in its lane.  Caller holds AQ."""
        active = self._active
        place = active.aq.place_of(rcpt.rcpt)
        if self._room(place) > 0:
            active.enter(ta, [rcpt], Home.DEFEDB)
        else:
            active.edbc.lanes.park(place, (rcpt.next_try, TaId(rcpt.ta_id), rcpt.rcpt_idx))

    def _give_up(self, rcpt: RcptRecord) -> None:
        """Lets a recipient fail by order of the operator; one without room in AQ waits for it.  Caller holds AQ."""
        ta = self._active.aq.get(rcpt.ta_id)
        here = None if ta is None else ta.rcpts.get(rcpt.rcpt_idx)
        if here is not None:
            self._orders.give(here, Order.BOUNCE)

    def _feed_later(self, rcpt: RcptRecord, error: Exception) -> None:
        """Keeps a recipient out of the way for a while that could not be brought back.  Caller holds AQ."""
        later = max(rcpt.next_try, self._clock.now() + FEED_AGAIN_S)
        self._active.edbc.add((as_stored(later), TaId(rcpt.ta_id), rcpt.rcpt_idx))

    def _not_read(self, due: Sequence[LaneEntry]) -> None:
        """Puts back what could not be read; it is tried again with the next look."""
        self._busy = False
        with self._active.lock:
            for one in due:
                self._active.edbc.add(one)

    def _go_on(self) -> None:
        self._busy = False
        self._task.wakeup()


def _read(db: DefeDb, due: Sequence[LaneEntry]) -> Read:
    """Reads the records that are due; what was removed meanwhile, rescheduled or held is left out.  Blocks: yes (disk)."""
    times = {(ta_id, rcpt_idx): when for when, ta_id, rcpt_idx in due}
    return [
        (ta, rcpt)
        for ta, rcpt in db.read_due(due)
        if not rcpt.flags & RcptFlags.HOLD and as_stored(rcpt.next_try) <= times[TaId(rcpt.ta_id), rcpt.rcpt_idx]
    ]


def _addresses(db: DefeDb, now: float, after: LaneEntry) -> list[tuple[LaneEntry, str | None]]:
    """Reads what is due behind an entry, FEED_TURN at most, with the addresses.  Blocks: yes (disk)."""
    found: list[tuple[LaneEntry, str | None]] = []
    for entry in db.due(now, FEED_TURN, after):
        rcpt = db.get_rcpt(entry[1], entry[2])
        found.append((entry, None if rcpt is None else rcpt.rcpt))
    return found
