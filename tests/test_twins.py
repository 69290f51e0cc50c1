"""One way to do a thing: no two functions of the product have the same body but for the names of their variables."""

import ast
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

from tests.sources import DIRECTORIES, ROOT, functions, programs

#: Nodes of its tree from which on a function is worth having once.
WORTH = 32


class _Nameless(ast.NodeVisitor):
    """Names variables by the order in which they come."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}
        self.nodes = 0

    def visit(self, node: ast.AST) -> None:
        self.nodes += 1
        if isinstance(node, ast.Name):
            node.id = self._name(node.id)
        elif isinstance(node, ast.arg):
            node.arg, node.annotation = self._name(node.arg), None
        self.generic_visit(node)

    def _name(self, name: str) -> str:
        return self._names.setdefault(name, f"v{len(self._names)}")


def _shape(function: ast.FunctionDef | ast.AsyncFunctionDef) -> str | None:
    """Gives what twins have in common, None of a small function."""
    body = function.body[1:] if ast.get_docstring(function) else function.body
    bare = ast.FunctionDef("f", function.args, body, [], None)
    nameless = _Nameless()
    nameless.visit(bare)
    return ast.dump(bare) if nameless.nodes >= WORTH else None


def twins(paths: Iterable[Path]) -> Iterator[list[str]]:
    """Gives the places of functions that are the same."""
    places = defaultdict(list)
    for path in paths:
        for node in reversed([*functions(ast.parse(path.read_text()))]):  # inner ones first: names are changed in place
            shape = _shape(node)
            if shape is not None:
                places[shape].append(f"{path}: {node.name}")
    return (found for found in places.values() if len(found) > 1)


def test_no_function_stands_twice():
    assert list(twins(path for name in DIRECTORIES if name != "tests" for path in programs(ROOT / name))) == []


def test_twins_are_found_whatever_their_variables_are_called(tmp_path):
    text = (
        "def {0}({1}: str) -> str:\n    '{0}'\n    {2} = {1}.strip().lower()\n"
        "    return {2}[1:-1] if {2}[0] == '<' else {2} + {1}\n"
    )
    path = tmp_path / "module.py"
    path.write_text(text.format("one", "a", "b") + text.format("two", "x", "y") + text.format("three", "x", "x"))
    assert list(twins([path])) == [[f"{path}: two", f"{path}: one"]]
