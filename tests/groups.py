"""Which tests run in one worker, in which order, and what a worker tells of them.

Tests with the same xdist_group mark share the fixtures of their module, and so do tests of a module that has a module fixture
of its own: a process for each worker would cost more than it saves.  pytest-xdist tells the group to its scheduler by a
suffix of the test's id, which newer versions of pytest do not take: then marks have no effect.  So the scheduler looks into
the source.  A mark of a function counts more than that of its module.

All other tests are handed out a few at a time, since most take a millisecond, and a message to a worker takes as long.
"""

import ast
import functools
from collections import OrderedDict
from pathlib import Path
from typing import Final

import pytest
from _pytest.runner import runtestprotocol
from xdist.remote import Producer
from xdist.scheduler import LoadGroupScheduling
from xdist.workermanage import WorkerController

ROOT = Path(__file__).parents[1]

#: So many tests of one module are handed out together, where nothing starts a gateway.
PIECE: Final = 8
#: pytest --durations does not show what is shorter.
_SHORT_S: Final = 0.005
#: Here each test may take seconds.
SLOW: Final = ("tests/system/", "tests/fault/")


def group_in(expression: ast.AST) -> str:
    """The argument of xdist_group in an expression, nothing if it has none."""
    for node in ast.walk(expression):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "xdist_group":
            return str(ast.literal_eval(node.args[0]))
    return ""


def is_module_fixture(decorator: ast.expr) -> bool:
    """Says whether a decorator makes a fixture that all tests of a module share."""
    return isinstance(decorator, ast.Call) and any(
        word.arg == "scope" and isinstance(word.value, ast.Constant) and word.value.value == "module"
        for word in decorator.keywords
    )


@functools.cache
def groups_of(path: Path) -> dict[str, str]:
    """The groups of the functions of a module; that of the module itself under the empty name."""
    text = path.read_text()
    if "xdist_group" not in text and '"module"' not in text:  # reading is faster than parsing
        return {"": ""}
    found, of_module = {}, ""
    for node in ast.parse(text).body:
        if isinstance(node, ast.Assign) and any(isinstance(one, ast.Name) and one.id == "pytestmark" for one in node.targets):
            of_module = group_in(node.value) or of_module
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found[node.name] = next((name for one in node.decorator_list if (name := group_in(one))), "")
            if any(is_module_fixture(one) for one in node.decorator_list):
                of_module = of_module or str(path)
    return {**found, "": of_module}


def group_of(nodeid: str, root: Path = ROOT) -> str:
    """The group of a test; its id if it has none."""
    path, _, rest = nodeid.partition("::")
    groups = groups_of(root / path)
    name = rest.partition("[")[0].partition("::")[0]
    return groups.get(name) or groups[""] or nodeid


def units_of(nodeids: list[str], root: Path = ROOT) -> dict[str, list[str]]:
    """Divides tests into what one worker gets at a time, in the order in which they are handed out.

    Those that may take seconds come first, and among them groups, the largest before the others; at the end come the pieces
    of modules with many tests, which are short ones: no worker is left with much work when the others are through.

    Returns:
        names of units: the tests of each.
    """
    units: dict[str, list[str]] = {}
    numbers: dict[str, int] = {}
    for nodeid in nodeids:
        path = nodeid.partition("::")[0]
        name = group_of(nodeid, root)
        if name == nodeid and not path.startswith(SLOW):
            name = f"{path} {numbers.setdefault(path, 0) // PIECE}"
            numbers[path] += 1
        units.setdefault(name, []).append(nodeid)

    def place(unit: tuple[str, list[str]]) -> tuple[bool, int]:
        path = unit[1][0].partition("::")[0]
        return (path in numbers, numbers.get(path, 0) or -len(unit[1]))

    return dict(sorted(units.items(), key=place))


class GroupScheduling(LoadGroupScheduling):
    """Hands out units of tests.

    Its bookkeeping takes the same time for each test, however many there are: what is done is forgotten.
    """

    def __init__(self, config: pytest.Config, log: Producer | None = None) -> None:
        super().__init__(config, log)
        self._units: dict[str, str] = {}
        self._indexes: dict[str, int] = {}

    def schedule(self) -> None:
        if self.collection is not None:
            super().schedule()
            return
        nodeids = next(iter(self.registered_collections.values()))
        units = units_of(nodeids, self.config.rootpath)
        self._units = {nodeid: name for name, unit in units.items() for nodeid in unit}
        self._indexes = {nodeid: index for index, nodeid in enumerate(nodeids)}
        super().schedule()  # this gives each worker some of the largest units
        self.workqueue = OrderedDict((name, self.workqueue[name]) for name in units if name in self.workqueue)

    def mark_test_complete(self, node: WorkerController, item_index: int, duration: float = 0) -> None:
        self._forget(self.assigned_work[node], self.registered_collections[node][item_index])
        self._reschedule(node)

    def remove_node(self, node: WorkerController) -> str | None:
        """Others get what a worker leaves, but for the test that it died of."""
        units = self.assigned_work.pop(node)
        crashed = next((nodeid for unit in units.values() for nodeid in unit), None)
        if crashed is not None:
            self._forget(units, crashed)
            self.workqueue.update(units)
            for other in self.assigned_work:
                self._reschedule(other)
        return crashed

    def _forget(self, units: dict[str, dict[str, bool]], nodeid: str) -> None:
        name = self._units[nodeid]
        del units[name][nodeid]
        if not units[name]:
            del units[name]

    def _assign_work_unit(self, node: WorkerController) -> None:
        name, unit = self.workqueue.popitem(last=False)
        self.assigned_work[node][name] = unit
        node.send_runtest_some([self._indexes[nodeid] for nodeid in unit])

    def _split_scope(self, nodeid: str) -> str:
        return self._units[nodeid]


def run_and_tell_briefly(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    """Runs a test in a worker and reports its call, and of setup and teardown what failed or took time.

    Each message costs as much as a short test does.

    Returns:
        None for a test that pytest has to run in its own way.
    """
    options = item.config.option
    if not hasattr(item.config, "workerinput") or options.maxfail or options.xmlpath:
        return None
    for report in runtestprotocol(item, log=False, nextitem=nextitem):
        if report.when == "call" or not report.passed or report.duration > _SHORT_S:
            item.ihook.pytest_runtest_logreport(report=report)
    return True
