"""Periodic work: idle sessions, old IBDB files, checkpoints of DEFEDB, orphaned content files, load control.

Owner: its task.
Ref: MeTA1 design, "Implementation: QMGR, cleanup" (modelled on).
"""

from collections import deque
from collections.abc import Callable, Iterable
from typing import Final

from meta1g.base import failure
from meta1g.base.dataclass import dataclass
from meta1g.pt.task import Ev, Result, Task
from meta1g.qmgr.commit import Commit
from meta1g.qmgr.env import Env
from meta1g.qmgr.limits import CLEANUP_S, IBDB_FILES_MAX
from meta1g.qmgr.storing import Storing

#: Transactions that are moved out of IBDB in one turn, and the pause between two turns, seconds.
_MOVE_TURN: Final = 100
_MOVE_PAUSE_S: Final = 0.02


@dataclass(slots=True)
class Chore:
    """Something that is done now and then.

    Args:
        every_s: how often, seconds.
        function: does it; must not block.
        next_s: monotonic time of the next time.

    Owner: the clean-up task.
    """

    every_s: float
    function: Callable[[], object]
    next_s: float = 0.0


class Cleanup:
    """The chores of QMGR.

    Args:
        env: surroundings.
        storing: moves transactions to DEFEDB.
        commit: writer of IBDB.
        chores: what else there is to do.

    Owner: its task.
    """

    def __init__(self, env: Env, storing: Storing, commit: Commit, chores: Iterable[Chore]) -> None:
        self._storing = storing
        self._commit = commit
        self._clock = env.clock
        self._log = env.log
        self._moving: deque[str] = deque()
        self._chores = [
            *chores,
            Chore(CLEANUP_S, self._empty_oldest_file),
            Chore(CLEANUP_S, self._leave_harmed_files),
        ]
        self._task = env.evthr.task_new(self._run, events=Ev.NONE, run=True, name="cleanup")

    def _run(self, task: Task) -> Result:
        now_s = self._clock.monotonic()
        for chore in self._chores:
            if chore.next_s <= now_s:
                chore.next_s = now_s + chore.every_s
                failure.steps(self._log, "qmgr.cleanup", chore.function)
        self._move_some()
        task.sleep_for(_MOVE_PAUSE_S if self._moving else CLEANUP_S)
        return Result.SLPQ

    def _empty_oldest_file(self) -> None:
        """Lets DEFEDB keep what has been in IBDB for long, so that its oldest file can go."""
        if self._commit.file_count > IBDB_FILES_MAX and not self._moving:
            self._moving.extend(self._commit.open_in_oldest())

    def _move_some(self) -> None:
        """Moves some of the transactions that are to leave IBDB: the next ones come after a pause (invariant I10)."""
        some = [self._moving.popleft() for _ in range(min(_MOVE_TURN, len(self._moving)))]
        moved = sum(self._storing.move_to_defedb(ta_id) for ta_id in some)
        if moved:
            self._log.info("qmgr.ibdb_moved", "moved to DEFEDB", count=moved)

    def _leave_harmed_files(self) -> None:
        """Lets DEFEDB keep what was in an IBDB file that somebody removed, replaced or cut: a crash would lose it."""
        for path, ta_ids in self._commit.harmed().items():
            self._log.error(
                "qmgr.ibdb",
                "removed, replaced or cut by somebody; what is in it moves to DEFEDB",
                path=str(path),
                count=len(ta_ids),
            )
            self._moving.extend(ta_ids)
