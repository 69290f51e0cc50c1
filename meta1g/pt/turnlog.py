"""Log lines in the event-thread system: those of one batch of a thread are written together."""

import threading

from meta1g.base.log import Log
from meta1g.pt import batch


def collect_lines(log: Log) -> None:
    """Lets the lines of a log wait for the end of the batch of the thread that writes them, see Log.collect."""
    log.collect(batch.later, threading.Lock())
