"""What an mcp leaves behind that was killed: its lock goes with it, its children notice its end and stop.

The next mcp waits for them, so that it finds free sockets and queues, and kills those that do not stop in time.

A copy of a queue directory names the children of the original.  So the file is only a hint: a process is a child of this
queue directory if its own environment says so, by device and inode of the directory.

Invariant: there is one mcp for a queue directory, the holder of the lock; no process but its children is ever ended.

Owner: the process.
Ref: our choice; flock(2), pidfd_open(2).
"""

import contextlib
import fcntl
import os
import select
import signal
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from meta1g.base import reach
from meta1g.base.cli import CliError
from meta1g.base.clock import Clock
from meta1g.base.dataclass import dataclass
from meta1g.base.sysexits import EX_CANTCREAT, EX_UNAVAILABLE
from meta1g.mcp.limits import LEFTOVERS_GRACE_S, LEFTOVERS_KILLED_S
from meta1g.mcp.spawn import QUEUE_ID, queue_id

_LOCK: Final = "mcp/lock"
_CHILDREN: Final = "mcp/children"
#: Field 22 of /proc/PID/stat counts from 1; the fields after the name begin with number 3.
_START_FIELD: Final = 22 - 3


@dataclass(frozen=True, slots=True)
class Process:
    """A process that is not mistaken for a later one of the same id: the kernel's start time tells."""

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


class QueueLock:
    """The lock on a queue directory, held as long as the process lives.

    Args:
        queue: the queue directory.

    Raises:
        CliError: another mcp holds it.

    Owner: the process.
    """

    def __init__(self, queue: Path) -> None:
        path = queue / _LOCK
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
        except OSError as error:
            raise CliError(f"{path}: cannot make the lock of mcp: {reach.explain(error)}", EX_CANTCREAT) from error
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
    """Gives the children of an earlier mcp of this queue directory that still run."""
    try:
        text = (queue / _CHILDREN).read_text(errors="replace")
    except FileNotFoundError:
        return []
    words = [line.split() for line in text.splitlines()]
    found = [Process(int(pair[0]), pair[1]) for pair in words if len(pair) == 2 and all(_is_number(word) for word in pair)]
    mark = f"{QUEUE_ID}={queue_id(queue)}".encode()
    return [process for process in found if process.alive and mark in _environment(process.pid) and process.alive]


def _is_number(word: str) -> bool:
    return word.isascii() and word.isdigit() and len(word) < 20


def _environment(pid: int) -> list[bytes]:
    """Gives the environment that a process was started with; nothing if it is gone or belongs to somebody else."""
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return []


def wait_for_end(processes: Iterable[Process], clock: Clock) -> list[Process]:
    """Waits until processes have ended; after LEFTOVERS_GRACE_S they are killed.

    Returns:
        Those that had to be killed.
    """
    end_s = clock.monotonic() + LEFTOVERS_GRACE_S
    return [process for process in processes if not _wait(process, end_s - clock.monotonic())]


def _wait(process: Process, timeout_s: float) -> bool:
    """Waits for the end of one process, then kills it; tells whether it ended by itself.

    The descriptor of the process is opened before its start time is compared: what is killed is what was compared.
    """
    try:
        fd = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return True
    try:
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        if not process.alive or poll.poll(max(timeout_s, 0.0) * 1000):
            return True
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(fd, signal.SIGKILL)
        poll.poll(LEFTOVERS_KILLED_S * 1000)
        return False
    finally:
        os.close(fd)
