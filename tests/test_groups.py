"""Tests that share the fixtures of a module run in one worker."""

import os
from pathlib import Path

import pytest

from tests.groups import group_of

MODULE = """
import pytest
pytestmark = [pytest.mark.system, pytest.mark.xdist_group("shared")]
def test_one(): ...
@pytest.mark.parametrize("a", [1])
@pytest.mark.xdist_group("own")
def test_two(a): ...
class TestThree:
    def test_four(self): ...
"""


def test_the_mark_of_a_function_counts_then_that_of_its_module_then_its_id(tmp_path):
    (tmp_path / "test_shared.py").write_text(MODULE)
    (tmp_path / "test_plain.py").write_text("pytestmark = 1\ndef test_one(): ...\n")
    found = [
        group_of(f"test_{name}", tmp_path)
        for name in (
            "shared.py::test_one",
            "shared.py::test_two[a::b]",
            "shared.py::TestThree::test_four",
            "plain.py::test_one[x]",
        )
    ]
    assert found == ["shared", "own", "shared", "test_plain.py::test_one[x]"]


@pytest.mark.xdist_group("groups")
@pytest.mark.parametrize("number", range(4))
def test_a_group_has_one_process(number, tmp_path_factory):
    base = tmp_path_factory.getbasetemp()
    shared: Path = base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base
    with (shared / "group-pids").open("a+") as file:
        file.write(f"{os.getpid()}\n")
        file.seek(0)
        assert set(file.read().split()) == {str(os.getpid())}
