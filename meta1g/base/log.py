"""Log lines: one event a line, comma-separated `key=value`, ids first; the same facts as JSON on request.

Every value passes the sanitizer here (invariant I5): no byte of the network starts a new line or a new key.

Ref: MeTA1 design, "Implementation: Logging" (form modelled on MeTA1's lines).
"""

import contextlib
import json
import os
import re
import sys
import syslog
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from math import floor
from pathlib import Path
from typing import Final, Protocol

from meta1g.base.clock import Clock, SystemClock
from meta1g.base.logkeys import LOG_KEYS, Sev
from meta1g.base.logturn import TurnSink

_KEY_ORDER: Final = {key: number for number, key in enumerate(LOG_KEYS)}
_VALUE_MAX_CHARS: Final = 1024
_UNSAFE: Final = re.compile(r"[^ -~]|[,\\]")
_STATS: Final[dict[Sev, str]] = {sevr: f"sevr={sevr.name}, func=" for sevr in Sev}
_SYSLOG_PRIORITY: Final = {
    Sev.FATAL: syslog.LOG_CRIT,
    Sev.ERROR: syslog.LOG_ERR,
    Sev.WARN: syslog.LOG_WARNING,
    Sev.NOTICE: syslog.LOG_NOTICE,
    Sev.INFO: syslog.LOG_INFO,
    Sev.DEBUG: syslog.LOG_DEBUG,
}

LogValue = str | bytes | int | float | None

#: Combinations of keys in the order in which they are written, each with what stands in front of its value: as many as there
#: are different calls.
_orders: Final[dict[tuple[str, ...], tuple[tuple[str, str], ...]]] = {}
#: Values of these types are written as they are.
_NUMBERS: Final = frozenset((int, float))


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
        """Writes one line: time stamp, `module[pid]:`, text without line end."""
        ...

    def reopen(self) -> None:
        """Opens the file again after it was renamed (log rotation)."""
        ...

    def close(self) -> None:
        """Gives back what it has opened."""
        ...


class FdSink:
    """Lines to an open descriptor, standard error by default.  Owner: the process."""

    def __init__(self, fd: int = 2) -> None:
        self._fd = fd
        self._turn: TurnSink | None = None

    def collect(self, later: Callable[[TurnSink], object], lock: AbstractContextManager[object]) -> None:
        """Writes the lines of a turn together from now on; see TurnSink."""
        self._turn = TurnSink(self._put, later, lock)

    def write(self, sevr: Sev, stamp: str, head: str, text: str) -> None:
        """Writes one line in one system call, so that lines of several processes do not mix, or keeps it for the turn."""
        line = f"{stamp} {head} {text}\n".encode("ascii", "backslashreplace")
        if self._turn is None:
            self._put(line)
        else:
            self._turn.add(sevr, line)

    def _put(self, data: bytes) -> None:
        os.write(self._fd, data)

    def flush(self) -> None:
        """Writes what is kept."""
        if self._turn is not None:
            self._turn.flush()

    def reopen(self) -> None:
        """Has nothing to open."""

    def close(self) -> None:
        """Has nothing to close: the descriptor belongs to the process."""
        self.flush()


#: How a log file is opened.  Without a reader a FIFO would hold up the process for ever; it is an error instead.
LOG_FLAGS: Final = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
_FILE_MODE: Final = 0o640


class FileSink(FdSink):
    """Lines appended to a file, created with mode 0640.  Owner: the process."""

    def __init__(self, path: Path) -> None:
        self.path = path
        super().__init__(self._open())

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
        self.flush()
        os.close(self._fd)


class SyslogSink:
    """Lines to syslog under an ident and a facility.  Owner: the process."""

    def __init__(self, ident: str, facility: int) -> None:
        self._ident = ident
        self._facility = facility
        self.reopen()

    def write(self, sevr: Sev, stamp: str, head: str, text: str) -> None:
        """Writes one line; syslog adds time and process id."""
        syslog.syslog(_SYSLOG_PRIORITY[sevr], text)

    def reopen(self) -> None:
        """Opens the connection to syslog anew."""
        syslog.openlog(self._ident, syslog.LOG_PID | syslog.LOG_NDELAY, self._facility)

    def close(self) -> None:
        """Leaves the connection, which the process has one of, to the next sink."""


def sanitize(value: LogValue) -> str:
    """Turns a value into printable ASCII without comma and backslash, at most 1024 characters (invariant I5)."""
    if isinstance(value, str) and _is_plain(value):
        return value
    if isinstance(value, bytes):
        value = value.decode("utf-8", "backslashreplace")
    text = str(value)
    if len(text) > _VALUE_MAX_CHARS:
        text = text[:_VALUE_MAX_CHARS] + "..."
    return _UNSAFE.sub(_escape, text)


def _is_plain(text: str) -> bool:
    """Tells whether sanitize() leaves a text as it is; much faster than to search for _UNSAFE."""
    return text.isascii() and text.isprintable() and "," not in text and "\\" not in text and len(text) <= _VALUE_MAX_CHARS


