"""What holds for all tests: none leaves a socket open.

A socket that is collected unclosed is a ResourceWarning, and that is an error; one that something still refers to is found
here, after the last test and fixture of its module.
"""

import gc
import os
import select
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.groups import GroupScheduling, run_and_tell_briefly

#: Examples have no time limit of their own: a busy machine is no reason to fail.  pytest-timeout watches over each test.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

#: Threads and peers that are ending may take a moment.
_GRACE_S = 5.0


def open_sockets() -> dict[str, str]:
    """The sockets of this process: what the kernel calls them, and how each is bound."""
    found = {}
    for path in Path("/proc/self/fd").iterdir():
        try:
            target = os.readlink(path)  # noqa: PTH115  it is no path
        except OSError:  # the one that listed the directory
            continue
        if target.startswith("socket:"):
            found[target] = f"descriptor {path.name}"
    return found


def describe(names: set[str]) -> list[str]:
    """Lines of the kernel's tables that tell what sockets these are."""
    inodes = {name[len("socket:[") : -1] for name in names}
    lines = []
    for table in ("tcp", "tcp6", "udp", "unix"):
        for line in Path(f"/proc/self/net/{table}").read_text().splitlines()[1:]:
            if inodes & set(line.split()):
                lines.append(f"{table} {line.strip()}")
    return lines or sorted(names)


@pytest.fixture(autouse=True, scope="module")
def no_socket_is_left_open(request: pytest.FixtureRequest) -> Iterator[None]:
    before = open_sockets().keys()
    yield
    end = time.monotonic() + _GRACE_S
    while left := open_sockets().keys() - before:
        gc.collect()
        if time.monotonic() > end:
            pytest.fail(f"{request.node.name} leaves sockets open: {describe(set(left))}")
        select.select([], [], [], 0.05)


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
