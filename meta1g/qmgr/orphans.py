"""Orphans: content files that no envelope refers to, left behind by a process that was killed.

A file is an orphan if it has not changed for a while, and no store knows its transaction: IQDB, IBDB, DEFEDB.  Should a
stalled SMTPS close its transaction later all the same, the missing file is noticed before the envelope is accepted.

Ref: MeTA1 design, "Implementation: QMGR, cleanup of CDB" (modelled on); crash states S2, S3 and S7 of db/recovery.py.
"""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from meta1g.base.clock import Clock
from meta1g.base.errors import FullError
from meta1g.base.ids import CdbId
from meta1g.base.log import Log
from meta1g.db.cdb import Cdb
from meta1g.db.defedb import DefeDb
from meta1g.db.defedb_salvage import holds_damaged
from meta1g.pt.evthr import Evthr
from meta1g.pt.task import Ev, Result, Task
from meta1g.qmgr.commit import Commit
from meta1g.qmgr.defer import Defer
from meta1g.qmgr.intake import Intake
from meta1g.qmgr.limits import ORPHAN_DELAY_S, ORPHAN_MIN_AGE_S, ORPHAN_SCAN_S, ORPHAN_TURN


class Orphans:
    """Looks for orphans now and then.

    Args:
        cdb: content files.
        lost_found: while a damaged DEFEDB is there, nothing is removed: its envelopes may still be saved.
        intake: knows the transactions in IQDB.
        commit: knows those in IBDB, removes files.
        defer: thread of DEFEDB.
        evthr: runs the task.
        clock: the clock.
        log: the log.

    Owner: the DEFEDB thread for a scan; the task starts one when none runs.
    """

    def __init__(
        self, cdb: Cdb, lost_found: Path, intake: Intake, commit: Commit, defer: Defer, evthr: Evthr, clock: Clock, log: Log
    ) -> None:
        self._cdb = cdb
        self._lost_found = lost_found
        self._intake = intake
        self._commit = commit
        self._defer = defer
        self._clock = clock
        self._log = log
        self._files: Iterator[tuple[str, float]] | None = None
        self._removed = 0
        self._again = False
        self._task = evthr.task_new(self._start, events=Ev.NONE, name="orphans")
        self._task.sleep_for(ORPHAN_DELAY_S)

    def smtps_gone(self) -> None:
        """Notes that an SMTPS went away: what it was writing may be left behind.  Blocks: no."""
        self._again = True
        self._task.sleep_for(ORPHAN_DELAY_S)

    def _start(self, task: Task) -> Result:
        if holds_damaged(self._lost_found):
            text = "all content files stay: a damaged DEFEDB is kept; remove it when nothing more can be saved from it"
            self._log.warn("qmgr.orphans", text, path=str(self._lost_found))
        elif self._files is None:
            self._again = False
            self._files, self._removed = self._cdb.ids(), 0
            self._go_on()
        task.sleep_for(ORPHAN_DELAY_S if self._again else ORPHAN_SCAN_S)
        return Result.SLPQ

    def _go_on(self) -> None:
        try:
            self._defer.ask(self._turn, self._turned, lambda error: self._turned(True))
        except FullError:
            self._files = None

    def _turn(self, db: DefeDb) -> bool:
        """Looks at some files; tells whether these were the last ones.  Blocks: yes (disk)."""
        files = list(islice(self._files or iter(()), ORPHAN_TURN))
        limit = self._clock.now() - ORPHAN_MIN_AGE_S
        for cdb_id, changed in files:
            if changed <= limit and not self._intake.is_open(cdb_id) and not db.has_ta(cdb_id):
                self._removed += self._commit.remove_orphan(CdbId(cdb_id))
        return len(files) < ORPHAN_TURN

    def _turned(self, last: bool) -> None:
        if not last:
            self._go_on()
            return
        self._files = None
        if self._removed:
            self._log.notice("qmgr.orphans", "content files without an envelope were removed", count=self._removed)
