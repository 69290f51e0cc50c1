"""OCC, the outgoing connection cache: what is known of each destination, and how many sessions it may have.

The limit grows by one with each success and halves with each failure (slow start).  A destination that could not be
reached is closed for a while: nothing is sent there until one connection has probed it.

Locking: caller holds AQ.
Ref: MeTA1 design, "Implementation: outgoing connection cache, slow start" (modelled on).
"""

from collections import OrderedDict, deque

from meta1g.base.reply import NO_REPLY, Reply
from meta1g.db.aq_types import DestKey
from meta1g.db.dadb import DaSession


class Destination:
    """What is known of one destination.

    Attributes:
        open: sessions that are open or being opened.
        limit: how many there may be.
        idle: open sessions without work, the one used last at the end.
        closed_until: monotonic time until which it counts as unreachable, 0.0 if it does not.
        probing: it was unreachable, and one connection finds out whether it still is.
        failure: why it was unreachable.
        own: sessions at first and at most, where they are not those of all destinations.

    Locking: caller holds AQ.
    """

    __slots__ = ("closed_until", "deliveries", "failure", "failures", "idle", "key", "limit", "open", "own", "probing")

    def __init__(self, key: DestKey, limit: int) -> None:
        self.key = key
        self.limit = limit
        self.open = 0
        self.idle: deque[DaSession] = deque()
        self.closed_until = 0.0
        self.probing = False
        self.failure = NO_REPLY
        self.failures = 0
        self.deliveries = 0
        self.own: tuple[int | None, int | None] = (None, None)


class Occ:
    """All destinations.

    Args:
        initial: sessions allowed at first, 1 or more.
        maximum: sessions allowed at most.
        close_s: how long a destination that cannot be reached stays closed, seconds.
        entries_max: destinations kept; those that are in use are kept beyond it.

    Locking: caller holds AQ.
    """

    __slots__ = ("_close_s", "_dests", "_entries_max", "_unused", "initial", "maximum")

    def __init__(self, initial: int, maximum: int, close_s: float, entries_max: int) -> None:
        self.initial = max(1, min(initial, maximum))
        self.maximum = max(1, maximum)
        self._close_s = close_s
        self._entries_max = entries_max
        self._dests: dict[DestKey, Destination] = {}
        self._unused: OrderedDict[DestKey, None] = OrderedDict()  # without sessions, the one that has been so longest first

    def __len__(self) -> int:
        """Gives the number of destinations."""
        return len(self._dests)

    def set_limits(self, initial: int, maximum: int, close_s: float) -> None:
        """Changes the numbers that it was made with; sessions beyond them end by themselves."""
        self.initial, self.maximum, self._close_s = max(1, min(initial, maximum)), max(1, maximum), close_s
        for dest in self._dests.values():
            dest.limit = min(dest.limit, self._most(dest))

    def give_own(self, dest: Destination, initial: int | None, maximum: int | None) -> None:
        """Gives a destination limits of its own; None for those of all."""
        if dest.own == (initial, maximum):
            return
        dest.own = (initial, maximum)
        fresh = not (dest.deliveries or dest.failures)
        dest.limit = max(1, min(self.initial if initial is None else initial, self._most(dest))) if fresh else dest.limit
        dest.limit = min(dest.limit, self._most(dest))

    def _most(self, dest: Destination) -> int:
        """Gives how many sessions a destination may ever have."""
        return self.maximum if dest.own[1] is None else dest.own[1]

    def dests(self) -> list[Destination]:
        """Gives all destinations."""
        return list(self._dests.values())

    def find(self, key: DestKey) -> Destination | None:
        """Gives a destination if it is known."""
        return self._dests.get(key)

    def get(self, key: DestKey) -> Destination:
        """Gives a destination, made if it is new."""
        dest = self._dests.get(key)
        if dest is None:
            self._trim()
            dest = self._dests[key] = Destination(key, self.initial)
            self._unused[key] = None
        return dest

    def is_closed(self, key: DestKey, now_s: float) -> Destination | None:
        """Gives the destination if nothing is to be sent there now, or None."""
        dest = self._dests.get(key)
        return dest if dest is not None and dest.closed_until > now_s else None

    def may_open(self, dest: Destination) -> bool:
        """Tells whether one more session may be opened."""
        if dest.closed_until and not dest.probing:
            return dest.open == 0
        return dest.open < (1 if dest.probing else dest.limit)

    def opened(self, dest: Destination) -> None:
        """Counts a session that is being opened; the first one to a closed destination is its probe."""
        dest.open += 1
        self._unused.pop(dest.key, None)
        if dest.closed_until:
            dest.probing = True

    def gone(self, session: DaSession) -> None:
        """Counts a session that has ended."""
        dest = self._dests.get(session.key)
        if dest is None:
            return
        dest.open -= 1
        if not dest.open:
            self._unused[dest.key] = None
        if session in dest.idle:
            dest.idle.remove(session)

    def success(self, dest: Destination) -> None:
        """Notes that a delivery went through the session, whatever became of its recipients."""
        dest.deliveries += 1
        dest.failures = 0
        dest.closed_until = 0.0
        dest.probing = False
        if dest.limit < self._most(dest):
            dest.limit += 1

    def failure(self, dest: Destination, now_s: float, failure: Reply, *, opening: bool) -> bool:
        """Notes that a session failed; tells whether the destination counts as unreachable now.

        Args:
            dest: the destination.
            now_s: monotonic time.
            failure: why.
            opening: the session failed in its first delivery.  If no other session is open, the destination cannot be
                reached; a session that worked before and broke says nothing about that.
        """
        dest.failures += 1
        dest.limit = max(1, dest.limit // 2)
        dest.probing = False
        if dest.open > 0 or not opening:
            return False
        dest.closed_until = now_s + self._close_s
        dest.failure = failure
        return True

    def reopen(self, key: DestKey | None = None) -> None:
        """Lets closed destinations be tried at once, one or all of them."""
        for dest in self.dests() if key is None else [self.get(key)]:
            dest.closed_until = 0.0
            dest.probing = False

    def _trim(self) -> None:
        """Makes room for one more."""
        while self._unused and len(self._dests) >= self._entries_max:
            key, _ = self._unused.popitem(last=False)
            del self._dests[key]
