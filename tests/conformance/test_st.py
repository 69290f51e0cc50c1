"""Compares the State Threads library with meta1g.st, scenario by scenario."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conformance.run_python import read

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
SCENARIOS = HERE / "scenarios.txt"
DIFFERENCES = (ROOT / "docs/st-differences.md").read_text()

pytestmark = [
    pytest.mark.xdist_group("conformance"),
    pytest.mark.skipif(shutil.which("gcc") is None or not Path("/usr/include/st.h").exists(), reason="needs gcc and libst-dev"),
]


def traces(command: list[str]) -> dict[str, list[str]]:
    output = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=150).stdout
    return {name: lines for name, *lines in (block.splitlines() for block in output.split("== ")[1:])}


@pytest.fixture(scope="module")
def ours():
    return traces([sys.executable, "-m", "tests.conformance.run_python", str(SCENARIOS)])


@pytest.fixture(scope="module")
def theirs(tmp_path_factory):
    program = tmp_path_factory.mktemp("st") / "st_scenarios"
    subprocess.run(
        ["gcc", "-Wall", "-Wextra", "-Werror", "-O1", "-o", program, HERE / "st_scenarios.c", "-lst"],
        check=True,
        env=os.environ,
    )
    return traces([str(program), str(SCENARIOS)])


@pytest.mark.parametrize(("name", "own"), [(name, own) for name, (_, own) in read(SCENARIOS).items()])
def test_both_libraries_do_the_same(name, own, ours, theirs):
    assert "ended -14" not in theirs[name], "the scenario hangs"
    if own:
        assert name in DIFFERENCES, "docs/st-differences.md has to tell why"
        assert ours[name] == own
        assert theirs[name] != own
    else:
        assert ours[name] == theirs[name]
