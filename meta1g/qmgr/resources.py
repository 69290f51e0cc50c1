"""Load control: how much of each resource is used, and how many sessions SMTPS may serve because of it.

Each resource has a use of 0 to 100.  Free disk has two thresholds, so that the control does not flap: below the lower
one no mail is taken, and again only above the upper one.

Owner: the clean-up task.
Ref: MeTA1 design, "Implementation: QMGR, resource usage and throttling" (modelled on).
"""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from meta1g.base.dataclass import dataclass
from meta1g.base.log import Log

_FULL = 100


@dataclass(frozen=True, slots=True)
class Allowance:
    """What the load control decides: percent of their sessions that SMTPS may serve, and why."""

    percent: int
    reason: str = ""


def decide(usage: Mapping[str, int]) -> Allowance:
    """Decides from the use of all resources: a full one stops new mail.

    Args:
        usage: resource to its use, 0 to 100.
    """
    for resource, used in usage.items():
        if used >= _FULL:
            return Allowance(0, f"Insufficient resources ({resource}), try again later")
    return Allowance(_FULL)


class DiskWatch:
    """Free space of one file system, with two thresholds.

    Args:
        path: a directory of it.
        min_free_bytes: below it the use is 100.
        ok_free_bytes: above it the use is below 100 again.

    Owner: the clean-up task.
    """

    __slots__ = ("_full", "_min_free", "_ok_free", "free_bytes", "path")

    def __init__(self, path: Path, min_free_bytes: int, ok_free_bytes: int) -> None:
        self.path = path
        self._min_free = min_free_bytes
        self._ok_free = max(ok_free_bytes, min_free_bytes)
        self._full = False
        self.free_bytes = 0

    def set_bounds(self, min_free_bytes: int, ok_free_bytes: int) -> None:
        """Changes the two thresholds."""
        self._min_free, self._ok_free = min_free_bytes, max(ok_free_bytes, min_free_bytes)

    def usage_percent(self) -> int:
        """Looks at the disk; gives 0 (plenty) to 100 (no mail).  Blocks: no (one system call)."""
        status = os.statvfs(self.path)
        self.free_bytes = status.f_bavail * status.f_frsize
        self._full = self.free_bytes < (self._ok_free if self._full else self._min_free)
        if self._full:
            return _FULL
        return min(_FULL - 1, self._min_free * _FULL // max(1, self.free_bytes))


class Resources:
    """All resources.

    Args:
        disks: file systems of the stores, by resource name.
        gauges: functions that give the use of other resources; these are shown, and only a full one throttles.
        throttle: called with the verdict.
        log: the log.

    Owner: the clean-up task.
    """

    def __init__(
        self,
        disks: Mapping[str, DiskWatch],
        gauges: Mapping[str, Callable[[], int]],
        throttle: Callable[[int, str], None],
        log: Log,
    ) -> None:
        self._disks = disks
        self._gauges = gauges
        self._throttle = throttle
        self._log = log
        self.usage: dict[str, int] = {}

    def names(self) -> Sequence[str]:
        """Gives the names of all resources."""
        return (*self._disks, *self._gauges)

    def look(self) -> Allowance:
        """Measures everything and tells SMTPS."""
        usage = {}
        for name, disk in self._disks.items():
            try:
                usage[name] = disk.usage_percent()
            except OSError as error:
                self._log.error("qmgr.disk", str(error), resource=name, path=str(disk.path))
                usage[name] = _FULL
        usage.update({name: gauge() for name, gauge in self._gauges.items()})
        self.usage = usage
        verdict = decide(usage)
        self._throttle(verdict.percent, verdict.reason)
        return verdict

    def set_bounds(self, min_free_bytes: int, ok_free_bytes: int) -> None:
        """Changes the thresholds of all disks."""
        for disk in self._disks.values():
            disk.set_bounds(min_free_bytes, ok_free_bytes)

    def free_bytes(self) -> dict[str, int]:
        """Gives the free space of each file system."""
        return {name: disk.free_bytes for name, disk in self._disks.items()}
