"""Changes of DEFEDB: collected, then stored by one thread in Berkeley DB transactions of many changes.

A change says what to put, what to remove, and whom to tell when it is durable.  Only the thread of `workers` touches
DEFEDB; what others want to know of it they ask by ask(), and by scan() if that may take long: the thread never works on one
thing for longer than a bounded turn (invariant I10).

What fails: a shortage passes, everything waits and is tried again.  A change that cannot be stored for a reason of its own
is given up; the others go on.  Anything else ends the process (docs/failures.md).

Locking: own lock DEFEDB for the list of changes.
Ref: MeTA1 design, "Implementation: DEFEDB, request lists" (modelled on).
"""

from collections.abc import Callable, Generator, Sequence
from dataclasses import field, replace
from functools import partial
from time import sleep
from typing import Any, TypeVar

from meta1g.base import failure
from meta1g.base.dataclass import dataclass
from meta1g.base.errors import BugError, FullError, Meta1Error, Module, PermError, TempError
from meta1g.base.ids import ID_LENGTH, TaId
from meta1g.db.defedb import DefeDb
from meta1g.pt.lock import Lock, LockRank
from meta1g.pt.task import Ev, Result, Task
from meta1g.pt.workers import Workers
from meta1g.qmgr.env import Env
from meta1g.qmgr.limits import (
    BREATH_AFTER_S,
    BREATH_S,
    DEFER_BATCH_MAX,
    DEFER_PENDING_MAX,
    DEFER_TRIES_MAX,
    SLICE_S,
)
from meta1g.rcb.envelope import HELD_UNTIL, RcptFlags, RcptRecord, TaRecord

T = TypeVar("T")
_RETRY_S = 1.0
_HELD_CHUNK = 1000
_BEFORE_HELD = (HELD_UNTIL - 1, TaId("S" + "0" * (ID_LENGTH - 1)), 0)
#: Work in small steps: it yields after each, and returns its result; a number is a pause, in seconds, that it waits for others.
ReadSteps = Generator[float | None, None, T]


def _nobody(gone: bool) -> None:
    """Is told of a change that nobody waits for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One change that is stored as a whole, or, if it is big, in parts: what is removed goes with the last ones.

    Args:
        ta: the transaction of put.
        put: recipients that DEFEDB is responsible for from now on.
        removed: recipients it is no longer responsible for.
        stored: called when the change is durable, in the DEFEDB thread, with no lock held; its argument tells whether
            DEFEDB has nothing of the transaction any more.
    """

    ta: TaRecord
    put: tuple[RcptRecord, ...] = ()
    removed: tuple[int, ...] = ()
    stored: Callable[[bool], None] = field(default=_nobody)

    @property
    def size(self) -> int:
        """How many recipients it concerns."""
        return len(self.put) + len(self.removed)

    def split(self, size: int) -> "tuple[Change, Change]":
        """Gives a part of so many recipients, and the rest; who waits hears of the rest."""
        put, removed = self.put[:size], self.removed[: max(0, size - len(self.put))]
        rest = replace(self, put=self.put[size:], removed=self.removed[len(removed) :])
        return replace(self, put=put, removed=removed, stored=_nobody), rest


