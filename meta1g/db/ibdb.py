"""IBDB: the log of accepted transactions that are not in DEFEDB; append-only files, one flush for a group of requests.

    under the lock           without                 under the lock
    new rcpt_new rcpt_done
    ta_done cancel  take ──> write (one flush) ────> finished (old files go)

Invariant: when write() has returned, every record of its batch is on stable storage; a file goes only when nothing that is
NEW in it needs it (ibdb_life.py).  A batch that could not be written counts as never written: its new transactions get a
CANCEL in the next batch, its other records are written again there, and the next batch goes to a new file, because after
a failed flush nobody knows what the old one holds.

Room is reserved ahead of the records: with the size of the file left as it is, a flush costs 95 us instead of 135 us
(600 bytes each, ext4 on a virtual disk), and a full disk shows itself before records are torn.

Ref: MeTA1 design, "Implementation: IBDB" (request lists, group commit, roll over modelled on).
"""

import contextlib
import errno
from collections.abc import Sequence
from enum import Enum, auto
from pathlib import Path
from typing import Final

from meta1g.base.errors import BugError, Module
from meta1g.base.ids import TaId
from meta1g.db.files import FILES, Files
from meta1g.db.ibdb_life import Event, Life, State
from meta1g.db.ibdb_reader import ibdb_files
from meta1g.db.ibdb_records import LAST_NAME, PAGE_BYTES, entry, file_header, file_name, ta_entry
from meta1g.rcb.envelope import RcptDone, RcptRecord, TaCancel, TaDone, TaRecord

#: Files grow in steps of this size.
_RESERVE_BYTES: Final = 1 << 20


class BatchState(Enum):
    """What became of a batch."""

    TAKEN = auto()
    WRITTEN = auto()
    FAILED = auto()


class Batch:
    """What is written with one flush.  Owner: the thread that took it.

    Args:
        life: the file it goes to.
        first: it is the first of this file.
        pending: what was collected.
    """

    __slots__ = ("closes", "first", "life", "outcome", "pending")

    def __init__(self, life: Life, pending: "_Pending", *, first: bool) -> None:
        self.life = life
        self.first = first
        self.pending = pending
        self.closes = [life if closed is None else closed for closed in pending.closes]
        self.outcome = BatchState.TAKEN

    @property
    def count(self) -> int:
        """How many new transactions it has."""
        return len(self.pending.news)


class _Pending:
    """Entries that wait for the next batch.  Locking: caller holds IBDB."""

    __slots__ = ("again", "closes", "entries", "news", "size_bytes")

    def __init__(self) -> None:
        self.entries: list[bytes] = []
        self.again: list[bytes] = []  # those of the entries that have to be repeated if the batch fails
        self.news: list[str] = []
        self.closes: list[Life | None] = []  # one for each closing record; None: NEW is in the same batch
        self.size_bytes = 0

    def add(self, data: bytes) -> None:
        self.entries.append(data)
        self.size_bytes += len(data)

    def add_lasting(self, data: bytes) -> None:
        self.add(data)
        self.again.append(data)


