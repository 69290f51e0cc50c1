"""The state machines are the truth: each table leads from its first state to all others and on from each but the last ones,
every event of it is fed by the product, and nothing sets a state past it.

A machine is a module with a table TRANSITIONS from (state, event) to state.  It is followed by what looks a state up in the
table, or asks `next_state` or `follow` (meta1g/base/statetable.py).
"""

import ast
from collections.abc import Iterator, Mapping
from enum import Enum
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest

from tests.sources import PRODUCT

#: The bytes of a message are its events, and they are followed in whole chunks: tests/unit/smtp/test_data.py compares.
BYTE_MACHINES = {"meta1g.smtp.data"}
#: State Threads has no table: a thread is set to what its scheduler does with it, as in the C library.
WITHOUT_TABLE = {"meta1g/st"}
#: States that are the last ones of their machine; each other one has a way on.
LAST = {
    "meta1g.db.ibdb_life": {"REMOVED"},
    "meta1g.mcp.fsm": set(),
    "meta1g.milter.fsm": {"CLOSED"},
    "meta1g.pt.task": {"DELETED"},
    "meta1g.qmgr.da_fsm": {"GONE"},
    "meta1g.qmgr.rcpt_fsm": {"DONE"},
    "meta1g.qmgr.ta_fsm": {"HANDED_OVER", "ABORTED"},
    "meta1g.smar.rcpt_fsm": {"DONE", "ERROR"},
    "meta1g.smtp.data": {"END"},
    "meta1g.smtpc.fsm": {"CLOSED"},
    "meta1g.smtps.fsm": {"CLOSING"},
}

Names = set[str]


@cache
def trees(*roots: Path) -> list[tuple[str, ast.Module]]:
    """Gives name and tree of every module of some packages that may have to do with a machine."""
    texts = ((root, path, path.read_text()) for root in roots for path in sorted(root.rglob("*.py")))
    return [
        (".".join(path.relative_to(root.parent).with_suffix("").parts), ast.parse(text))
        for root, path, text in texts
        if "Event" in text or "TRANSITIONS" in text or "state" in text
    ]


def machines(*roots: Path) -> list[str]:
    """Gives the modules that have a table."""
    return [name for name, tree in trees(*roots) if any(_is_named(node, "TRANSITIONS") for node in tree.body)]


def _is_named(node: ast.stmt, name: str) -> bool:
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return any(isinstance(target, ast.Name) and target.id == name for target in targets)


def fed(machine: str, *roots: Path) -> set[str]:
    """Gives the events of a machine that some function takes for more than a question (a comparison, `allowed`).

    What a table of a module gives, as its values, counts too: a function looks it up.
    """
    found: set[str] = set()
    for name, tree in trees(*roots):
        local = set(_aliases(tree)) if name == machine else set(_imported(tree, machine))
        for node in ast.walk(tree) if local else ():
            if isinstance(node, ast.FunctionDef | ast.Lambda):
                found |= set(_taken(node, local))
        for statement in tree.body if local else ():
            if isinstance(statement, ast.Assign | ast.AnnAssign) and not _is_named(statement, "TRANSITIONS"):
                found |= set(_values(statement, local))
    return found


def _aliases(tree: ast.Module) -> Iterator[str]:
    """Gives the names of Event in its own module: `_S, _E = State, Event`."""
    yield "Event"
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Tuple) and isinstance(node.targets[0], ast.Tuple):
            pairs = zip(node.targets[0].elts, node.value.elts, strict=True)
            yield from (ast.unparse(target) for target, value in pairs if ast.unparse(value) == "Event")


def _values(statement: ast.AST, local: Names) -> Iterator[str]:
    for table in ast.walk(statement):
        for value in table.values if isinstance(table, ast.Dict) else ():
            yield from _taken(value, local)


def _imported(tree: ast.Module, machine: str) -> Iterator[str]:
    package, _, module = machine.rpartition(".")
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == machine:
            yield from (alias.asname or alias.name for alias in node.names if alias.name == "Event")
        elif isinstance(node, ast.ImportFrom) and node.module == package:
            yield from (f"{alias.asname or alias.name}.Event" for alias in node.names if alias.name == module)


def _taken(node: ast.AST, local: Names) -> Iterator[str]:
    """Gives the names of events below a node, but not those that are only asked about."""
    if isinstance(node, ast.Compare):
        return
    if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("allowed"):
        return
    if isinstance(node, ast.Attribute) and node.attr.isupper() and ast.unparse(node.value) in local:
        yield node.attr
    for child in ast.iter_child_nodes(node):
        yield from _taken(child, local)


def setters(*roots: Path) -> set[str]:
    """Gives the functions that set an attribute `state` to what no table gave."""
    found = set()
    for name, tree in trees(*roots):
        path = name.replace(".", "/")
        if path.rpartition("/")[0] not in WITHOUT_TABLE:
            found |= {f"{path}.py {function.name}" for function in _functions(tree) if _sets_freely(function)}
    return found


