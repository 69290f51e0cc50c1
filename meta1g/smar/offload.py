"""Runs look-ups: here by turns, or in a worker if they may block.

    in memory   ─> meta1g.smar.turns
    may block   ─> worker ─> map busy? wait at its gate, without a thread ─> worker again
                      └─ LOOKUP_S over ─> temporary failure, whatever the thread still does

Invariant: a look-up that was given to run() ends with its own answer or with on_failure.

Ref: invariants I10 to I12.
"""

import time
from collections.abc import Callable
from typing import Final

from meta1g.base import failure
from meta1g.base.errors import FullError
from meta1g.base.log import Log
from meta1g.pt.evthr import Evthr
from meta1g.pt.workers import Workers
from meta1g.smar.deadlines import Deadlines
from meta1g.smar.guard import ASKER, MapBusyError, MapGate
from meta1g.smar.limits import BREATH_AFTER_S, BREATH_S, LOOKUP_S, WORKER_TURN_S
from meta1g.smar.turns import Steps, Turns, Work, advance

BUSY: Final = "Too many look-ups at the same time; try again later"
FAILED: Final = "Look-up failed; try again later"
LATE: Final = "Look-up took too long; try again later"

_OnFailure = Callable[[str], None]


class Offload:
    """Runs look-ups.

    Args:
        workers: the threads for look-ups that block.
        log: look-ups that fail are logged here.
        turns: gives turns to the others; without it they run at once.
        evthr: the system whose time bounds look-ups that block; without it nothing does.

    Locking: none needed.
    """

    def __init__(self, workers: Workers, log: Log, turns: Turns | None = None, evthr: Evthr | None = None) -> None:
        self.workers = workers
        self.log = log
        self._turns = turns
        self._late: Deadlines[_Job] | None = None
        if evthr is not None:
            self._late = Deadlines(evthr, LOOKUP_S, _Job.late, log=log, is_over=lambda job: job.over, name="look-ups")

    def run(self, look_up: Work, on_failure: _OnFailure, *, blocking: bool, source: object, asker: str) -> None:
        """Runs a look-up.

        Args:
            look_up: asks and answers; what it gives is the rest of its work.
            on_failure: called with a text for the client instead, if it cannot be run or fails, or beside it if it takes too
                long; a second answer has to be void.
            blocking: it may block.
            source: the connection that it came by; each has its turn.
            asker: the client, or the domain that mail goes to: it has a share of a map that is busy.
        """
        if blocking:
            job = _Job(self, look_up, on_failure, asker)
            if self._late is not None:
                self._late.add(job)
            job.submit()
        elif self._turns is None:
            self._at_once(look_up, on_failure)
        else:
            try:
                self._turns.run(source, look_up, lambda error: on_failure(FAILED))
            except FullError:
                on_failure(BUSY)

    def _at_once(self, look_up: Work, on_failure: _OnFailure) -> None:
        with failure.item(self.log, "smar.look_up", lambda error: on_failure(FAILED)):
            steps = look_up()
            if steps is not None:
                advance(steps, float("inf"))


class _Job:
    """A look-up that may block.  Owner: one thread at a time; late() may come from another."""

    __slots__ = ("_asker", "_offload", "_on_failure", "_steps", "_work", "over")

    def __init__(self, offload: Offload, work: Work, on_failure: _OnFailure, asker: str) -> None:
        self._asker = asker
        self._offload = offload
        self._work = work
        self._steps: Steps | None = None
        self._on_failure = on_failure
        self.over = False

    def submit(self) -> bool:
        """Lets a worker go on with it; tells whether one will."""
        try:
            self._offload.workers.submit(self._run)
        except FullError:
            self._fail(BUSY)
            return False
        return True

    def late(self) -> None:
        """Ends it for its asker: it took too long.  Others may wait for its steps, which go on."""
        if not self.over:
            self.over = True
            self._on_failure(LATE)

    def _fail(self, text: str) -> None:
        steps, self._steps = self._steps, None
        if steps is not None:
            steps.close()
        if not self.over:
            self.over = True
            self._on_failure(text)

    def _run(self) -> None:
        if self.over and self._steps is None:
            return
        ASKER.set(self._asker)  # for this thread, until its next job
        with failure.item(self._offload.log, "smar.look_up", lambda error: self._fail(FAILED)):
            try:
                if self._steps is None:
                    self._steps = self._work()
                left = False if self._steps is None else _advance(self._steps)
            except MapBusyError as busy:
                left = busy
            if isinstance(left, MapBusyError):
                self._wait(left.gate)
            elif left:
                self.submit()
            else:
                self.over = True

    def _wait(self, gate: MapGate) -> None:
        if not gate.wait(self._resume):
            self._fail(BUSY)

    def _resume(self) -> bool:
        """Goes on after a wait; tells whether it still wants to."""
        return not (self.over and self._steps is None) and self.submit()


def _advance(steps: Steps) -> MapBusyError | bool:
    """Takes steps for a turn of a worker; gives what advance() gives."""
    end_s = time.monotonic() + WORKER_TURN_S
    while True:
        left = advance(steps, time.monotonic() + BREATH_AFTER_S)
        if left is not True or time.monotonic() >= end_s:
            return left
        time.sleep(BREATH_S)
