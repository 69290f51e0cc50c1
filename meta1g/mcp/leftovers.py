"""What an mcp leaves behind that was killed: its lock goes with it, its children notice its end and stop.

The next mcp waits for them, so that it finds free sockets and queues, and kills those that do not stop in time.

Invariant: there is one mcp for a queue directory, the holder of the lock.

Owner: the process.
Ref: our choice; flock(2), pidfd_open(2).
"""

import contextlib
import fcntl
import os
import select
import signal
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from meta1g.base.cli import CliError
from meta1g.base.clock import Clock
from meta1g.base.sysexits import EX_UNAVAILABLE
from meta1g.mcp.limits import LEFTOVERS_GRACE_S, LEFTOVERS_KILLED_S

_LOCK: Final = "mcp/lock"
_CHILDREN: Final = "mcp/children"
#: Field 22 of /proc/PID/stat counts from 1; the fields after the name begin with number 3.
_START_FIELD: Final = 22 - 3


@dataclass(frozen=True, slots=True)
class Process:
    """A process that is not mistaken for a later one of the same id: the kernel's start time tells.  Immutable."""

    pid: int
    start: str

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return start_time(self.pid) == self.start


def start_time(pid: int) -> str:
    """Gives the start time of a process in the kernel's ticks, empty if it does not run (any more)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in ("Z", "X") else fields[_START_FIELD]


class Lock:
    """The lock on a queue directory, held as long as the process lives.

    Args:
        queue: the queue directory.

    Raises:
        CliError: another mcp holds it.

    Owner: the process.
    """

    def __init__(self, queue: Path) -> None:
        path = queue / _LOCK
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = os.read(self._fd, 32).decode("ascii", "replace").strip()
            os.close(self._fd)
            text = f"{queue}: mcp with process id {pid or 'unknown'} serves it already; stop that one first"
            raise CliError(text, EX_UNAVAILABLE) from None
        os.ftruncate(self._fd, 0)
        os.write(self._fd, f"{os.getpid()}\n".encode())

    def release(self) -> None:
        """Gives the lock back."""
        os.close(self._fd)


def remember(queue: Path, pids: Iterable[int]) -> None:
    """Writes down the children for the next mcp."""
    lines = "".join(f"{pid} {start}\n" for pid in pids if (start := start_time(pid)))
    fresh = queue / f"{_CHILDREN}.new"
    fresh.write_text(lines)
    fresh.replace(queue / _CHILDREN)


def left_over(queue: Path) -> list[Process]:
    """Gives the children of an earlier mcp that still run."""
    try:
        text = (queue / _CHILDREN).read_text()
    except FileNotFoundError:
        return []
    found = [Process(int(words[0]), words[1]) for line in text.splitlines() if len(words := line.split()) == 2]
    return [process for process in found if process.alive]


def wait_for_end(processes: Iterable[Process], clock: Clock) -> list[Process]:
    """Waits until processes have ended; after LEFTOVERS_GRACE_S they are killed.

    Returns:
        Those that had to be killed.
    """
    end_s = clock.monotonic() + LEFTOVERS_GRACE_S
    killed = [process for process in processes if not _wait(process, end_s - clock.monotonic())]
    for process in killed:
        with contextlib.suppress(ProcessLookupError):
            if process.alive:
                os.kill(process.pid, signal.SIGKILL)
        _wait(process, LEFTOVERS_KILLED_S)
    return killed


def _wait(process: Process, timeout_s: float) -> bool:
    """Waits for the end of one process; tells whether it came."""
    try:
        fd = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return True
    try:
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        return not process.alive or bool(poll.poll(max(timeout_s, 0.0) * 1000))
    finally:
        os.close(fd)
