"""The way into AQ, and what waits there: for the resolver, for a delivery, in the window onto DEFEDB.

    enter ─> to be resolved ─> ready in a destination queue ─> delivery ─> delivered | deferred | failed ─> leave
    active   resolve.py        gather.py, active               sched.py    update.py, bounces.py           storing.py

Invariants: what is made here (members, reports) enters AQ if there is room for all of it, and waits in DEFEDB otherwise
(I4, I11); no call works on more than a slice of recipients (I10).

Locking: own lock AQ (`lock`), held by the caller where a docstring says so.
Ref: MeTA1 design, "Implementation: AQ" (modelled on).
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from meta1g.base.errors import BugError, Module
from meta1g.base.ids import TaId
from meta1g.db.aq import Aq
from meta1g.db.aq_types import AqRcpt, Home
from meta1g.db.aqrdq import DestQueues
from meta1g.db.edbc import Edbc
from meta1g.pt.lock import Lock, LockRank
from meta1g.pt.task import Task
from meta1g.qmgr import limits, retry
from meta1g.qmgr.commit import Commit
from meta1g.qmgr.copies import Copies
from meta1g.qmgr.defer import Change, Defer
from meta1g.qmgr.env import Env
from meta1g.qmgr.questions import Unasked
from meta1g.rcb.envelope import RcptRecord, TaRecord


class Bell:
    """Wakes the task that works on something, whoever that is.

    Owner: the process (answered before the first thread).
    """

    __slots__ = ("_task",)

    def __init__(self) -> None:
        self._task: Task | None = None

    def answer(self, task: Task) -> None:
        """Lets a task come when it is rung.

        Raises:
            BugError: another one comes already.
        """
        if self._task is not None:
            raise BugError(Module.QMGR, "two tasks answer one bell")
        self._task = task

    def ring(self) -> None:
        """Wakes the task; without one, what waits is found by whoever looks."""
        if self._task is not None:
            self._task.wakeup()


class Active:
    """What is in AQ and waits.

    Args:
        env: surroundings.
        aq: the active queue.
        edbc: window onto DEFEDB.
        commit: writer of IBDB.
        defer: writer of DEFEDB.

    Attributes:
        lock: the lock AQ.
        queues: destination queues.
        unresolved: recipients that the resolver is to be asked for; `to_resolve` is rung when some are added.
        ready: rung when a recipient waits for a delivery.
        copies: who gets a copy, in transactions whose aliases are being expanded.

    Locking: own lock AQ.
    """

    def __init__(self, env: Env, aq: Aq, edbc: Edbc, commit: Commit, defer: Defer) -> None:
        self.aq = aq
        self.edbc = edbc
        self.commit = commit
        self.defer = defer
        self.lock = Lock(LockRank.AQ)
        self.queues = DestQueues()
        self.unresolved = Unasked()
        self.to_resolve = Bell()
        self.ready = Bell()
        self.copies = Copies(self.lock, defer)
        self._clock = env.clock

    @property
    def overloaded(self) -> bool:
        """Whether the stores behind AQ take no more new mail (invariant I4)."""
        return self.defer.full or self.commit.full

    def enter(self, ta: TaRecord, rcpts: Sequence[RcptRecord], home: Home) -> None:
        """Enters recipients; those that are here already stay as they are.  Caller holds AQ.

        New mail leaves half of the share of its destination to older mail that waits in DEFEDB, so that it does not starve.

        Raises:
            FullError: they do not fit.
        """
        fresh = self.aq.add_ta(ta, rcpts, home, self.edbc.lanes if home is Home.IBDB else ())
        if fresh and home is Home.DEFEDB:
            fresh[0].ta.in_defedb = True
        self.resolve(fresh)

    def overflow(self, ta: TaRecord, rcpts: Sequence[RcptRecord]) -> None:
        """Hands a transaction from IBDB to DEFEDB, since AQ has no room for it.  Takes AQ later, in slices."""
        now = retry.as_stored(self._clock.now())
        records = tuple(replace(rcpt, next_try=now) for rcpt in rcpts)

        def stored(gone: bool) -> None:
            for first in range(0, len(records), limits.SLICE):
                with self.lock:
                    self.into_window(records[first : first + limits.SLICE])
            self.commit.ta_done(ta.ta_id, None)

        self.defer.add(Change(ta=ta, put=records, stored=stored))

    def hold(self, ta: TaRecord, rcpts: Sequence[RcptRecord]) -> None:
        """Hands a transaction from IBDB to DEFEDB, where it waits for the operator."""
        self.defer.add(Change(ta=ta, put=tuple(rcpts), stored=lambda _gone: self.commit.ta_done(ta.ta_id, None)))

    def into_window(self, records: Iterable[RcptRecord]) -> None:
        """Lets the feeder bring recipients of DEFEDB when their time has come.  Caller holds AQ."""
        for record in records:
            self.edbc.add((retry.as_stored(record.next_try), TaId(record.ta_id), record.rcpt_idx))

    def resolve(self, rcpts: Iterable[AqRcpt]) -> None:
        """Lets recipients (state NEW) wait for the resolver.  Caller holds AQ."""
        before = len(self.unresolved)
        self.unresolved.extend(rcpts)
        if len(self.unresolved) > before:
            self.to_resolve.ring()

    def wait(self, rcpts: Iterable[AqRcpt]) -> None:
        """Lets recipients (state READY) wait for a delivery to their destination.  Caller holds AQ."""
        for rcpt in rcpts:
            self.queues.add(rcpt)
        self.ready.ring()
