"""A sink that shows which lines were written together."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from meta1g.base import logturn
from meta1g.base.log import FdSink, Log


class CountingSink(FdSink):
    """Keeps what each write got.  Owner: the test."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[str] = []

    def _put(self, data: bytes) -> None:
        self.writes.append(data.decode())


@contextmanager
def collecting(module: str, collect_lines: Callable[[Log], object]) -> Iterator[Log]:
    """Gives a log whose lines are collected; no turn knows of it afterwards."""
    log = Log(module, sink=CountingSink())
    before = list(logturn._sinks)
    collect_lines(log)
    yield log
    logturn._sinks[:] = before
