"""Orders of the operator that stand: drain and stop hold until `resume`, changed limits until they are taken back.

They outlast the process: mcp starts a qmgr that has crashed within a second, and in the middle of an incident nothing may be
delivered then that was stopped.  What stands since an earlier process is told in the log at the start, and in the status.  A
limit for which meta1.conf says something else by now is that of meta1.conf: who edits the file means it.

A file that is damaged goes to lost+found, and nothing stands.  Orders hold before they are kept: one that cannot be written
holds as long as this process, and whoever gave it is told.

Locking: none; what stands is replaced by single operations, the file belongs to its pool.
Ref: db/orderfile.py; docs/operating.md (drain, stop, limits).
"""

from collections.abc import Callable
from functools import partial
from typing import Any
from zlib import crc32

from meta1g.base.clock import rfc3339
from meta1g.base.errors import FullError
from meta1g.db.lostfound import LostFound
from meta1g.db.orderfile import OrderFile, StandingOrders, decode
from meta1g.pt.workers import Workers
from meta1g.qmgr.env import Env
from meta1g.qmgr.mode import NORMAL, OperatingMode
from meta1g.qmgr.tuning import Tuning

#: Told when the file has been written: why it could not be, empty if it was.
OnKept = Callable[[str], object]


class Standing:
    """What stands.

    Args:
        env: surroundings.
        mode: drain, stop.
        tuning: limits.
        file: where it is kept.
        lost: takes a file that is damaged.
        workers: a pool with one thread, for the disk.

    Attributes:
        failing: why the file could not be written, empty if it was.
    """

    def __init__(
        self, env: Env, mode: OperatingMode, tuning: Tuning, file: OrderFile, lost: LostFound, workers: Workers
    ) -> None:
        self.failing = ""
        self._mode = mode
        self._tuning = tuning
        self._file = file
        self._lost = lost
        self._workers = workers
        self._log = env.log

    def restore(self) -> None:
        """Takes up what stood when the last process ended.  Blocks: yes (disk); before the first connection."""
        orders = self._read()
        if orders is None:
            return
        if orders.mode != NORMAL:
            self._tell(f"{orders.mode} still holds by order of the operator; see qmgrctl resume", orders.since)
            self._mode.set(orders.mode, orders.since)
        for name, one in self._tuning.restore(orders.limits).items():
            self._tell(f"limit {name}: {one.value} still holds by order of the operator; see qmgrctl limits", one.since)
        for name in orders.limits.keys() - self._tuning.orders().keys():
            self._log.notice("qmgr.standing_over", f"limit {name} is that of meta1.conf again: it was changed there meanwhile")
        if self._now() != orders:
            self.keep(lambda error: None)

    def _tell(self, text: str, since: float) -> None:
        self._log.warn("qmgr.standing", f"{text} (since {rfc3339(since)})")

    def _read(self) -> StandingOrders | None:
        data: bytes | None = None
        try:
            data = self._file.read()
            orders = None if data is None else decode(data)
            if orders is not None and not self._mode.knows(orders.mode):
                raise ValueError(f"there is no mode {orders.mode!r}")
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else str(error)
            self._log.error("qmgr.damaged", f"standing orders: {why}; {self._set_aside(data)}", path=str(self._file.path))
            return None
        return orders

    def _set_aside(self, data: bytes | None) -> str:
        """Puts a file that is damaged out of the way; says what became of it."""
        told = "drain and stop and changed limits do not hold any more: give them again"
        try:
            if data is not None:
                kept = self._lost.keep(f"orders-{crc32(data):08X}", data)
                self._file.write(None)
                told = f"set aside as {kept}; {told}"
        except OSError as error:
            told = f"it cannot be set aside: {error.strerror}; {told}"
        return told

    def _now(self) -> StandingOrders | None:
        """Gives what stands; None if nothing does."""
        (name, since), limits = self._mode.order, self._tuning.orders()
        return StandingOrders(name, since, limits) if name != NORMAL or limits else None

    def status(self) -> dict[str, Any]:
        """Gives what the status tells of it."""
        name, since = self._mode.order
        return {"mode": name, "mode_since": since, "limits_changed": sorted(self._tuning.orders())}

    def keep(self, kept: OnKept) -> None:
        """Lets what stands be written.

        Args:
            kept: called when it is on stable storage, or cannot be; perhaps before this returns.
        """
        try:
            self._workers.submit(self._write, partial(self._written, kept))
        except FullError as error:
            self._written(kept, None, error)

    def _write(self) -> None:
        self._file.write(self._now())

    def _written(self, kept: OnKept, result: None, error: Exception | None) -> None:
        why = "" if error is None else error.strerror if isinstance(error, OSError) else str(error)
        self.failing = why or ""
        if why:
            self._log.error(
                "qmgr.standing_file",
                f"orders of the operator cannot be kept: {why}; they end with this process",
                path=str(self._file.path),
            )
        kept(self.failing)

    def close(self) -> None:
        """Writes what waits.  Blocks: yes (disk)."""
        self._workers.close()
