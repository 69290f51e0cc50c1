"""dataclass() of the standard library, whose methods are compiled when one of them is used for the first time.

A component has 50 to 100 data classes and uses a part of them.  The standard library compiles up to six functions for
each at the import, a third of the work that the start of a component takes.  Here the import only finds the fields.  At
the first call of a method the standard library makes it from these fields, and it takes the place of the one that waited;
from then on nothing differs.

Owner: none; it does not matter which thread compiles first.
Ref: Python, "dataclasses"; our choice.
"""

import importlib
import sys
from collections.abc import Callable
from types import ModuleType
from typing import TYPE_CHECKING, Any

__all__ = ["dataclass"]


class _Late(ModuleType):
    """Stands for a module that is loaded when something in it is asked for."""

    def __getattr__(self, name: str) -> Any:
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return getattr(importlib.import_module(self.__name__), name)


# dataclasses and ply import inspect, which loads the parser of Python, and use nothing of it for what we do.
if "inspect" not in sys.modules:
    sys.modules["inspect"] = _Late("inspect")
import dataclasses  # noqa: E402

if TYPE_CHECKING:
    from dataclasses import dataclass
else:

    def dataclass(cls: type | None = None, /, **options: bool) -> Any:
        """Makes a data class, or a decorator that does.

        Args:
            cls: the class, if the decorator stands without arguments.
            options: `frozen`, `slots`, `kw_only` and `eq` as in the standard library; there are no InitVar fields.
        """
        return _make(cls, **options) if cls is not None else lambda found: _make(found, **options)


def _make(cls: type, *, frozen: bool = False, slots: bool = False, kw_only: bool = False, eq: bool = True) -> type:
    names = ["__init__", "__repr__", *(["__eq__"] if eq else []), *(["__hash__"] if eq and frozen else [])]
    if any(name in cls.__dict__ for name in names) or any(dataclasses.is_dataclass(base) for base in cls.__mro__[1:]):
        return dataclasses.dataclass(frozen=frozen, slots=slots, kw_only=kw_only, eq=eq)(cls)
    made: type[Any] = dataclasses.dataclass(init=False, repr=False, eq=False, slots=slots, kw_only=kw_only)(cls)
    for name in names:
        setattr(made, name, _waiting(made, name, frozen))
    if eq and not frozen:
        made.__hash__ = None  # type: ignore[assignment]
    if frozen:
        for name, method in _frozen(made, slots).items():
            setattr(made, name, method)
    return made


def _waiting(made: type, name: str, frozen: bool) -> Callable[..., Any]:
    """Gives a method that lets itself be compiled, gives its place away, and calls what took it."""

    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        real = _init(made, frozen) if name == "__init__" else _lent(made, name, frozen)
        setattr(made, name, real)
        return real(self, *args, **kwargs)

    method.__name__ = name
    method.__qualname__ = f"{made.__qualname__}.{name}"
    return method


def _init(made: type, frozen: bool) -> Callable[..., None]:
    """Makes the one method that nearly every class needs: the standard library would compile two more for a frozen class."""
    scope: dict[str, Any] = {"_set": object.__setattr__, "_ABSENT": object(), "__name__": made.__module__}
    by_place, by_name, lines = ["self"], ["*"], []
    for field in dataclasses.fields(made):
        name, factory = field.name, field.default_factory is not dataclasses.MISSING
        given = factory or field.default is not dataclasses.MISSING
        if not given and not field.init:
            continue
        scope[f"_default_{name}"] = field.default_factory if factory else field.default
        value = f"_default_{name}{'()' if factory else ''}"
        if field.init:
            default = "=_ABSENT" if factory else f"=_default_{name}" if given else ""
            (by_name if field.kw_only else by_place).append(name + default)
            value = f"{value} if {name} is _ABSENT else {name}" if factory else name
        lines.append(f"_set(self, {name!r}, {value})" if frozen else f"self.{name} = {value}")
    if hasattr(made, "__post_init__"):
        lines.append("self.__post_init__()")
    words = ", ".join([*by_place, *(by_name if len(by_name) > 1 else [])])
    exec(f"def __init__({words}):\n " + "\n ".join(lines or ["pass"]), scope)  # noqa: S102  as dataclasses does
    method: Callable[..., None] = scope["__init__"]
    method.__qualname__ = f"{made.__qualname__}.__init__"
    method.__annotations__ = {**{field.name: field.type for field in dataclasses.fields(made) if field.init}, "return": None}
    return method


def _lent(made: type, name: str, frozen: bool) -> Callable[..., Any]:
    """Lets the standard library make another method, on a class that has the fields and nothing else."""
    fields = dataclasses.fields(made)
    scope: dict[str, Any] = {field.name: field for field in fields}
    scope["__annotations__"] = {field.name: field.type for field in fields}
    scope |= {"__module__": made.__module__, "__qualname__": made.__qualname__, "__doc__": "Lends its methods."}
    lender = type(made.__name__, (), scope)
    how = dataclasses.dataclass(
        init=False,
        repr=name == "__repr__",
        eq=name != "__repr__",
        frozen=frozen and name == "__hash__",  # it decides whether there is one
    )
    method: Callable[..., Any] = how(lender).__dict__[name]
    return method


def _frozen(made: type[Any], slots: bool) -> dict[str, Callable[..., Any]]:
    """Gives the methods that refuse changes; with slots also those that copy() and pickle use instead."""
    names = tuple(field.name for field in dataclasses.fields(made))

    def set_attribute(self: Any, name: str, value: Any) -> None:
        if type(self) is made or name in names:
            raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")
        super(made, self).__setattr__(name, value)

    def delete_attribute(self: Any, name: str) -> None:
        if type(self) is made or name in names:
            raise dataclasses.FrozenInstanceError(f"cannot delete field {name!r}")
        super(made, self).__delattr__(name)

    def get_state(self: Any) -> list[Any]:
        return [getattr(self, name) for name in names]

    def set_state(self: Any, state: list[Any]) -> None:
        for name, value in zip(names, state, strict=True):
            object.__setattr__(self, name, value)

    refusing: dict[str, Callable[..., Any]] = {"__setattr__": set_attribute, "__delattr__": delete_attribute}
    return refusing | ({"__getstate__": get_state, "__setstate__": set_state} if slots else {})
