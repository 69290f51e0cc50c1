"""Event-thread systems that run in the background of a test, and logs that can be read."""

import threading
from collections.abc import Callable, Iterator

import pytest

from meta1g.base import failure
from meta1g.base.log import Log
from meta1g.base.logkeys import Sev
from meta1g.pt import lock
from meta1g.pt.evthr import Evthr

DEADLINE_S = 20.0


class MemorySink:
    """Keeps log lines.  Owner: the test."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def write(self, sevr: Sev, stamp: str, head: str, text: str) -> None:
        self.lines.append(text)

    def reopen(self) -> None:
        """Has nothing to open."""


class Running:
    """A system whose loop() runs in a thread of its own.  Owner: the test."""

    def __init__(self, before: Callable[[Evthr], object] | None = None, **arguments: object) -> None:
        self.sink = MemorySink()
        self.log = Log("test", level=20, sink=self.sink)
        self.evthr = Evthr(log=self.log, **arguments)
        if before is not None:
            before(self.evthr)
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._loop)

    def start(self) -> Evthr:
        self._thread.start()
        return self.evthr

    def stop(self) -> None:
        self.evthr.stop()
        self.join()

    def join(self) -> None:
        self._thread.join(DEADLINE_S)
        assert not self._thread.is_alive(), "the loop did not stop"

    def _loop(self) -> None:
        try:
            self.evthr.loop()
        except SystemExit as error:
            self.error = error


@pytest.fixture
def make_system() -> Iterator[Callable[..., Running]]:
    made: list[Running] = []
    before = threading.active_count()

    def make(**arguments: object) -> Running:
        system = Running(**arguments)
        made.append(system)
        system.start()
        return system

    yield make
    for system in made:
        system.stop()
    assert threading.active_count() <= before, f"threads left behind: {threading.enumerate()}"


@pytest.fixture
def system(make_system: Callable[..., Running]) -> Running:
    return make_system()


@pytest.fixture
def exits() -> Iterator[list[int]]:
    """Keeps the process from being ended by failure.end_process(); gives the exit codes."""
    codes: list[int] = []
    old = failure.set_exit(codes.append)
    yield codes
    failure.set_exit(old)


@pytest.fixture(autouse=True)
def checked_locks() -> Iterator[None]:
    lock.set_checking(True)
    yield
    lock.set_checking(False)
