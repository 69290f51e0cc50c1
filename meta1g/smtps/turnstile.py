"""A few at a time: who wants to have a password checked waits for its turn, and no client holds up the others.

    call -> a place for its client? -> waits among those of its client; clients have their turns one after the other -> runs
            none -> refused

Owner: the process (all state threads of it).
Ref: invariants I10, I11; docs/shares.md; MeTA1 design, "Functional Specification: SMTPS" (ours).
"""

import errno
from collections.abc import Callable
from typing import Final, TypeVar

from meta1g.base.clock import Clock
from meta1g.base.errors import Module, TempError
from meta1g.base.shares import Pool, TurnOrder, client_key
from meta1g.smtps.limits import US
from meta1g.st import StError, st_cond_new, st_cond_signal, st_cond_timedwait

_T = TypeVar("_T")
#: How many times the free turns one client may have: alone it gets three quarters of them.  Our choice.
_GREED: Final = 3


class _Waiter:
    """One call.  Owner: its state thread."""

    __slots__ = ("called", "has_turn")

    def __init__(self) -> None:
        self.has_turn = False
        self.called = st_cond_new()


class Turnstile:
    """Lets a few calls run at a time; clients take turns.

    Args:
        at_once: calls that run at the same time, 1 or more.
        places: calls that wait or run, 1 or more.
        cap: how many of them one client may have.
        timeout_s: how long a call may wait for its turn.
        clock: the clock.

    Owner: the process.
    """

    __slots__ = ("_clock", "_inside", "_places", "_timeout_s", "_waiting")

    def __init__(self, at_once: int, places: int, cap: int, timeout_s: float, clock: Clock) -> None:
        self._inside = Pool(at_once, greed=_GREED)
        self._places = Pool(places, cap=cap)
        self._waiting: TurnOrder[str, _Waiter] = TurnOrder()
        self._timeout_s = timeout_s
        self._clock = clock

    def run(self, address: str, function: Callable[[], _T]) -> _T:
        """Calls a function when it is its turn, and gives its result.

        Args:
            address: of the client whose place and turn it is.
            function: may switch.

        Raises:
            TempError: there is no place, or the turn did not come in time.
            StError: EINTR.

        Switches: yes.
        """
        client = client_key(address)
        if not self._places.take(client):
            raise TempError(Module.SMTPS, "too many password checks wait")
        try:
            self._wait(client)
            try:
                return function()
            finally:
                self._leave(client)
        finally:
            self._places.give(client)

    def _wait(self, client: str) -> None:
        """Switches: yes, unless it is the turn of the caller."""
        waiter = _Waiter()
        self._waiting.add(client, waiter)
        self._call_next()
        end_s = self._clock.monotonic() + self._timeout_s
        try:
            while not waiter.has_turn and (left_us := int((end_s - self._clock.monotonic()) * US)) > 0:
                st_cond_timedwait(waiter.called, left_us)
        except StError as error:
            if error.errno != errno.ETIME:
                self._give_up(client, waiter)
                raise
        if not waiter.has_turn:
            self._give_up(client, waiter)
            raise TempError(Module.SMTPS, "password checks take too long")

    def _give_up(self, client: str, waiter: _Waiter) -> None:
        if waiter.has_turn:
            self._leave(client)
        else:
            self._waiting.remove(client, waiter)

    def _leave(self, client: str) -> None:
        self._inside.give(client)
        self._call_next()

    def _call_next(self) -> None:
        """Lets those in whose turn it is."""
        while self._inside.free > 0 and (found := self._waiting.take(self._inside.take)) is not None:
            _client, waiter = found
            waiter.has_turn = True
            st_cond_signal(waiter.called)
