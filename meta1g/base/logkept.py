"""Lines that nobody takes are kept in a file of the queue directory, and delivered when somebody takes them again.

    taken    -> a line cannot be sent -> it is kept, and all that follow, so that they stay in order
    kept     -> room for KEPT_MAX_BYTES; what comes beyond is counted
    retried  -> every RETRY_S at least, by a thread of its own -> all delivered: the file goes, lines are sent again

The process says on standard error that its log is away and where it keeps the lines, and in the log that it was away, how many
lines were kept and how many were lost.  A file that a process leaves behind is delivered by the next one.

Invariant: a line is sent, or kept, or counted as lost; after a crash in the middle of a delivery some lines may come twice.

Ref: our choice.
"""

import contextlib
import errno
import fcntl
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from meta1g.base.dataclass import dataclass

#: Bound of one kept file.  Ref: our choice: some ten thousand lines.
KEPT_MAX_BYTES: Final = 4 * 1024 * 1024
#: How often it is tried again; more often while the reader takes something.
RETRY_S: Final = 0.5
_QUICK_S: Final = 0.001
#: Processes of a component that keep lines at the same time, at most.
_FILES_MAX: Final = 64
#: The file in the directory of a component.
KEPT_NAME: Final = "log.kept"
_SLICE_BYTES: Final = 64 * 1024
_FLAGS: Final = os.O_RDWR | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
_MODE: Final = 0o640
#: The reader is there but slow: that is no news unless it lasts.
_SLOW: Final = (errno.EAGAIN, errno.ENOBUFS)
_SLOW_MAX_S: Final = 1.0


