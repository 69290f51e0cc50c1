"""The threads of the event-thread system: who is idle, who stands by, when a thread comes or goes.

One thread runs ready tasks and polls by turns, so that the hot path needs no thread switch.  A stand-by thread (the
deputy) looks now and then whether that thread is stuck in a task, and then takes over; a task that is going to block
says so and hands over at once.

Invariant: while a task can be run or a poll is due, some thread that is not blocked sees it within a tick, as long as
the hard limit leaves one.

Locking: caller holds the lock of the system, except where a docstring says otherwise.
Ref: MeTA1 design, "Implementation: Event threads" (controller role, evthr_max_s, evthr_max_h modelled on).
"""

import threading

from meta1g.pt.batch import Flushable
from meta1g.pt.board import Board
from meta1g.pt.limits import WATCH_QUIET_TICKS, WATCH_TICK_S
from meta1g.pt.task import Task


class Worker:
    """One thread of the crew.

    Args:
        permanent: it is the caller of loop(), which never leaves before the end.

    Owner: its thread; gate is released by whoever wakes it.
    """

    __slots__ = ("batch", "gate", "permanent", "poll_until", "runs", "task")

    def __init__(self, batch: list[Flushable], *, permanent: bool) -> None:
        self.gate = threading.Lock()
        self.gate.acquire()
        self.permanent = permanent
        self.poll_until = 0.0
        self.runs = 0  # tasks run since the last poll or flush
        self.batch = batch
        self.task: Task | None = None  # what it runs, for the log

    def forget_token(self) -> None:
        """Takes back a wake-up that came after the thread had been woken already; it would spoil the next wait."""
        self.gate.acquire(blocking=False)


class Crew:
    """Counts and parks the threads.

    Args:
        lock: the lock of the system.
        board: the books; tells whether anything goes on.
        soft: idle threads beyond this number leave.
        hard: no more threads than this.

    Locking: caller holds the lock of the system.
    """

    __slots__ = ("_board", "_deputy", "_hard", "_idle", "_lock", "_soft", "_watching", "closing", "count")

    def __init__(self, lock: threading.Lock, board: Board, soft: int, hard: int) -> None:
        self._lock = lock
        self._board = board
        self._soft = soft
        self._hard = hard
        self._idle: list[Worker] = []
        self._deputy: Worker | None = None
        self._watching = False
        self.count = 0
        self.closing = False

    @property
    def idle(self) -> int:
        """Number of parked threads."""
        return len(self._idle) + (self._deputy is not None)

    # Methods that return bool here tell whether the caller has to start a thread, which is then counted already.

    def call_up(self) -> bool:
        """Wakes a parked thread to run tasks, the deputy last; then a new deputy is needed."""
        had_deputy = self._deputy is not None
        if self.wake_one():
            return had_deputy and self.appoint()
        return self._one_more(self._hard)

    def help_out(self) -> bool:
        """Wakes an idle thread to share the work; new threads come up to the soft limit only."""
        if self._idle:
            self._idle.pop().gate.release()
            return False
        return self._one_more(self._soft)

    def appoint(self) -> bool:
        """Makes a deputy of an idle or a new thread, if there is none."""
        if self._deputy is not None:
            return False
        if self._idle:
            self._deputy = self._idle.pop()
            self._watching = True
            self._deputy.gate.release()
            return False
        return self._one_more(self._hard)

    def _one_more(self, limit: int) -> bool:
        if self.closing or self.count >= limit:
            return False
        self.count += 1
        return True

    def not_started(self) -> None:
        """Takes back the count of a thread that the system did not give."""
        self.count -= 1

    def is_deputy(self, me: Worker) -> bool:
        """Tells whether the thread is the deputy."""
        return self._deputy is me

    def wake_one(self) -> bool:
        """Wakes a parked thread, the deputy last; tells whether there was one."""
        if self._idle:
            self._idle.pop().gate.release()
            return True
        if self._deputy is not None:
            deputy, self._deputy = self._deputy, None
            if deputy.gate.locked():  # otherwise a nudge is on its way
                deputy.gate.release()
            return True
        return False

    def wake_all(self) -> None:
        """Wakes all parked threads."""
        while self.wake_one():
            pass

    def nudge(self) -> None:
        """Makes the deputy watch again, after a quiet time in which it slept."""
        if not self._watching and self._deputy is not None:
            self._watching = True
            if self._deputy.gate.locked():
                self._deputy.gate.release()

    def surplus(self, me: Worker) -> bool:
        """Tells whether an idle thread should leave; it is then no longer counted."""
        if me.permanent or self.count <= self._soft or not self.idle:
            return False
        self.count -= 1
        return True

    def thin_out(self, me: Worker) -> bool:
        """Sends a thread too many home before a thread without work polls; else nobody would leave who parked too early.

        Returns:
            True if it is the caller: it is then no longer counted, and a parked thread polls in its place.
        """
        if self.count <= self._soft or not self._idle:
            return False
        self._idle.pop().gate.release()
        if me.permanent:
            return False  # the other finds nothing to do, and leaves
        self.count -= 1
        return True

    def enlist(self, me: Worker) -> bool:
        """Enters a thread that is about to park; tells whether it is the deputy."""
        if self._deputy is None:
            self._deputy = me
            self._watching = True
            return True
        self._idle.append(me)
        return False

    def watch(self, me: Worker) -> bool:
        """Parks the deputy until it is woken or has to take over.

        Returns:
            True if it takes over from a stuck thread: appoint() a new deputy then.

        Blocks: yes.  Locking: caller does not hold the lock.
        """
        quiet = 0
        turns = -1
        while True:
            woken = me.gate.acquire(timeout=WATCH_TICK_S if quiet < WATCH_QUIET_TICKS else -1)
            with self._lock:
                if self._deputy is not me:
                    me.forget_token()
                    return False
                same = self._board.turns == turns and not woken
                if same and not self._board.polling:
                    self._deputy = None
                    me.forget_token()
                    return True
                quiet = quiet + 1 if same else 0
                turns = self._board.turns
                self._watching = quiet < WATCH_QUIET_TICKS
