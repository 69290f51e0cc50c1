"""Recipients that wait in AQ and are to be returned at a time (RFC 2852, mode R), the soonest first.

Whoever has left stays here until its time or until half of the entries are such, so the memory is that of twice the recipients
that wait (invariant I4); who comes back meanwhile is entered once.

Locking: caller holds AQ.
Ref: RFC 2852 4.
"""

import heapq
from collections.abc import Callable
from itertools import count
from typing import Final

from meta1g.db.aq_types import AqRcpt

_LEAST: Final = 1000


class TimedRcpts:
    """The recipients.

    Args:
        waits: tells whether a recipient still waits.

    Locking: caller holds AQ.
    """

    __slots__ = ("_entered", "_entries", "_numbers", "_sweep_at", "_waits")

    def __init__(self, waits: Callable[[AqRcpt], bool]) -> None:
        self._waits = waits
        self._entries: list[tuple[float, int, AqRcpt]] = []
        self._entered: set[AqRcpt] = set()
        self._numbers = count()
        self._sweep_at = _LEAST

    def __len__(self) -> int:
        """Gives the number of entries."""
        return len(self._entries)

    def add(self, rcpt: AqRcpt) -> None:
        """Enters a recipient that waits, if it does not stand here from before."""
        if rcpt in self._entered:
            return
        if len(self._entries) >= self._sweep_at:
            self._entries = [entry for entry in self._entries if self._waits(entry[2])]
            self._entered = {entry[2] for entry in self._entries}
            heapq.heapify(self._entries)
            self._sweep_at = max(_LEAST, 2 * len(self._entries))
        self._entered.add(rcpt)
        heapq.heappush(self._entries, (rcpt.ta.record.by, next(self._numbers), rcpt))

    def due(self, now: float, limit: int) -> list[AqRcpt]:
        """Takes out those who still wait although their time is over.

        Args:
            now: seconds since the epoch.
            limit: recipients at most.
        """
        found: list[AqRcpt] = []
        while self._entries and self._entries[0][0] <= now and len(found) < limit:
            rcpt = heapq.heappop(self._entries)[2]
            self._entered.discard(rcpt)
            if self._waits(rcpt):
                found.append(rcpt)
        return found
