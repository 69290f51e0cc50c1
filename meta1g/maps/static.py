"""A map in memory, from values in the configuration.

Ref: MeTA1 README, "Maps" (type modelled on).
"""

from collections.abc import Mapping

from meta1g.maps.base import NOTFOUND, MapResult, ok
from meta1g.maps.textmap import TextTable


class StaticMap:
    """A fixed table.

    Args:
        name: names it in logs.
        entries: key to right-hand side; keys are folded to lower case.

    Immutable.
    """

    blocking = False

    def __init__(self, name: str, entries: Mapping[str, str]) -> None:
        self.name = name
        self._entries = TextTable({key.lower(): value for key, value in entries.items()})

    def lookup(self, key: str) -> MapResult:
        """Looks a key up."""
        value = self._entries.get(key)
        return NOTFOUND if value is None else ok(value)

    def version(self) -> int:
        """Gives 0: the content never changes."""
        return 0

    def tags(self) -> frozenset[str] | None:
        """Gives what stands before the first colon of its keys."""
        return self._entries.tags

    def close(self) -> None:
        """Has nothing to close."""
