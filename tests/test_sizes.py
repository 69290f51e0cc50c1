"""Rooms stay small: files of at most 500 lines, functions of at most 40, docstrings on everything public."""

import ast
from functools import cache
from pathlib import Path

import pytest

from tests.sources import DIRECTORIES, FILTERS, PRODUCT, ROOT, functions, programs, tree

pytestmark = pytest.mark.xdist_group("sources")

FILE_MAX_LINES = 500
FUNCTION_MAX_LINES = 40
#: Files that belong together, and lines that they have in all at most.
GROUPS = {
    "pt": (1_000, ["evthr", "crew", "board", "queues", "task", "workers"]),
}
#: Lines of each shell around the protocol of a connection (meta1g/rcb/connection.py): what has a socket to it.
SHELL_MAX_LINES = 130


@cache
def python_files() -> list[Path]:
    return [path for package in PRODUCT for path in sorted(package.rglob("*.py"))]


def lines(path: Path) -> int:
    return len(path.read_text().splitlines())


@pytest.mark.parametrize("directory", [name for name in DIRECTORIES if name != "tests"])
def test_no_file_is_too_long(directory):
    assert [f"{p}: {n}" for p in programs(ROOT / directory) if (n := lines(p)) > FILE_MAX_LINES] == []


def too_long(path: Path) -> list[str]:
    """Names the functions of a file that are too long, docstrings not counted."""
    found = []
    for node in functions(tree(path)):
        first = node.body[1].lineno if ast.get_docstring(node) and len(node.body) > 1 else node.lineno
        length = (node.end_lineno or first) - first + 1
        if length > FUNCTION_MAX_LINES:
            found.append(f"{path}:{node.lineno} {node.name}: {length}")
    return found


@pytest.mark.parametrize("directory", DIRECTORIES)
def test_no_function_is_too_long(directory):
    assert [found for path in programs(ROOT / directory) for found in too_long(path)] == []


def test_a_function_that_is_too_long_is_found_wherever_it_is(tmp_path):
    inner = "\n".join(
        ["        try:", "            pass", "        except OSError:", "            def f():", *["                x"] * 41]
    )
    path = tmp_path / "tool"
    path.write_text(f"#!/usr/bin/env python3\nclass A:\n    def g(self):\n{inner}\n")
    assert [found.split()[1] for found in too_long(path)] == ["g:", "f:"]
    assert list(programs(tmp_path)) == [path]


@pytest.mark.parametrize("package", GROUPS)
def test_files_that_belong_together_are_no_more_than_that(package):
    most, names = GROUPS[package]
    assert sum(lines(ROOT / "meta1g" / package / f"{name}.py") for name in names) <= most


def shells() -> list[Path]:
    """Gives the modules that make a connection, or are part of one with a socket."""
    package = ROOT / "meta1g"
    named = {path for path in package.rglob("rcb*.py") if path.parent != package / "rcb"}
    return sorted(named | {path for path in package.rglob("*.py") if "meta1g.rcb.connection import" in path.read_text()})


def test_the_shells_around_the_protocol_of_a_connection_are_thin():
    assert len(shells()) >= 12
    assert [f"{p}: {n}" for p in shells() if (n := lines(p)) > SHELL_MAX_LINES] == []


def test_every_module_says_what_it_is():
    assert FILTERS / "dns.py" in python_files()
    assert [str(p) for p in python_files() if p.read_text().strip() and not ast.get_docstring(tree(p))] == []
