"""The syntax trees of the project's own files, made once for all tests that look into them.

Those tests are in the group "sources": one worker has the trees, not each of them.  Nobody changes a tree.
"""

import ast
import functools
from pathlib import Path


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
