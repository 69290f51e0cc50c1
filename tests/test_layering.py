"""The import rules: who may import whom, and which package belongs to which folder.

Ref: MeTA1 design, "Implementation: directory and library layout" (rules are ours).
"""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.sources import DIRECTORIES, FILTERS, ROOT, nodes, programs

pytestmark = pytest.mark.xdist_group("sources")

PACKAGE = ROOT / "meta1g"

ALLOWED: dict[str, set[str]] = {
    "__init__": set(),
    "base": set(),
    "rcb": {"base"},
    "smtp": {"base"},
    "sasl": {"base"},
    "milter": {"base", "smtp"},
    "tls": {"base"},
    "conf": {"base"},
    "st": {"base", "rcb"},
    "pt": {"base", "rcb"},
    "db": {"base", "rcb"},
    "maps": {"base", "db", "conf"},
    "pmilter": {"base", "rcb", "smtp", "milter", "pt"},
    "mcp": {"base", "rcb", "conf"},
    "smtps": {
        *(
            "base",
            "rcb",
            "smtp",
            "milter",
            "conf",
            "sasl",
            "st",
            "db.cdb",
            "db.files",
            "db.mapfile",
            "maps.lookup",
            "maps.textmap",
        ),
        *("pmilter.stages", "pmilter.modify", "pmilter.machine"),
    },
    "smtpc": {"base", "rcb", "smtp", "sasl", "conf", "st", "db.cdb", "db.files"},
    "qmgr": {"base", "rcb", "smtp", "conf", "pt", "db", "maps"},
    "smar": {"base", "rcb", "smtp", "tls", "sasl", "conf", "pt", "db", "maps"},
    "tools": {
        *("base", "rcb", "smtp", "tls", "conf", "db", "maps", "sasl"),
        *(
            "qmgr.destinations",
            "smtps.check",
            "smtpc.check",
            "smar.check",
            "smar.entries",
            "smar.mapcheck",
            "smar.questions",
            "smar.settings",
            "smar.trace",
        ),
        *("pmilter.place", "pmilter.session", "pmilter.stages"),
        *("qmgr.control.selection", "qmgr.control.rows"),
    },
}
#: what filters may use of the gateway: they are programs of their own
FILTERS_ALLOWED = {"base", "smtp", "milter", "conf", "pt", "pmilter", "tools"}
OWNERS: dict[str, set[str]] = {
    "gevent": {"st"},
    "greenlet": {"st"},
    "threading": {"pt", "base"},  # base: the native thread that delivers lines of the log that nobody took
    "_thread": {"pt", "st"},  # st: the native threads that blocking calls are off-loaded to
    "queue": {"pt"},
    "concurrent": {"pt"},
    "berkeleydb": {"db"},
    "idna": {"base"},
    "ply": {"conf"},
    "dns": {"smar"},
    "re2": {"maps"},
}
ST_ALONE = {"gevent", "greenlet"}
PURE = ("rcb", "smtp", "sasl", "milter", "tls", "conf")
IMPURE_MODULES = {"socket", "select", "selectors", "subprocess", "asyncio", "time", "signal"}
#: the one file of a pure package that opens what a path names
FILE_READERS = {"conf/load.py"}


def imported_names(path: Path) -> Iterator[str]:
    """Gives every module name that a file imports; relative imports come as `.`."""
    for node in nodes(path):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                yield "."
            elif node.module == "meta1g":
                yield from (f"meta1g.{alias.name}" for alias in node.names)
            else:
                yield from (f"{node.module}.{alias.name}" for alias in node.names)


def violations(path: Path, package: Path = PACKAGE) -> Iterator[str]:
    """Gives one line for each import of a file that the tables do not allow."""
    here = path.relative_to(package).parts[0].removesuffix(".py")
    for name in imported_names(path):
        head, _, rest = name.partition(".")
        if name == ".":
            yield f"{path}: relative import"
        elif head == "meta1g" and rest and not allowed(here, rest):
            yield f"{path}: {here} must not import {name}"
        elif head in OWNERS and here not in OWNERS[head]:
            yield f"{path}: {head} belongs to {sorted(OWNERS[head])}"
        elif here in PURE and head in IMPURE_MODULES:
            yield f"{path}: {here} is pure and must not import {head}"


def allowed(here: str, target: str) -> bool:
    """Tells whether package `here` may import meta1g.`target`."""
    parts = target.split(".")
    names = {".".join(parts[:count]) for count in (2, 3)}
    if parts[0] in ({here, "__version__"} | ALLOWED.get(here, set())):
        return True
    return bool(names & ALLOWED.get(here, set()))


def test_every_import_is_allowed_by_the_table():
    found = [line for path in sorted(PACKAGE.rglob("*.py")) for line in violations(path)]
    assert found == []


def test_every_package_is_in_the_table():
    assert {p.name for p in PACKAGE.iterdir() if p.is_dir() and p.name != "__pycache__"} <= set(ALLOWED)


