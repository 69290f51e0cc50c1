"""Long work in short turns: so that no list, answer or burst of questions holds up what others ask.

    run ─> at once, if there is time left and nothing of the same source waits
        └> else in the turn of its source: TURN_S for each source, then the poll, then the next source

Work is a function; it may give an iterator, whose steps are the rest of the work.

Invariants: pieces of one source are begun in their order; a piece that fails costs itself, and its on_failure is called.

Ref: invariant I10 (fair turns).
"""

import time
from collections import OrderedDict, deque
from collections.abc import Callable, Generator
from typing import Final

from meta1g.base import failure
from meta1g.base.dataclass import dataclass
from meta1g.base.errors import FullError, Module
from meta1g.base.log import Log
from meta1g.pt.evthr import Evthr
from meta1g.pt.lock import Lock, LockRank
from meta1g.pt.task import Ev, Result, Task
from meta1g.smar.guard import MapBusyError
from meta1g.smar.limits import TURN_S, TURNS_MAX

#: The steps of long work; a step that gives an error could not be taken because a map is busy, and is taken again.
Steps = Generator[MapBusyError | None, None, None]
Work = Callable[[], Steps | None]
_OnFailure = Callable[[Exception], object]

_monotonic: Final = time.monotonic
_STEPS_BETWEEN_LOOKS: Final = 16


def advance(steps: Steps, until_s: float) -> MapBusyError | bool:
    """Takes steps until a time.

    Returns:
        Whether there are more; the error if a map is busy.
    """
    while True:
        for _ in range(_STEPS_BETWEEN_LOOKS):
            try:
                busy = next(steps)
            except StopIteration:
                return False
            if busy is not None:
                return busy
        if _monotonic() >= until_s:
            return True


@dataclass(slots=True)
class _Piece:
    """Work that waits.  Owner: whoever took it out of its queue."""

    work: Work | None
    steps: Steps | None
    on_failure: _OnFailure


class Turns:
    """Gives turns to the work of a process.

    Args:
        evthr: the system it runs in.
        log: what fails is logged here.

    Locking: own lock LEAF; work runs without it.
    """

    def __init__(self, evthr: Evthr, log: Log) -> None:
        self._log = log
        self._lock = Lock(LockRank.LEAF, "turns")
        self._queues: OrderedDict[object, deque[_Piece]] = OrderedDict()
        self._count = 0
        self._used_s = 0.0  # time used at once; idle time pays it back
        self._ended_s = 0.0
        self._task = evthr.task_new(self._turn, events=Ev.NONE, name="turns")

    def run(self, source: object, work: Work, on_failure: _OnFailure) -> None:
        """Runs work, now or in its turn.

        Args:
            source: whose work it is; sources have turns of the same length.
            work: a function; what it gives is the rest of the work.
            on_failure: called with the error if it fails.

        Raises:
            FullError: too much waits.
        """
        start = _monotonic()
        self._used_s = max(0.0, self._used_s - (start - self._ended_s))
        if self._used_s < TURN_S and source not in self._queues:
            self._piece(_Piece(work, None, on_failure), start + TURN_S)
            self._ended_s = end = _monotonic()
            self._used_s += end - start
        else:
            self._ended_s = start
            self._enqueue(source, _Piece(work, None, on_failure))

    def later(self, steps: Steps, on_failure: _OnFailure) -> None:
        """Takes the steps of long work in turns of its own."""
        self._enqueue(steps, _Piece(None, steps, on_failure))

    def waiting(self) -> int:
        """Gives the number of pieces that wait."""
        return self._count

    def _enqueue(self, source: object, piece: _Piece) -> None:
        with self._lock:
            if self._count >= TURNS_MAX:
                raise FullError(Module.SMAR, "too much waits for its turn")
            self._count += 1
            self._queues.setdefault(source, deque()).append(piece)
            if self._count == 1:
                self._task.sleep_until(_monotonic())

    def _piece(self, piece: _Piece, until_s: float) -> None:
        """Runs a piece; the rest of a long one waits for a turn of its own."""
        with failure.item(self._log, "smar.turn", piece.on_failure):
            steps = piece.steps
            if piece.work is not None:
                steps = piece.work()
            if steps is not None and advance(steps, until_s):
                self.later(steps, piece.on_failure)

    def _take(self, source: object) -> _Piece | None:
        with self._lock:
            queue = self._queues.get(source)
            if not queue:
                return None
            self._count -= 1
            piece = queue.popleft()
            if not queue:
                del self._queues[source]
            return piece

    def _turn(self, task: Task) -> Result:
        """Gives one source its turn; the next one has its turn after the poll."""
        with self._lock:
            source = next(iter(self._queues), None)
            if source is not None:
                self._queues.move_to_end(source)
        until_s = _monotonic() + TURN_S
        while _monotonic() < until_s and (piece := self._take(source)) is not None:
            self._piece(piece, until_s)
        with self._lock:
            task.sleep_until(_monotonic() if self._count else None)
        return Result.SLPQ
