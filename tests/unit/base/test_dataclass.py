"""Every class is made twice, by the standard library and by ours, and has to do the same."""

import copy
import dataclasses
import inspect
import pickle
import sys
from collections.abc import Callable
from typing import Any, ClassVar

import pytest

from meta1g.base import dataclass as ours

OPTIONS = [
    {"frozen": frozen, "slots": slots, "kw_only": kw_only, "eq": eq}
    for frozen in (False, True)
    for slots in (False, True)
    for kw_only in (False, True)
    for eq in (True, False)
]


class Plain:
    """Whatever a class may have."""

    __slots__ = ()
    KIND: ClassVar[str] = "plain"


def make(decorator: Callable[..., Any], **options: bool) -> Any:
    @decorator(**options)
    class Point(Plain):
        """A point."""

        x: int
        y: int = 2
        tags: list[str] = dataclasses.field(default_factory=list, metadata={"a": 1})
        hidden: int = dataclasses.field(default=0, repr=False, compare=False)
        total: int = dataclasses.field(init=False, default=7)
        LIMIT: ClassVar[int] = 9

        def __post_init__(self) -> None:
            object.__setattr__(self, "total", self.x + self.y)

        def double(self) -> int:
            return 2 * self.x

    return Point


def outcome(action: Callable[[Any], Any], cls: Any) -> str:
    """What an action gives or raises, in words."""
    try:
        return repr(action(cls))
    except Exception as error:  # noqa: BLE001
        return f"{type(error).__name__}: {error}"


def changed(change: Callable[[Any], object]) -> Callable[[Any], Any]:
    def action(cls: Any) -> Any:
        made = cls(x=1)
        change(made)
        return made

    return action


ACTIONS: dict[str, Callable[[Any], Any]] = {
    "made": lambda cls: cls(x=1, y=3),
    "made by position": lambda cls: cls(1, 3, ["t"], 5),
    "made with defaults": lambda cls: (cls(x=1), cls(x=1).total, cls(x=1).tags is cls(x=1).tags),
    "made without a field": lambda cls: cls(),
    "made with an unknown field": lambda cls: cls(x=1, z=2),
    "made with too many": lambda cls: cls(1, 2, [], 3, 4),
    "shown before it is made": lambda cls: repr(cls.__new__(cls)),
    "equal": lambda cls: (cls(x=1) == cls(x=1), cls(x=1) == cls(x=2), cls(x=1) == 1, cls(x=1) != cls(x=1, hidden=3)),
    "hashed": lambda cls: (
        {hash(cls(x=1)) == hash(cls(x=1)), hash(cls(x=1, tags=()))} and len({cls(x=1, tags=()), cls(x=1, tags=())})
    ),
    "assigned": changed(lambda made: setattr(made, "x", 5)),
    "assigned elsewhere": changed(lambda made: setattr(made, "other", 5)),
    "deleted": changed(lambda made: delattr(made, "x")),
    "deleted elsewhere": changed(lambda made: delattr(made, "other")),
    "replaced": lambda cls: (dataclasses.replace(cls(x=1), y=5), dataclasses.replace(cls(x=1), total=5)),
    "taken apart": lambda cls: (dataclasses.asdict(cls(x=1)), dataclasses.astuple(cls(x=1))),
    "described": lambda cls: [
        (f.name, f.type, f.default, dict(f.metadata), f.kw_only, f.init) for f in dataclasses.fields(cls)
    ],
    "copied": lambda cls: (copy.copy(cls(x=1, y=5)), copy.deepcopy(cls(x=1, tags=["t"]))),
    "matched": lambda cls: cls.__match_args__,
    "named": lambda cls: (cls.__name__, cls.__qualname__, cls.__module__, cls.__doc__, cls.KIND, cls.LIMIT, cls(x=2).double()),
    "told how it is made": lambda cls: (
        cls(x=1),
        [(one.name, one.annotation, one.kind) for one in inspect.signature(cls).parameters.values()],
    ),
    "laid out": lambda cls: (getattr(cls, "__slots__", None), hasattr(cls(x=1), "__dict__")),
}


def expected(action: str, options: dict[str, bool]) -> str:
    """What the standard library does; with slots it stumbles over a name that is no field before it can refuse it."""
    found = outcome(ACTIONS[action], make(dataclasses.dataclass, **options))
    if action.endswith(" elsewhere") and found.startswith("TypeError: super"):
        return f"FrozenInstanceError: cannot {'assign to' if action.startswith('assigned') else 'delete'} field 'other'"
    return found


@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: "-".join(name for name, on in options.items() if on) or "none")
def test_a_class_does_what_one_of_the_standard_library_does_whatever_is_used_first(options):
    for name, action in ACTIONS.items():
        made = make(ours.dataclass, **options)
        found = [outcome(action, made) for _ in range(2)]
        assert found == [expected(name, options)] * 2, name


def test_it_stands_without_arguments_as_well():
    @ours.dataclass
    class Two:
        """Two."""

        a: int

    assert (Two(1), Two.__hash__) == (Two(a=1), None)


def test_methods_of_its_own_and_data_classes_below_are_left_to_the_standard_library():
    @ours.dataclass(frozen=True, slots=True)
    class Own:
        """Its own words."""

        a: int

        def __repr__(self) -> str:
            return "own"

    @ours.dataclass
    class Base:
        """Below."""

        a: int

    @ours.dataclass
    class Above(Base):
        """Above."""

        b: int

    assert (repr(Own(1)), Own(1) == Own(1), repr(Above(1, 2)).rpartition(".")[2]) == ("own", True, "Above(a=1, b=2)")


@ours.dataclass(frozen=True, slots=True)
class Sent:
    """Pickle finds it by name."""

    a: int
    b: str = "x"


def test_it_passes_through_pickle():
    assert pickle.loads(pickle.dumps(Sent(3))) == Sent(3)


def test_nothing_is_compiled_for_a_class_before_it_is_used(monkeypatch):
    seen = []
    monkeypatch.setattr(sys.modules["dataclasses"], "_create_fn", lambda *args, **kwargs: seen.append(args), raising=False)
    monkeypatch.setattr(ours, "_init", lambda *args: seen.append(args))
    make(ours.dataclass, frozen=True, slots=True)
    assert seen == []
