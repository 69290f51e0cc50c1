"""Lanes beside the window EDBC: recipients whose time has come and whose destination has no room in AQ.

Each destination has a lane of its own.  A lane holds its share of the entries; what does not fit is left on the disk, where
the lane goes on behind its end.

Invariant: every entry that was parked stands in a lane, or on the disk behind the end of one that is there, or in AQ; so
nothing is forgotten, even if the destination of a recipient changes.  Entries may stand there after they were removed: the
records tell.

Locking: caller holds AQ.
Ref: invariant I11; the lanes are ours.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Final

from meta1g.base.ids import TaId
from meta1g.base.shares import Pool
from meta1g.db.aq_types import Place

LaneEntry = tuple[float, TaId, int]

#: Lanes looked at in one turn: a turn stays short, however many destinations wait.
_LOOKS: Final = 200
#: With less than this part of the places free, lanes are crowded: so many destinations wait that all wait for their turns.
_CROWDED_PART: Final = 64


class Lane:
    """The entries that wait for one destination.

    Attributes:
        entries: about in the order of their times.
        end: what is behind it is on the disk only; None if nothing is.
        missed: first entry left to the disk while it was being read.

    Locking: caller holds AQ.
    """

    __slots__ = ("end", "entries", "missed")

    def __init__(self) -> None:
        self.entries: OrderedDict[LaneEntry, None] = OrderedDict()
        self.end: LaneEntry | None = None
        self.missed: LaneEntry | None = None


class Lanes:
    """All lanes.

    Args:
        limit: entries in all of them, 1 or more; each lane may have one more, its end.

    Locking: caller holds AQ.
    """

    __slots__ = ("_lanes", "_places")

    def __init__(self, limit: int) -> None:
        self._lanes: OrderedDict[Place, Lane] = OrderedDict()  # in the order of their turns
        self._places = Pool(limit)

    def __len__(self) -> int:
        """Gives the number of entries."""
        return self._places.used

    def __contains__(self, place: object) -> bool:
        """Tells whether recipients wait for a destination."""
        return place in self._lanes

    @property
    def crowded(self) -> bool:
        """Whether nothing more is to be parked for now."""
        return self._places.free <= self._places.limit // _CROWDED_PART

    def park(self, place: Place, entry: LaneEntry) -> None:
        """Lets a recipient wait until there is room for its destination."""
        lane = self._lanes.get(place)
        if lane is None:
            lane = self._lanes[place] = Lane()
        if lane.end is not None and entry > lane.end:
            if lane.missed is None or entry < lane.missed:
                lane.missed = entry
        elif entry not in lane.entries:
            if self._places.room(place) < 1:
                lane.end = entry
            self._append(place, lane, entry)

    def _append(self, place: Place, lane: Lane, entry: LaneEntry) -> None:
        if entry not in lane.entries:
            lane.entries[entry] = None
            self._places.hold(place)

    def take(self, room: Callable[[Place], int], limit: int) -> list[LaneEntry]:
        """Takes entries whose destinations have room now, one lane after the other.

        Args:
            room: tells how many recipients of a destination may enter AQ.
            limit: entries at most.
        """
        taken: list[LaneEntry] = []
        for _ in range(min(len(self._lanes), _LOOKS)):
            if len(taken) >= limit:
                break
            place, lane = next(iter(self._lanes.items()))
            self._lanes.move_to_end(place)
            count = min(room(place), limit - len(taken), len(lane.entries))
            if count > 0:
                taken += [lane.entries.popitem(last=False)[0] for _ in range(count)]
                self._places.give(place, count)
            self._forget_empty(place, lane)
        return taken

    def _forget_empty(self, place: Place, lane: Lane) -> None:
        if not lane.entries and lane.end is None:
            del self._lanes[place]

    def to_read(self) -> tuple[Place, LaneEntry] | None:
        """Gives a lane that is empty and goes on behind an entry on the disk; its turn is the next one."""
        for place, lane in islice(self._lanes.items(), _LOOKS):
            if not lane.entries and lane.end is not None:
                lane.missed = None
                return place, lane.end
        return None

    def was_read(self, place: Place, found: Iterable[tuple[Place, LaneEntry]], last: LaneEntry | None) -> None:
        """Takes what was read behind the end of a lane.

        Args:
            place: the destination of the lane.
            found: entries that are not in AQ, in order, each with its destination of today.
            last: the last one that was looked at; None if there are no more whose time has come.
        """
        lane = self._lanes.get(place)
        if lane is None or lane.end is None:
            return  # all was forgotten meanwhile, and is read from the beginning
        missed, lane.missed = lane.missed, None
        lane.end = last
        if missed is not None and (last is None or missed <= last):
            self._append(place, lane, missed)
            lane.end = missed
        for where, entry in found:
            if where == place:
                self._append(place, lane, entry)
            else:
                self.park(where, entry)
        self._forget_empty(place, lane)

    def clear(self) -> None:
        """Forgets everything: DEFEDB is read from its beginning."""
        self._lanes.clear()
        self._places = Pool(self._places.limit)
