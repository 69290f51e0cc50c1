"""What every map of a configuration is wrapped in: a failure costs one look-up, and a slow map only its own share.

    look-up ─> gate (maps that may block: LOOKUPS_MAX at a time) ─> map ─> TEMP and PERM are logged, with map and reason

Whoever finds the gate closed gets MapBusyError and may wait there without a thread; its look-ups are repeated then.  So
a map server that hangs holds LOOKUPS_MAX threads and no more, and the questions to other maps go on; and whoever asks all the
time has a share of a slow map, not all of it (invariant I11).

Invariant: what a map raises is a temporary error of that look-up; only a BugError goes on.
"""

import time
from collections.abc import Callable
from contextvars import ContextVar
from typing import Final

from meta1g.base import failure
from meta1g.base.errors import BugError
from meta1g.base.log import Log
from meta1g.base.shares import Pool, TurnOrder
from meta1g.maps.base import Map, MapResult, MapStatus, temp
from meta1g.pt.lock import Lock, LockRank
from meta1g.smar.limits import LOOKUPS_MAX, LOOKUPS_WAITING_MAX, MAP_LOG_S

_FAILED = temp("look-up failed")


#: Who asks: a client, or a domain that mail goes to.  A busy map has a share for each.
ASKER: Final[ContextVar[str]] = ContextVar("asker", default="")
#: How many times the free places of a map one asker may hold: alone it gets three quarters of them.  Our choice.
_GREED: Final = 3


class MapBusyError(Exception):
    """A map has as many look-ups at the same time as it may have; wait at its gate and ask again."""

    def __init__(self, gate: "MapGate") -> None:
        super().__init__("map is busy")
        self.gate = gate


class MapGate:
    """Lets a bounded number of look-ups into a map at the same time; askers have their shares, and go in by turns.

    Args:
        limit: how many.
        waiting_max: how many may wait.

    Locking: own lock LEAF.
    """

    def __init__(self, limit: int = LOOKUPS_MAX, waiting_max: int = LOOKUPS_WAITING_MAX) -> None:
        self._lock = Lock(LockRank.LEAF, "map gate")
        self._inside = Pool(limit, greed=_GREED)
        self._outside = Pool(waiting_max)
        self._waiting: TurnOrder[str, Callable[[], bool]] = TurnOrder()

    def enter(self) -> None:
        """Goes in.

        Raises:
            MapBusyError: there is no room.
        """
        with self._lock:
            if not self._inside.take(ASKER.get()):
                raise MapBusyError(self)

    def leave(self) -> None:
        """Goes out, and lets the next one that still waits try."""
        with self._lock:
            self._inside.give(ASKER.get())
        self._next()

    def wait(self, resume: Callable[[], bool]) -> bool:
        """Waits for room.

        Args:
            resume: called when there may be room, perhaps at once; tells whether it still wants in.

        Returns:
            False if too many wait already: resume is not called then.
        """
        asker = ASKER.get()
        with self._lock:
            if not self._outside.take(asker):
                return False
            self._waiting.add(asker, resume)
            has_room = self._inside.room(asker) > 0
        if has_room:  # somebody left in between
            self._next()
        return True

    def _next(self) -> None:
        while (resume := self._take()) is not None:
            if resume():
                return

    def _take(self) -> Callable[[], bool] | None:
        """Gives the one whose turn it is."""
        with self._lock:
            found = self._waiting.take(lambda asker: self._inside.room(asker) > 0)
            if found is None:
                return None
            asker, resume = found
            self._outside.give(asker)
            return resume


class GuardedMap:
    """A map with its gate and its log.

    Args:
        table: the map.
        where: `file:line` of its declaration.
        log: look-ups that get no answer are logged here.

    Locking: none needed.
    """

    def __init__(self, table: Map, where: str, log: Log) -> None:
        self.name = table.name
        self.blocking = table.blocking
        self.inner = table
        self._where = where
        self._log = log
        self._logged_s = float("-inf")
        self._unlogged = 0
        self._gate = MapGate() if table.blocking else None

    def lookup(self, key: str) -> MapResult:
        """Looks a key up.  Blocks: if the map does.

        Raises:
            MapBusyError: the map may block and has its share of look-ups.
        """
        gate = self._gate
        if gate is not None:
            gate.enter()
        try:
            result = self.inner.lookup(key)
        except (BugError, MapBusyError):
            raise
        except Exception as error:  # noqa: BLE001  it costs one look-up
            failure.contained(self._log, "map.lookup", error, map=self.name)
            return _FAILED
        finally:
            if gate is not None:
                gate.leave()
        if result.status is MapStatus.TEMP or result.status is MapStatus.PERM:
            self._tell(result)
        return result

    def _tell(self, result: MapResult) -> None:
        now = time.monotonic()
        self._unlogged += 1
        if now - self._logged_s >= MAP_LOG_S:
            self._logged_s, count, self._unlogged = now, self._unlogged, 0
            text = f"{self._where}: {result.value}" if self._where else result.value
            self._log.error("map.lookup", text, map=self.name, answer=result.status.value, count=count)

    def version(self) -> int:
        """Gives a number that changes with the content."""
        return self.inner.version()

    def tags(self) -> frozenset[str] | None:
        """Gives what stands before the first colon of its keys."""
        return self.inner.tags()

    def close(self) -> None:
        """Closes the map."""
        self.inner.close()
