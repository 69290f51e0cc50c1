"""Tags in docstrings carry news only: what is so by default is not said.

A function that says nothing neither switches nor blocks; a frozen class is immutable.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.sources import nodes

pytestmark = pytest.mark.xdist_group("sources")


ROOT = Path(__file__).parents[1]
DEFAULTS = ("Switches: no.", "Blocks: no.")
#: classes whose objects cannot be changed anyhow
FROZEN_BASES = frozenset(("Enum", "IntEnum", "IntFlag", "Flag", "StrEnum", "NamedTuple"))


def is_frozen(node: ast.ClassDef) -> bool:
    """Tells whether a class is a frozen data class, a tuple or an enumeration."""
    keywords = [one for call in node.decorator_list if isinstance(call, ast.Call) for one in call.keywords]
    if any(one.arg == "frozen" and isinstance(one.value, ast.Constant) and one.value.value for one in keywords):
        return True
    return any(isinstance(base, ast.Name) and base.id in FROZEN_BASES for base in node.bases)


def needless(path: Path) -> Iterator[str]:
    """Gives one line for each tag of a file that says nothing new."""
    for node in nodes(path):
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            text = ast.get_docstring(node) or ""
            tags = (*DEFAULTS, "Immutable.") if isinstance(node, ast.ClassDef) and is_frozen(node) else DEFAULTS
            yield from (f"{path}:{node.lineno} {node.name}: {tag}" for tag in tags if tag in text)


@pytest.mark.parametrize("directory", ["meta1g", "bench", "contrib"])
def test_no_tag_says_what_is_so_by_default(directory):
    assert [line for path in sorted((ROOT / directory).rglob("*.py")) for line in needless(path)] == []


def test_needless_tags_are_found(tmp_path):
    path = tmp_path / "module.py"
    path.write_text(
        "@dataclass(frozen=True)\nclass Fact:\n    '''A fact.  Immutable.'''\n"
        "class Plain:\n    '''Kept as it is.  Immutable.'''\n"
        "def f():\n    '''Does.\n\n    Blocks: no.\n    '''\n"
        "def g():\n    '''Does.  Switches: no, there is something.'''\n"
    )
    assert [line.rpartition(": ")[2] for line in needless(path)] == ["Immutable.", "no."]
