"""What tells that a file has to be read again."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from meta1g.base.signature import signature


def replaced(path: Path) -> None:
    other = path.with_name("new")
    other.write_text(path.read_text())
    os.utime(other, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns))
    other.replace(path)


def changed_and_dated_back(path: Path) -> None:
    then = path.stat().st_mtime_ns
    path.write_text("B" * path.stat().st_size)
    os.utime(path, ns=(then, then))


def longer(path: Path) -> None:
    with path.open("a") as file:
        file.write("more")


def made_readable(path: Path) -> None:
    path.chmod(0o640)


@pytest.mark.parametrize("change", [replaced, changed_and_dated_back, longer, made_readable])
def test_each_change_of_a_file_is_seen(tmp_path, change: Callable[[Path], None]):
    path = tmp_path / "file"
    path.write_text("A")
    path.chmod(0o600)
    before = signature(path)
    assert before == signature(path) is not None
    moment = path.stat().st_ctime_ns
    change(path)
    while signature(path) == before and path.stat().st_ctime_ns == moment:  # the clock of the file system is coarse
        change(path)
    assert signature(path) != before


def test_a_file_that_is_not_there_has_none(tmp_path):
    assert signature(tmp_path / "none") is None
    assert signature(tmp_path / "none" / "below") is None
