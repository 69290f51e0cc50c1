"""Several maps in order: the next one is asked only after the one before said "not found".

Ref: MeTA1 sample configurations (map type `sequence`); a temporary error ends the search, our choice, because an answer
of a later map could be wrong.
"""

from collections.abc import Sequence

from meta1g.maps.base import NOTFOUND, Map, MapResult


class SequenceMap:
    """Maps asked in order.

    Args:
        name: names it in logs.
        maps: the maps; at least one.

    Locking: none needed.
    """

    def __init__(self, name: str, maps: Sequence[Map]) -> None:
        self.name = name
        self.blocking = any(one.blocking for one in maps)
        self._maps = tuple(maps)

    def lookup(self, key: str) -> MapResult:
        """Looks a key up in the maps until one answers anything but "not found".  Blocks: if a map does."""
        for one in self._maps:
            result = one.lookup(key)
            if result.ends_search:
                return result
        return NOTFOUND

    def version(self) -> int:
        """Gives a number that grows when any of the maps changes."""
        return sum(one.version() for one in self._maps)

    def tags(self) -> frozenset[str] | None:
        """Gives what stands before the first colon of all their keys; None if one of them does not know."""
        found: set[str] = set()
        for one in self._maps:
            tags = one.tags()
            if tags is None:
                return None
            found |= tags
        return frozenset(found)

    def close(self) -> None:
        """Closes nothing: each map is closed where it was made."""
