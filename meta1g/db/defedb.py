"""DEFEDB: the deferred envelopes, in Berkeley DB; an index by next-try time makes start-up independent of their number.

Invariants, each kept by every transaction of store(): a recipient has its transaction; a transaction has at least one
recipient; the index has exactly one entry for each recipient, at its next-try time; the counter is the number of recipients.

Damage of records and pages is the affair of defedb_base.py.

Ref: MeTA1 design, "Implementation: DEFEDB" (one btree, keys, request lists modelled on).
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from meta1g.base.errors import BugError, Module
from meta1g.base.ids import ID_LENGTH, TaId
from meta1g.db import defedb_records as records
from meta1g.db.defedb_base import DefeDbBase
from meta1g.db.defedb_change import DefeDbChange
from meta1g.db.defedb_records import Due
from meta1g.rcb.envelope import RcptRecord, TaRecord

_CHUNK: Final = 1000
_FOREVER_S: Final = float(1 << 43)  # microseconds still fit


class DefeDb(DefeDbBase):
    """The data base of deferred envelopes.  Locking: caller holds DEFEDB, except for checkpoint().

    Arguments and attributes as those of DefeDbBase.
    """

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
            DamageError: a record that is replaced is damaged, and there is no keeper.  Nothing is changed.

        Disk: the change is on stable storage.
        """
        with self._env.transaction() as txn:
            change = DefeDbChange(self._main, self._due, txn, self._keep)
            touched = self._apply(change, tas, put, removed)
            gone = {TaId(ta_id) for ta_id in touched if change.remove_empty(ta_id)}
            if change.count:
                self._main.put(records.COUNT_KEY, records.COUNT.pack(self._count + change.count), txn=txn)
        self._count += change.count
        return gone

    def _apply(
        self, change: DefeDbChange, tas: Iterable[TaRecord], put: Iterable[RcptRecord], removed: Iterable[tuple[TaId, int]]
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
        with self._reading(), self._env.cursor(self._due) as cursor:
            item = cursor.set_range(start)
            while item is not None and item[0] <= end and len(found) < limit:
                due = self._due_of(item[0]) if item[0] != skip else None
                if due is not None:
                    found.append(due)
                item = cursor.next()
        return found

    def _due_of(self, key: bytes) -> Due | None:
        """Reads a key of the index; None, and it goes, if it is damaged."""
        try:
            return records.split_due_key(key)
        except ValueError:
            self._stale.append(key)
            return None

    def next_time(self) -> float | None:
        """Gives the earliest next-try time, None if there is no recipient."""
        found = self.due(_FOREVER_S, 1)
        return found[0][0] if found else None

    def read_due(self, due: Sequence[Due]) -> list[tuple[TaRecord, RcptRecord]]:
        """Reads recipients that the index told of, with their transactions.

        What was removed meanwhile is left out.  A recipient without transaction is set aside: nobody knows its sender.
        """
        found: list[tuple[TaRecord, RcptRecord]] = []
        with self._reading():
            for when, ta_id, rcpt_idx in due:
                key = records.rcpt_key(ta_id, rcpt_idx)
                rcpt = self._get(RcptRecord, key)
                if rcpt is None or records.due_key(rcpt.next_try, key) != records.due_key(when, key):
                    self._stale.append(records.due_key(when, key))
                if rcpt is None:
                    continue
                ta = self._get(TaRecord, records.ta_key(ta_id))
                if ta is not None:
                    found.append((ta, rcpt))
                else:
                    self._bad[key] = (records.encode_record(rcpt), "its transaction cannot be read")
        return found

    def has_ta(self, ta_id: str) -> bool:
        """Tells whether a transaction is there."""
        with self._env.errors():
            return bool(self._main.exists(records.ta_key(ta_id)))

    def has_rcpt(self, ta_id: str, rcpt_idx: int) -> bool:
        """Tells whether a recipient is there."""
        with self._env.errors():
            return bool(self._main.exists(records.rcpt_key(ta_id, rcpt_idx)))

    def get_ta(self, ta_id: str) -> TaRecord | None:
        """Gives a transaction, None if it is not there or was set aside.

        Raises:
            DamageError: its record is damaged, and there is no keeper.
        """
        with self._reading():
            return self._get(TaRecord, records.ta_key(ta_id))

    def get_rcpt(self, ta_id: str, rcpt_idx: int) -> RcptRecord | None:
        """Gives a recipient, None if it is not there or was set aside.

        Raises:
            DamageError: its record is damaged, and there is no keeper.
        """
        with self._reading():
            return self._get(RcptRecord, records.rcpt_key(ta_id, rcpt_idx))

    def get_rcpts(self, ta_id: str, after: int = -1, limit: int = 1 << 32) -> list[RcptRecord]:
        """Gives recipients of a transaction in the order of their keys; those that were set aside are left out.

        Args:
            ta_id: the transaction.
            after: index of the last one of the call before.
            limit: at most so many.

        Raises:
            DamageError: a record is damaged, and there is no keeper.
        """
        start = records.first_rcpt_key(ta_id) if after < 0 else records.rcpt_key(ta_id, after) + b"\0"
        return self._rcpts(start, records.behind_ta_key(ta_id), limit)

    def scan(self, after: str | None, limit: int) -> list[RcptRecord]:
        """Gives recipients in the order of their ids; those that were set aside are left out.

        Args:
            after: recipient id of the last one of the call before, None to begin.
            limit: at most so many.

        Raises:
            DamageError: a record is damaged, and there is no keeper.
        """
        return self._rcpts(records.FIRST_ID_KEY if after is None else after.encode() + b"\0", b"\xff", limit)

    def scan_envelopes(self, after: str | None, limit: int) -> list[tuple[TaRecord | None, RcptRecord]]:
        """Gives recipients as scan() does, each with its transaction; None where that was set aside."""
        found: list[tuple[TaRecord | None, RcptRecord]] = []
        ta: TaRecord | None = None
        with self._reading():
            for key, value in self._items(records.FIRST_ID_KEY if after is None else after.encode() + b"\0", b"\xff"):
                if len(key) == ID_LENGTH:
                    ta = self._decoded(TaRecord, key, value)
                    continue
                rcpt = self._decoded(RcptRecord, key, value)
                if rcpt is None:
                    continue
                if ta is None or ta.ta_id != rcpt.ta_id:
                    ta = self._get(TaRecord, key[:ID_LENGTH])
                found.append((ta, rcpt))
                if len(found) >= limit:
                    break
        return found

    def scan_stored(self, after: str | None, limit: int) -> list[tuple[bytes, bytes]]:
        """Gives recipients as scan() does, as they stand, key and value; before those of a transaction stands its own record.

        Nothing is missing but what was set aside; a transaction without recipients may come at the end.
        """
        found: list[tuple[bytes, bytes]] = []
        count = 0
        with self._reading():
            for key, value in self._items(records.FIRST_ID_KEY if after is None else after.encode() + b"\0", b"\xff"):
                if not self._sound(key, value):
                    continue
                ta_key = key[:ID_LENGTH]
                if not found and key != ta_key and (ta := self._main.get(ta_key)) and self._sound(ta_key, ta):
                    found.append((ta_key, ta))
                found.append((key, value))
                count += key != ta_key
                if count >= limit:
                    break
        return found

    def _sound(self, key: bytes, value: bytes) -> bool:
        """Tells whether a record is good; if not, that is noted."""
        if records.is_sound(key, value):
            return True
        decoded = self._decoded(TaRecord, key, value) if len(key) == ID_LENGTH else self._decoded(RcptRecord, key, value)
        return decoded is not None

    def _rcpts(self, start: bytes, end: bytes, limit: int) -> list[RcptRecord]:
        found: list[RcptRecord] = []
        with self._reading():
            for key, value in self._items(start, end):
                rcpt = self._decoded(RcptRecord, key, value) if not records.is_ta_key(key) else None
                if rcpt is not None:
                    found.append(rcpt)
                    if len(found) >= limit:
                        break
        return found

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
                if records.is_ta_key(item[0][:ID_LENGTH]):
                    found.append(TaId(item[0][:ID_LENGTH].decode()))
                    item = cursor.set_range(records.behind_ta_key(found[-1]))
                else:
                    item = cursor.next()
        return found

    def read_all(self) -> None:
        """Reads every page of both data bases; what is damaged in records does not matter here.

        Raises:
            BugError: a page cannot be read.
        """
        for handle in (self._main, self._due):
            with self._env.cursor(handle) as cursor:
                item = cursor.first()
                while item is not None:
                    item = cursor.next()

    def mend(self) -> int:
        """Reads everything; sets aside what is damaged and makes index and counter anew where they are wrong.

        Returns:
            How many things were wrong.

        Raises:
            DamageError: a record is damaged, and there is no keeper.
            BugError: a page cannot be read.

        Blocks: yes (disk), as long as it takes to read everything.
        """
        wrong, rcpts = self._mend_main()
        wrong += self._mend_index()
        if rcpts != self._count:
            with self._env.transaction() as txn:
                self._main.put(records.COUNT_KEY, records.COUNT.pack(rcpts), txn=txn)
            self._count = rcpts
            wrong += 1
        return wrong

    def _mend_main(self) -> tuple[int, int]:
        """Gives how much was wrong, and how many recipients there are; each good one is in the index afterwards."""
        wrong = rcpts = 0
        start: bytes | None = records.FIRST_ID_KEY
        while start is not None:
            more, count, start = self._mend_some(start)
            wrong, rcpts = wrong + more, rcpts + count
        return wrong, rcpts

    def _mend_some(self, start: bytes) -> tuple[int, int, bytes | None]:
        """Looks at some records; gives also where to go on."""
        good: list[RcptRecord] = []
        behind, bad = None, 0
        with self._reading():
            for number, (key, value) in enumerate(self._items(start, b"\xff")):
                if number == _CHUNK:
                    behind = key
                    break
                if records.is_ta_key(key):
                    self._mend_ta(key, value)
                    continue
                rcpt = self._decoded(RcptRecord, key, value)
                ta_key = key[:ID_LENGTH]
                if rcpt is not None and ta_key not in self._bad and self._main.exists(ta_key):
                    good.append(rcpt)
                elif rcpt is not None:
                    self._bad[key] = (value, "its transaction is missing")
            bad = len(self._bad)
        missing = [key for rcpt in good if not self._due.exists(key := _due_key(rcpt))]
        if missing:
            with self._env.transaction() as txn:
                for key in missing:
                    self._due.put(key, b"", txn=txn)
        return bad + len(missing), len(good), behind

    def _mend_ta(self, key: bytes, value: bytes) -> None:
        if self._decoded(TaRecord, key, value) is not None:
            with self._env.cursor(self._main) as cursor:
                after = cursor.set_range(key + b"-")
            if after is None or not after[0].startswith(key + b"-"):
                self._bad[key] = (value, "it has no recipients")

    def _mend_index(self) -> int:
        """Removes entries of the index that no recipient has; gives how many."""
        wrong, after = 0, None
        while True:
            with self._reading():
                due = self.due(_FOREVER_S, _CHUNK, after)
                for one in due:
                    key = records.rcpt_key(one[1], one[2])
                    value = self._main.get(key)
                    if value is None or _due_key(records.decode_record(RcptRecord, key, value)) != records.due_key(one[0], key):
                        self._stale.append(records.due_key(one[0], key))
                wrong += len(self._stale)
            if len(due) < _CHUNK:
                return wrong
            after = due[-1]

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


def _due_key(rcpt: RcptRecord) -> bytes:
    return records.due_key(rcpt.next_try, records.rcpt_key(rcpt.ta_id, rcpt.rcpt_idx))
