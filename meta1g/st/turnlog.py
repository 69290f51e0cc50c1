"""Log lines among state threads: those of one turn of the event loop are written together.

Owner: the process; native threads may log, too.
"""

from contextlib import nullcontext

from greenlet import getcurrent

from meta1g.base.log import Log
from meta1g.base.logturn import TurnSink
from meta1g.st.sched import runtime


def collect_lines(log: Log) -> None:
    """Lets the lines of a log wait for what else can run now, see Log.collect; st_init() comes first."""
    log.collect(_later, nullcontext())


def _later(sink: TurnSink) -> None:
    """Flushes behind all that is ready to run; the loop is told by another way from native threads."""
    root = getcurrent()
    while root.parent is not None:
        root = root.parent
    if root is runtime.primordial_greenlet:
        runtime.ready(sink.flush)
    else:
        runtime.loop.run_callback_threadsafe(sink.flush)
