"""What holds for all tests: none leaves a socket or a pipe open, or a process running.

What is collected unclosed is a ResourceWarning, and an error, but of whatever test runs then: it is found here, after the
last test and fixture of its module.
"""

import gc
from collections.abc import Iterator

import pytest
from hypothesis import settings

from tests.groups import GroupScheduling, run_and_tell_briefly
from tests.remains import nothing_left

#: Examples have no time limit of their own: a busy machine is no reason to fail.  pytest-timeout watches over each test.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@pytest.fixture(autouse=True, scope="module")
def nothing_is_left_behind(request: pytest.FixtureRequest) -> Iterator[None]:
    with nothing_left(request.node.name):
        yield


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[object]:
    """What is collected stays to the end: looking through it for garbage again and again is in vain."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.freeze()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> GroupScheduling | None:
    return GroupScheduling(config, log) if config.getoption("dist") in ("load", "loadgroup") else None


@pytest.hookimpl
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    return run_and_tell_briefly(item, nextitem)
