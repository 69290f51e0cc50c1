"""The one interface of all maps: a key is looked up and gives a result.

Invariant: a map that cannot answer now says TEMP; it never says "not found" for lack of an answer.

Pure.  Ref: MeTA1 design, "Implementation: maps"; socket map status words of MeTA1 (OK NOTFOUND NOMORE TEMP PERM).
"""

from enum import Enum
from typing import Final, Protocol

from meta1g.base.dataclass import dataclass


class MapStatus(Enum):
    """Outcome of a look-up."""

    OK = "OK"
    NOTFOUND = "NOTFOUND"
    NOMORE = "NOMORE"  # not found, and no variant of the key need be asked
    TEMP = "TEMP"  # no answer now
    PERM = "PERM"  # the map is broken, or refuses the key


@dataclass(frozen=True, slots=True)
class MapResult:
    """Result of a look-up.

    Args:
        status: outcome.
        value: right-hand side if OK, a reason for the log if TEMP or PERM, else empty.
    """

    status: MapStatus
    value: str = ""

    @property
    def found(self) -> bool:
        """Whether there is a value."""
        return self.status is MapStatus.OK

    @property
    def ends_search(self) -> bool:
        """Whether less specific variants of the key must not be asked."""
        return self.status is not MapStatus.NOTFOUND


NOTFOUND: Final = MapResult(MapStatus.NOTFOUND)
NOMORE: Final = MapResult(MapStatus.NOMORE)


def ok(value: str) -> MapResult:
    """Gives the result of a key that was found."""
    return MapResult(MapStatus.OK, value)


def temp(reason: str) -> MapResult:
    """Gives the result of a map that cannot answer now."""
    return MapResult(MapStatus.TEMP, reason)


def perm(reason: str) -> MapResult:
    """Gives the result of a map that is broken."""
    return MapResult(MapStatus.PERM, reason)


class Map(Protocol):
    """What a map can do.

    Locking: none needed; look-ups may run in several threads at the same time.
    """

    name: str
    blocking: bool  # a look-up may take long: it belongs into a worker thread

    def lookup(self, key: str) -> MapResult:
        """Looks a key up; keys are lower case unless the map's data say otherwise."""
        ...

    def version(self) -> int:
        """Gives a number that changes when the content may have changed; looks at the source once a second at most."""
        ...

    def tags(self) -> frozenset[str] | None:
        """Gives what stands before the first colon of its keys, without it; None if that is not known."""
        ...

    def close(self) -> None:
        """Closes files and connections."""
        ...


def may_have(table: Map, tag: str) -> bool:
    """Tells whether a map may have keys that begin with a tag; the tag is given without its colon."""
    tags = table.tags()
    return tags is None or tag in tags
