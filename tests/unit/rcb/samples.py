"""One message of every kind with every field set, and one with as few as possible, made from the plans."""

from dataclasses import fields
from typing import Any

from meta1g.base.reply import Reply
from meta1g.rcb.protocols import DISK_RECORDS, PROTOCOLS
from meta1g.rcb.schema import FieldPlan, Kind, Message

_VALUES: dict[Kind, Any] = {
    Kind.U32: 0xFFFFFFFE,
    Kind.U64: 0xFFFF_FFFF_FFFF_FFFE,
    Kind.S32: -2,
    Kind.BOOL: True,
    Kind.TIME: 1_700_000_000.25,
    Kind.OCTETS: b"\0\xff\r\n.",
    Kind.TEXT: "käse",
    Kind.REPLY: Reply(550, "5.7.1", ("käse", "", "aus"), "mx[192.0.2.1]"),
}


def all_messages() -> list[type[Message]]:
    seen = {cls: None for pair in PROTOCOLS for cls in (*pair.from_client.values(), *pair.from_server.values())}
    return [*seen, *DISK_RECORDS]


def full(cls: type[Message]) -> Message:
    return cls(**{plan.name: _value(plan) for plan in cls.PLAN.fields})


def sparse(cls: type[Message]) -> Message:
    values = {plan.name: _value(plan) for plan in cls.PLAN.fields if not plan.optional}
    return cls(**{name: Reply(250, "2.0.0", "Ok") if isinstance(value, Reply) else value for name, value in values.items()})


def _value(plan: FieldPlan) -> Any:
    if plan.kind is Kind.ITEMS:
        assert plan.item is not None
        return (full(plan.item), sparse(plan.item))
    if plan.kind is Kind.TEXTS:
        return ("a", "", "bcdef")
    return _VALUES[plan.kind]


def field_names(msg: Message) -> list[str]:
    return [f.name for f in fields(msg)]  # type: ignore[arg-type]
