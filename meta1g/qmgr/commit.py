"""Group commit of IBDB: one flush serves all transactions that wait, then their final dots are answered.

    accept() rcpt_new() done() ──> buffered under IBDB ──> commit thread: write, one flush ──> on_committed, unlink

While one flush runs, everything that comes in is collected for the next one.  Content files go only after a flush that
made the DONE records before it durable.

A failed flush is told to everybody who waits, and new mail is refused until something could be written again: what has to be
repeated does not grow meanwhile.  An error that is none of the disk ends the process: what is in doubt is found by recovery.

Locking: own lock IBDB, held for moments; the thread of `workers` writes without it.
Ref: MeTA1 design, "Implementation: IBDB, group commit" (modelled on).
"""

import contextlib
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Protocol

from meta1g.base import failure
from meta1g.base.errors import FullError, Module, TempError
from meta1g.base.ids import CdbId, TaId
from meta1g.db.cdb import Cdb
from meta1g.db.ibdb import Batch, Ibdb
from meta1g.pt import batch as output
from meta1g.pt.lock import Lock, LockRank
from meta1g.pt.task import Ev, Result, Task
from meta1g.pt.workers import Workers
from meta1g.qmgr.env import Env
from meta1g.qmgr.limits import DONE_FLUSH_S, IBDB_PENDING_MAX, IBDB_RETRY_S, UNLINKS_MAX
from meta1g.rcb.envelope import RcptRecord, TaRecord


class Waiter(Protocol):
    """Who waits for a commit."""

    def committed(self) -> None:
        """The envelope is on stable storage."""
        ...

    def commit_failed(self, error: OSError) -> None:
        """It is not, and will not be."""
        ...

    def round_over(self) -> None:
        """All who waited for the same flush have heard; one of them is told."""
        ...


class _Round:
    """What one flush answers for.  Owner: the commit thread, once it is taken."""

    __slots__ = ("batch", "closing", "error", "unlinks", "waiters")

    def __init__(self, batch: Batch | None, waiters: list[Waiter], unlinks: list[CdbId], closing: set[str]) -> None:
        self.batch = batch
        self.waiters = waiters
        self.unlinks = unlinks
        self.closing = closing
        self.error: OSError | None = None


