"""Destination queues inside AQ: recipients that are ready, by destination, served in turn.

A destination serves its transactions in the order in which they came, those of higher priority first (RFC 6710); but who has
waited longest comes after AHEAD_MAX others at most, so that nobody waits for ever.

Invariant: a destination stands in the ring if and only if recipients wait for it and it is not blocked; a recipient
stands in at most one queue, which is that of its `dest`.

Locking: caller holds AQ.
Ref: MeTA1 design, "Implementation: AQ, recipient destination queues" (aqrdq modelled on).
"""

from collections import OrderedDict, deque
from collections.abc import Iterator
from itertools import islice
from typing import Final

from meta1g.base.ids import TaId
from meta1g.db.aq_types import AqRcpt, DestKey
from meta1g.db.aqtimes import TimedRcpts
from meta1g.rcb.common import ServerAddr

#: Recipients looked at to join some of them, for each that may be joined.  Our choice: those that differ cost no more.
_LOOKS: Final = 4
#: Transactions that go ahead of the one that has waited longest, in a row.  Our choice: each fifth turn is its own.
AHEAD_MAX: Final = 4
#: Transactions of low priority that are passed over in the search for one of the usual priority.
_LOW_MAX: Final = 100


class DestQueue:
    """The recipients that wait for one destination.  Locking: caller holds AQ."""

    __slots__ = ("_ahead", "_ranks", "blocked", "by_ta", "key", "ringed")

    def __init__(self, key: DestKey) -> None:
        self.key = key
        #: transactions in the order in which their first recipient came; ordered dicts, since they are emptied at the front
        self.by_ta: OrderedDict[TaId, OrderedDict[int, AqRcpt]] = OrderedDict()
        self.blocked = False  # no delivery is possible now; unblock() when that may have changed
        self.ringed = False
        self._ranks: dict[int, OrderedDict[TaId, None]] = {}  # those of another priority than 0
        self._ahead = 0

    def add(self, rcpt: AqRcpt) -> None:
        """Lets a recipient wait."""
        ta_id = rcpt.ta.ta_id
        waiting = self.by_ta.get(ta_id)
        if waiting is not None:
            waiting[rcpt.record.rcpt_idx] = rcpt
            return
        self.by_ta[ta_id] = OrderedDict(((rcpt.record.rcpt_idx, rcpt),))
        if rcpt.ta.record.priority:
            self._ranks.setdefault(rcpt.ta.record.priority, OrderedDict())[ta_id] = None

    def forget(self, ta_id: TaId) -> None:
        """Forgets a transaction of which nobody waits any more."""
        del self.by_ta[ta_id]
        for rank, tas in list(self._ranks.items()):
            tas.pop(ta_id, None)
            if not tas:
                del self._ranks[rank]

    def choose(self) -> TaId:
        """Gives the transaction whose turn it is."""
        oldest = next(iter(self.by_ta))
        chosen = self._highest() if self._ranks and self._ahead < AHEAD_MAX else oldest
        self._ahead = 0 if chosen == oldest else self._ahead + 1
        return chosen

    def _highest(self) -> TaId:
        """Gives the transaction of the highest priority that came first."""
        rank = max(self._ranks)
        first = next(iter(self._ranks[rank]))
        if rank > 0 or len(self.by_ta) == sum(map(len, self._ranks.values())):
            return first
        usual = (ta_id for ta_id in islice(self.by_ta, _LOW_MAX) if not any(ta_id in tas for tas in self._ranks.values()))
        return next(usual, first)

    def __len__(self) -> int:
        """Gives the number of transactions that wait."""
        return len(self.by_ta)

    def first(self) -> AqRcpt:
        """Gives the recipient that has waited longest."""
        return next(iter(next(iter(self.by_ta.values())).values()))

    def server(self) -> ServerAddr:
        """Gives the server as the recipient that has waited longest knows it."""
        return self.first().server


