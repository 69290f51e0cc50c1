"""EDBC, the cache of DEFEDB: a window in memory onto the soonest next-try times.

Invariants: never more entries than the limit (I4).  Every recipient of DEFEDB whose next try is not behind the horizon
is in the window, or in AQ, or is entered again when it comes back from there; so nothing is forgotten, and no entry of
DEFEDB is read twice.

Entries whose time has come and whose destination has no room in AQ stand in lanes beside the window (db/lanes.py), so that
they do not hide those behind them.

Locking: caller holds AQ.
Ref: MeTA1 design, "Implementation: EDBC" (modelled on; the horizon is ours).
"""

import heapq
from collections.abc import Sequence
from typing import Final

from meta1g.base.ids import TaId
from meta1g.db.lanes import LaneEntry, Lanes

#: Later than any next-try time, and still a time that DEFEDB can store.
FOREVER: Final = float(1 << 40)
_FIRST: Final[LaneEntry] = (0.0, TaId(""), 0)
_LAST: Final[LaneEntry] = (FOREVER, TaId(""), 0)


class Edbc:
    """The window.

    Args:
        limit: greatest number of entries, 1 or more.

    Attributes:
        horizon: the window is complete up to this entry; `_LAST` when it shows all there is.
        lanes: entries that wait for room.

    Locking: caller holds AQ.
    """

    __slots__ = ("_heap", "horizon", "lanes", "limit")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._heap: list[LaneEntry] = []
        self.horizon: LaneEntry = _FIRST
        self.lanes = Lanes(limit)

    def __len__(self) -> int:
        """Gives the number of entries."""
        return len(self._heap)

    @property
    def after(self) -> LaneEntry | None:
        """Where the next refill begins; None for the very beginning."""
        return None if self.horizon == _FIRST else self.horizon

    @property
    def complete(self) -> bool:
        """Whether the window shows all of DEFEDB."""
        return self.horizon == _LAST

    @property
    def needs_refill(self) -> bool:
        """Whether the window is empty although DEFEDB may have more."""
        return not self._heap and not self.complete

    def add(self, entry: LaneEntry) -> None:
        """Enters a recipient that was stored in DEFEDB; one behind the horizon is left to refill()."""
        if entry > self.horizon:
            return
        heapq.heappush(self._heap, entry)
        if len(self._heap) > self.limit:
            self._shrink()

    def _shrink(self) -> None:
        """Forgets the later half; the horizon comes nearer."""
        self._heap.sort()
        del self._heap[max(1, self.limit // 2) :]
        self.horizon = self._heap[-1]

    def refill(self, entries: Sequence[LaneEntry], asked: int, after: LaneEntry | None) -> bool:
        """Takes the entries of DEFEDB that come after the horizon.

        Args:
            entries: in order.
            asked: how many were asked for, 1 or more; fewer mean that there are no more.
            after: `after` of the time when they were asked for.

        Returns:
            Whether they were taken.  They are not if the horizon has moved since: there would be a gap.
        """
        if after != self.after:
            return False
        for entry in entries:
            heapq.heappush(self._heap, entry)
        self.horizon = _LAST if len(entries) < asked else entries[-1]
        if len(self._heap) > self.limit:
            self._shrink()
        return True

    def next_time(self) -> float:
        """Gives the time of the soonest entry, 0.0 if a refill is needed, FOREVER if there is none."""
        if self._heap:
            return self._heap[0][0]
        return FOREVER if self.complete else 0.0

    def pop_due(self, now: float) -> LaneEntry | None:
        """Takes the soonest entry if its time has come."""
        if self._heap and self._heap[0][0] <= now:
            return heapq.heappop(self._heap)
        return None

    def reset(self) -> None:
        """Forgets everything: DEFEDB was changed in many places."""
        self._heap.clear()
        self.horizon = _FIRST
        self.lanes.clear()