def test_filters_use_the_library_and_nobody_uses_them():
    found = []
    for path in sorted(FILTERS.rglob("*.py")):
        names = set(imported_names(path))
        assert "." not in names, f"{path}: relative import"
        found += [
            f"{path}: {name}" for name in names if (parts := name.split("."))[0] == "meta1g" and parts[1] not in FILTERS_ALLOWED
        ]
    found += [
        str(path) for path in PACKAGE.rglob("*.py") if any(name.startswith("meta1g_filters") for name in imported_names(path))
    ]
    assert found == []


@pytest.mark.parametrize(
    ("package", "line", "expected"),
    [
        ("qmgr", "from meta1g.st import io", "qmgr must not import meta1g.st.io"),
        ("qmgr", "from meta1g import st", "qmgr must not import meta1g.st"),
        ("smtps", "from meta1g.db.ibdb import Ibdb", "smtps must not import meta1g.db.ibdb.Ibdb"),
        ("smtps", "import threading", "threading belongs to ['base', 'pt']"),
        ("smtp", "import socket", "smtp is pure and must not import socket"),
        ("rcb", "from . import codec", "relative import"),
    ],
)
def test_forbidden_imports_are_found(tmp_path, package, line, expected):
    (tmp_path / package).mkdir()
    path = tmp_path / package / "module.py"
    path.write_text(line + "\n")
    assert [v.split(": ", 1)[1] for v in violations(path, tmp_path)] == [expected]


def test_allowed_imports_are_silent(tmp_path):
    (tmp_path / "smtps").mkdir()
    path = tmp_path / "smtps" / "module.py"
    path.write_text("import os\nfrom meta1g.db.cdb import Cdb\nfrom meta1g.st import st_read\nimport meta1g\n")
    assert list(violations(path, tmp_path)) == []


def import_graph(*packages: Path) -> dict[str, set[str]]:
    """Gives the modules that each module of some packages imports, those for types alone too."""
    names = {module_name(path, package): path for package in packages for path in sorted(package.rglob("*.py"))}
    return {name: {target for found in imported_names(path) if (target := nearest(found, names)) != name and target}
            for name, path in names.items()}  # fmt: skip


def module_name(path: Path, package: Path) -> str:
    return ".".join(path.relative_to(package.parent).with_suffix("").parts).removesuffix(".__init__")


def nearest(name: str, modules: dict[str, Path]) -> str:
    """Gives the module that an imported name stands in, empty if it is none of ours."""
    return name if name in modules else name.rpartition(".")[0] if name.rpartition(".")[0] in modules else ""


def circle(graph: dict[str, set[str]]) -> list[str]:
    """Gives one circle of imports, or nothing: what imports only what is done is done, until nothing changes."""
    left = dict(graph)
    while done := [name for name, targets in left.items() if not targets & left.keys()]:
        for name in done:
            del left[name]
    path = list(left)[:1]
    while path and len(path) == len(set(path)):
        path.append(min(graph[path[-1]] & left.keys()))
    return path[path.index(path[-1]) :] if path else []


def test_nobody_imports_in_a_circle():
    assert circle(import_graph(*(ROOT / name for name in DIRECTORIES), FILTERS)) == []


def test_circles_through_several_packages_are_found(tmp_path):
    for package, line in (("one", "from two.that import x"), ("two", "import one.this")):
        (tmp_path / package).mkdir()
        (tmp_path / package / ("this.py" if package == "one" else "that.py")).write_text(line + "\n")
    assert set(circle(import_graph(tmp_path / "one", tmp_path / "two"))) == {"one.this", "two.that"}


def test_circles_are_found_even_if_they_are_for_types_alone(tmp_path):
    package = tmp_path / "meta1g"
    (package / "qmgr").mkdir(parents=True)
    for name, line in (
        ("one", "from meta1g.qmgr import two"),
        ("two", "from meta1g.qmgr.three import x"),
        ("free", "import os"),
    ):
        (package / "qmgr" / f"{name}.py").write_text(line + "\n")
    (package / "qmgr" / "three.py").write_text("if TYPE_CHECKING:\n    from meta1g.qmgr.one import y\n")
    found = circle(import_graph(package))
    assert set(found) == {"meta1g.qmgr.one", "meta1g.qmgr.two", "meta1g.qmgr.three"}
    assert found[0] == found[-1]


@pytest.mark.parametrize("package", PURE)
def test_pure_packages_open_nothing(package):
    for path in (PACKAGE / package).rglob("*.py"):
        if str(path.relative_to(PACKAGE)) in FILE_READERS:
            continue
        for node in nodes(path):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id not in ("open", "print", "input"), f"{path}:{node.lineno}"


@pytest.mark.parametrize(
    ("program", "absent"),
    [
        ("qmgr", ("gevent", "meta1g.st")),
        ("smar", ("gevent", "meta1g.st")),
        ("smtps", ("meta1g.pt", "berkeleydb")),
        ("smtpc", ("meta1g.pt", "berkeleydb")),
        ("mcp", ("gevent", "meta1g.st", "meta1g.pt", "berkeleydb")),
    ],
)
def test_a_process_loads_only_its_own_kind_of_threads(program, absent):
    assert loaded(f"meta1g.{program}.main", absent) == []


