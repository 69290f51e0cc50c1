"""Messages as JSON objects and back, by the plan that the codec uses: what a record can hold, its object can hold.

Fields with their default value may be left out.  Times are seconds since the epoch, exact to the microsecond.

Pure.  Ref: docs/operating.md, "Export".
"""

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

from meta1g.base.errors import UnsendableError
from meta1g.base.reply import Reply
from meta1g.rcb.codec import encode_fields
from meta1g.rcb.schema import FieldPlan, Kind, Message

M = TypeVar("M", bound=Message)


def to_object(msg: Message, *, defaults: bool = False) -> dict[str, Any]:
    """Gives a message as an object that json.dumps takes.

    Args:
        msg: the message.
        defaults: fields with their default value are in it, too.
    """
    found = {}
    for plan in msg.PLAN.fields:
        value = getattr(msg, plan.name)
        if defaults or not (plan.optional and value == plan.default):
            found[plan.name] = _plain(plan, value, defaults)
    return found


def _plain(plan: FieldPlan, value: Any, defaults: bool) -> Any:
    if plan.kind is Kind.ITEMS:
        return [to_object(one, defaults=defaults) for one in value]
    if plan.kind is Kind.REPLY:
        return {"code": value.code, "ecode": value.ecode, "text": value.text, "origin": value.origin}
    return value


def from_object(cls: type[M], found: Any) -> M:
    """Makes a message from what to_object() gave.

    Raises:
        ValueError: it is none; the text says what is wrong.
    """
    _must(isinstance(found, Mapping), f"{cls.__name__}: not an object")
    plans = {plan.name: plan for plan in cls.PLAN.fields}
    wrong = sorted(found.keys() - plans.keys()) + sorted(
        name for name, plan in plans.items() if not plan.optional and name not in found
    )
    if wrong:
        raise ValueError(f"{cls.__name__}: fields that are missing or not known: {' '.join(map(str, wrong))}")
    msg = cls(**{name: _read(plans[name], value) for name, value in found.items()})
    try:
        encode_fields(msg)
    except UnsendableError as error:
        raise ValueError(error.cause) from error
    return msg


def _must(holds: bool, text: str) -> None:
    if not holds:
        raise ValueError(text)


def _number(plan: FieldPlan, value: Any) -> Any:
    _must(isinstance(value, int) and not isinstance(value, bool), f"{plan.name}: not a number")
    return value


def _time(plan: FieldPlan, value: Any) -> Any:
    _must(isinstance(value, int | float) and not isinstance(value, bool), f"{plan.name}: not a time")
    return float(value)


def _bool(plan: FieldPlan, value: Any) -> Any:
    _must(isinstance(value, bool), f"{plan.name}: neither true nor false")
    return value


def _text(plan: FieldPlan, value: Any) -> Any:
    _must(isinstance(value, str), f"{plan.name}: not a text")
    return value


def _items(plan: FieldPlan, value: Any) -> Any:
    _must(isinstance(value, list), f"{plan.name}: not a list")
    cls = plan.item or Message
    return tuple(from_object(cls, one) for one in value)


def _reply(plan: FieldPlan, value: Any) -> Any:
    _must(isinstance(value, Mapping) and value.keys() == {"code", "ecode", "text", "origin"}, f"{plan.name}: not a reply")
    text = value["text"]
    lines = tuple(_text(plan, line) for line in text) if isinstance(text, list) else _text(plan, text)
    return Reply(_number(plan, value["code"]), _text(plan, value["ecode"]), lines, _text(plan, value["origin"]))


_READ: Final[Mapping[Kind, Callable[[FieldPlan, Any], Any]]] = {
    Kind.U32: _number,
    Kind.U64: _number,
    Kind.S32: _number,
    Kind.TIME: _time,
    Kind.BOOL: _bool,
    Kind.TEXT: _text,
    Kind.ITEMS: _items,
    Kind.REPLY: _reply,
}


def _read(plan: FieldPlan, value: Any) -> Any:
    return None if value is None and plan.optional and plan.default is None else _READ[plan.kind](plan, value)
