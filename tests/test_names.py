"""One word names one thing: a public class, or alias of types, of the package has a name that no other one has."""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

from tests.sources import PRODUCT, ROOT, nodes, tree

pytestmark = pytest.mark.xdist_group("sources")

TESTS = ROOT / "tests"
#: Words of the field that each component or machine has one of; nobody uses two of them side by side under this name.
EACH_HAS_ONE = {
    "Settings": "the configuration of a component",
    "Context": "the parts of a component, put together",
    "State": "the states of a machine",
    "Event": "the events of a machine",
    "TlsConnection": "a connection under TLS, by libssl or by Python's ssl",
    "Verb": "the commands of SMTP: those a server takes, and those a client waits for the answer to",
}


def python_files() -> list[Path]:
    return sorted(path for package in PRODUCT for path in package.rglob("*.py"))


def public_names(path: Path) -> Iterator[str]:
    """Gives the classes of a module, and what it calls a type: a name in CamelCase that is assigned."""
    for node in tree(path).body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield node.name
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            yield from (one.id for one in targets if isinstance(one, ast.Name) and is_type_name(one.id))


def is_type_name(name: str) -> bool:
    return name[0].isupper() and not name.isupper()


def test_one_word_names_one_class_or_type():
    places = defaultdict(list)
    for path in python_files():
        for name in public_names(path):
            places[name].append(str(path.relative_to(ROOT)))
    assert {name: where for name, where in places.items() if len(where) > 1 and name not in EACH_HAS_ONE} == {}
    assert {name for name in EACH_HAS_ONE if len(places[name]) < 2} == set(), "no exception without a case"


def test_no_module_has_two_things_under_a_word_that_each_component_has_one_of():
    """`from a import Event as AEvent` says which one is meant."""
    for path in python_files():
        taken: dict[str, set[str]] = defaultdict(set)
        for node in nodes(path):
            if isinstance(node, ast.ImportFrom) and node.module:
                for alias in node.names:
                    if alias.name in EACH_HAS_ONE and alias.asname is None:
                        taken[alias.name].add(node.module)
        assert {name: where for name, where in taken.items() if len(where) > 1} == {}, path


def test_a_name_that_is_taken_twice_is_found(tmp_path):
    (tmp_path / "a.py").write_text("class One: ...\nclass _Own: ...\nTwo = int | str\nLIMIT = 3\n_Own2: type = int\n")
    assert list(public_names(tmp_path / "a.py")) == ["One", "Two"]


def faulty_functions() -> set[tuple[str, str]]:
    """Gives what tests make fail in real processes: `module:function` in their texts."""
    named = re.compile(r'"(meta1g(?:\.\w+)+):(\w+(?:\.\w+)*)')
    return {match.groups() for path in TESTS.rglob("*.py") for match in named.finditer(path.read_text())}


def test_what_tests_make_fail_is_there():
    """A process that is to fail somewhere else would pass."""
    functions = faulty_functions()
    assert len(functions) > 20
    lost = [f"{module}:{name}" for module, name in functions if not callable(found(import_module(module), name))]
    assert sorted(lost) == []


def found(holder: object, name: str) -> object:
    for part in name.split("."):
        holder = getattr(holder, part, None)
    return holder
