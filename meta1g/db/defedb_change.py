"""One transaction of DEFEDB on its way: what it puts, removes and forgets, and what that does to the index and the counter.

Ref: MeTA1 design, "Implementation: DEFEDB, request lists" (modelled on).
"""

import contextlib
from collections.abc import Callable

from meta1g.db import defedb_records as records
from meta1g.db.bdb import Db, Txn
from meta1g.db.damage import DamageError
from meta1g.rcb.envelope import RcptRecord, TaRecord


class DefeDbChange:
    """One transaction.  Owner: the thread that makes it.

    Args:
        main: data base of the records.
        due: index by time.
        txn: the Berkeley DB transaction.
        keep: keeps a record that is damaged, or raises.

    Attributes:
        count: how many recipients there are more than before.
    """

    __slots__ = ("_due", "_keep", "_main", "_txn", "count")

    def __init__(self, main: Db, due: Db, txn: Txn, keep: Callable[[bytes, bytes, DamageError], None]) -> None:
        self._main = main
        self._due = due
        self._txn = txn
        self._keep = keep
        self.count = 0

    def put_ta(self, ta: TaRecord) -> None:
        """Writes a transaction."""
        self._main.put(records.ta_key(ta.ta_id), records.encode_record(ta), txn=self._txn)

    def has_ta(self, ta_id: str) -> bool:
        """Tells whether a transaction is there."""
        return bool(self._main.exists(records.ta_key(ta_id), txn=self._txn))

    def put_rcpt(self, rcpt: RcptRecord) -> None:
        """Writes a recipient and its entry in the index."""
        key = records.rcpt_key(rcpt.ta_id, rcpt.rcpt_idx)
        if not self._forget_time(key):
            self.count += 1
        self._main.put(key, records.encode_record(rcpt), txn=self._txn)
        self._due.put(records.due_key(rcpt.next_try, key), b"", txn=self._txn)

    def remove_rcpt(self, ta_id: str, rcpt_idx: int) -> None:
        """Removes a recipient if it is there."""
        key = records.rcpt_key(ta_id, rcpt_idx)
        if self._forget_time(key):
            self._main.delete(key, txn=self._txn)
            self.count -= 1

    def _forget_time(self, key: bytes) -> bool:
        """Takes a recipient out of the index; tells whether it was there."""
        old = self._main.get(key, txn=self._txn)
        if old is None:
            return False
        try:
            next_try = records.decode_record(RcptRecord, key, old).next_try
        except DamageError as error:  # its entry in the index goes when it is met
            self._keep(key, old, error)
            return True
        with contextlib.suppress(KeyError):  # damage before may have taken it
            self._due.delete(records.due_key(next_try, key), txn=self._txn)
        return True

    def forget(self, key: bytes) -> None:
        """Takes out a record that was set aside, and what has no meaning without it."""
        if self._main.exists(key, txn=self._txn):
            self._main.delete(key, txn=self._txn)
            self.count -= records.is_rcpt_key(key)

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
