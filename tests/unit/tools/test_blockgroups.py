import os
import subprocess
import tempfile
from itertools import pairwise
from pathlib import Path

import pytest

from meta1g.base.paths import CDB_SUBDIRECTORIES
from meta1g.tools import setup_dirs
from meta1g.tools.blockgroups import spread_below

EXT4 = "ef53"
TMPFS = "1021994"
DISTANCE = 1000


def kind_of(path: Path) -> str:
    return subprocess.run(["stat", "-f", "-c", "%t", path], capture_output=True, text=True, check=True).stdout.strip()


def numbers(directory: Path) -> list[int]:
    return sorted((directory / name).stat().st_ino for name in CDB_SUBDIRECTORIES)


def far_apart(found: list[int]) -> int:
    return sum(1 for a, b in pairwise(found) if b - a > DISTANCE)


def test_the_directories_of_the_contents_lie_in_different_block_groups_of_ext4(tmp_path):
    if kind_of(tmp_path) != EXT4:
        pytest.skip("the temporary directory is not on ext4")
    queue = tmp_path / "spool"
    setup_dirs.main(["-f", str(tmp_path / "etc/meta1.conf"), "--no-accounts", "--queue-directory", str(queue)])
    for name in CDB_SUBDIRECTORIES:
        (tmp_path / "usual" / name).mkdir(parents=True)
    assert far_apart(numbers(queue / "cdb")) > far_apart(numbers(tmp_path / "usual"))


def test_a_file_system_that_cannot_spread_directories_says_so_and_nothing_happens():
    shared = Path("/dev/shm")
    if kind_of(shared) != TMPFS:
        pytest.skip("/dev/shm is no tmpfs")
    with tempfile.TemporaryDirectory(dir=shared) as name:
        fd = os.open(name, os.O_RDONLY)
        try:
            assert not spread_below(fd)
        finally:
            os.close(fd)
