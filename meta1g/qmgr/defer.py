"""Changes of DEFEDB: collected, then stored by one thread in Berkeley DB transactions of many changes.

A change says what to put, what to remove, and whom to tell when it is durable.  Only the thread of `workers` touches
DEFEDB; what others want to know of it they ask by ask().

Locking: own lock DEFEDB for the list of changes.
Ref: MeTA1 design, "Implementation: DEFEDB, request lists" (modelled on).
"""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from meta1g.base.errors import BugError, FullError, Module, TempError
from meta1g.base.ids import TaId
from meta1g.base.log import Log
from meta1g.db.defedb import DefeDb
from meta1g.pt.evthr import Evthr
from meta1g.pt.lock import Lock, LockRank
from meta1g.pt.task import Ev, Result, Task
from meta1g.pt.workers import Workers
from meta1g.qmgr.limits import DEFER_BATCH_MAX, DEFER_PENDING_MAX
from meta1g.rcb.envelope import RcptRecord, TaRecord

T = TypeVar("T")
_RETRY_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One change that is stored as a whole.

    Args:
        ta: the transaction of put.
        put: recipients that DEFEDB is responsible for from now on.
        removed: recipients it is no longer responsible for.
        stored: called when the change is durable, in the DEFEDB thread, with no lock held; its argument tells whether
            DEFEDB has nothing of the transaction any more.

    Immutable.
    """

    ta: TaRecord
    put: tuple[RcptRecord, ...] = ()
    removed: tuple[int, ...] = ()
    stored: Callable[[bool], None] = field(default=lambda gone: None)


class Defer:
    """The writer of DEFEDB.

    Args:
        defedb: the store, open.
        evthr: for the timer after a failure.
        workers: a pool of one thread.
        log: the log.

    Locking: own lock DEFEDB; all methods may be called with AQ held.
    """

    def __init__(self, defedb: DefeDb, evthr: Evthr, workers: Workers, log: Log) -> None:
        self._defedb = defedb
        self._workers = workers
        self._log = log
        self._lock = Lock(LockRank.DEFEDB)
        self._changes: list[Change] = []
        self._scheduled = False
        self._failing = False
        self._timer = evthr.task_new(self._on_timer, events=Ev.NONE, name="defedb retry")
        self.count = defedb.count()

    @property
    def pending(self) -> int:
        """Number of changes that are not stored yet."""
        return len(self._changes)

    @property
    def full(self) -> bool:
        """Whether so many changes wait that no new mail should come in (invariant I4)."""
        return len(self._changes) >= DEFER_PENDING_MAX

    def add(self, change: Change) -> None:
        """Stores a change soon.  Blocks: no."""
        with self._lock:
            self._changes.append(change)
            if not self._failing:
                self._schedule()

    def _schedule(self) -> None:
        """Lets the thread store what waits; a closed pool leaves it to close().  Caller holds the lock."""
        if self._changes and not self._scheduled:
            with contextlib.suppress(FullError):
                self._workers.submit(self._store, self._stored)
                self._scheduled = True

    def ask(
        self,
        function: Callable[[DefeDb], T],
        on_done: Callable[[T], None],
        on_error: Callable[[Exception], None] | None = None,
    ) -> None:
        """Calls function with DEFEDB in its thread, then on_done with the result, in the same thread.  Blocks: no.

        An error is logged, and on_error is called instead.

        Raises:
            FullError: too much waits for DEFEDB, or it is closed.
        """

        def finish(result: Any, error: Exception | None) -> None:
            if error is not None:
                self._log.error("qmgr.defedb", str(error))
                if on_error is not None:
                    on_error(error)
            else:
                on_done(result)

        self._workers.submit(lambda: function(self._defedb), finish)

    def _on_timer(self, task: Task) -> Result:
        with self._lock:
            self._failing = False
            self._schedule()
        return Result.SLPQ

    # -- the DEFEDB thread ---------------------------------------------------------------------------------------------

    def _store(self) -> tuple[list[Change], set[TaId]]:
        with self._lock:
            changes = self._changes[:DEFER_BATCH_MAX]
        gone = self._defedb.store(
            {change.ta.ta_id: change.ta for change in changes if change.put}.values(),
            [rcpt for change in changes for rcpt in change.put],
            [(TaId(change.ta.ta_id), rcpt_idx) for change in changes for rcpt_idx in change.removed],
        )
        self.count = self._defedb.count()
        return changes, gone

    def _stored(self, result: tuple[list[Change], set[TaId]] | None, error: Exception | None) -> None:
        if isinstance(error, BugError):
            raise error
        with self._lock:
            self._scheduled = False
            if result is None:
                self._failing = True
                self._timer.sleep_for(_RETRY_S)
                self._log.error("qmgr.defedb", f"cannot store: {error}", count=len(self._changes))
                return
            del self._changes[: len(result[0])]
            self._schedule()
        changes, gone = result
        for change in changes:
            change.stored(change.ta.ta_id in gone)

    def close(self) -> None:
        """Stores all that waits and closes the store.  Blocks: yes (disk).  Owner: the last thread of the process.

        Raises:
            TempError: it cannot be stored; IBDB still has what came from there.
        """
        self._workers.close()
        while self._changes:
            before = len(self._changes)
            self._stored(self._store(), None)
            if len(self._changes) >= before:
                raise TempError(Module.DEFEDB, f"{before} changes cannot be stored")
        self._defedb.close()