class Commit:
    """The writer of IBDB.

    Args:
        env: surroundings.
        ibdb: the store.
        cdb: content files.
        workers: a pool of one thread.

    Attributes:
        failing: why nothing can be written now; empty if it can.

    Locking: own lock IBDB; all methods may be called with locks of lower rank held.
    """

    def __init__(self, env: Env, ibdb: Ibdb, cdb: Cdb, workers: Workers) -> None:
        self._ibdb = ibdb
        self._cdb = cdb
        self._workers = workers
        self._log = env.log
        self._lock = Lock(LockRank.IBDB)
        self._waiters: list[Waiter] = []
        self._unlinks: list[CdbId] = []
        self._closing: set[str] = set()  # transactions whose end is not durable yet
        self._scheduled = False
        self._dirty = False
        self.failing = ""
        self._timer = env.evthr.task_new(self._on_timer, events=Ev.NONE, name="ibdb flush")

    @property
    def open_count(self) -> int:
        """Number of transactions that are open in IBDB."""
        return self._ibdb.open_count

    @property
    def file_count(self) -> int:
        """Number of IBDB files."""
        return self._ibdb.file_count

    @property
    def full(self) -> bool:
        """Whether no new mail should come in: nothing can be written, and much waits for it (invariant I4)."""
        return bool(self.failing) and self._ibdb.pending_count >= IBDB_PENDING_MAX

    def accept(self, ta: TaRecord, rcpts: Sequence[RcptRecord], waiter: Waiter) -> None:
        """Writes a new transaction; waiter hears when it is on stable storage.  Blocks: no (one system call).

        Raises:
            FullError: the commit thread is closed.
            TempError: its content file is missing or has another size, or IBDB cannot be written now.
        """
        with self._lock:
            self._check_content(ta)
            if self.full:
                raise TempError(Module.IBDB, f"cannot be written now: {self.failing}")
            self._schedule()  # first: a closed pool refuses; the thread waits for the lock
            self._ibdb.new(ta, rcpts)
            self._waiters.append(waiter)

    def _check_content(self, ta: TaRecord) -> None:
        size = self._cdb.size(ta.cdb_id)
        if size is None:
            raise TempError(Module.CDB, f"content file {ta.cdb_id} is missing")
        if ta.checksum is not None and size != ta.size_bytes:
            raise TempError(Module.CDB, f"content file {ta.cdb_id} has {size} bytes instead of {ta.size_bytes}")

    def rcpts_replaced(self, new: Sequence[RcptRecord], ta_id: str, done: Sequence[int]) -> None:
        """Writes further recipients of an open transaction and the end of others, in one batch."""
        with self._lock:
            for rcpt in new:
                self._ibdb.rcpt_new(rcpt)
            for rcpt_idx in done:
                self._ibdb.rcpt_done(ta_id, rcpt_idx)
            self._later()

    def ta_done(self, ta_id: str, unlink: CdbId | None) -> None:
        """Notes the end of an open transaction; its content file goes after the next flush if it is given."""
        with self._lock:
            self._ibdb.ta_done(ta_id)
            self._closing.add(ta_id)
            if unlink is not None:
                self._unlinks.append(unlink)
            self._later()

    def unlink(self, cdb_id: CdbId) -> None:
        """Removes a content file after the next flush."""
        with self._lock:
            self._unlinks.append(cdb_id)
            self._later()

    def unlink_closed(self, cdb_id: CdbId) -> bool:
        """Removes a content file after the next flush, unless its transaction is open here; tells whether it goes."""
        with self._lock:
            if self._ibdb.is_open(cdb_id):
                return False
            self._unlinks.append(cdb_id)
            self._later()
            return True

    def remove_orphan(self, cdb_id: CdbId) -> bool:
        """Removes a content file unless its transaction is open here; tells whether it was removed.

        Under the lock, so that accept() either comes first or finds the file missing.
        """
        with self._lock:
            needed = self._ibdb.is_open(cdb_id) or cdb_id in self._closing
            return not needed and self._cdb.unlink(cdb_id)

    def open_in_oldest(self) -> list[str]:
        """Gives the open transactions of the oldest file."""
        with self._lock:
            return list(self._ibdb.open_in_oldest())

    def harmed(self) -> dict[Path, list[TaId]]:
        """Gives the files that were removed, replaced or cut since the last look, with what is open in them."""
        with self._lock:
            return self._ibdb.harmed()

    def flush(self) -> None:
        """Starts a flush if anything waits for one."""
        with self._lock:
            if self._dirty or self._waiters:
                self._schedule()

    def _schedule(self) -> None:
        if not self._scheduled:
            self._workers.submit(self._write, self._written)
            self._scheduled = True

    def _later(self) -> None:
        if not self._dirty:
            self._dirty = True
            self._timer.sleep_for(IBDB_RETRY_S if self.failing else DONE_FLUSH_S)

    def _on_timer(self, task: Task) -> Result:
        try:
            self.flush()
        except FullError:  # there is no thread now, or much waits for it
            task.sleep_for(IBDB_RETRY_S)
        return Result.SLPQ

    # -- the commit thread ---------------------------------------------------------------------------------------------

    def _write(self) -> _Round:
        """Writes all that waits.  Blocks: yes (disk)."""
        with self._lock:
            self._scheduled = False
            self._dirty = False
            unlinks, self._unlinks = self._unlinks[:UNLINKS_MAX], self._unlinks[UNLINKS_MAX:]
            done = _Round(self._ibdb.take(), self._waiters, unlinks, set(self._closing))
            self._waiters = []
        if done.batch is not None:
            try:
                self._ibdb.write(done.batch)
            except OSError as error:
                done.error = error
                self._log.error("qmgr.ibdb", f"cannot write: {error.strerror}; free disk space or mend the disk")
            if done.error is None:
                with failure.item(self._log, "qmgr.ibdb"):
                    self._ibdb.note_newest(done.batch)
            with self._lock:
                self._ibdb.finished(done.batch)
                self.failing = "" if done.error is None else done.error.strerror or str(done.error)
                if done.error is None:
                    self._closing -= done.closing
        return done

    def _written(self, done: _Round | None, error: Exception | None) -> None:
        """Answers everybody and cleans up after one flush; nobody's mistake is another one's."""
        if done is None:
            failure.end_process(self._log, "qmgr.ibdb", error or RuntimeError("no result of a flush"))
        if done.error is None:
            failure.steps(self._log, "qmgr.commit", *(waiter.committed for waiter in done.waiters))
        else:
            self._failed(done, done.error)
        failure.steps(self._log, "qmgr.commit", *(waiter.round_over for waiter in done.waiters[-1:]), output.flush_here)
        if done.error is None:
            failure.steps(self._log, "qmgr.cdb", *(partial(self._unlink, cdb_id) for cdb_id in done.unlinks))
            if len(done.unlinks) == UNLINKS_MAX:
                self._go_on()

    def _go_on(self) -> None:
        """Lets more files be removed soon; final dots that came meanwhile have their turn with them."""
        with self._lock, contextlib.suppress(FullError):  # closed: close() does it
            self._schedule()

    def _failed(self, done: _Round, error: OSError) -> None:
        failure.steps(self._log, "qmgr.commit", *(partial(waiter.commit_failed, error) for waiter in done.waiters))
        with self._lock:
            self._unlinks[:0] = done.unlinks
            self._later()

    def _unlink(self, cdb_id: CdbId) -> None:
        try:
            self._cdb.unlink(cdb_id)
        except OSError as error:
            self._log.error("qmgr.cdb", f"cannot remove: {error.strerror}", cdb_id=cdb_id)

    def close(self) -> None:
        """Writes all that waits and closes the store.  Blocks: yes (disk).  Owner: the last thread of the process."""
        self._workers.close()
        left = -1
        while left != len(self._unlinks):  # files that could not be removed stay, and are orphans at the next start
            left = len(self._unlinks)
            self._written(self._write(), None)
        self._ibdb.close()
