"""Companions: recipients of one transaction for one destination travel together, though each is resolved on its own.

    resolved ─> others of the transaction are still asked for? ── no ──> ready
                       │ yes
                       v
                   gathering ── all are answered, a delivery is full, or GATHER_S are over ──> ready

So a message for several recipients of one host is sent to it once (RFC 5321 4.1.1.3 allows 100 at least), and a look-up that
hangs holds up nobody for longer than that.  A recipient that has no companion does not come here.

Invariant: a recipient stands in a group if and only if its state is GATHERING.

Locking: caller holds AQ.
Ref: MeTA1 design, "Implementation: QMGR, scheduler" (one transaction for several recipients, modelled on).
"""

from collections import OrderedDict

from meta1g.db.aq_types import AqRcpt, AqTa, DestKey
from meta1g.pt.task import Ev, Result, Task
from meta1g.qmgr.active import Active
from meta1g.qmgr.env import Env
from meta1g.qmgr.limits import GATHER_S, SLICE
from meta1g.qmgr.rcpt_fsm import Event, step


class _Group:
    """The recipients of one transaction that wait, by destination.  Locking: caller holds AQ."""

    __slots__ = ("dests", "until_s")

    def __init__(self, until_s: float) -> None:
        self.until_s = until_s
        self.dests: dict[DestKey, dict[int, AqRcpt]] = {}


class Gather:
    """Lets recipients wait for their companions.

    Args:
        env: surroundings.
        active: where they wait for their delivery then.

    Locking: caller holds AQ.
    """

    def __init__(self, env: Env, active: Active) -> None:
        self._active = active
        self._clock = env.clock
        self._settings = env.settings
        self._groups: OrderedDict[AqTa, _Group] = OrderedDict()  # the one that has to leave first comes first
        self._task = env.evthr.task_new(self._run, events=Ev.NONE, name="gather")
        self._timed = False

    def resolved(self, rcpt: AqRcpt) -> None:
        """Lets a recipient (state SENT_TO_AR) wait for its delivery, if need be after its companions have come."""
        ta = rcpt.ta
        if (ta.unresolved == 1 and ta not in self._groups) or rcpt.record.failed:  # a report travels alone
            step(rcpt, Event.RESOLVED)
            self._active.wait((rcpt,))
            self.answered(ta)
            return
        step(rcpt, Event.GATHER)
        group = self._groups.get(ta)
        if group is None:
            group = self._groups[ta] = _Group(self._clock.monotonic() + GATHER_S)
            self._time()
        companions = group.dests.setdefault(rcpt.dest, {})
        companions[rcpt.record.rcpt_idx] = rcpt
        if len(companions) >= self._settings.max_rcpts_per_transaction:
            self._leave(ta, group, rcpt.dest)
        self.answered(ta)

    def answered(self, ta: AqTa) -> None:
        """Notes that a recipient is not waited for any more: it may have been the last one."""
        if ta.unresolved:
            return
        self._active.copies.forget(ta)
        if ta in self._groups and not self._leave_all(ta, SLICE):
            self._groups[ta].until_s = 0.0
            self._groups.move_to_end(ta, last=False)
            self._task.wakeup()

    def remove(self, rcpt: AqRcpt) -> None:
        """Takes a recipient (state GATHERING) out: the operator wants it to end."""
        group = self._groups[rcpt.ta]
        del group.dests[rcpt.dest][rcpt.record.rcpt_idx]
        if not group.dests[rcpt.dest]:
            self._drop(rcpt.ta, group, rcpt.dest)

    def _leave_all(self, ta: AqTa, limit: int) -> bool:
        """Makes recipients of a transaction ready, so many or a few more; tells whether none is left."""
        group = self._groups[ta]
        while group.dests and limit > 0:
            limit -= self._leave(ta, group, next(iter(group.dests)))
        return not group.dests

    def _leave(self, ta: AqTa, group: _Group, dest: DestKey) -> int:
        """Makes those for one destination ready: no more than one delivery can carry."""
        companions = self._drop(ta, group, dest)
        for rcpt in companions.values():
            step(rcpt, Event.RESOLVED)
        self._active.wait(companions.values())
        return len(companions)

    def _drop(self, ta: AqTa, group: _Group, dest: DestKey) -> dict[int, AqRcpt]:
        companions = group.dests.pop(dest)
        if not group.dests:
            del self._groups[ta]
        return companions

    # -- the time is over ----------------------------------------------------------------------------------------------

    def _time(self) -> None:
        """Sets the timer for the group that has to leave first, unless it is set."""
        if not self._timed:
            self._timed = True
            self._task.sleep_for(GATHER_S)

    def _run(self, task: Task) -> Result:
        """Lets one group go whose time is over, or a part of it; the others have their turns next (invariant I10)."""
        with self._active.lock:
            self._timed = False
            now_s = self._clock.monotonic()
            ta, group = next(iter(self._groups.items()), (None, None))
            if ta is not None and group is not None and group.until_s <= now_s:
                self._leave_all(ta, SLICE)
            soonest = next(iter(self._groups.values()), None)
            if soonest is not None:
                self._timed = True
                task.sleep_for(max(0.0, soonest.until_s - now_s))
        return Result.SLPQ
