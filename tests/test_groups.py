"""Tests that share the fixtures of a module run in one worker; none is lost on its way to a worker and back."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.groups import PIECE, ROOT, group_of, units_of

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


FIXTURE = """
import pytest
@pytest.fixture(scope="module")
def server(): ...
@pytest.mark.parametrize("a", range(20))
def test_one(a): ...
"""


def test_a_module_with_a_fixture_of_its_own_is_one_unit_and_others_are_pieces_behind_all_that_may_be_slow(tmp_path):
    sources = {
        "tests/unit/test_many.py": "def test_one(a): ...\n",
        "tests/unit/test_few.py": "def test_one(a): ...\n",
        "tests/unit/test_server.py": FIXTURE,
        "tests/system/test_slow.py": "def test_one(a): ...\n",
    }
    for name, text in sources.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    counts = {"many": 3 * PIECE, "few": PIECE + 1, "server": 20}
    nodeids = [f"tests/unit/test_{name}.py::test_one[{number}]" for name, count in counts.items() for number in range(count)]
    nodeids += ["tests/system/test_slow.py::test_one[0]", "tests/system/test_slow.py::test_one[1]"]
    units = units_of(nodeids, tmp_path)
    assert sorted(nodeid for unit in units.values() for nodeid in unit) == sorted(nodeids)
    assert [(unit[0].split("test_")[1].partition(".")[0], len(unit)) for unit in units.values()] == [
        ("server", 20),
        ("slow", 1),
        ("slow", 1),
        ("few", PIECE),
        ("few", 1),
        ("many", PIECE),
        ("many", PIECE),
        ("many", PIECE),
    ]


OUTCOMES = """
import os, time
import pytest

@pytest.fixture
def before(): raise ValueError("at first")

@pytest.fixture
def after():
    yield
    raise ValueError("at last")

@pytest.fixture
def slow(): time.sleep(0.02)

@pytest.mark.parametrize("number", range(50))
def test_right(number): ...
def test_wrong(): assert 1 == 2
def test_setup(before): ...
def test_teardown(after): ...
def test_slow_setup(slow): ...
@pytest.mark.skip
def test_skipped(): ...
@pytest.mark.xfail(strict=True)
def test_expected(): assert 1 == 2
"""
CRASH = """
import os
import pytest
@pytest.mark.parametrize("number", range(20))
def test_crash(number):
    if number == 5 and "PYTEST_XDIST_WORKER" in os.environ:
        os._exit(1)
"""


def outcome_of_a_run(directory: Path, *options: str) -> tuple[dict[str, int], str]:
    """Runs the tests of a directory with what this project has for workers; gives the numbers of its last line and the text."""
    command = [sys.executable, "-m", "pytest", "-q", "--color=no", "-p", "no:cacheprovider", "--durations=0", *options]
    path = {"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"]}
    run = subprocess.run(command, cwd=directory, env=path, capture_output=True, text=True, timeout=120, check=False)
    words = re.findall(r"(\d+) ([a-z]+)", run.stdout.splitlines()[-1])
    return {word: int(number) for number, word in words}, run.stdout


def test_workers_tell_what_one_process_tells_and_a_dead_one_costs_its_test_only(tmp_path):
    hooks = "pytest_runtest_protocol, pytest_xdist_make_scheduler"
    (tmp_path / "conftest.py").write_text(f"from tests.conftest import {hooks}\n")
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "test_outcomes.py").write_text(OUTCOMES)
    (tmp_path / "test_crash.py").write_text(CRASH)
    alone, _ = outcome_of_a_run(tmp_path)
    workers, text = outcome_of_a_run(tmp_path, "-n", "2", "--dist", "loadgroup")
    assert alone == {"passed": 72, "failed": 1, "errors": 2, "skipped": 1, "xfailed": 1}
    assert workers == {**alone, "passed": 71, "failed": 2}, text
    assert re.search(r"0\.0\ds setup +test_outcomes.py::test_slow_setup", text)
    assert "test_crash.py::test_crash[5]" in text
