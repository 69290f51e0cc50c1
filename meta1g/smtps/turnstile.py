"""A few at a time: who wants to have a password checked waits for its turn, and no client fills the queue.

Owner: the process (all state threads of it).
Ref: invariants I10, I11; MeTA1 design, "Functional Specification: SMTPS" (ours).
"""

import errno
from collections.abc import Callable
from typing import TypeVar

from meta1g.base.clock import Clock
from meta1g.base.errors import Module, TempError
from meta1g.base.shares import Pool
from meta1g.smtps.limits import US
from meta1g.st import StError, st_cond_new, st_cond_signal, st_cond_timedwait

_T = TypeVar("_T")


class Turnstile:
    """Lets a few calls run at a time.

    Args:
        at_once: calls that run at the same time, 1 or more.
        places: calls that wait or run, 1 or more.
        cap: how many of them one client may have.
        timeout_s: how long a call may wait for its turn.
        clock: the clock.

    Owner: the process.
    """

    __slots__ = ("_at_once", "_changed", "_clock", "_pool", "_running", "_timeout_s")

    def __init__(self, at_once: int, places: int, cap: int, timeout_s: float, clock: Clock) -> None:
        self._at_once = at_once
        self._pool = Pool(places, cap=cap)
        self._timeout_s = timeout_s
        self._clock = clock
        self._running = 0
        self._changed = st_cond_new()

    def run(self, client: str, function: Callable[[], _T]) -> _T:
        """Calls a function when it is its turn, and gives its result.

        Args:
            client: whose place it is.
            function: may switch.

        Raises:
            TempError: there is no place, or the turn did not come in time.
            StError: EINTR.

        Switches: yes.
        """
        if not self._pool.take(client):
            raise TempError(Module.SMTPS, "too many password checks wait")
        try:
            self._wait()
            self._running += 1
            try:
                return function()
            finally:
                self._running -= 1
                st_cond_signal(self._changed)
        finally:
            self._pool.give(client)

    def _wait(self) -> None:
        """Switches: yes, unless it is the caller's turn."""
        end_s = self._clock.monotonic() + self._timeout_s
        while self._running >= self._at_once:
            left_us = int((end_s - self._clock.monotonic()) * US)
            try:
                if left_us > 0:
                    st_cond_timedwait(self._changed, left_us)
                    continue
            except StError as error:
                if error.errno != errno.ETIME:
                    st_cond_signal(self._changed)  # the signal may have been for this one
                    raise
            raise TempError(Module.SMTPS, "password checks take too long")
