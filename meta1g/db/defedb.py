"""DEFEDB: the deferred envelopes, in Berkeley DB; an index by next-try time makes start-up independent of their number.

Invariants, each kept by every transaction of store(): a recipient has its transaction; a transaction has at least one
recipient; the index has exactly one entry for each recipient, at its next-try time; the counter is the number of recipients.

Ref: MeTA1 design, "Implementation: DEFEDB" (one btree, keys, request lists modelled on).
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from meta1g.base.errors import BugError, Module, PermError
from meta1g.base.ids import ID_LENGTH, TaId
from meta1g.db import defedb_records as records
from meta1g.db.bdb import Db, Environment, Txn
from meta1g.db.defedb_records import Due
from meta1g.rcb.envelope import RcptRecord, TaRecord

MAIN_FILE: Final = "defedb.db"
_DUE_FILE: Final = "due.db"
DATABASE_FILES: Final = (MAIN_FILE, _DUE_FILE)
_CHUNK: Final = 1000


class _Change:
    """One transaction of store() on its way.  Owner: the thread in store().

    Args:
        main: data base of the records.
        due: index by time.
        txn: the Berkeley DB transaction.
    """

    __slots__ = ("_due", "_main", "_txn", "count")

    def __init__(self, main: Db, due: Db, txn: Txn) -> None:
        self._main = main
        self._due = due
        self._txn = txn
        self.count = 0

    def put_ta(self, ta: TaRecord) -> None:
        self._main.put(records.ta_key(ta.ta_id), records.encode_record(ta), txn=self._txn)

    def has_ta(self, ta_id: str) -> bool:
        return bool(self._main.exists(records.ta_key(ta_id), txn=self._txn))

    def put_rcpt(self, rcpt: RcptRecord) -> None:
        key = records.rcpt_key(rcpt.ta_id, rcpt.rcpt_idx)
        if not self._forget_time(key):
            self.count += 1
        self._main.put(key, records.encode_record(rcpt), txn=self._txn)
        self._due.put(records.due_key(rcpt.next_try, key), b"", txn=self._txn)

    def remove_rcpt(self, ta_id: str, rcpt_idx: int) -> None:
        key = records.rcpt_key(ta_id, rcpt_idx)
        if self._forget_time(key):
            self._main.delete(key, txn=self._txn)
            self.count -= 1

    def _forget_time(self, key: bytes) -> bool:
        """Takes a recipient out of the index; tells whether it was there."""
        old = self._main.get(key, txn=self._txn)
        if old is None:
            return False
        next_try = records.decode_record(RcptRecord, key, old).next_try
        self._due.delete(records.due_key(next_try, key), txn=self._txn)
        return True

    def remove_empty(self, ta_id: str) -> bool:
        """Removes a transaction without recipients; tells whether it did."""
        if not self.has_ta(ta_id):
            return False
        cursor = self._main.cursor(self._txn)
        try:
            prefix = records.first_rcpt_key(ta_id)
            found = cursor.set_range(prefix)
        finally:
            cursor.close()
        if found is not None and found[0].startswith(prefix):
            return False
        self._main.delete(records.ta_key(ta_id), txn=self._txn)
        return True


class DefeDb:
    """The data base of deferred envelopes.  Locking: caller holds DEFEDB, except for checkpoint().

    Args:
        directory: home of the environment, which exists.
        cache_bytes: memory for pages.
        log_directory: where the log files are; where they were the last time if None, at first in the home.
    """

    def __init__(self, directory: Path, cache_bytes: int, log_directory: Path | None = None) -> None:
        self.directory = directory
        self._cache_bytes = cache_bytes
        self._log_directory = log_directory
        self._environment: Environment | None = None
        self._main: Db = None
        self._due: Db = None
        self._count = 0

    def open(self) -> None:
        """Recovers the environment from its log and opens it.  Blocks: yes (disk).

        Raises:
            DamageError: its files are damaged.
            PermError: it cannot be opened: not allowed, or of another version.
            TempError: it cannot be opened now, the disk may be full.
        """
        self._environment = Environment(Module.DEFEDB, self.directory, self._cache_bytes, self._log_directory)
        try:
            self._main = self._env.database(MAIN_FILE)
            self._due = self._env.database(_DUE_FILE)
            self._check_version()
            with self._env.errors():
                count = self._main.get(records.COUNT_KEY)
        except BaseException:
            self.close()
            raise
        self._count = records.COUNT.unpack(count)[0] if count else 0

    @property
    def _env(self) -> Environment:
        if self._environment is None:
            raise BugError(Module.DEFEDB, f"{self.directory}: not open")
        return self._environment

    def _check_version(self) -> None:
        version = records.VERSION_VALUE.pack(records.VERSION)
        with self._env.transaction() as txn:
            found = self._main.get(records.VERSION_KEY, txn=txn)
            if found is None:
                self._main.put(records.VERSION_KEY, version, txn=txn)
            elif found != version:
                raise PermError(
                    Module.DEFEDB,
                    f"{self.directory}: its version {int.from_bytes(found, 'big')} is not {records.VERSION}: "
                    "let the release that wrote it empty the queue",
                )

    def close(self) -> None:
        """Closes the environment."""
        environment, self._environment = self._environment, None
        self._main = self._due = None
        if environment is not None:
            environment.close()

    def checkpoint(self) -> None:
        """Brings all pages to the disk and removes log files that nothing needs any more.  Blocks: yes (disk).

        Locking: none needed; other calls may go on meanwhile.
        """
        self._env.checkpoint()

    def store(self, tas: Iterable[TaRecord], put: Iterable[RcptRecord], removed: Iterable[tuple[TaId, int]] = ()) -> set[TaId]:
        """Changes transactions and recipients, all or nothing.  Blocks: yes (disk).

        Args:
            tas: transactions to write, new or changed; each has recipients in put or in the store.
            put: recipients to write, new or changed.
            removed: recipients to remove; those that are not there do not matter.

        Returns:
            The transactions whose last recipient was removed; they are removed, too.

        Raises:
            BugError: a recipient in put has no transaction.  Nothing is changed.
            TempError: the disk is full or broken.  Nothing is changed.

        Disk: the change is on stable storage.
        """
        with self._env.transaction() as txn:
            change = _Change(self._main, self._due, txn)
            touched = self._apply(change, tas, put, removed)
            gone = {TaId(ta_id) for ta_id in touched if change.remove_empty(ta_id)}
            if change.count:
                self._main.put(records.COUNT_KEY, records.COUNT.pack(self._count + change.count), txn=txn)
        self._count += change.count
        return gone

    def _apply(
        self, change: _Change, tas: Iterable[TaRecord], put: Iterable[RcptRecord], removed: Iterable[tuple[TaId, int]]
    ) -> dict[str, None]:
        """Does the change; gives the transactions that may have lost their last recipient."""
        known: set[str] = set()
        touched: dict[str, None] = {}
        for ta in tas:
            change.put_ta(ta)
            known.add(ta.ta_id)
            touched[ta.ta_id] = None
        for rcpt in put:
            if rcpt.ta_id not in known and not change.has_ta(rcpt.ta_id):
                raise BugError(Module.DEFEDB, f"recipient {rcpt.rcpt_idx} of {rcpt.ta_id} has no transaction")
            known.add(rcpt.ta_id)
            change.put_rcpt(rcpt)
        for ta_id, rcpt_idx in removed:
            change.remove_rcpt(ta_id, rcpt_idx)
            touched[ta_id] = None
        return touched

    def due(self, until_s: float, limit: int, after: Due | None = None) -> list[Due]:
        """Gives the recipients whose next-try time is at or before until_s, the earliest first.

        Args:
            until_s: seconds since the epoch.
            limit: at most so many.
            after: the last one of the call before; only those behind it.

        Returns:
            For each its time, transaction id and index.
        """
        start = records.due_key(0, b"") if after is None else records.due_key(after[0], records.rcpt_key(after[1], after[2]))
        skip = start if after is not None else None
        end = records.due_key(until_s, b"\xff")
        found: list[Due] = []
        with self._env.cursor(self._due) as cursor:
            item = cursor.set_range(start)
            while item is not None and item[0] <= end and len(found) < limit:
                if item[0] != skip:
                    found.append(records.split_due_key(item[0]))
                item = cursor.next()
        return found

    def next_time(self) -> float | None:
        """Gives the earliest next-try time, None if there is no recipient."""
        with self._env.cursor(self._due) as cursor:
            item = cursor.first()
        return None if item is None else records.split_due_key(item[0])[0]

    def has_ta(self, ta_id: str) -> bool:
        """Tells whether a transaction is there."""
        with self._env.errors():
            return bool(self._main.exists(records.ta_key(ta_id)))

    def has_rcpt(self, ta_id: str, rcpt_idx: int) -> bool:
        """Tells whether a recipient is there."""
        with self._env.errors():
            return bool(self._main.exists(records.rcpt_key(ta_id, rcpt_idx)))

    def get_ta(self, ta_id: str) -> TaRecord | None:
        """Gives a transaction, None if it is not there.

        Raises:
            DamageError: its record is damaged; the next start repairs the store.
        """
        key = records.ta_key(ta_id)
        with self._env.errors():
            value = self._main.get(key)
            return None if value is None else records.decode_record(TaRecord, key, value)

    def get_rcpt(self, ta_id: str, rcpt_idx: int) -> RcptRecord | None:
        """Gives a recipient, None if it is not there.

        Raises:
            DamageError: its record is damaged; the next start repairs the store.
        """
        key = records.rcpt_key(ta_id, rcpt_idx)
        with self._env.errors():
            value = self._main.get(key)
            return None if value is None else records.decode_record(RcptRecord, key, value)

    def get_rcpts(self, ta_id: str) -> list[RcptRecord]:
        """Gives all recipients of a transaction by their index.

        Raises:
            DamageError: a record is damaged; the next start repairs the store.
        """
        prefix = records.first_rcpt_key(ta_id)
        with self._env.errors():
            return [
                records.decode_record(RcptRecord, key, value)
                for key, value in self._items(prefix, records.behind_ta_key(ta_id))
                if key.startswith(prefix)
            ]

    def scan(self, after: str | None, limit: int) -> list[RcptRecord]:
        """Gives recipients in the order of their ids.

        Args:
            after: recipient id of the last one of the call before, None to begin.
            limit: at most so many.

        Raises:
            DamageError: a record is damaged; the next start repairs the store.
        """
        start = records.FIRST_ID_KEY if after is None else after.encode() + b"\0"
        found: list[RcptRecord] = []
        with self._env.errors():
            for key, value in self._items(start, b"\xff"):
                if records.is_rcpt_key(key):
                    found.append(records.decode_record(RcptRecord, key, value))
                    if len(found) >= limit:
                        break
        return found

    def _items(self, start: bytes, end: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Gives keys and values from start to before end."""
        with self._env.cursor(self._main) as cursor:
            item = cursor.set_range(start)
            while item is not None and item[0] < end:
                yield item
                item = cursor.next()

    def count(self) -> int:
        """Gives the number of recipients, without a look at the disk."""
        return self._count

    def ta_ids(self) -> Iterator[TaId]:
        """Gives the ids of all transactions in their order; the store may change meanwhile."""
        start = records.FIRST_ID_KEY
        while True:
            chunk = self._ta_ids(start)
            yield from chunk
            if len(chunk) < _CHUNK:
                return
            start = records.behind_ta_key(chunk[-1])

    def _ta_ids(self, start: bytes) -> list[TaId]:
        found: list[TaId] = []
        with self._env.cursor(self._main) as cursor:
            item = cursor.set_range(start)
            while item is not None and len(found) < _CHUNK:
                found.append(TaId(item[0][:ID_LENGTH].decode()))
                item = cursor.set_range(records.behind_ta_key(found[-1]))
        return found

    def check(self) -> None:
        """Checks the invariants; reads everything.

        Raises:
            BugError: one is broken.
            DamageError: a record is damaged; the next start repairs the store.
        """
        tas: set[str] = set()
        rcpts: dict[bytes, float] = {}
        for key, value in self._items(records.FIRST_ID_KEY, b"\xff"):
            if len(key) == ID_LENGTH:
                tas.add(records.decode_record(TaRecord, key, value).ta_id)
            else:
                rcpts[key] = records.decode_record(RcptRecord, key, value).next_try
        with self._env.cursor(self._due) as cursor:
            index: set[bytes] = set()
            item = cursor.first()
            while item is not None:
                index.add(item[0])
                item = cursor.next()
        with self._env.errors():
            stored = self._main.get(records.COUNT_KEY)
        facts = {
            "transactions and recipients differ": tas == {key[:ID_LENGTH].decode() for key in rcpts},
            "the index is not that of the recipients": index == {records.due_key(when, key) for key, when in rcpts.items()},
            "the counter is wrong": self._count == len(rcpts) == (records.COUNT.unpack(stored)[0] if stored else 0),
        }
        broken = [what for what, holds in facts.items() if not holds]
        if broken:
            raise BugError(Module.DEFEDB, f"{self.directory}: {'; '.join(broken)}")