def _escape(found: re.Match[str]) -> str:
    char = found[0]
    how = "surrogateescape" if "\udc80" <= char <= "\udcff" else "surrogatepass"  # a byte of a file name, or half a character
    return "".join(f"\\x{byte:02X}" for byte in char.encode("utf-8", how))


def format_classic(sevr: Sev, func: str, stat: str, keys: dict[str, LogValue]) -> str:
    """Gives `sevr=INFO, func=name, ss_sess=..., stat=...`."""
    parts = [_STATS[sevr], func]
    for key, lead in _ordered(keys):
        value = keys[key]
        if value is not None:
            parts.append(lead)
            parts.append(str(value) if value.__class__ in _NUMBERS else sanitize(value))
    parts.append(", stat=")
    parts.append(sanitize(stat))
    return "".join(parts)


def _ordered(keys: dict[str, LogValue]) -> tuple[tuple[str, str], ...]:
    """Gives the keys, and `, key=` of each, in the order of the registry; each combination that a call uses is sorted once.

    Raises:
        KeyError: a key is not in the registry.
    """
    given = tuple(keys)
    order = _orders.get(given)
    if order is None:
        order = _orders[given] = tuple((key, f", {key}=") for key in sorted(given, key=_KEY_ORDER.__getitem__))
    return order


def format_json(sevr: Sev, func: str, stat: str, keys: dict[str, LogValue]) -> str:
    """Gives the same facts as one JSON object."""
    facts: dict[str, LogValue] = {"sevr": sevr.name, "func": func}
    for key, _lead in _ordered(keys):
        value = keys[key]
        if value is not None:
            facts[key] = value if isinstance(value, int | float) else sanitize(value)
    facts["stat"] = sanitize(stat)
    return json.dumps(facts, ensure_ascii=True)


FORMATS: Final[dict[str, Callable[[Sev, str, str, dict[str, LogValue]], str]]] = {
    "classic": format_classic,
    "json": format_json,
}


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
        self, module: str, *, level: int = 9, sink: Sink | None = None, format_name: str = "classic", clock: Clock | None = None
    ) -> None:
        self.module = module
        self.level = level
        self.sink: Sink = FdSink() if sink is None else sink
        self._format = FORMATS[format_name]
        self._clock: Clock = SystemClock() if clock is None else clock
        self._second = (-1, "")  # the last second and its text, replaced together

    def __call__(self, sevr: Sev, func: str, stat: str, **keys: LogValue) -> None:
        """Writes one line.

        Args:
            sevr: severity.
            func: the event, `<part>.<what>`, a constant text.
            stat: outcome: `ok`, an error text, or what happened.
            keys: further facts; each key stands in logkeys.LOG_KEYS, values of None are left out.

        Raises:
            KeyError: a key is not in the registry.
        """
        if sevr <= self.level:
            self._write(sevr, func, stat, keys)

    def _write(self, sevr: Sev, func: str, stat: str, keys: dict[str, LogValue]) -> None:
        now = self._clock.now()
        second = floor(now)
        cached = self._second
        if second != cached[0]:
            self._second = cached = (second, datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S."))
        stamp = f"{cached[1]}{int((now - second) * 1_000_000):06d}Z"
        text = self._format(sevr, func, stat, keys)
        try:
            self.sink.write(sevr, stamp, f"{self.module}[{_process.pid}]:", text)
        except OSError as error:
            with contextlib.suppress(OSError, ValueError):  # standard error may be gone, too
                print(f"{self.module}: cannot write the log: {error}; {text}", file=sys.stderr)  # noqa: T201

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

    def fatal(self, func: str, stat: str, **keys: LogValue) -> None:
        """Writes a line of severity FATAL: the process cannot go on."""
        if self.level >= Sev.FATAL:
            self._write(Sev.FATAL, func, stat, keys)

    def error(self, func: str, stat: str, **keys: LogValue) -> None:
        """Writes a line of severity ERROR: something is lost or refused that should not be."""
        if self.level >= Sev.ERROR:
            self._write(Sev.ERROR, func, stat, keys)

    def warn(self, func: str, stat: str, **keys: LogValue) -> None:
        """Writes a line of severity WARN: an operator should look."""
        if self.level >= Sev.WARN:
            self._write(Sev.WARN, func, stat, keys)

    def notice(self, func: str, stat: str, **keys: LogValue) -> None:
        """Writes a line of severity NOTICE: unusual, but handled."""
        if self.level >= Sev.NOTICE:
            self._write(Sev.NOTICE, func, stat, keys)

    def info(self, func: str, stat: str, **keys: LogValue) -> None:
        """Writes a line of severity INFO: normal life of a message."""
        if self.level >= Sev.INFO:
            self._write(Sev.INFO, func, stat, keys)

    def debug(self, func: str, stat: str, **keys: LogValue) -> None:
        """Writes a line of severity DEBUG."""
        if self.level >= Sev.DEBUG:
            self._write(Sev.DEBUG, func, stat, keys)