class Defer:
    """The writer of DEFEDB.

    Args:
        env: surroundings.
        defedb: the store, open.
        workers: a pool of one thread.

    Attributes:
        count: recipients in DEFEDB.
        held: those of them that are held.
        failing: why changes cannot be stored now; empty if they can.

    Locking: own lock DEFEDB; all methods may be called with AQ held.
    """

    def __init__(self, env: Env, defedb: DefeDb, workers: Workers) -> None:
        self._defedb = defedb
        self._workers = workers
        self._evthr = env.evthr
        self._log = env.log
        self._clock = env.clock
        self._lock = Lock(LockRank.DEFEDB)
        self._changes: list[Change] = []
        self._taken: list[Change] = []  # owner: the DEFEDB thread
        self._alone = False  # changes are stored one by one, to find the one that cannot be
        self._tries = 0
        self._scheduled = False
        self.failing = ""
        self._timer = env.evthr.task_new(self._on_timer, events=Ev.NONE, name="defedb retry")
        self.count = defedb.count()
        self.held = 0
        self._counting = self._count_again = False
        self.count_held()

    @property
    def pending(self) -> int:
        """Number of changes that are not stored yet."""
        return len(self._changes)

    @property
    def full(self) -> bool:
        """Whether so many changes wait that no new mail should come in (invariant I4)."""
        return len(self._changes) >= DEFER_PENDING_MAX

    def add(self, change: Change) -> None:
        """Stores a change soon."""
        with self._lock:
            self._changes.append(change)
            if not self.failing:
                self._schedule()

    def _schedule(self) -> None:
        """Lets the thread store what waits, soon if there is none now; a closed pool leaves it to close().

        Caller holds the lock.
        """
        if self._changes and not self._scheduled:
            try:
                self._workers.submit(self._store, self._stored)
                self._scheduled = True
            except FullError:
                self._timer.sleep_for(_RETRY_S)

    # -- questions -----------------------------------------------------------------------------------------------------

    def ask(
        self,
        function: Callable[[DefeDb], T],
        on_done: Callable[[T], object],
        on_error: Callable[[Exception], object] | None = None,
    ) -> None:
        """Calls function with DEFEDB in its thread, then on_done with the result, in the same thread.

        If one of them fails, that is logged, and on_error is called: who asks owes an answer to somebody.

        Raises:
            FullError: too much waits for DEFEDB, or it is closed.
        """
        self._workers.submit(
            lambda: function(self._defedb), lambda result, error: self._answer(result, error, on_done, on_error)
        )

    def _answer(
        self,
        result: Any,
        error: Exception | None,
        on_done: Callable[[Any], object],
        on_error: Callable[[Exception], object] | None,
    ) -> None:
        if isinstance(error, Meta1Error | OSError) and not isinstance(error, BugError):
            self._log.error("qmgr.store", str(error))
            with failure.item(self._log, "qmgr.defedb"):
                if on_error is not None:
                    on_error(error)
            return
        with failure.item(self._log, "qmgr.defedb", on_error):
            if error is not None:
                raise error
            on_done(result)

    def scan(
        self,
        function: Callable[[DefeDb], ReadSteps[T]],
        on_done: Callable[[T], object],
        on_error: Callable[[Exception], object] | None = None,
    ) -> None:
        """Does long work in slices, between which everybody else has a turn.

        Args:
            function: makes the work with DEFEDB; each of its steps takes a few milliseconds.
            on_done: called with its result, in the DEFEDB thread.
            on_error: called if it fails, or if it can go on no more.

        Raises:
            FullError: too much waits for DEFEDB, or it is closed.
        """
        self._slice(function(self._defedb), on_done, on_error)

    def _slice(
        self, work: ReadSteps[T], on_done: Callable[[T], object], on_error: Callable[[Exception], object] | None
    ) -> None:
        def turn(db: DefeDb) -> tuple[T] | float:
            breath_s = self._clock.monotonic()
            end_s = breath_s + SLICE_S
            while True:
                try:
                    pause_s = next(work)
                except StopIteration as end:
                    return (end.value,)
                now_s = self._clock.monotonic()
                if pause_s or now_s >= end_s:
                    return pause_s or 0.0
                if now_s - breath_s >= BREATH_AFTER_S:
                    sleep(BREATH_S)
                    breath_s = self._clock.monotonic()

        def turned(result: tuple[T] | float) -> None:
            if isinstance(result, tuple):
                on_done(result[0])
            elif result:
                self._evthr.timer(result, resume, name="defedb pause")
            else:
                self._slice(work, on_done, on_error)

        def resume(task: Task) -> Result:
            with failure.item(self._log, "qmgr.defedb", on_error):
                self._slice(work, on_done, on_error)
            return Result.DEL

        self.ask(turn, turned, on_error)

    # -- the DEFEDB thread, in a question or a step ------------------------------------------------------------------------

    def store_now(self, db: DefeDb, put: Sequence[RcptRecord], removed: Sequence[tuple[TaId, int]] = ()) -> set[TaId]:
        """Changes recipients that are not in AQ, at once; no change of them can wait then.  Blocks: yes (disk).

        Args:
            db: DEFEDB.
            put: recipients that are there, changed.
            removed: recipients that go.

        Returns:
            The transactions that went with their last recipient.

        Raises:
            TempError: nothing was changed.
        """
        gone = db.store((), put, removed)
        self.count = db.count()
        return gone

    def count_held(self) -> None:
        """Counts the recipients that are held, soon: they are the last ones of the index."""

        def work(db: DefeDb) -> ReadSteps[int]:
            count, after = 0, _BEFORE_HELD
            while found := db.due(HELD_UNTIL, _HELD_CHUNK, after):
                count, after = count + len(found), found[-1]
                yield None
            return count

        def done(count: int) -> None:
            self.held, self._counting = count, False
            if self._count_again:
                self.count_held()

        def failed(error: Exception) -> None:
            self._counting = False

        if self._counting:
            self._count_again = True
            return
        self._counting, self._count_again = True, False
        try:
            self.scan(work, done, failed)
        except FullError:  # closed, or the next change counts
            self._counting = False

    def _on_timer(self, task: Task) -> Result:
        with self._lock:
            self.failing = ""
            self._schedule()
        return Result.SLPQ

    # -- the DEFEDB thread ---------------------------------------------------------------------------------------------

    def _next(self) -> list[Change]:
        """Gives the changes of the next Berkeley DB transaction; a big one is cut.  Caller holds the lock."""
        size, number = 0, 0
        while number < len(self._changes) and (number == 0 or not self._alone):
            size += self._changes[number].size
            if number and size > DEFER_BATCH_MAX:
                break
            number += 1
        first = self._changes[0] if self._changes else None
        if first is not None and first.size > DEFER_BATCH_MAX:
            self._changes[:1] = first.split(DEFER_BATCH_MAX)
            number = 1
        return self._changes[:number]

    def _store(self) -> tuple[list[Change], set[TaId]]:
        with self._lock:
            changes = self._taken = self._next()
        gone = self._defedb.store(
            {change.ta.ta_id: change.ta for change in changes if change.put}.values(),
            [rcpt for change in changes for rcpt in change.put],
            [(TaId(change.ta.ta_id), rcpt_idx) for change in changes for rcpt_idx in change.removed],
        )
        self.count = self._defedb.count()
        return changes, gone

    def _stored(self, result: tuple[list[Change], set[TaId]] | None, error: Exception | None) -> None:
        if isinstance(error, BugError):
            failure.end_process(self._log, "qmgr.defedb", error)
        with self._lock:
            self._scheduled = False
            if result is None:
                self._failed(error)
                return
            del self._changes[: len(result[0])]
            self._alone, self._tries = False, 0
            self._schedule()
        changes, gone = result
        failure.steps(self._log, "qmgr.stored", *(partial(change.stored, change.ta.ta_id in gone) for change in changes))
        if any(rcpt.flags & RcptFlags.HOLD for change in changes for rcpt in change.put) or (
            self.held and any(change.removed for change in changes)
        ):
            self.count_held()

    def _failed(self, error: Exception | None) -> None:
        """Tries again later, or gives up the one change that cannot be stored.  Caller holds the lock."""
        self._log.error("qmgr.store", f"cannot store: {error}", count=len(self._changes))
        own = isinstance(error, PermError) or not isinstance(error, Meta1Error | OSError)
        if own and len(self._taken) > 1:
            self._alone = True
            self._schedule()
            return
        self._tries += own
        if own and error is not None and self._tries >= DEFER_TRIES_MAX:
            lost = self._changes.pop(0)
            self._tries = 0
            failure.contained(self._log, "qmgr.defedb", error, ss_ta=lost.ta.ta_id)
            self._schedule()
            return
        self.failing = str(error)
        self._timer.sleep_for(_RETRY_S)

    def close(self) -> None:
        """Stores all that waits and closes the store.  Blocks: yes (disk).  Owner: the last thread of the process.

        Raises:
            TempError: it cannot be stored; IBDB still has what came from there.
        """
        self._workers.close()
        try:
            while self._changes:
                before = len(self._changes)
                self._stored(self._store(), None)
                if len(self._changes) > before:
                    raise TempError(Module.DEFEDB, f"{before} changes cannot be stored")
        finally:
            self._defedb.close()
