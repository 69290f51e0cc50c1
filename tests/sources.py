"""The Python files of the project, for tests that read them."""

import ast
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


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Gives the functions of a module, inner ones too; looks at statements alone, since expressions have none."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node
        if isinstance(node, ast.stmt | ast.ExceptHandler | ast.match_case):
            yield from functions(node)
