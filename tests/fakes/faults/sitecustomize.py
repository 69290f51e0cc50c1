"""Faults on demand in real processes: on the PYTHONPATH of a gateway it is imported by each of them before their own code.

`META1G_FAULTS` names a directory.  `catalogue` in it has one `module:function` or `module:Class.method` a line: those are
wrapped.  A file `<component>@<module>:<function>` arms a fault, JSON with

    error   name of a built-in exception, or BugError
    number  errno of an OSError, or None
    text    of the exception
    marker  the fault waits for a call whose arguments show this text; empty for any call
    once    the first such call removes the file; otherwise it lasts until the test removes it

Each call that fails leaves the file `<same name>.fired`.  The component is that of `python -m meta1g.<component>.main`.
"""

import builtins
import contextlib
import functools
import importlib.machinery
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

HERE = os.environ.get("META1G_FAULTS", "")


def component() -> str:
    words = [word for word in sys.orig_argv if word.startswith("meta1g.") and word.endswith(".main")]
    return words[0].split(".")[1] if words else ""


def wrapped(function: Callable[..., Any], path: str) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(*arguments: Any, **keys: Any) -> Any:
        if os.path.exists(path):  # noqa: PTH110  os.stat alone: open() itself may be what is to fail
            fail(path, arguments, keys)
        return function(*arguments, **keys)

    return wrapper


def fail(path: str, arguments: tuple[Any, ...], keys: dict[str, Any]) -> None:
    """Raises what is armed if the call is the one that is waited for."""
    try:
        fault = json.loads(Path(path).read_text())
        if fault["marker"] and fault["marker"] not in f"{arguments!r}{keys!r}":
            return
        if fault["once"]:
            Path(path).unlink()  # whoever can is the one
    except FileNotFoundError:
        return
    Path(f"{path}.fired").touch()
    if fault["error"] == "BugError":
        from meta1g.base.errors import BugError, Module

        raise BugError(Module.IO, fault["text"])
    kind = getattr(builtins, fault["error"])
    raise kind(fault["number"], fault["text"]) if fault["number"] else kind(fault["text"])


def patch(module: ModuleType, names: list[str], prefix: str) -> None:
    for name in names:
        holder: Any = module
        *classes, last = name.split(".")
        for part in classes:
            holder = getattr(holder, part)
        setattr(holder, last, wrapped(getattr(holder, last), f"{HERE}/{prefix}@{module.__name__}:{name}"))


class Finder:
    """Wraps the functions of the catalogue as soon as their module is imported."""

    def __init__(self, wanted: dict[str, list[str]], prefix: str) -> None:
        self.wanted = wanted
        self.prefix = prefix

    def find_spec(self, name: str, path: Any, target: Any = None) -> Any:
        if name not in self.wanted:
            return None
        names = self.wanted.pop(name)
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is None or spec.loader is None:
            return spec
        run = spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            run(module)
            patch(module, names, self.prefix)

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


def install() -> None:
    wanted: dict[str, list[str]] = {}
    for line in Path(HERE, "catalogue").read_text().split():
        module, _, name = line.partition(":")
        wanted.setdefault(module, []).append(name)
    me = component()
    for module in [name for name in wanted if name in sys.modules]:
        patch(sys.modules[module], wanted.pop(module), me)
    sys.meta_path.insert(0, Finder(wanted, me))  # type: ignore[arg-type]


if HERE and component():
    with contextlib.suppress(FileNotFoundError):
        install()