class DestQueues:
    """All destination queues.

    Attributes:
        timed: those of their recipients that are to be returned at a time.

    Locking: caller holds AQ.
    """

    __slots__ = ("_queues", "_ring", "timed")

    def __init__(self) -> None:
        self._queues: dict[DestKey, DestQueue] = {}
        self._ring: deque[DestQueue] = deque()
        self.timed = TimedRcpts(self.has)

    def __len__(self) -> int:
        """Gives the number of destinations that have recipients waiting."""
        return len(self._queues)

    def get(self, key: DestKey) -> DestQueue | None:
        """Gives the queue of a destination, or None if nobody waits for it."""
        return self._queues.get(key)

    def queues(self) -> list[DestQueue]:
        """Gives all queues that are not empty."""
        return list(self._queues.values())

    def add(self, rcpt: AqRcpt) -> None:
        """Lets a recipient wait for its destination."""
        key = rcpt.dest
        queue = self._queues.get(key)
        if queue is None:
            queue = self._queues[key] = DestQueue(key)
        queue.add(rcpt)
        if rcpt.ta.record.by_mode is not None and rcpt.ta.record.by_mode.startswith("R") and not rcpt.record.failed:
            self.timed.add(rcpt)
        self._enring(queue)

    def has(self, rcpt: AqRcpt) -> bool:
        """Tells whether a recipient waits."""
        queue = self._queues.get(rcpt.dest)
        waiting = None if queue is None else queue.by_ta.get(rcpt.ta.ta_id)
        return waiting is not None and waiting.get(rcpt.record.rcpt_idx) is rcpt

    def _enring(self, queue: DestQueue) -> None:
        if not queue.ringed and not queue.blocked and queue.by_ta:
            queue.ringed = True
            self._ring.append(queue)

    def remove(self, rcpt: AqRcpt) -> None:
        """Takes a recipient out, wherever it stands in its queue; does nothing if it does not wait."""
        queue = self._queues.get(rcpt.dest)
        waiting = queue.by_ta.get(rcpt.ta.ta_id) if queue is not None else None
        if queue is None or waiting is None or waiting.pop(rcpt.record.rcpt_idx, None) is None:
            return
        if not waiting:
            queue.forget(rcpt.ta.ta_id)
            self._forget_empty(queue)

    def _forget_empty(self, queue: DestQueue) -> None:
        if not queue.by_ta:
            self._queues.pop(queue.key, None)  # its place in the ring is dropped when its turn comes

    def turn(self) -> DestQueue | None:
        """Gives the destination whose turn it is and takes it out of the ring, or None.

        The caller gives it back with again() or block().
        """
        while self._ring:
            queue = self._ring.popleft()
            queue.ringed = False
            if queue.by_ta and not queue.blocked:
                return queue
        return None

    def call(self, key: DestKey) -> DestQueue | None:
        """Gives a destination out of its turn, or None if nobody waits for it; its place in the ring stays."""
        queue = self._queues.get(key)
        if queue is not None:
            queue.blocked = False
        return queue

    def again(self, queue: DestQueue) -> None:
        """Puts a destination at the end of the ring, if recipients still wait for it."""
        self._enring(queue)

    def block(self, queue: DestQueue) -> None:
        """Keeps a destination out of the ring until unblock()."""
        queue.blocked = True

    def unblock(self, key: DestKey) -> bool:
        """Lets a destination have its turn again; tells whether anybody waits there."""
        queue = self._queues.get(key)
        if queue is None:
            return False
        queue.blocked = False
        self._enring(queue)
        return True

    def unblock_all(self) -> None:
        """Lets all destinations have their turns again: a delivery agent came, or has room."""
        for queue in self._queues.values():
            queue.blocked = False
            self._enring(queue)

    def take(self, queue: DestQueue, limit: int) -> list[AqRcpt]:
        """Takes recipients of the transaction whose turn it is; all have the same sender.

        Args:
            queue: a queue that is not empty.
            limit: greatest number of recipients, 1 or more.
        """
        ta_id = queue.choose()
        waiting = queue.by_ta[ta_id]
        taken = list(self._joinable(waiting, limit))
        for rcpt in taken:
            del waiting[rcpt.record.rcpt_idx]
        if not waiting:
            queue.forget(ta_id)
            self._forget_empty(queue)
        return taken

    @staticmethod
    def _joinable(waiting: OrderedDict[int, AqRcpt], limit: int) -> Iterator[AqRcpt]:
        """Picks what one delivery can carry: recipients with the sender of the first; a DSN travels alone."""
        first = next(iter(waiting.values()))
        yield first
        if first.record.failed:
            return
        count = 1
        for rcpt in islice(waiting.values(), _LOOKS * limit):
            if count >= limit:
                return
            if rcpt is not first and not rcpt.record.failed and rcpt.sender == first.sender:
                count += 1
                yield rcpt

    def take_some(self, queue: DestQueue, limit: int) -> list[AqRcpt]:
        """Takes recipients of a destination that cannot be reached, whatever their transactions.

        Args:
            queue: a queue that is not empty; the caller gives it back with again().
            limit: greatest number of recipients, 1 or more.
        """
        taken: list[AqRcpt] = []
        while queue.by_ta and len(taken) < limit:
            ta_id, waiting = next(iter(queue.by_ta.items()))
            while waiting and len(taken) < limit:
                taken.append(waiting.popitem(last=False)[1])
            if not waiting:
                queue.forget(ta_id)
        self._forget_empty(queue)
        return taken
