"""Recipients of DEFEDB whose next try is later than it can be: the clock was ahead when they were deferred.

They stand at the far end of the index, where the window would not come to them for weeks, so they are looked for now and then,
and are due from then on.  Held ones stand behind them and stay.

Locking: none; works in the DEFEDB thread.
Ref: our choice; what can be: db/times.py.
"""

from typing import Final

from meta1g.base.errors import FullError
from meta1g.base.ids import ID_LENGTH, TaId
from meta1g.db.defedb import DefeDb
from meta1g.db.times import bounded, bounded_ta, latest_try
from meta1g.qmgr.active import Active
from meta1g.qmgr.defer import ReadSteps
from meta1g.qmgr.env import Env
from meta1g.qmgr.feeder import Feeder
from meta1g.qmgr.limits import SLICE
from meta1g.qmgr.retry import as_stored
from meta1g.rcb.envelope import HELD_UNTIL

_NO_TA: Final = TaId("S" + "0" * (ID_LENGTH - 1))


class WrongClock:
    """Looks for them.

    Args:
        env: surroundings.
        active: the window, and the way to DEFEDB.
        feeder: brings them back.

    Owner: the clean-up task, but for `_busy`, which the DEFEDB thread clears.
    """

    def __init__(self, env: Env, active: Active, feeder: Feeder) -> None:
        self._active = active
        self._feeder = feeder
        self._settings = env.settings
        self._clock = env.clock
        self._log = env.log
        self._busy = False

    def look(self) -> None:
        """Starts to look, unless that is under way."""
        if self._busy:
            return
        self._busy = True
        try:
            self._active.defer.scan(self._mend, self._mended, lambda error: self._mended(0))
        except FullError:  # the next time is early enough
            self._busy = False

    def _mend(self, db: DefeDb) -> ReadSteps[int]:
        """Makes them due; gives how many.  Blocks: yes (disk)."""
        count, now, max_delay_s = 0, as_stored(self._clock.now()), self._settings.max_retry_delay_s
        after = (latest_try(now, max_delay_s), _NO_TA, 0)
        while found := db.due(HELD_UNTIL - 1, SLICE, after):
            after = found[-1]
            pairs = [(ta, rcpt, bounded(rcpt, now, max_delay_s)) for ta, rcpt in db.read_due(found)]
            put = [mended for _, rcpt, mended in pairs if mended is not rcpt]
            if put:
                db.store({ta.ta_id: bounded_ta(ta, now) for ta, _, _ in pairs}.values(), put, ())
            count += len(put)
            yield None
        return count

    def _mended(self, count: int) -> None:
        self._busy = False
        if count:
            self._log.warn("qmgr.clock", "the clock was ahead when these were deferred; they are tried now", count=count)
            with self._active.lock:
                self._active.edbc.reset()
            self._feeder.wake()
