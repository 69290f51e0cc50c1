"""Orphans: content files that no envelope refers to, left behind by a process that was killed.

A file is an orphan if it has not changed for a while, and no store knows its transaction: IQDB, IBDB, DEFEDB.  Should a
stalled SMTPS close its transaction later all the same, the missing file is noticed before the envelope is accepted.
Content whose envelope is damaged and kept in lost+found is no orphan (db/lostfound.py).

Ref: MeTA1 design, "Implementation: QMGR, cleanup of CDB" (modelled on); crash states S2, S3 and S7 of db/recovery.py.
"""

from meta1g.base.errors import FullError
from meta1g.base.ids import CdbId
from meta1g.db.cdb import Cdb
from meta1g.db.defedb import DefeDb
from meta1g.db.lostfound import LostFound
from meta1g.db.times import is_older
from meta1g.pt.task import Ev, Result, Task
from meta1g.qmgr.commit import Commit
from meta1g.qmgr.defer import Defer, ReadSteps
from meta1g.qmgr.env import Env
from meta1g.qmgr.intake import Intake
from meta1g.qmgr.limits import ORPHAN_DELAY_S, ORPHAN_MIN_AGE_S, ORPHAN_SCAN_S


class Orphans:
    """Looks for orphans now and then.

    Args:
        env: surroundings.
        cdb: content files.
        lost: tells which content files may still be wanted.
        intake: knows the transactions in IQDB.
        commit: knows those in IBDB, removes files.
        defer: thread of DEFEDB.

    Owner: the DEFEDB thread for a scan; the task starts one when none runs.
    """

    def __init__(self, env: Env, cdb: Cdb, lost: LostFound, intake: Intake, commit: Commit, defer: Defer) -> None:
        self._cdb = cdb
        self._lost = lost
        self._intake = intake
        self._commit = commit
        self._defer = defer
        self._clock = env.clock
        self._log = env.log
        self._running = False
        self._again = False
        self._task = env.evthr.task_new(self._start, events=Ev.NONE, name="orphans")
        self._task.sleep_for(ORPHAN_DELAY_S)

    def smtps_gone(self) -> None:
        """Notes that an SMTPS went away: what it was writing may be left behind."""
        self._again = True
        self._task.sleep_for(ORPHAN_DELAY_S)

    def _start(self, task: Task) -> Result:
        if not self._running:
            self._again = False
            self._running = True
            try:
                self._defer.scan(self._scan, self._scanned, lambda error: self._scanned(0))
            except FullError:  # the next time is early enough
                self._running = False
        task.sleep_for(ORPHAN_DELAY_S if self._again else ORPHAN_SCAN_S)
        return Result.SLPQ

    def _scan(self, db: DefeDb) -> ReadSteps[int]:
        """Looks at all files; gives how many it removed.  Blocks: yes (disk)."""
        kept, removed = self._lost.content_ids(), 0
        now = self._clock.now()
        for cdb_id, changed in self._cdb.ids():
            wanted = cdb_id in kept or self._intake.is_open(cdb_id) or db.has_ta(cdb_id) or cdb_id in self._lost.recent
            if is_older(changed, now, ORPHAN_MIN_AGE_S) and not wanted:
                removed += self._commit.remove_orphan(CdbId(cdb_id))
            yield None
        return removed

    def _scanned(self, removed: int) -> None:
        self._running = False
        if removed:
            self._log.notice("qmgr.orphans", "content files without an envelope were removed", count=removed)
