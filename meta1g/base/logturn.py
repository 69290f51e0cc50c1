"""Log lines of one turn of an event loop, written together.

    line -> kept -> end of the turn -> one write          ERROR and above, or PIECE_BYTES collected -> one write at once

Invariants: lines leave in the order in which they came; nothing that was kept is lost when the process ends by itself, for
whoever ends it calls flush_all(), and so does the interpreter.

Ref: MeTA1 design, "Implementation: Logging" (collecting is ours).
"""

import atexit
import contextlib
import os
import sys
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Final

from meta1g.base.logkeys import Sev

#: Lines are collected up to this size.  Ref: POSIX, PIPE_BUF of Linux: a pipe that others write to takes so much in one piece.
PIECE_BYTES: Final = 4096

_sinks: Final[list["TurnSink"]] = []


class TurnSink:
    """Collects lines and gives them to `put` together.

    Args:
        put: writes bytes.
        later: called as later(sink) when the first line of a turn is kept: sees that flush() is called at its end.
        lock: held while lines are kept or written; without a real one nothing is lost, but threads may change the order.

    Owner: the process.
    """

    def __init__(
        self, put: Callable[[bytes], object], later: Callable[["TurnSink"], object], lock: AbstractContextManager[object]
    ) -> None:
        self._put = put
        self._later = later
        self._lock = lock
        self._lines: deque[bytes] = deque()  # appended and taken from by one atomic operation each
        self._size = 0
        self._noted = False
        _sinks.append(self)

    def add(self, sevr: Sev, line: bytes) -> None:
        """Keeps a line, or writes it at once with what was kept."""
        with self._lock:
            if self._size + len(line) > PIECE_BYTES:
                self._write()
            self._lines.append(line)
            self._size += len(line)
            if sevr <= Sev.ERROR:
                self._write()
                return
            if self._noted:
                return
            self._noted = True
        self._later(self)

    def flush(self) -> None:
        """Writes what was kept."""
        with self._lock:
            self._noted = False
            self._write()

    def forget(self) -> None:
        """Drops what was kept: after a fork it is the parent's."""
        self._lines.clear()
        self._size = 0

    def _write(self) -> None:
        """Writes; lines that cannot be written go to standard error, if that can take them."""
        lines = []
        self._size = 0
        while self._lines:
            with contextlib.suppress(IndexError):  # a thread that holds no lock was faster
                lines.append(self._lines.popleft())
        if not lines:
            return
        data = b"".join(lines)
        try:
            self._put(data)
        except OSError as error:
            with contextlib.suppress(OSError, ValueError):
                print(f"cannot write the log: {error}; {data.decode('ascii')}", file=sys.stderr, end="")  # noqa: T201


def flush_all() -> None:
    """Writes what all sinks of the process have kept; for whoever ends it."""
    for sink in _sinks:
        sink.flush()


def _forget_all() -> None:
    for sink in _sinks:
        sink.forget()


atexit.register(flush_all)
os.register_at_fork(after_in_child=_forget_all)