class CutError(OSError):
    """Only the first part of the data was written."""

    def __init__(self, sent: int) -> None:
        super().__init__(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.sent = sent


@dataclass(frozen=True, slots=True)
class Kept:
    """A file with lines that nobody has taken.

    Args:
        path: the file.
        size: its size in bytes.
    """

    path: Path
    size: int


def _names(directory: Path) -> Iterator[Path]:
    yield directory / KEPT_NAME
    for number in range(1, _FILES_MAX):
        yield directory / f"{KEPT_NAME}.{number}"


def kept_in(directory: Path) -> list[Kept]:
    """Gives the files with kept lines in a directory, as far as this account may see them.  Blocks: yes (disk)."""
    found = []
    for path in _names(directory):
        with contextlib.suppress(OSError):
            size = path.lstat().st_size
            if size:
                found.append(Kept(path, size))
    return found


def trouble(directory: Path) -> list[str]:
    """Gives a text for each file with kept lines below a queue directory, for status.  Blocks: yes (disk)."""
    return [
        f"nobody takes the log of {one.path.parent.name}: {one.size} bytes are kept in {one.path}; start the log service, or "
        "choose another log in log { }"
        for part in ("smtps", "qmgr", "smar", "smtpc", "mcp")
        for one in kept_in(directory / part)
    ]


class Outbox:
    """Sends records, and keeps them while that fails.

    Args:
        send: sends one record; raises OSError if it cannot be sent, CutError if a part was.
        probe: raises OSError if nobody listens.
        where: what it sends to, for messages.
        end: ends a record in the file, and never stands in one.
        directory: where lines are kept; None: nowhere, they go to standard error.

    Attributes:
        away: records cannot be sent, and are kept.
        lost: records that could not be kept since then.
        say: writes a line of the log: say(event, text, path=..., count=...); set by its log.

    Locking: own lock, for all threads that log; it is held for a moment, never while waiting.
    """

    def __init__(
        self,
        send: Callable[[bytes], object],
        probe: Callable[[], object],
        where: str,
        end: bytes,
        directory: Path | None,
    ) -> None:
        self._send = send
        self._probe = probe
        self._where = where
        self._end = end
        self._directory = directory
        self._file = _File(end)
        self._sent = 0  # bytes of the file
        self._since_s = 0.0  # away since, monotonic
        self._told = self._closed = self.away = False
        self.lost = 0
        self.say: Callable[..., object] = lambda *_args, **_keys: None
        self._renew()
        os.register_at_fork(after_in_child=self._renew)

    def _renew(self) -> None:
        self._lock = threading.RLock()
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def begin(self) -> None:
        """Takes over what an earlier process has left, and says so if nobody listens."""
        with self._lock:
            if self._directory is not None and self._file.open(self._directory, create=False):
                self._told = True
                self._go_away()
                self._deliver()
                return
            try:
                self._probe()
            except OSError as error:
                self._go_away(error)

    def put(self, record: bytes) -> None:
        """Sends a record, or keeps it."""
        with self._lock:
            if not self.away:
                try:
                    self._send(record)
                    return
                except OSError as error:
                    self._go_away(error)
                    record = record[getattr(error, "sent", 0) :]
            self._keep(record)

    def failed(self, error: OSError, record: bytes) -> None:
        """Keeps a record that its owner could not send."""
        with self._lock:
            if not self.away:
                self._go_away(error)
            self._keep(record)

    # -- away

    def _go_away(self, error: OSError | None = None) -> None:
        self.away, self._since_s = True, time.monotonic()
        if error is not None and error.errno not in _SLOW:
            self._tell(error)
        if not self._closed and self._thread is None:
            self._thread = threading.Thread(target=self._retry, name="log", daemon=True)
            self._thread.start()

    def _tell(self, error: OSError) -> None:
        """Says once that the log is away: on standard error, and as a kept line."""
        self._told = True
        self._ready()
        kept = f"lines are kept in {self._file.path}" if self._file.path is not None else "lines go to standard error"
        text = f"cannot be written: {error.strerror or error}; {kept}; mend it, or choose another log in log {{ }}"
        _complain(f"the log {self._where} {text}")
        self.say("log.away", text, path=self._where)

    def _ready(self) -> bool:
        """Tells whether there is a file to keep lines in."""
        return self._file.path is not None or (self._directory is not None and self._file.open(self._directory, create=True))

    def _keep(self, record: bytes) -> None:
        if self._ready():
            try:
                if self._file.add(record):
                    return
            except OSError as error:
                _complain(f"{self._file.path}: cannot keep a line of the log: {error.strerror}")
        else:
            _complain(f"the log {self._where} cannot be written; {record.decode('ascii', 'replace').rstrip()}")
        self.lost += 1

    # -- back

    def _retry(self) -> None:
        """Runs in a thread of its own while lines are kept."""
        over, pause_s = self._over, _QUICK_S
        while not over.wait(pause_s):
            with self._lock, contextlib.suppress(OSError):
                before = self._sent
                if self._deliver():
                    self._thread = None
                    return
                pause_s = _QUICK_S if self._sent > before else min(2 * pause_s, RETRY_S)

    def _deliver(self) -> bool:
        """Sends what is kept, a slice at most; tells whether lines are sent directly again.  Caller holds the lock.

        Raises:
            OSError: the kept file cannot be read.
        """
        try:
            self._probe()
            for record in self._file.records(self._sent, _SLICE_BYTES):
                self._send(record)
                self._sent += len(record) + len(self._end)
        except OSError as error:
            self._sent += getattr(error, "sent", 0)
            if not self._told and (error.errno not in _SLOW or time.monotonic() - self._since_s > _SLOW_MAX_S):
                self._tell(error)
            return False
        if self._sent < self._file.refresh():
            return False
        told, count, lost, path = self._told, self._file.count, self.lost, self._file.path
        self._file.remove()
        self.away = self._told = False
        self._sent = self.lost = 0
        if told:
            self.say("log.back", "can be written again", path=self._where, count=count)
        if lost:
            self.say("log.dropped", f"there was no room for them in {path}", path=self._where, count=lost)
        return True

    def close(self) -> None:
        """Tries for the last time; what cannot be sent stays in the file for the next process."""
        self._closed = True
        self._over.set()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()  # it takes a moment at most
        with self._lock:
            with contextlib.suppress(OSError):
                while self.away and self._deliver_more():
                    pass
            self._file.close()

    def _deliver_more(self) -> bool:
        before = self._sent
        return not self._deliver() and self._sent > before


class _File:
    """A file with records.  Owner: its Outbox.

    Args:
        end: ends a record.

    Attributes:
        path: its path, None while there is none.
        size: its size in bytes.
        count: how many records it has.
    """

    def __init__(self, end: bytes) -> None:
        self._end = end
        self._fd = -1
        self.path: Path | None = None
        self.size = self.count = 0

    def open(self, directory: Path, *, create: bool) -> bool:
        """Opens a file that no other process uses; without create only one that has records.  Tells whether there is one."""
        for path in _names(directory):
            with contextlib.suppress(OSError):
                fd = os.open(path, _FLAGS | (os.O_CREAT if create else 0), _MODE)
                with contextlib.suppress(OSError):
                    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    size = os.fstat(fd).st_size
                    if (size or create) and os.path.samestat(os.fstat(fd), path.lstat()):
                        self._fd, self.path, self.size = fd, path, size
                        self.count = os.pread(fd, size, 0).count(self._end)
                        return True
                os.close(fd)
        return False

    def add(self, record: bytes) -> bool:
        """Adds a record; tells whether there was room.

        Raises:
            OSError: it cannot be written.
        """
        data = record + self._end
        if self.size + len(data) > KEPT_MAX_BYTES:
            return False
        done = os.write(self._fd, data)
        if done < len(data):
            os.ftruncate(self._fd, self.size)
            raise CutError(done)
        self.size += done
        self.count += 1
        return True

    def records(self, offset: int, count: int) -> Iterator[bytes]:
        """Gives the records from an offset on, so many bytes of them or a little less, at least one."""
        data = os.pread(self._fd, count, offset) if self._fd >= 0 else b""
        if data and self._end not in data:
            data = os.pread(self._fd, self.size - offset, offset)
        yield from data.split(self._end)[:-1]

    def refresh(self) -> int:
        """Gives the size; a process that this one has forked may have added something."""
        if self._fd >= 0:
            size = os.fstat(self._fd).st_size
            if size != self.size:
                self.count += os.pread(self._fd, size, self.size).count(self._end)
                self.size = size
        return self.size

    def remove(self) -> None:
        """Removes the file."""
        if self.path is not None:
            with contextlib.suppress(OSError):
                self.path.unlink()
        self.close()
        self.path, self.size, self.count = None, 0, 0

    def close(self) -> None:
        """Closes the file."""
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = -1


def _complain(text: str) -> None:
    with contextlib.suppress(OSError, ValueError):  # standard error may be gone, too
        print(text, file=sys.stderr)  # noqa: T201
