"""Which tests run in one worker: those with the same xdist_group mark, so that they share the fixtures of their module.

pytest-xdist tells the group to its scheduler by a suffix of the test's id, which newer versions of pytest do not take: then
marks have no effect, and every worker starts a gateway of its own for a module.  So the scheduler looks into the source.
A mark of a function counts more than that of its module.
"""

import ast
import functools
from pathlib import Path

from xdist.scheduler import LoadGroupScheduling

ROOT = Path(__file__).parents[1]


def group_in(expression: ast.AST) -> str:
    """The argument of xdist_group in an expression, nothing if it has none."""
    for node in ast.walk(expression):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "xdist_group":
            return str(ast.literal_eval(node.args[0]))
    return ""


@functools.cache
def groups_of(path: Path) -> dict[str, str]:
    """The groups of the functions of a module; that of the module itself under the empty name."""
    found = {}
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Assign) and any(isinstance(one, ast.Name) and one.id == "pytestmark" for one in node.targets):
            found[""] = group_in(node.value)
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found[node.name] = next((name for one in node.decorator_list if (name := group_in(one))), "")
    return found


def group_of(nodeid: str, root: Path = ROOT) -> str:
    """The group of a test; its id if it has none."""
    path, _, rest = nodeid.partition("::")
    groups = groups_of(root / path)
    name = rest.partition("[")[0].partition("::")[0]
    return groups.get(name) or groups.get("") or nodeid


class GroupScheduling(LoadGroupScheduling):
    """Hands a group to a worker as a whole, the long ones first."""

    def _split_scope(self, nodeid: str) -> str:
        return group_of(nodeid)
