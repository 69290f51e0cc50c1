"""The Python files of the project, for tests that read them, and their syntax trees, made once for all.

Those tests are in the group "sources": one worker has the trees, not each of them.  Nobody changes a tree.
"""

import ast
import functools
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
FILTERS = ROOT / "contrib/filters/meta1g_filters"
#: What is installed.
PRODUCT = (ROOT / "meta1g", FILTERS)
#: All that is ours.
DIRECTORIES = ("meta1g", "contrib", "bench", "tests")


def programs(root: Path) -> Iterator[Path]:
    """Gives the Python files below a directory; contrib has some whose names do not tell it."""
    for path in sorted(root.rglob("*")):
        if path.suffix == ".py":
            yield path
        elif path.is_file() and not path.suffix:
            with path.open("rb") as file:
                line = file.readline(100)
            if line.startswith(b"#!") and b"python" in line:
                yield path


def nodes(path: Path) -> tuple[ast.AST, ...]:
    """Gives all nodes of the syntax tree of a file, in the order of ast.walk(): the module is the first."""
    return _nodes(path, path.stat().st_mtime_ns)


def tree(path: Path) -> ast.Module:
    """Gives the syntax tree of a file."""
    module = nodes(path)[0]
    assert isinstance(module, ast.Module)
    return module


@functools.cache
def _nodes(path: Path, _changed_ns: int) -> tuple[ast.AST, ...]:
    return tuple(ast.walk(ast.parse(path.read_text())))


def functions(module: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Gives the functions of a module, inner ones too; looks at statements alone, since expressions have none."""
    for node in ast.iter_child_nodes(module):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node
        if isinstance(node, ast.stmt | ast.ExceptHandler | ast.match_case):
            yield from functions(node)
