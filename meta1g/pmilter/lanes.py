"""Whose callbacks run: no client takes the threads of all others.

    callbacks of a session -> room in the share of its client? -> run
                              none -> the lane of the client, until callbacks of somebody have ended

Callbacks wait for what the world answers, DNS for example, and a client can choose whom they wait for.

Ref: invariant I11; docs/shares.md.
"""

from collections.abc import Callable
from functools import partial
from typing import Final

from meta1g.base.shares import Pool, TurnOrder, client_key
from meta1g.pt.lock import Lock, LockRank

_Callbacks = Callable[[], None]
#: One client that is alone has so many times the threads that it leaves free.  Our choice: two thirds of all.
_GREED: Final = 2


class CallbackLanes:
    """Lets callbacks of sessions run, each client within its share.

    Args:
        places: how many may run at a time; one if it is less.
        start: has a function called soon, by another thread or without the locks of the caller.

    Locking: own lock LEAF.
    """

    def __init__(self, places: int, start: Callable[[_Callbacks], object]) -> None:
        self._start = start
        self._lock = Lock(LockRank.LEAF, "lanes of a filter")
        self._pool = Pool(max(1, places), greed=_GREED)
        self._lanes: TurnOrder[str, _Callbacks] = TurnOrder()

    def begin(self, client_addr: str, work: _Callbacks) -> None:
        """Runs callbacks when it is their turn.

        Args:
            client_addr: address of the client, empty for a local one.
            work: runs them; it contains what they raise.
        """
        key = client_key(client_addr)
        with self._lock:
            if key in self._lanes or not self._pool.take(key):
                self._lanes.add(key, work)
                return
        self._start(partial(self._run, key, work))

    def _run(self, key: str, work: _Callbacks) -> None:
        """Blocks: yes (callbacks)."""
        try:
            work()
        finally:
            with self._lock:
                self._pool.give(key)
                ready = self._next()
            for client, other in ready:
                self._start(partial(self._run, client, other))

    def _next(self) -> list[tuple[str, _Callbacks]]:
        """Takes out what may run now.  Caller holds the lock."""
        ready = []
        while self._pool.free > 0 and (found := self._lanes.take(self._pool.take)) is not None:
            ready.append(found)
        return ready
