"""RSC, the restricted size cache: a mapping that never holds more than its limit.

Ref: MeTA1 design, "Implementation: restricted size cache" (modelled on).
"""

from collections import OrderedDict
from collections.abc import Iterator
from typing import Generic, TypeVar

from meta1g.base.errors import FullError, Module

K = TypeVar("K")
V = TypeVar("V")


class Rsc(Generic[K, V]):
    """Bounded mapping; a full one either refuses (`add`) or forgets its least recently used entry (`put`).

    Args:
        limit: greatest number of entries, 1 or more.
        module: the module named in the error of a full mapping.

    Locking: caller holds the lock of the store that owns it.
    """

    __slots__ = ("_entries", "limit", "module")

    def __init__(self, limit: int, module: Module) -> None:
        if limit < 1:
            raise ValueError(f"limit must be at least 1, not {limit}")
        self.limit = limit
        self.module = module
        self._entries: OrderedDict[K, V] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, key: object) -> bool:
        return key in self._entries

    def __iter__(self) -> Iterator[K]:
        return iter(self._entries)

    def get(self, key: K) -> V | None:
        """Gives the entry or None and marks it as used."""
        entry = self._entries.get(key)
        if entry is not None:
            self._entries.move_to_end(key)
        return entry

    def values(self) -> list[V]:
        """Gives all entries, least recently used first."""
        return list(self._entries.values())

    def add(self, key: K, value: V) -> None:
        """Enters a new entry or replaces the one of this key.

        Raises:
            FullError: there is no room.
        """
        if key not in self._entries and len(self._entries) >= self.limit:
            raise FullError(self.module, f"full: {self.limit} entries")
        self._entries[key] = value

    def put(self, key: K, value: V) -> None:
        """Enters an entry; the least recently used one goes if there is no room."""
        if key not in self._entries and len(self._entries) >= self.limit:
            self._entries.popitem(last=False)
        self._entries[key] = value
        self._entries.move_to_end(key)

    def clear(self) -> None:
        """Forgets all entries."""
        self._entries.clear()

    def pop(self, key: K) -> V | None:
        """Removes an entry and gives it, or None."""
        return self._entries.pop(key, None)

    def usage_percent(self) -> int:
        """Gives how full it is, 0 to 100."""
        return len(self._entries) * 100 // self.limit
