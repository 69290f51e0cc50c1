"""The log of a process: one event a line, classic or JSON, to a file, to standard error, to syslog or to journald.

What an event is stands in events.EVENTS, the text of its line is made in logtext, and what cannot be written is kept (logkept).

Ref: MeTA1 design, "Implementation: Logging" (form modelled on MeTA1's lines).
"""

import contextlib
import os
import socket
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from math import floor
from pathlib import Path
from typing import Final, Protocol, cast

from meta1g.base.clock import Clock, SystemClock
from meta1g.base.events import EVENTS
from meta1g.base.logkept import CutError, Outbox
from meta1g.base.logkeys import Sev
from meta1g.base.logsyslog import SentLine, SyslogSink
from meta1g.base.logtext import FORMATS, LogValue
from meta1g.base.logturn import TurnSink


class _Process:
    """The process id, which is asked for once and after each fork.  Owner: the process."""

    def __init__(self) -> None:
        self.renew()
        os.register_at_fork(after_in_child=self.renew)

    def renew(self) -> None:
        self.pid = os.getpid()


_process: Final = _Process()


class Sink(Protocol):
    """Where lines go."""

    def write(self, sevr: Sev, stamp: str, head: str, text: str) -> None:
        """Writes one line: time stamp and `module[pid]:`, both empty if the text has them, and text without line end."""
        ...

    def reopen(self) -> None:
        """Opens the file again after it was renamed (log rotation)."""
        ...

    def close(self) -> None:
        """Gives back what it has opened."""
        ...


class FdSink:
    """Lines to an open descriptor, standard error by default.

    Args:
        fd: the descriptor.
        where: what it is, for messages.
        directory: where lines are kept while they cannot be written; None: they go to standard error.

    Owner: the process.
    """

    def __init__(self, fd: int = 2, *, where: str = "standard error", directory: Path | None = None) -> None:
        self._fd = fd
        self._turn: TurnSink | None = None
        self.outbox = Outbox(self._send, lambda: None, where, b"\n", directory)

    def collect(self, later: Callable[[TurnSink], object], lock: AbstractContextManager[object]) -> None:
        """Writes the lines of a turn together from now on; see TurnSink."""
        self._turn = TurnSink(self._put, later, lock)

    def write(self, sevr: Sev, stamp: str, head: str, text: str) -> None:
        """Writes one line in one system call, so that lines of several processes do not mix, or keeps it for the turn."""
        line = f"{stamp} {head} {text}\n" if head else f"{text}\n"
        data = line.encode("ascii", "backslashreplace")
        if self._turn is None:
            self._put(data)
        else:
            self._turn.add(sevr, data)

    def write_now(self, stamp: str, head: str, text: str) -> None:
        """Writes one line past what waits for the end of the turn."""
        line = f"{stamp} {head} {text}" if head else text
        self.outbox.put(line.encode("ascii", "backslashreplace"))

    def _put(self, data: bytes) -> None:
        if self.outbox.away:
            self.outbox.put(data[:-1])
            return
        try:
            self._write(data)
        except OSError as error:
            self.outbox.failed(error, data[getattr(error, "sent", 0) : -1])

    def _send(self, record: bytes) -> None:
        self._write(record + b"\n")

    def _write(self, data: bytes) -> None:
        done = os.write(self._fd, data)
        if done < len(data):
            raise CutError(done)

    def flush(self) -> None:
        """Writes what is kept for the turn."""
        if self._turn is not None:
            self._turn.flush()

    def reopen(self) -> None:
        """Has nothing to open."""

    def close(self) -> None:
        """Has nothing to close: the descriptor belongs to the process."""
        self.flush()
        self.outbox.close()


#: How a log file is opened.  Without a reader a FIFO would hold up the process for ever; it is an error instead.
LOG_FLAGS: Final = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
_FILE_MODE: Final = 0o640


class FileSink(FdSink):
    """Lines appended to a file, created with mode 0640.  Owner: the process."""

    def __init__(self, path: Path, *, directory: Path | None = None) -> None:
        self.path = path
        super().__init__(self._open(), where=str(path), directory=directory)

    def _open(self) -> int:
        fd = os.open(self.path, LOG_FLAGS | os.O_CREAT, _FILE_MODE)
        os.set_blocking(fd, True)
        return fd

    def reopen(self) -> None:
        """Opens the path anew in place of the old file.

        Raises:
            OSError: it cannot be opened; the old file stays in use.
        """
        fresh = self._open()
        self.flush()
        try:
            os.dup2(fresh, self._fd, inheritable=False)
        finally:
            os.close(fresh)

    def close(self) -> None:
        """Closes the file."""
        super().close()
        os.close(self._fd)