class Ibdb:
    """The incoming backup data base.  Locking: caller holds IBDB, except for write().

    Args:
        directory: holds the files; recovery has emptied it.
        max_size_bytes: a file that has reached this size is followed by the next one; at least 1.
        files: the file system.

    Raises:
        BugError: there are files in the directory.

    Attributes:
        trouble: why an old file could not be removed, None if all went well; it is tried again.
    """

    def __init__(self, directory: Path, max_size_bytes: int, files: Files | None = None) -> None:
        self._directory = directory
        self._max_size_bytes = max_size_bytes
        self._files = FILES if files is None else files
        left = ibdb_files(directory, self._files)
        if left:
            raise BugError(Module.IBDB, f"{left[0]}: files of the last run are still there; recovery has to come first")
        self._number = 0
        self._lives: list[Life] = []
        self._open: dict[str, Life | None] = {}  # None: not in a batch yet
        self._pending = _Pending()
        self._batch: Batch | None = None
        self._names_dirty = False  # a name was removed and the directory not flushed since
        self.trouble: str | None = None
        # the rest belongs to the thread in write()
        self._fd = -1
        self._end = 0
        self._reserved = 0

    @property
    def open_count(self) -> int:
        """How many transactions are neither DONE nor CANCEL."""
        return len(self._open)

    def is_open(self, ta_id: str) -> bool:
        """Tells whether a transaction is neither DONE nor CANCEL."""
        return ta_id in self._open

    @property
    def pending_count(self) -> int:
        """How many records wait for the next take()."""
        return len(self._pending.entries)

    @property
    def file_count(self) -> int:
        """How many files there are."""
        return len(self._lives)

    @property
    def size_bytes(self) -> int:
        """Size of all files, without reserved room."""
        return sum(life.size_bytes for life in self._lives)

    def new(self, ta: TaRecord, rcpts: Sequence[RcptRecord]) -> None:
        """Notes a new transaction with its recipients for the next batch.

        Raises:
            BugError: the transaction is open already.
            ProtocolError: a value does not fit its kind; nothing is noted.
        """
        data = ta_entry(ta, rcpts)
        if ta.ta_id in self._open:
            raise BugError(Module.IBDB, f"{ta.ta_id} is new for the second time")
        self._open[ta.ta_id] = None
        self._pending.news.append(ta.ta_id)
        self._pending.add(data)

    def rcpt_new(self, rcpt: RcptRecord) -> None:
        """Notes one more recipient (a bounce) of an open transaction.

        Has to come before the rcpt_done() of the recipients that it reports on.

        Raises:
            BugError: the transaction is not open here.
            ProtocolError: a value does not fit its kind; nothing is noted.
        """
        if rcpt.ta_id not in self._open:
            raise BugError(Module.IBDB, f"{rcpt.ta_id} gets a recipient and is not open")
        self._pending.add_lasting(entry(rcpt))

    def rcpt_done(self, ta_id: str, rcpt_idx: int) -> None:
        """Notes that a recipient is finished or safe in another store; ignored if the transaction is not open here."""
        if ta_id in self._open:
            self._pending.add_lasting(entry(RcptDone(ta_id=ta_id, rcpt_idx=rcpt_idx)))

    def ta_done(self, ta_id: str) -> None:
        """Notes that a transaction and all its recipients are finished or safe; ignored if it is not open here."""
        if ta_id in self._open:
            self._close(ta_id, entry(TaDone(ta_id=ta_id)))

    def cancel(self, ta_id: str) -> None:
        """Notes that a transaction is void, because it was refused after new(); ignored if it is not open here."""
        if ta_id in self._open:
            self._close(ta_id, entry(TaCancel(ta_id=ta_id)))

    def _close(self, ta_id: str, data: bytes) -> None:
        life = self._open.pop(ta_id)
        if life is not None:
            life.close(ta_id)
        self._pending.closes.append(life)
        self._pending.add_lasting(data)

    def take(self) -> Batch | None:
        """Gives what was noted since the last call, None if nothing was.

        Raises:
            BugError: the last batch was not written.
        """
        self._settle()
        pending = self._pending
        if not pending.entries:
            return None
        self._pending = _Pending()
        life = self._current()
        batch = Batch(life, pending, first=not life.made)
        for ta_id in pending.news:
            if ta_id in self._open:
                self._open[ta_id] = life
                life.open[ta_id] = None
        life.undurable += pending.closes.count(None)
        life.size_bytes += pending.size_bytes
        self._batch = batch
        return batch

    def _current(self) -> Life:
        """Gives the file for the next batch: another one if the last is full or could not be written."""
        if self._lives and self._lives[-1].state is State.CURRENT:
            current = self._lives[-1]
            if not current.made or (self._fd >= 0 and current.size_bytes < self._max_size_bytes and not current.harmed):
                return current
            current.step(Event.ROLL)
        self._number += 1
        life = Life(self._number, self._directory / file_name(self._number))
        self._lives.append(life)
        return life

    def _settle(self) -> None:
        """Draws the consequences of the last batch's outcome."""
        batch = self._batch
        if batch is None:
            return
        if batch.outcome is BatchState.TAKEN:
            raise BugError(Module.IBDB, "the last batch was taken and not written")
        self._batch = None
        if batch.outcome is BatchState.FAILED:
            self._undo(batch)
        else:
            for life in batch.closes:
                life.durable()

    def _undo(self, batch: Batch) -> None:
        """Takes back a batch that could not be written: refused transactions are void, the rest is noted again."""
        pending, life = batch.pending, batch.life
        life.size_bytes -= pending.size_bytes
        later, self._pending = self._pending, _Pending()
        for data in pending.again:
            self._pending.add_lasting(data)
        self._pending.closes += batch.closes
        for ta_id in pending.news:
            if self._open.get(ta_id) is life:
                self._refuse(ta_id, life)
        for data in later.entries:
            self._pending.add(data)
        self._pending.again += later.again
        self._pending.news += later.news
        self._pending.closes += later.closes

    def _refuse(self, ta_id: str, life: Life) -> None:
        if life.made:  # its NEW may be in the file, whole or torn
            self._close(ta_id, entry(TaCancel(ta_id=ta_id)))
        else:
            del self._open[ta_id]
            life.forget(ta_id)

    def write(self, batch: Batch) -> None:
        """Writes a batch and flushes once.  Called without the lock, by one thread at a time.  Blocks: yes (disk).

        Args:
            batch: the one that was taken last.

        Raises:
            OSError: nothing of the batch counts as durable; the caller refuses its new transactions, the next take()
                repeats the rest.

        Disk: all records of the batch are on stable storage.
        """
        if batch is not self._batch or batch.outcome is not BatchState.TAKEN:
            raise BugError(Module.IBDB, "a batch is written twice, or not the one taken last")
        batch.outcome = BatchState.FAILED
        try:
            self._append(batch)
        except OSError as error:
            self._abandon(batch, error)
            raise
        batch.life.made = True
        batch.outcome = BatchState.WRITTEN

    def _append(self, batch: Batch) -> None:
        files, pieces = self._files, batch.pending.entries
        if batch.first:
            self.close()
            self._fd = files.create(batch.life.path)
            pieces = [file_header(batch.life.number), *pieces]
        data = b"".join(pieces)
        end = self._end + len(data)
        if end > self._reserved:
            self._reserve(end)
        files.write_at(self._fd, data, self._end)
        files.datasync(self._fd)
        if batch.first or self._names_dirty:
            files.sync_directory(self._directory)
            self._names_dirty = False
        self._end = end

    def _reserve(self, end: int) -> None:
        step = min(_RESERVE_BYTES, -(-self._max_size_bytes // PAGE_BYTES) * PAGE_BYTES)
        size = -(-(end - self._reserved) // step) * step
        self._files.reserve(self._fd, self._reserved, size)
        self._reserved += size

    def _abandon(self, batch: Batch, error: OSError) -> None:
        """Leaves the file after a failure: cut back to what was good or, if there is nothing good in it, removed."""
        made = self._fd >= 0 or error.errno == errno.EEXIST
        if self._fd >= 0:
            with contextlib.suppress(OSError):
                self._files.truncate(self._fd, self._end)
                self._files.truncate(self._fd, -(-self._end // PAGE_BYTES) * PAGE_BYTES)
                if batch.first:
                    self._files.unlink(batch.life.path)
                    made = False
        batch.life.made = made or not batch.first
        self.close()

    def note_newest(self, batch: Batch) -> None:
        """Notes the number of a new file beside it, so that the next start notices if it is missing.  Blocks: yes (disk).

        Raises:
            OSError: it cannot be written; nothing depends on it but the notice.
        """
        if batch.first:
            self._files.write_durable(self._directory / LAST_NAME, f"{batch.life.number}\n".encode())

    def close(self) -> None:
        """Closes the current file; what was not written is lost, as it would be in a crash."""
        fd, self._fd = self._fd, -1
        self._end = self._reserved = 0
        if fd >= 0:
            with contextlib.suppress(OSError):  # everything that was promised has been flushed before
                self._files.close(fd)

    def finished(self, batch: Batch) -> list[Path]:
        """Draws the consequences of a batch that was written, or was not, and removes what nothing needs any more.

        At most one file goes at a time: its removal is made durable by the next batch before another one may go, so that
        no crash can keep a NEW and lose its DONE.

        Args:
            batch: the one that was written last.

        Returns:
            The files that were removed.
        """
        if batch is self._batch:
            self._settle()
        oldest = self._lives[0] if self._lives else None
        if oldest is None or self._names_dirty or not oldest.drain():
            return []
        try:
            with contextlib.suppress(FileNotFoundError):
                self._files.unlink(oldest.path)
        except OSError as error:
            self.trouble = f"{oldest.path}: {error.strerror}"
            return []
        self.trouble = None
        self._names_dirty = True
        oldest.step(Event.REMOVE)
        del self._lives[0]
        return [oldest.path]

    def open_in_oldest(self) -> list[TaId]:
        """Gives the transactions that keep the oldest file from going; none if that is the current file."""
        for life in self._lives[:-1]:
            if life.open:
                return [TaId(ta_id) for ta_id in life.open]
        return []

    def harmed(self) -> dict[Path, list[TaId]]:
        """Looks at all files; gives those that were removed, replaced or cut since the last look, with what is open in them."""
        writing = self._batch.life if self._batch is not None else None  # its size is ahead of it
        lives = [life for life in self._lives if life is not writing and life.look()]
        return {life.path: [TaId(ta_id) for ta_id in life.open] for life in lives}

    def check(self) -> None:
        """Checks the invariants.

        Raises:
            BugError: one is broken.
        """
        numbers = [life.number for life in self._lives]
        bound = {ta_id: life for life in self._lives for ta_id in life.open}
        facts = {
            "files are not in order": numbers == sorted(set(numbers)),
            "a file before the last is current": all(life.state is not State.CURRENT for life in self._lives[:-1]),
            "open transactions and files differ": bound == {t: life for t, life in self._open.items() if life is not None},
            "an unwritten transaction is not pending": {t for t, life in self._open.items() if life is None}
            <= set(self._pending.news),
            "closing records are counted wrongly": all(life.undurable >= 0 for life in self._lives),
            "the size is counted wrongly": self._pending.size_bytes == sum(map(len, self._pending.entries)),
        }
        broken = [what for what, holds in facts.items() if not holds]
        if broken:
            raise BugError(Module.IBDB, "; ".join(broken))
