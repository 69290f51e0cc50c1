"""The failure policy: what something that nobody expected costs, carried out in one place.

    contained(), item(), steps()   work for one peer, message or step failed: it alone is lost, the others go on
    end_process()                  the frame itself failed, or an invariant is broken: the process ends at once

Which is which stands in docs/failures.md.  A contained failure is counted, and its traceback is logged once; whoever
owes an answer for the lost work gives it (`on_failure`).  A process in doubt does not limp on: it ends with EX_SOFTWARE,
which mcp restarts, and recovery puts its stores in order.

Invariant: noting a failure never raises: not for a text that cannot be made, a log that cannot be written, or a listener
that fails itself.

Owner: the process.  All functions may be called by several threads without a lock: numbers come from counters that give
each one once, so a count may lag behind for a moment, and is right with the next failure.
Ref: invariant I12; docs/failures.md.
"""

import contextlib
import errno
import itertools
import os
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, NoReturn

from meta1g.base.errors import BugError
from meta1g.base.log import Log
from meta1g.base.logtext import LogValue
from meta1g.base.sysexits import EX_SOFTWARE

#: Places whose traceback is logged, and events that are counted by name.  Ref: invariant I4; the number is our choice.
_PLACES_MAX: Final = 1000
#: Under this name all further events are counted.
_OTHERS: Final = "others"
_TRACE_LINES_MAX: Final = 40

#: Errors of the system that pass: the request at hand is answered for, and the next one may succeed.
SHORTAGES: Final = frozenset(
    (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EAGAIN)
)


#: How Python says that the system gives no further thread (a RuntimeError without a number).
_NO_THREAD: Final = "can't start new thread"


class _State:
    """What the process has one of.  Owner: the process."""

    def __init__(self) -> None:
        self.places: set[tuple[str, str, str | None]] = set()
        self.counters: dict[str, Iterator[int]] = {}
        self.counts: dict[str, int] = {}
        self.on_contained: Callable[[int, str], object] | None = None
        self.reporting = False
        self.exit: Callable[[int], object] = os._exit


_state: Final = _State()


def contained(log: Log, where: str, error: BaseException, **keys: LogValue) -> None:
    """Notes a failure that costs the thing at hand: counts it, logs it, with its traceback the first time.

    A BugError is never contained: it ends the process.

    Args:
        log: the log of the process.
        where: the event, `<part>.<what>`, a constant text.
        error: what happened.
        keys: whom or what it concerns (logkeys.LOG_KEYS); `path` is the place in the code if it is not given.
    """
    if isinstance(error, BugError):
        end_process(log, where, error, **keys)
    _count(where)
    text, place = _text(error), _place(error)
    with contextlib.suppress(Exception):
        log.error("failure.contained", f"contained: {text}", **({"where": where, "path": place} | keys))
    _trace_once(log, where, error, place)
    if _state.on_contained is not None and not _state.reporting:
        _report(log, f"{where}: {text}")


def end_process(log: Log, where: str, error: BaseException, **keys: LogValue) -> NoReturn:
    """Ends the process at once with an exit code after which mcp starts it again; nothing is written but the log."""
    try:
        log.fatal("failure.ends", f"the process ends: {_text(error)}", **({"where": where, "path": _place(error)} | keys))
        _log_trace(log, where, error)
    finally:
        _state.exit(EX_SOFTWARE)
    raise SystemExit(EX_SOFTWARE)  # only a test replaces the exit


class item:  # noqa: N801  used as a function; a class, since a generator costs four times as much for each message
    """Contains what is done inside: an exception costs this item and nothing else.

    Args:
        log: the log of the process.
        where: the event, `<part>.<what>`.
        on_failure: gives the answer that is owed; called after the failure was noted, and contained itself.
        keys: whom or what it concerns.

    Owner: its caller.
    """

    __slots__ = ("_keys", "_log", "_on_failure", "_where")

    def __init__(self, log: Log, where: str, on_failure: Callable[[Exception], object] | None = None, **keys: LogValue) -> None:
        self._log = log
        self._where = where
        self._on_failure = on_failure
        self._keys = keys

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool | None:
        if error is None or not isinstance(error, Exception):
            return None
        contained(self._log, self._where, error, **self._keys)
        if self._on_failure is not None:
            try:
                self._on_failure(error)
            except Exception as second:  # noqa: BLE001  as above
                contained(self._log, self._where, second, **self._keys)
        return True


def steps(log: Log, where: str, *functions: Callable[[], object]) -> bool:
    """Takes several steps, each whatever becomes of the others: the end of a process, the waiters of a commit.

    Returns:
        Whether all went well.
    """
    failed: list[Exception] = []
    for function in functions:
        with item(log, where, failed.append):
            function()
    return not failed


def is_shortage(error: BaseException) -> bool:
    """Tells whether an error is a passing shortage of the system: of descriptors, memory, disk space or threads."""
    if isinstance(error, OSError):
        return error.errno in SHORTAGES
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and str(error) == _NO_THREAD)


def contained_count() -> int:
    """Gives how many failures were contained since the start of the process."""
    return sum(list(_state.counts.values()))


def contained_counts() -> dict[str, int]:
    """Gives the number of contained failures by place, for status."""
    return _state.counts.copy()


def on_contained(function: Callable[[int, str], object] | None) -> None:
    """Sets who hears of each contained failure: function(total, text); it must not wait."""
    _state.on_contained = function


def set_exit(function: Callable[[int], object]) -> Callable[[int], object]:
    """Replaces how the process is ended, for tests that run a process's parts in their own; gives the former one."""
    old, _state.exit = _state.exit, function
    return old


def _count(where: str) -> None:
    name = where if where in _state.counters or len(_state.counters) < _PLACES_MAX else _OTHERS
    number = next(_state.counters.setdefault(name, itertools.count(1)))
    _state.counts[name] = max(number, _state.counts.get(name, 0))


def _report(log: Log, text: str) -> None:
    """Tells the listener; a failure of its own is not reported in turn."""
    _state.reporting = True
    try:
        if _state.on_contained is not None:
            _state.on_contained(contained_count(), text)
    except BugError as error:
        end_process(log, "failure.report", error)
    except Exception as error:  # noqa: BLE001  the report of a failure must not be a second one
        _count("failure.report")
        _trace_once(log, "failure.report", error, _place(error))
    finally:
        _state.reporting = False


def _text(error: BaseException) -> str:
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:  # noqa: BLE001  an error that cannot tell what it is
        return type(error).__name__


def _place(error: BaseException) -> str | None:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}" if trace is not None else None


def _trace_once(log: Log, where: str, error: BaseException, place: str | None) -> None:
    """Logs the traceback if it is the first one of its kind at this place."""
    key = (where, type(error).__name__, place)
    if key not in _state.places and len(_state.places) < _PLACES_MAX:
        _state.places.add(key)
        with contextlib.suppress(Exception):
            _log_trace(log, where, error)


def _log_trace(log: Log, where: str, error: BaseException) -> None:
    lines = "".join(traceback.format_exception(error)).splitlines()
    for line in lines[-_TRACE_LINES_MAX:]:
        log.error("failure.trace", f"| {line}", where=where)