class Log:
    """The log of one process.

    Args:
        module: name of the component, printed before the process id.
        level: lines whose severity number is above it are not written, 0 to 20.
        sink: where lines go; standard error if not given.
        format_name: `classic` or `json`.
        clock: gives the time stamps.

    Owner: the process; a call writes one line with one system call, or keeps it (collect()), so threads need no lock.
    """

    def __init__(
        self,
        module: str,
        *,
        level: int = 9,
        sink: Sink | SyslogSink | None = None,
        format_name: str = "classic",
        clock: Clock | None = None,
    ) -> None:
        self.module = module
        self.level = level
        self.sink: Sink | SyslogSink = FdSink() if sink is None else sink
        self._lines = None if isinstance(self.sink, SyslogSink) else self.sink
        self._format = FORMATS[format_name]
        self._is_json = format_name == "json"
        self._host = socket.gethostname()
        self._clock: Clock = SystemClock() if clock is None else clock
        self._second = (-1, "")  # the last second and its text, replaced together
        outbox = getattr(self.sink, "outbox", None)
        if isinstance(outbox, Outbox):
            outbox.say = self._say
            outbox.begin()

    def __call__(self, sevr: Sev, event: str, stat: str, **keys: LogValue) -> None:
        """Writes one line.

        Args:
            sevr: severity.
            event: an event of events.EVENTS, a constant text.
            stat: outcome: `ok`, an error text, or what happened.
            keys: further facts; each key stands in logkeys.LOG_KEYS, values of None are left out.

        Raises:
            KeyError: a key is not in the registry.
        """
        if sevr <= self.level:
            self._write(sevr, event, stat, keys)

    def _write(self, sevr: Sev, event: str, stat: str, keys: dict[str, LogValue], *, at_once: bool = False) -> None:
        now = self._clock.now()
        second = floor(now)
        cached = self._second
        if second != cached[0]:
            self._second = cached = (second, datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S."))
        stamp = f"{cached[1]}{int((now - second) * 1_000_000):06d}Z"
        text = self._format(sevr, event, stat, keys)
        if self._is_json:
            text, at, head = self._object(stamp, text), "", ""
        else:
            at, head = stamp, f"{self.module}[{_process.pid}]:"
        try:
            if self._lines is None:
                record = SentLine(sevr, now, stamp, self._host, _process.pid, event, stat, keys, text)
                cast("SyslogSink", self.sink).take(record)
            elif at_once and isinstance(self._lines, FdSink):
                self._lines.write_now(at, head, text)
            else:
                self._lines.write(sevr, at, head, text)
        except OSError as error:
            with contextlib.suppress(OSError, ValueError):  # standard error may be gone, too
                print(f"{self.module}: cannot write the log: {error}; {text}", file=sys.stderr)  # noqa: T201

    def _object(self, stamp: str, members: str) -> str:
        """Gives a whole line of JSON."""
        who = f'"host": "{self._host}", "process": "{self.module}", "process_id": {_process.pid}'
        return f'{{"time": "{stamp}", {who}, {members}}}'

    def _say(self, event: str, stat: str, **keys: LogValue) -> None:
        """Writes a line about the log itself, past what waits for the end of the turn."""
        sevr = EVENTS[event].sevr
        if sevr <= self.level:
            self._write(sevr, event, stat, keys, at_once=True)

    def collect(self, later: Callable[[TurnSink], object], lock: AbstractContextManager[object]) -> None:
        """Lets lines below ERROR wait for the end of the turn, so that those of a turn cost one write; syslog takes each.

        Args:
            later: called as later(sink) with the first line of a turn; calls sink.flush() at the end of the turn.
            lock: held for a moment by every thread that logs.
        """
        if isinstance(self.sink, FdSink):
            self.sink.collect(later, lock)

    def reopen(self) -> None:
        """Opens the log file anew (SIGUSR1).  If that fails, the old file stays in use and says so; nothing is raised."""
        try:
            self.sink.reopen()
        except OSError as error:
            reason = error.strerror or str(error)
            text = f"cannot be opened anew: {reason}; lines go on to the old file; mend it and send SIGUSR1 again"
            self.error("log.reopen", text, path=error.filename)

    def close(self) -> None:
        """Closes the log file; nothing is written afterwards."""
        self.sink.close()

    def fatal(self, event: str, stat: str, **keys: LogValue) -> None:
        """Writes a line of severity FATAL: the process cannot go on."""
        if self.level >= Sev.FATAL:
            self._write(Sev.FATAL, event, stat, keys)

    def error(self, event: str, stat: str, **keys: LogValue) -> None:
        """Writes a line of severity ERROR: something is lost or refused that should not be."""
        if self.level >= Sev.ERROR:
            self._write(Sev.ERROR, event, stat, keys)

    def warn(self, event: str, stat: str, **keys: LogValue) -> None:
        """Writes a line of severity WARN: an operator should look."""
        if self.level >= Sev.WARN:
            self._write(Sev.WARN, event, stat, keys)

    def notice(self, event: str, stat: str, **keys: LogValue) -> None:
        """Writes a line of severity NOTICE: unusual, but handled."""
        if self.level >= Sev.NOTICE:
            self._write(Sev.NOTICE, event, stat, keys)

    def info(self, event: str, stat: str, **keys: LogValue) -> None:
        """Writes a line of severity INFO: normal life of a message."""
        if self.level >= Sev.INFO:
            self._write(Sev.INFO, event, stat, keys)

    def debug(self, event: str, stat: str, **keys: LogValue) -> None:
        """Writes a line of severity DEBUG."""
        if self.level >= Sev.DEBUG:
            self._write(Sev.DEBUG, event, stat, keys)
