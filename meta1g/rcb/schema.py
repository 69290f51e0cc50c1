"""Messages are declared once: one frozen dataclass a message, each field names its record type and kind.

`message()` reads a class and makes its plan (RECORD): the codec, `docs/record-types.md` and the tests are made from it.

Ref: MeTA1 design, "Functional Specification: common records" (names modelled on MeTA1's RT_ scheme).
"""

from collections.abc import Callable
from dataclasses import MISSING, Field, field, fields
from enum import Enum, auto
from typing import Any, ClassVar, Final, TypeVar, cast

from meta1g.base.dataclass import dataclass
from meta1g.rcb.rectypes import RT


class Kind(Enum):
    """Kinds of values: how a value stands in a record."""

    U32 = auto()  # int, 0 to 2**32-1
    U64 = auto()  # int, 0 to 2**64-1
    S32 = auto()  # int, -2**31 to 2**31-1
    BOOL = auto()  # bool, as u32 0 or 1
    TIME = auto()  # float seconds since the epoch, as u64 microseconds
    OCTETS = auto()  # bytes
    TEXT = auto()  # str, as UTF-8
    ITEMS = auto()  # tuple of another message's fields: a u32 count, then the fields of each item
    TEXTS = auto()  # tuple of str: a u32 count, then one record for each
    REPLY = auto()  # a Reply: one record, see replies.py


class Role(Enum):
    """What a message is for its receiver."""

    REQUEST = auto()  # a reply with the same request id follows
    REPLY = auto()  # answers a request
    POST = auto()  # nothing follows
    ITEM = auto()  # stands only inside other messages, or on disk


@dataclass(frozen=True, slots=True)
class FieldPlan:
    """How one field stands in a message."""

    name: str
    rt: RT
    kind: Kind
    optional: bool
    default: Any
    item: type["Message"] | None = None
    item_rt: RT | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """How a message stands in a frame: its own record (kind, request id), then its fields in order."""

    rt: RT
    role: Role
    fields: tuple[FieldPlan, ...]


class Message:
    """Base of all messages.  Immutable."""

    __slots__ = ()
    PLAN: ClassVar[Plan]


M = TypeVar("M", bound=type[Message])
_META: Final = "rcb"


def rec(
    rt: RT,
    kind: Kind,
    *,
    default: Any = MISSING,
    optional: bool = False,
    item: type[Message] | None = None,
    item_rt: RT | None = None,
) -> Any:
    """Declares a field.

    Args:
        rt: its record type.
        kind: how its value is written.
        default: value of a field that is left out; such a field is not sent while it has this value.
        optional: the field may be None and is then not sent.
        item: for ITEMS, the message class of each item.
        item_rt: for TEXTS, the record type of each text.
    """
    meta = {_META: (rt, kind, optional or default is not MISSING, item, item_rt)}
    if optional and default is MISSING:
        default = None
    return field(default=default, metadata=meta) if default is not MISSING else field(metadata=meta)


def message(rt: RT, role: Role) -> Callable[[M], M]:
    """Registers a frozen dataclass as the message whose first record is rt."""

    def register(cls: M) -> M:
        cls.PLAN = Plan(rt, role, tuple(_plan(f) for f in fields(cast(Any, cls))))
        return cls

    return register


def _plan(declared: "Field[Any]") -> FieldPlan:
    rt, kind, optional, item, item_rt = declared.metadata[_META]
    default = None if declared.default is MISSING else declared.default
    return FieldPlan(declared.name, rt, kind, optional, default, item, item_rt)


@dataclass(frozen=True, slots=True)
class Protocol:
    """All messages of one pair of modules.

    Args:
        name: names the pair in logs and errors.
        version: raised with every change of a message; both ends must have the same.
        from_client: messages that the connecting side may send.
        from_server: messages that the listening side may send.
    """

    name: str
    version: int
    from_client: dict[int, type[Message]]
    from_server: dict[int, type[Message]]


def protocol(name: str, version: int, client: tuple[type[Message], ...], server: tuple[type[Message], ...]) -> Protocol:
    """Makes the protocol of a pair from the messages each side may send."""
    return Protocol(name, version, {m.PLAN.rt: m for m in client}, {m.PLAN.rt: m for m in server})
