"""A bounded cache whose content is valid for one version of its source only.

Invariant: an entry made from an old version of the source is never given for a newer one.

Ref: MeTA1 design, "Implementation: restricted size cache" (modelled on).
"""

from typing import Generic, TypeVar

from meta1g.base.errors import Module
from meta1g.base.rsc import Rsc
from meta1g.pt.lock import Lock, LockRank

K = TypeVar("K")
V = TypeVar("V")


class Memo(Generic[K, V]):
    """A cache.

    Args:
        limit: greatest number of entries; the least recently used one goes.

    Locking: own lock LEAF.
    """

    __slots__ = ("_entries", "_limit", "_lock", "_version")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lock = Lock(LockRank.LEAF, "memo")
        self._version: int | None = None
        self._entries: Rsc[K, V] = Rsc(limit, Module.SMAR)

    def get(self, key: K, version: int) -> V | None:
        """Gives an entry, or None if there is none of this version of the source."""
        with self._lock:
            return self._entries.get(key) if version == self._version else None

    def put(self, key: K, version: int, value: V) -> None:
        """Enters an entry; one of another version makes all others void.

        Args:
            key: the key.
            version: version of the source, read before the source was asked.
            value: the value.
        """
        with self._lock:
            if version != self._version:
                if self._version is not None and version < self._version:
                    return
                self._version = version
                self._entries = Rsc(self._limit, Module.SMAR)
            self._entries.put(key, value)
