"""Nothing is there for nobody: whatever the product defines is named a second time in what uses it.

A name is looked for as a word, so one that another thing bears too is not found out; what is found is certain.
"""

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from tests.sources import PRODUCT, ROOT

#: Where what stands in the product may be used.
USERS = (*(ROOT / name for name in ("meta1g", "contrib", "bench")), ROOT / "setup.cfg", ROOT / "docs/conf.py")
#: What tests look at, and nobody else needs to.
SEEN_BY_TESTS = {
    "component_of": "base/events.py: each event belongs to a component",
    "contained_counts": "base/failure.py: how often what failed",
    "set_exit": "base/failure.py: a test must not end its process",
    "open_of": "db/icc.py: connections of a client",
    "held_bytes": "milter/codec.py: nothing is kept behind the last frame",
    "held_names": "pt/lock.py: which locks a thread holds",
    "set_checking": "pt/lock.py: the whole suite runs with the order of locks checked",
    "stuff": "smtp/data.py: the other half of Unstuffer; what smtpc sends is stuffed piece by piece",
    "offloaded": "st/offload.py: calls that run beside the state threads",
    "set_turn": "st/sched.py: turns of one call",
}
#: The names that PLY looks for, the attributes of objects of others, and the parts of a protocol of others.
OF_OTHERS = re.compile(r"[pt]_[A-Za-z_]+|do_[a-z]+|__\w+__|_fields_")
WORD = re.compile(r"\w+")


def definitions(tree: ast.Module) -> Iterator[str]:
    """Gives the functions, classes, methods and constants of a module.

    What stands in a derived class may be what the other one asks for, and a value of an enumeration is looked up by value.
    """
    for node in tree.body:
        yield from _names(node)
        if isinstance(node, ast.ClassDef) and {ast.unparse(base).split("[")[0] for base in node.bases} <= {"ABC", "Generic"}:
            for one in node.body:
                yield from _names(one)


def _names(node: ast.stmt) -> Iterator[str]:
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        yield node.name
    elif isinstance(node, ast.Assign | ast.AnnAssign):
        for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
            yield from (one.id for one in ast.walk(target) if isinstance(one, ast.Name) and one.id != "_")


def words(paths: tuple[Path, ...]) -> Counter[str]:
    """Counts the words of all files below some directories."""
    counts: Counter[str] = Counter()
    for root in paths:
        for path in root.rglob("*") if root.is_dir() else [root]:
            if path.is_file() and path.suffix in ("", ".py", ".cfg"):
                counts.update(WORD.findall(path.read_text(errors="replace")))
    return counts


def unused(roots: tuple[Path, ...], users: tuple[Path, ...]) -> Iterator[str]:
    counts = words(users)
    for root in roots:
        for path in sorted(root.rglob("*.py")):
            for name in definitions(ast.parse(path.read_text())):
                if counts[name] < 2 and not OF_OTHERS.fullmatch(name):
                    yield name


def test_everything_is_named_a_second_time():
    assert sorted(unused(PRODUCT, USERS)) == sorted(SEEN_BY_TESTS)


def test_what_nobody_names_is_found(tmp_path):
    (tmp_path / "one.py").write_text(
        "A = 1\nB: int = A\ndef f():\n    g()\nclass C:\n    d = 1\n    def e(self): ...\ndef g(): C()\n"
    )
    assert list(unused((tmp_path,), (tmp_path,))) == ["B", "f", "d", "e"]
