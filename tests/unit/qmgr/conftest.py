"""A queue manager in the test process, with peers of all kinds."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from meta1g.pt import lock
from tests.fakes.qmgr_system import QmgrSystem


@pytest.fixture
def make_qmgr(tmp_path: Path) -> Iterator[Callable[..., QmgrSystem]]:
    made: list[QmgrSystem] = []
    before = threading.active_count()

    def make(**changes) -> QmgrSystem:
        made.append(QmgrSystem(tmp_path, **changes))
        return made[-1].start()

    yield make
    for system in made:
        system.stop()
    lock.set_checking(False)
    assert threading.active_count() <= before, f"threads left behind: {threading.enumerate()}"


@pytest.fixture
def qmgr(make_qmgr: Callable[..., QmgrSystem]) -> QmgrSystem:
    return make_qmgr()