def _functions(tree: ast.Module) -> Iterator[ast.FunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name != "__init__")


def _sets_freely(function: ast.FunctionDef) -> bool:
    from_table: Names = set()
    free = False
    for node in ast.walk(function):
        if isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign | ast.NamedExpr):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            given = node.value is not None and _by_table(node.value, from_table)
            if given:
                from_table |= {target.id for target in targets if isinstance(target, ast.Name)}
            free |= not given and any(_is_state(target) for target in targets)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("setattr"):
            free |= any(isinstance(one, ast.Constant) and one.value in ("state", "_state") for one in node.args)
    return free


def _is_state(target: ast.expr) -> bool:
    parts = target.elts if isinstance(target, ast.Tuple) else [target]
    return any(isinstance(part, ast.Attribute) and part.attr in ("state", "_state") for part in parts)


def _by_table(value: ast.expr, from_table: Names) -> bool:
    if isinstance(value, ast.Name):
        return value.id in from_table
    if isinstance(value, ast.Subscript):
        return ast.unparse(value.value).endswith("TRANSITIONS")
    return isinstance(value, ast.Call) and ast.unparse(value.func).endswith(("TRANSITIONS.get", "next_state", "follow"))


MACHINES = machines(*PRODUCT)


def lost(table: Mapping[tuple[Enum, Enum], Enum], last: Names) -> Iterator[str]:
    """Gives what is wrong with a table by itself: states that are not reached from the first, those without a way on."""
    states = type(next(iter(table.values())))
    reached, todo = set(), [next(iter(states))]
    while todo:
        state = todo.pop()
        if state not in reached:
            reached.add(state)
            todo += [after for (before, _), after in table.items() if before is state]
    yield from (f"{state.name} is not reached" for state in states if state not in reached)
    left = {before for (before, _), after in table.items() if after is not before}
    yield from (f"no way on from {state.name}" for state in states if state not in left and state.name not in last)
    yield from (f"{state.name} is not the last one" for state in left if state.name in last and not _ends(table, state, last))


def _ends(table: Mapping[tuple[Enum, Enum], Enum], state: Enum, last: Names) -> bool:
    return all(after.name in last for (before, _), after in table.items() if before is state)


@pytest.mark.parametrize("machine", MACHINES)
def test_every_table_leads_everywhere_and_on(machine):
    table = import_module(machine).TRANSITIONS
    assert list(lost(table, LAST[machine])) == []
    events = {event for _, event in table}
    assert events == set(type(next(iter(events))))


def test_a_table_that_leads_nowhere_is_found():
    state, event = Enum("State", "A B C D"), Enum("Event", "GO")
    table = {(state.A, event.GO): state.B, (state.C, event.GO): state.A, (state.D, event.GO): state.D}
    assert list(lost(table, {"C"})) == [
        "C is not reached", "D is not reached", "no way on from B", "no way on from D", "C is not the last one",
    ]  # fmt: skip


def test_there_are_machines():
    assert set(LAST) == set(MACHINES)


@pytest.mark.parametrize("machine", [one for one in MACHINES if one not in BYTE_MACHINES])
def test_every_event_of_a_table_has_a_caller(machine):
    events = {event.name for event in import_module(machine).Event}
    assert events - fed(machine, *PRODUCT) == set()


def test_every_row_of_a_table_is_about_its_own_states_and_events():
    for machine in set(MACHINES) - BYTE_MACHINES:
        module = import_module(machine)
        for state, event in module.TRANSITIONS:
            assert isinstance(event, module.Event), (machine, event)
            assert isinstance(state, type(next(iter(module.TRANSITIONS.values())))), (machine, state)


def test_nothing_sets_a_state_past_its_table():
    assert setters(*PRODUCT) == set()


BAD = """
from enum import Enum, auto
class Event(Enum):
    GO = auto()
    STOP = auto()
    WAIT = auto()
_S, _E = None, Event
TRANSITIONS = {(1, Event.GO): 2, (2, Event.STOP): 1, (2, Event.WAIT): 2}
TABLE = {Event.STOP: _E.WAIT}
class It:
    def __init__(self): self.state = 1
    def good(self, event): self.state = new = TRANSITIONS[self.state, event]
    def also(self):
        new = TRANSITIONS.get((self.state, Event.GO))
        self.state = new
    def bad(self): self.state = 2
    def worse(self): self.a, self.state = 1, 2
    def worst(self): setattr(self, "state", 2)
    def asks(self, event): return self.allowed(Event.STOP) or event is Event.STOP
"""


def test_a_machine_that_is_not_the_truth_is_found(tmp_path):
    package = tmp_path / "some"
    package.mkdir()
    (package / "bad.py").write_text(BAD)
    assert machines(package) == ["some.bad"]
    assert fed("some.bad", package) == {"GO", "WAIT"}
    assert setters(package) == {"some/bad.py bad", "some/bad.py worse", "some/bad.py worst"}
