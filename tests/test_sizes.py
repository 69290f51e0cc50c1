"""Rooms stay small: files of at most 500 lines, functions of at most 40, docstrings on everything public."""

import ast
from pathlib import Path

import pytest

from tests.sources import nodes, tree

pytestmark = pytest.mark.xdist_group("sources")


ROOT = Path(__file__).parents[1]
PACKAGES = (ROOT / "meta1g", ROOT / "contrib/filters/meta1g_filters")
FILE_MAX_LINES = 500
FUNCTION_MAX_LINES = 40


def python_files() -> list[Path]:
    return sorted(path for package in PACKAGES for path in package.rglob("*.py"))


def test_no_file_is_too_long():
    assert [f"{p}: {n}" for p in python_files() if (n := len(p.read_text().splitlines())) > FILE_MAX_LINES] == []


def test_no_function_is_too_long():
    found = []
    for path in python_files():
        for node in nodes(path):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                first = node.body[1].lineno if ast.get_docstring(node) and len(node.body) > 1 else node.lineno
                length = (node.end_lineno or first) - first + 1
                if length > FUNCTION_MAX_LINES:
                    found.append(f"{path}:{node.lineno} {node.name}: {length}")
    assert found == []


def test_every_module_says_what_it_is():
    assert [str(p) for p in python_files() if p.read_text().strip() and not ast.get_docstring(tree(p))] == []
