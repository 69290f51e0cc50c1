"""Among state threads a function that may switch says so: `Switches: yes` in its docstring; without a word it does not.

Calls are resolved by name: functions of a module and those it imports, methods of a class and its bases by self, other
methods if all that have the name in these packages agree.  What is called later (lambdas, inner functions) does not count.
"""

import ast
import os
import socket
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.sources import nodes, tree

pytestmark = pytest.mark.xdist_group("sources")


PACKAGE = Path(__file__).parents[1] / "meta1g"
#: packages that run in state threads
THREADED = ("st", "smtps", "smtpc")
SAYS = "Switches: yes"
#: an answer of its own, with a reason, for what only looks as if it switched
CLAIMS = "Switches: "
#: names of methods that are as likely those of an object of the interpreter
FOREIGN = frozenset(name for kind in (list, dict, set, bytes, str, deque, socket.socket, os) for name in dir(kind))


@dataclass(frozen=True)
class Function:
    """One function: where it stands, whether it says that it switches, and whom it calls."""

    path: Path
    module: str
    owner: str
    name: str
    says: bool
    claims: bool
    calls: tuple[tuple[str, str], ...]  # ("self" | "name" | "other", name)


def calls_of(node: ast.AST) -> Iterator[tuple[str, str]]:
    """Gives the calls that a function makes itself."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Lambda | ast.FunctionDef | ast.ClassDef):
            continue
        if isinstance(child, ast.Call):
            target = child.func
            if isinstance(target, ast.Name):
                yield "name", target.id
            elif isinstance(target, ast.Attribute):
                of_self = isinstance(target.value, ast.Name) and target.value.id == "self"
                of_super = isinstance(target.value, ast.Call) and getattr(target.value.func, "id", "") == "super"
                yield "self" if of_self or of_super else "other", target.attr
        yield from calls_of(child)


def functions_of(path: Path) -> Iterator[Function]:
    """Gives the functions of a module and the methods of its classes."""
    module = tree(path)
    for node in module.body:
        if isinstance(node, ast.FunctionDef):
            yield function(path, "", node)
        elif isinstance(node, ast.ClassDef):
            for part in node.body:
                if isinstance(part, ast.FunctionDef):
                    yield function(path, node.name, part)


def function(path: Path, owner: str, node: ast.FunctionDef) -> Function:
    body = [ast.Module(body=[statement], type_ignores=[]) for statement in node.body]
    calls = tuple(call for part in body for call in calls_of(part))
    text = ast.get_docstring(node) or ""
    return Function(path, path.stem, owner, node.name, SAYS in text, CLAIMS in text, calls)


def bases_of(paths: list[Path]) -> dict[str, list[str]]:
    """Gives the names of the bases of each class."""
    classes = [node for path in paths for node in nodes(path) if isinstance(node, ast.ClassDef)]
    return {node.name: [base.id for base in node.bases if isinstance(base, ast.Name)] for node in classes}


def imports_of(path: Path) -> dict[str, str]:
    """Gives the last part of the module that each name comes from; what `meta1g.st` offers is its own."""
    imports = [node for node in nodes(path) if isinstance(node, ast.ImportFrom)]
    return {alias.name: (node.module or "").rpartition(".")[2] for node in imports for alias in node.names}


class Book:
    """All functions, by name.  Owner: the test."""

    def __init__(self, paths: list[Path]) -> None:
        self.functions = [one for path in paths for one in functions_of(path)]
        self._bases = bases_of(paths)
        self._imports = {path: imports_of(path) for path in paths}

    def switching_callee(self, caller: Function) -> str:
        """Gives one switching function that a function calls, or an empty text."""
        return next((name for how, name in caller.calls if self._switches(caller, how, name)), "")

    def _switches(self, caller: Function, how: str, name: str) -> bool:
        same = [one for one in self.functions if one.name == name]
        if how == "name":
            module = self._imports[caller.path].get(name, caller.module)
            found = [one for one in same if not one.owner and module in (one.module, one.path.parent.name)]
        elif how == "self":
            line = self._line(caller.owner)
            found = next(
                ([one for one in same if one.owner == owner] for owner in line if any(o.owner == owner for o in same)), []
            )
        else:
            found = [] if name in FOREIGN else [one for one in same if one.owner]
        return bool(found) and all(one.says for one in found)

    def _line(self, owner: str) -> Iterator[str]:
        yield owner
        for base in self._bases.get(owner, []):
            yield from self._line(base)


def silent(paths: list[Path]) -> list[str]:
    """Gives one line for each function that calls a switching one without saying that it switches."""
    book = Book(paths)
    found = [(one, book.switching_callee(one)) for one in book.functions if not one.claims]
    return [f"{one.module}: {one.owner}.{one.name} calls {callee}" for one, callee in found if callee]


def threaded_files() -> list[Path]:
    return [path for name in THREADED for path in sorted((PACKAGE / name).rglob("*.py"))]


def test_a_silent_caller_is_found_whatever_way_it_calls(tmp_path):
    (tmp_path / "io.py").write_text("def st_read():\n    '''Reads.  Switches: yes.'''\n")
    (tmp_path / "session.py").write_text(SESSION)
    found = silent(sorted(tmp_path.glob("*.py")))
    assert [line.partition(" calls ")[0].rpartition(".")[2] for line in found] == ["by_name", "by_self", "by_other"]


SESSION = """
from meta1g.st.io import st_read

class Base:
    def wait_long(self):
        '''Waits.  Switches: yes.'''

class Session(Base):
    def by_name(self):
        st_read()

    def by_self(self):
        self.wait_long()

    def by_other(self, other):
        other.peer.wait_long()

    def honest(self):
        '''Reads.  Switches: yes.'''
        st_read()

    def sure(self):
        '''Reads.  Switches: no, there is something.'''
        st_read()

    def later(self, start):
        start(lambda: st_read())
"""


def test_whoever_calls_a_function_that_switches_says_so():
    assert silent(threaded_files()) == []