#: What only some configurations, messages or mistakes need: whoever needs it loads it late.  Each costs a start 1 to 20 ms.
LATE = (
    *("ast", "asyncio", "concurrent", "difflib", "dis", "email", "hashlib", "hmac", "http", "importlib.metadata", "logging"),
    *("multiprocessing", "shutil", "ssl", "statistics", "tempfile", "unittest", "uuid", "zipfile"),
    *("argon2", "cryptography", "dns", "idna", "meta1g.milter.machine", "meta1g.pmilter.machine", "meta1g.sasl.stored"),
)
STARTED = {
    "meta1g.mcp.main": ("dns", "random"),
    "meta1g.qmgr.main": ("ctypes", "random", "subprocess"),
    "meta1g.smar.main": ("ctypes", "subprocess"),
    "meta1g.smtpc.main": ("ctypes", "random", "subprocess"),
    "meta1g.smtps.main": ("ctypes", "random", "subprocess"),
}
CHECKS = ("meta1g.qmgr.check", "meta1g.smar.check", "meta1g.smtpc.check", "meta1g.smtps.check")


@pytest.mark.parametrize("module", STARTED)
def test_a_process_loads_late_what_few_need(module):
    """Before it reads the configuration, and by reading it."""
    assert loaded(module, (*LATE, *STARTED[module])) == []


@pytest.mark.parametrize("module", CHECKS)
def test_the_check_of_a_component_loads_nothing_that_only_a_server_needs(module):
    server = module.replace("check", "server")
    assert loaded(module, (*LATE, "ctypes", "gevent", "meta1g.st", "meta1g.pt.evthr", "meta1g.smar.resolver", server)) == []


def loaded(module: str, names: tuple[str, ...]) -> list[str]:
    """Gives those of some modules that a process has loaded after it has imported one of ours and parsed a configuration."""
    code = f"""
import sys, {module}
from meta1g.conf.grammar import parse
from meta1g.conf.tree import Source
parse(Source("t", "a = 1; b {{ c = {{ d, e }}; }}"))
print(*(name for name in {names!r} if name in sys.modules))"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert result.returncode == 0, result.stderr
    return result.stdout.split()


@pytest.mark.parametrize(
    ("program", "absent"),
    [
        ("qmgr", ("ctypes", "difflib", "email", "hashlib", "shutil", "subprocess")),
        ("smar", ("ctypes", "difflib", "gzip", "hashlib", "re2", "ssl", "subprocess")),
        ("smtps", ("ctypes", "difflib", "email", "hashlib", "re2", "shutil", "ssl", "subprocess")),
        ("smtpc", ("ctypes", "difflib", "email", "hashlib", "shutil", "ssl", "subprocess")),
        ("mcp", ("difflib", "email", "hashlib", "shutil")),
    ],
)
def test_a_process_loads_no_library_that_only_some_configurations_or_errors_need(program, absent):
    code = f"""
import sys, meta1g.{program}.main
from meta1g.base import startup
startup.component_arguments("{program}", [], "about")
print([m for m in {absent!r} if m in sys.modules])
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert (result.stdout, result.returncode) == ("[]\n", 0), result.stderr


def patching(path: Path) -> Iterator[str]:
    """Gives one line for each import or call of a file that would replace blocking calls of the standard library."""
    if not re.search("monkey|patch_", path.read_text()):  # a file is read faster than it is parsed
        return
    for name in imported_names(path):
        if "monkey" in name.split("."):
            yield f"{path}: imports {name}"
    for node in nodes(path):
        if isinstance(node, ast.Attribute) and (node.attr == "monkey" or node.attr.startswith("patch_")):
            yield f"{path}:{node.lineno}: .{node.attr}"


#: outside of meta1g nobody goes past the API of State Threads either
@pytest.mark.parametrize("directory", [name for name in DIRECTORIES if name != "meta1g"])
def test_outside_of_the_package_state_threads_are_used_by_their_api_alone(directory):
    found = [
        f"{path}: imports {name}"
        for path in programs(PACKAGE.parent / directory)
        if any(word in path.read_text() for word in ST_ALONE)
        for name in imported_names(path)
        if name.partition(".")[0] in ST_ALONE
    ]
    assert found == []


@pytest.mark.parametrize("directory", DIRECTORIES)
def test_nothing_is_monkey_patched(directory):
    found = [line for path in programs(PACKAGE.parent / directory) for line in patching(path)]
    assert found == []


@pytest.mark.parametrize(
    "line",
    [
        "from gevent import monkey",
        "from gevent.monkey import patch_all",
        "import gevent.monkey",
        "import gevent\ngevent.monkey.patch_all()",
    ],
)
def test_monkey_patching_is_found(tmp_path, line):
    path = tmp_path / "module.py"
    path.write_text(line + "\n")
    assert list(patching(path))


def test_programs_without_a_suffix_are_read_too(tmp_path):
    (tmp_path / "tool").write_text("#!/usr/bin/env python3\nimport os\n")
    (tmp_path / "script").write_text("#!/bin/sh\n")
    (tmp_path / "module.py").write_text("")
    assert [path.name for path in programs(tmp_path)] == ["module.py", "tool"]
