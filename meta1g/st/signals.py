"""Signals as state threads: the function of a signal may switch, lock and log.

The event loop's handler writes into a pipe of the loop and nothing else; the loop starts a thread.

Owner: the process (one native thread).
Ref: State Threads reference, "Program Structure", signals.
"""

from collections.abc import Callable
from typing import Any, Final

from meta1g.st.sched import runtime, st_thread_create

_watchers: Final[dict[int, Any]] = {}


def on_signal(signum: int, function: Callable[[], object]) -> None:
    """Lets function() run in a thread of its own for each signal; signals of one number close together may be one.

    A second call for the same signal replaces the function.
    """
    forget_signal(signum)
    watcher = runtime.loop.signal(signum, ref=False)
    watcher.start(st_thread_create, lambda _arg: function())
    _watchers[signum] = watcher


def forget_signal(signum: int) -> None:
    """Gives a signal its default action again; does nothing if on_signal() was not called for it."""
    watcher = _watchers.pop(signum, None)
    if watcher is not None:
        watcher.stop()
        watcher.close()
