"""Shares of bounded pools: one client, or one destination, cannot use a pool up.

One rule for all pools.  A key may hold at most `greed` times as many places as are left free, and never more than its cap;
a few (`least`) it may hold while any is free:

    one greedy key     holds greed / (greed + 1) of the pool
    two                hold greed / (2 greed + 1) each, and so on

so that there is always room for a key that holds nothing, whatever number of others take what they can get; and a key that
is alone is not held to a small part of an empty pool.

Pure.  Ref: invariant I11; "dynamic thresholds" (Choudhury and Hahne, IEEE/ACM Transactions on Networking 6/2, 1998).
"""

import socket
from collections import OrderedDict, deque
from collections.abc import Callable, Container, Hashable, Mapping
from typing import Final, Generic, TypeVar

K = TypeVar("K", bound=Hashable)
_T = TypeVar("_T")
_PREFIX_BYTES: Final = 8  # an IPv6 /64
_MAPPED: Final = bytes(10) + b"\xff\xff"


def client_key(addr: str) -> str:
    """Gives whom an address belongs to: an IPv4 address to itself, an IPv6 address to its /64; other text to itself.

    Args:
        addr: the address of a client, in any spelling.
    """
    if ":" not in addr:
        return addr
    try:
        packed = socket.inet_pton(socket.AF_INET6, addr.partition("%")[0])
    except (OSError, ValueError):  # no address; ValueError: not even text for one
        return addr
    if packed.startswith(_MAPPED):
        return socket.inet_ntop(socket.AF_INET, packed[len(_MAPPED) :])
    return f"{socket.inet_ntop(socket.AF_INET6, packed[:_PREFIX_BYTES] + bytes(_PREFIX_BYTES))}/64"


def room(held: int, free: int, greed: int, least: int = 1) -> int:
    """Gives how many more places may be taken.

    Args:
        held: places that the key has.
        free: places that nobody has.
        greed: how many times the free places a key may hold, 1 or more.
        least: how many it may hold whatever others do, while any is free; 1 or more.

    Returns:
        0 to free; at least 1 for a key that holds nothing while one is free.
    """
    return max(0, min(free, least - held), (greed * free - held) // (greed + 1))


class Pool:
    """A bounded pool that counts who holds how much.

    Args:
        limit: number of places, 1 or more.
        greed: how many times the free places a key may hold, 1 or more.
        cap: the most that a key may hold; None for no bound beyond greed.
        least: how many it may hold whatever others do, while any is free; 1 or more.

    Owner: that of the pool, or the lock that guards it.
    """

    __slots__ = ("_held", "cap", "greed", "least", "limit", "used")

    def __init__(self, limit: int, *, greed: int = 1, cap: int | None = None, least: int = 1) -> None:
        self.limit = limit
        self.greed = greed
        self.least = least
        self.cap = limit if cap is None else cap
        self.used = 0
        self._held: dict[Hashable, int] = {}

    @property
    def free(self) -> int:
        """Number of places that nobody holds; negative after hold() beyond the limit."""
        return self.limit - self.used

    @property
    def keys(self) -> int:
        """Number of keys that hold a place."""
        return len(self._held)

    def held(self, key: Hashable) -> int:
        """Gives how many places a key holds."""
        return self._held.get(key, 0)

    def room(self, key: Hashable, reserve: int = 0) -> int:
        """Gives how many more places a key may take.

        Args:
            key: who asks.
            reserve: free places that are not for it.
        """
        held = self._held.get(key, 0)
        return min(self.cap - held, room(held, self.limit - self.used - reserve, self.greed, self.least))

    def fits(self, counts: Mapping[K, int], halved: Container[K] = ()) -> bool:
        """Tells whether several keys may take places at the same time, each so many.

        Args:
            counts: places by key.
            halved: keys that may use half of their share only.
        """
        left = self.limit - self.used - sum(counts.values())
        if left < 0:
            return False
        for key, count in counts.items():
            held = self._held.get(key, 0)
            total = held + count
            share = self.greed * left // 2 if key in halved else self.greed * left
            if total > self.cap or (total > share and total > self.least):
                return False
        return True

    def take(self, key: Hashable) -> bool:
        """Takes a place if there is one for this key; tells whether it did."""
        if self.room(key) < 1:
            return False
        self.hold(key)
        return True

    def hold(self, key: Hashable) -> None:
        """Counts a place that was given without asking."""
        self._held[key] = self._held.get(key, 0) + 1
        self.used += 1

    def give(self, key: Hashable, count: int = 1) -> None:
        """Gives places back."""
        left = self._held[key] - count
        if left:
            self._held[key] = left
        else:
            del self._held[key]
        self.used -= count

    def move(self, old: Hashable, new: Hashable) -> None:
        """Counts a place for another key from now on."""
        self.give(old)
        self.hold(new)

    def over(self, key: Hashable) -> bool:
        """Tells whether a key holds more than it might take now."""
        held = self._held.get(key, 0)
        return held > self.cap or (held > self.greed * self.free and held > self.least)


class TurnOrder(Generic[K, _T]):
    """What waits for a place, by key: keys have their turns one after the other, and one that had its turn comes last.

    So a key that holds nothing waits for one turn of each of the others at most, however much they have waiting.

    Owner: that of the pool, or the lock that guards it.
    """

    __slots__ = ("_queues",)

    def __init__(self) -> None:
        self._queues: OrderedDict[K, deque[_T]] = OrderedDict()

    def __contains__(self, key: K) -> bool:
        return key in self._queues

    def add(self, key: K, item: _T) -> None:
        """Lets something wait, behind what the key has waiting."""
        self._queues.setdefault(key, deque()).append(item)

    def remove(self, key: K, item: _T) -> None:
        """Takes out something that waits no longer."""
        queue = self._queues[key]
        queue.remove(item)
        if not queue:
            del self._queues[key]

    def take(self, may: Callable[[K], bool]) -> tuple[K, _T] | None:
        """Takes out what has its turn now.

        Args:
            may: tells whether a key may have its turn; asked about each key until one may.

        Returns:
            The key and what waited longest of it; None if nobody may.
        """
        key = next(filter(may, self._queues), None)
        if key is None:
            return None
        queue = self._queues[key]
        item = queue.popleft()
        self._queues.move_to_end(key)
        if not queue:
            del self._queues[key]
        return key, item
