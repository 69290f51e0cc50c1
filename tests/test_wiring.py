"""Parts are put together by their constructors: not too many values at once, and no function given afterwards."""

import ast
from collections.abc import Iterator
from functools import cache

from tests.sources import PRODUCT, ROOT, functions

#: Parameters of a constructor, itself not counted.  Our choice; what needs more has a value for some that belong together.
PARAMETERS_MAX = 7
#: Who is told of something that another one began: it is set by the caller, who has just got the object.
SET_BY_THE_OWNER = {
    "on_message": "a connection, before it starts (pt/rcbcalls.py)",
    "on_failure": "the same",
    "on_close": "the same",
    "on_answer": "a request on its way (st/rcbpending.py)",
}
#: Others, with the reason.
ELSEWHERE = {
    "meta1g/smtps/server.py: context.gate.on_down": "the gate is there before the server, whose sessions come by it",
}


@cache
def trees() -> list[tuple[str, ast.Module]]:
    """Gives path and tree of each module."""
    paths = (path for package in PRODUCT for path in sorted(package.rglob("*.py")))
    return [(str(path.relative_to(ROOT)), ast.parse(path.read_text())) for path in paths]


def greedy(tree: ast.Module) -> Iterator[str]:
    """Names the classes whose constructor wants too much; fields of a data class are a value, not a constructor's wants."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            for one in node.body:
                if isinstance(one, ast.FunctionDef) and one.name == "__init__":
                    count = len(one.args.posonlyargs) + len(one.args.args) + len(one.args.kwonlyargs) - 1
                    if count > PARAMETERS_MAX:
                        yield f"{node.name}: {count}"


def given_later(tree: ast.Module, methods: set[str]) -> Iterator[str]:
    """Gives attributes of other objects that are set to a function: `it.other = self.method`, `it.other = lambda: …`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and _is_function(node.value, methods):
            for target in node.targets:
                if isinstance(target, ast.Attribute) and ast.unparse(target.value) not in ("self", "cls"):
                    yield ast.unparse(target)


def _is_function(value: ast.expr, methods: set[str]) -> bool:
    if isinstance(value, ast.Call):
        return ast.unparse(value.func) == "partial"
    return isinstance(value, ast.Lambda) or (isinstance(value, ast.Attribute) and value.attr in methods)


def methods_of(tree: ast.Module) -> set[str]:
    """Gives the methods of a module that are no properties."""
    return {
        one.name
        for node in tree.body if isinstance(node, ast.ClassDef)
        for one in node.body if isinstance(one, ast.FunctionDef) and not one.decorator_list
    }  # fmt: skip


def fields_of(tree: ast.Module) -> Iterator[str]:
    """Gives the names of a module that are those of a value."""
    for node in ast.walk(tree):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            yield node.target.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr


def test_no_constructor_wants_too_much():
    assert [f"{path}: {found}" for path, tree in trees() for found in greedy(tree)] == []


def test_no_function_is_given_after_the_construction():
    methods = {name for _, tree in trees() for name in methods_of(tree)} - {
        name for _, tree in trees() for name in fields_of(tree)
    }
    found = {
        f"{path}: {target}"
        for path, tree in trees()
        for target in given_later(tree, methods)
        if target.rpartition(".")[2] not in SET_BY_THE_OWNER and not path.startswith("meta1g/st/")
    }
    assert found == set(ELSEWHERE)


def test_what_is_wired_badly_is_found():
    tree = ast.parse(
        "class A:\n"
        "    def __init__(self, a, b, c, d, *, e, f, g, h): other.on_end = self.end\n"
        "    def end(self):\n        self.x = self.end\n        other.y = lambda: 1\n        other.z = self.x\n"
    )
    assert list(greedy(tree)) == ["A: 8"]
    assert list(given_later(tree, methods_of(tree))) == ["other.on_end", "other.y"]
    assert len(list(functions(tree))) == 2
