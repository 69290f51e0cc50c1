"""The failure policy: what something that nobody expected costs, carried out in one place.

    contained(), item(), steps()   work for one peer, message or step failed: it alone is lost, the others go on
    end_process()                  the frame itself failed, or an invariant is broken: the process ends at once

Which is which stands in docs/failures.md.  A contained failure is counted, and its traceback is logged once; whoever
owes an answer for the lost work gives it (`on_failure`).  A process in doubt does not limp on: it ends with EX_SOFTWARE,
which mcp restarts, and recovery puts its stores in order.

Owner: the process; counters change by single dictionary operations, so threads need no lock.
Ref: invariant I12 and the table of architecture 4.1.
"""

import contextlib
import errno
import os
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, NoReturn

from meta1g.base.errors import BugError
from meta1g.base.log import Log, Value
from meta1g.base.sysexits import EX_SOFTWARE

#: Places whose traceback is remembered as logged.  Ref: invariant I4; the number is our choice.
_PLACES_MAX: Final = 1000
_TRACE_LINES_MAX: Final = 40

#: Errors of the system that pass: the request at hand is answered for, and the next one may succeed.
SHORTAGES: Final = frozenset(
    (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EAGAIN)
)


class _State:
    """What the process has one of.  Owner: the process."""

    def __init__(self) -> None:
        self.places: set[tuple[str, str, str]] = set()
        self.counts: dict[str, int] = {}
        self.on_contained: Callable[[int, str], object] | None = None
        self.exit: Callable[[int], object] = os._exit


_state: Final = _State()


def contained(log: Log, where: str, error: BaseException, **keys: Value) -> None:
    """Notes a failure that costs the thing at hand: counts it, logs it, with its traceback the first time.

    A BugError is never contained: it ends the process.

    Args:
        log: the log of the process.
        where: the event, `<part>.<what>`, a constant text.
        error: what happened.
        keys: whom or what it concerns (logkeys.LOG_KEYS).
    """
    if isinstance(error, BugError):
        end_process(log, where, error)
    _state.counts[where] = _state.counts.get(where, 0) + 1
    text = f"{type(error).__name__}: {error}"
    log.error(where, f"contained: {text}", path=_place(error), **keys)
    place = (where, type(error).__name__, _place(error))
    if place not in _state.places:
        if len(_state.places) < _PLACES_MAX:
            _state.places.add(place)
        _log_trace(log, where, error)
    if _state.on_contained is not None:
        with contextlib.suppress(Exception):  # the report of a failure must not be a second one
            _state.on_contained(contained_count(), f"{where}: {text}")


def end_process(log: Log, where: str, error: BaseException) -> NoReturn:
    """Ends the process at once with an exit code after which mcp starts it again; nothing is written but the log."""
    log.fatal(where, f"the process ends: {type(error).__name__}: {error}", path=_place(error))
    _log_trace(log, where, error)
    _state.exit(EX_SOFTWARE)
    raise SystemExit(EX_SOFTWARE)  # only a test replaces the exit


@contextlib.contextmanager
def item(log: Log, where: str, on_failure: Callable[[Exception], object] | None = None, **keys: Value) -> Iterator[None]:
    """Contains what is done inside: an exception costs this item and nothing else.

    Args:
        log: the log of the process.
        where: the event, `<part>.<what>`.
        on_failure: gives the answer that is owed; called after the failure was noted, and contained itself.
        keys: whom or what it concerns.
    """
    try:
        yield
    except Exception as error:  # noqa: BLE001  the one place where the unexpected is contained
        contained(log, where, error, **keys)
        if on_failure is None:
            return
        try:
            on_failure(error)
        except Exception as second:  # noqa: BLE001  as above
            contained(log, where, second, **keys)


def steps(log: Log, where: str, *functions: Callable[[], object]) -> bool:
    """Takes several steps, each whatever becomes of the others: the end of a process, the waiters of a commit.

    Returns:
        Whether all went well.
    """
    before = contained_count()
    for function in functions:
        with item(log, where):
            function()
    return contained_count() == before


def is_shortage(error: OSError) -> bool:
    """Tells whether an error of the system is a passing shortage."""
    return error.errno in SHORTAGES


def contained_count() -> int:
    """Gives how many failures were contained since the start of the process."""
    return sum(_state.counts.copy().values())


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


def _place(error: BaseException) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}" if trace is not None else ""


def _log_trace(log: Log, where: str, error: BaseException) -> None:
    lines = "".join(traceback.format_exception(error)).splitlines()
    for line in lines[-_TRACE_LINES_MAX:]:
        log.error(where, f"| {line}")
