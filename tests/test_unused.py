"""Nothing is there for nobody: whatever the product defines is used by it, or by what stands beside it.

What a module defines is used if the module itself names it again, somebody imports it, or asks the module for it.  What a class
defines is looked for as a word, so one that another thing bears too is not found out; what is found is certain.
"""

import ast
import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from tests.sources import PRODUCT, ROOT, programs

#: Whose use counts.
USERS = tuple(ROOT / name for name in ("meta1g", "contrib", "bench"))
#: What tests look at, and nobody else needs to.
SEEN_BY_TESTS = {
    "EINTR": "st/errors.py: as in the C library, for programs that use State Threads",
    "ETIME": "the same",
    "KNOWN": "tools/metalog/cases.py: the events that a story is made of",
    "MACROS": "milter/macros.py: what filters get at some time",
    "TRANSITIONS": "smtp/data.py: what the chunks that are followed have to agree with",
    "USERS": "conf/effects.py: which process reads a section",
    "VALUES": "conf/effects.py: the right-hand sides of the access map",
    "component_of": "base/events.py: each event belongs to a component",
    "contained_counts": "base/failure.py: how often what failed",
    "held_bytes": "milter/codec.py: nothing is kept behind the last frame",
    "held_names": "pt/lock.py: which locks a thread holds",
    "offloaded": "st/offload.py: calls that run beside the state threads",
    "open_of": "db/icc.py: connections of a client",
    "set_checking": "pt/lock.py: the whole suite runs with the order of locks checked",
    "set_exit": "base/failure.py: a test must not end its process",
    "set_turn": "st/sched.py: turns of one call",
    "stuff": "smtp/data.py: the other half of Unstuffer; what smtpc sends is stuffed piece by piece",
}
#: The names that PLY looks for, Python, those who start programs (setup.cfg), and mcp, which runs the checks of the others.
OF_OTHERS = re.compile(r"[pt]_[A-Za-z_]+|__\w+__|run|run_dmarcrpt|main")
WORD = re.compile(r"\w+")


def names(body: list[ast.stmt]) -> Iterator[str]:
    """Gives what some statements define: functions, classes, constants."""
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                yield from (one.id for one in ast.walk(target) if isinstance(one, ast.Name) and one.id != "_")


def in_classes(tree: ast.Module) -> Iterator[str]:
    """Gives what the classes of a module define.

    What stands in a derived class may be what the other one asks for, and a value of an enumeration is looked up by value.
    """
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and {ast.unparse(base).split("[")[0] for base in node.bases} <= {"ABC", "Generic"}:
            yield from names(node.body)


class Uses:
    """What some files use.

    Attributes:
        words: how often each word stands in them.
        asked: `module.NAME`, by the last part of the module's name, be it by import or by attribute.
        aliases: under what other name something is imported.
    """

    def __init__(self, paths: list[Path]) -> None:
        self.words: Counter[str] = Counter()
        self.asked: set[str] = set()
        self.aliases: dict[str, str] = {}
        for path in paths:
            text = path.read_text()
            self.words.update(WORD.findall(text))
            self._read(ast.parse(text))

    def _read(self, tree: ast.Module) -> None:
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module:
                self.asked |= {f"{node.module.rpartition('.')[2]}.{one.name}" for one in node.names}
                self.aliases |= {one.name: one.asname for one in node.names if one.asname}
            elif isinstance(node, ast.Attribute):
                self.asked.add(f"{ast.unparse(node.value).rpartition('.')[2]}.{node.attr}")


def again(tree: ast.Module) -> set[str]:
    """Gives the names that a module reads itself, those in texts of types too."""
    read = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
    texts = (node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str))
    return read.union(*(WORD.findall(text) for text in texts if "\n" not in text))


def unused(paths: list[Path], uses: Uses) -> Iterator[str]:
    for path in paths:
        tree = ast.parse(path.read_text())
        own, module = again(tree), path.stem if path.stem != "__init__" else path.parent.name
        for name in names(tree.body):
            asked = {f"{module}.{name}", f"{uses.aliases.get(module)}.{name}"} & uses.asked
            if name not in own and not asked and not OF_OTHERS.fullmatch(name):
                yield name
        yield from (name for name in in_classes(tree) if uses.words[name] < 2 and not OF_OTHERS.fullmatch(name))


@cache
def product() -> list[Path]:
    return [path for root in PRODUCT for path in sorted(root.rglob("*.py"))]


def test_everything_is_used():
    uses = Uses([path for root in USERS for path in programs(root)])
    assert sorted(unused(product(), uses)) == sorted(SEEN_BY_TESTS)


def test_what_nobody_uses_is_found(tmp_path):
    (tmp_path / "one.py").write_text(
        "A = 1\nB: int = A\nC = D = 2\nclass E:\n    f = 1\n    def g(self): ...\n    def h(self): self.g()\n"
    )
    (tmp_path / "two.py").write_text("from one import C\nimport one\none.E\ntwo.D\nother.B\n")
    paths = sorted(tmp_path.glob("*.py"))
    assert list(unused(paths, Uses(paths))) == ["B", "D", "f", "h"]
