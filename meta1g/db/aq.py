"""AQ, the active queue: transactions and recipients that are being delivered.

Invariant: never more recipients than the limit (I4); a transaction is in AQ if and only if one of its recipients is.

Locking: caller holds AQ.
Ref: MeTA1 design, "Implementation: AQ" (modelled on).
"""

from collections.abc import Iterable

from meta1g.base.errors import BugError, FullError, Module
from meta1g.base.ids import TaId
from meta1g.db.aq_types import AqRcpt, AqTa, Home
from meta1g.rcb.envelope import RcptRecord, TaRecord


class Aq:
    """The active queue.

    Args:
        limit: greatest number of recipients, 1 or more.

    Locking: caller holds AQ.
    """

    __slots__ = ("_rcpts", "_tas", "limit")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._tas: dict[str, AqTa] = {}
        self._rcpts = 0

    def __len__(self) -> int:
        """Gives the number of recipients."""
        return self._rcpts

    @property
    def transactions(self) -> int:
        """The number of transactions."""
        return len(self._tas)

    def room(self) -> int:
        """Gives how many recipients still fit."""
        return self.limit - self._rcpts

    def usage_percent(self) -> int:
        """Gives how full it is, 0 to 100."""
        return min(100, self._rcpts * 100 // self.limit)

    def get(self, ta_id: str) -> AqTa | None:
        """Gives a transaction, or None."""
        return self._tas.get(ta_id)

    def has(self, ta_id: str, rcpt_idx: int) -> bool:
        """Tells whether a recipient is here."""
        ta = self._tas.get(ta_id)
        return ta is not None and rcpt_idx in ta.rcpts

    def tas(self) -> list[AqTa]:
        """Gives all transactions, oldest entry first."""
        return list(self._tas.values())

    def add_ta(self, record: TaRecord, rcpts: Iterable[RcptRecord], home: Home) -> list[AqRcpt]:
        """Enters recipients of a transaction, which is entered too if it is not here.

        Args:
            record: the transaction.
            rcpts: its recipients; one that is here already stays as it is.
            home: the store that holds their records.

        Returns:
            The recipients that are new here.

        Raises:
            FullError: they do not all fit; nothing is entered.
        """
        records = [record_ for record_ in rcpts if not self.has(record.ta_id, record_.rcpt_idx)]
        if len(records) > self.room():
            raise FullError(Module.AQ, f"active queue is full: {self.limit} recipients; raise AQ_max_entries")
        ta = self._tas.get(record.ta_id)
        if ta is None:
            ta = AqTa(record, in_ibdb=home is Home.IBDB, in_defedb=home is Home.DEFEDB)
            self._tas[record.ta_id] = ta
        return [self.add_rcpt(ta, one, home) for one in records]

    def add_rcpt(self, ta: AqTa, record: RcptRecord, home: Home) -> AqRcpt:
        """Enters one more recipient of a transaction that is here; members of an alias and bounces may exceed the limit.

        Raises:
            BugError: it is here already.
        """
        if record.rcpt_idx in ta.rcpts:
            raise BugError(Module.AQ, f"{ta.ta_id}: recipient {record.rcpt_idx} is entered twice")
        rcpt = AqRcpt(ta, record, home)
        ta.rcpts[record.rcpt_idx] = rcpt
        ta.next_idx = max(ta.next_idx, record.rcpt_idx + 1)
        self._rcpts += 1
        return rcpt

    def remove(self, rcpt: AqRcpt) -> bool:
        """Takes a recipient out; tells whether its transaction left with it."""
        ta = rcpt.ta
        if ta.rcpts.pop(rcpt.record.rcpt_idx, None) is None:
            raise BugError(Module.AQ, f"{ta.ta_id}: recipient {rcpt.record.rcpt_idx} is not in AQ")
        self._rcpts -= 1
        if ta.rcpts:
            return False
        del self._tas[TaId(ta.record.ta_id)]
        return True

    def check(self) -> None:
        """Checks the invariants.

        Raises:
            BugError: one is broken.
        """
        count = sum(len(ta.rcpts) for ta in self._tas.values())
        if count != self._rcpts or any(not ta.rcpts for ta in self._tas.values()):
            raise BugError(Module.AQ, f"counter {self._rcpts}, recipients {count}")
