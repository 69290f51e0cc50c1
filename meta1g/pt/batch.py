"""Collects output of several callbacks, so that it leaves in one send a connection.

A thread that has a batch open notes each connection with new output in it; the batch is flushed before the thread waits
for anything.  In a thread without a batch output leaves at once.

Invariant: whatever was noted is flushed exactly once after it was noted, by its own thread or by one that helps.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Protocol


class Flushable(Protocol):
    """What can be noted in a batch."""

    def flush(self) -> None:
        """Sends what is collected."""
        ...


class _Here(threading.local):
    """The batch of the calling thread.  Owner: the calling thread."""

    batch: list[Flushable] | None = None


_here: Final = _Here()


def later(what: Flushable) -> None:
    """Flushes what at the end of the calling thread's batch, or at once if it has none."""
    batch = _here.batch
    if batch is None:
        what.flush()
    else:
        batch.append(what)


def flush(batch: list[Flushable]) -> None:
    """Empties a batch; several threads may do so at the same time."""
    while batch:
        try:
            what = batch.pop()
        except IndexError:  # another thread was faster
            return
        what.flush()


def flush_here() -> None:
    """Empties the batch of the calling thread, if it has one."""
    if _here.batch:
        flush(_here.batch)


def open_here() -> list[Flushable]:
    """Opens a batch for the rest of the calling thread's life, or until close_here(); the caller flushes it."""
    if _here.batch is None:
        _here.batch = []
    return _here.batch


def close_here() -> None:
    """Flushes and closes the batch of the calling thread."""
    flush_here()
    _here.batch = None


@contextmanager
def batch() -> Iterator[None]:
    """Collects what the calling thread sends inside, and sends it at the end; nested ones do nothing."""
    if _here.batch is not None:
        yield
        return
    open_here()
    try:
        yield
    finally:
        close_here()
