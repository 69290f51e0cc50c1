"""Makes the functions that write and read one message, as plain Python, from the plan of the message.

A table-driven codec asks for each field of each message what the plan says; a generated one has asked once.  The code is
made at the first use of a message and compiled; `python -m meta1g.rcb.generate NAME` shows it.

    writer(msg) -> parts                          the records of the fields, to be joined
    reader(body, offset, length, rt) -> msg, offset, length, rt
                                                  length and rt are those of the record at offset, 0 and 0 at the end

Pure.  Ref: MeTA1 design, "Functional Specification: IPC record format" (scheme modelled on MeTA1's RCB).
"""

import sys
from collections.abc import Callable, Iterator
from struct import Struct
from struct import error as StructError  # noqa: N812  it is a class
from typing import Any, Final

from meta1g.base.errors import ProtocolError, UnsendableError
from meta1g.rcb.replies import read_reply, write_reply
from meta1g.rcb.schema import FieldPlan, Kind, Message

HEADER: Final = Struct("!II")
#: Items of one message at most.  Our choice: more than the recipients of a transaction.
ITEMS_MAX: Final = 100_000
PAD: Final = (b"", b"\0\0\0", b"\0\0", b"\0")

_Writer = Callable[[Any], list[bytes]]
_Reader = Callable[[bytes, int, int, int], tuple[Message, int, int, int]]
#: What a value that does not fit its kind raises.
MISFITS: Final = (TypeError, ValueError, OverflowError, AttributeError, StructError)

_writers: Final[dict[type[Message], _Writer]] = {}
_readers: Final[dict[type[Message], _Reader]] = {}


def writer_of(cls: type[Message]) -> _Writer:
    """Gives the function that writes the fields of a message."""
    made = _writers.get(cls)
    if made is None:
        made = _writers[cls] = _compile("write", writer_source(cls), cls)
    return made


def reader_of(cls: type[Message]) -> _Reader:
    """Gives the function that reads the fields of a message."""
    made = _readers.get(cls)
    if made is None:
        if hasattr(cls, "__post_init__"):
            raise TypeError(f"{cls.__name__}: messages are made without __post_init__")
        made = _readers[cls] = _compile("read", reader_source(cls), cls)
    return made


def _compile(name: str, source: str, cls: type[Message]) -> Any:
    scope: dict[str, Any] = {
        "Cls": cls,
        "new": cls.__new__,
        "ITEMS_MAX": ITEMS_MAX,
        "MISFITS": MISFITS,
        "PAD": PAD,
        "ProtocolError": ProtocolError,
        "StructError": StructError,
        "UnsendableError": UnsendableError,
        "fault": _fault,
        "head": HEADER.pack,
        "peek": HEADER.unpack_from,
        "number": int.from_bytes,
        "read_reply": read_reply,
        "s32": Struct("!IIi").pack,
        "u32": Struct("!III").pack,
        "u64": Struct("!IIQ").pack,
        "write_reply": write_reply,
    }
    for plan in cls.PLAN.fields:
        scope[f"set_{plan.name}"] = getattr(cls, plan.name).__set__
        scope[f"default_{plan.name}"] = plan.default
        if plan.item is not None:
            scope[f"write_{plan.name}"] = writer_of(plan.item)
            scope[f"read_{plan.name}"] = reader_of(plan.item)
    exec(compile(source, f"<{name} {cls.__name__}>", "exec"), scope)  # noqa: S102  made from our own table alone
    return scope[name]


# -- writing ---------------------------------------------------------------------------------------------------------------


def writer_source(cls: type[Message]) -> str:
    """Gives the source of the function that writes a message."""
    lines = ["def write(msg):", " parts = []", " try:", "  at = ''"]
    for plan in cls.PLAN.fields:
        lines += [f"  at = {plan.name!r}", f"  v = msg.{plan.name}"]
        indent = "  "
        if plan.optional:
            same = f"v is not default_{plan.name} and " if plan.kind is Kind.REPLY else ""  # two replies compare slowly
            lines.append(f"  if {same}v != default_{plan.name}:")
            indent = "   "
        lines += [indent + line for line in _WRITE[plan.kind](plan)]
    lines += [
        " except MISFITS as error:",
        f"  raise UnsendableError(f'{cls.__name__}.{{at}} cannot be sent: {{error}}') from error",
        " return parts",
    ]
    return "\n".join(lines) + "\n"


def _write_u32(plan: FieldPlan) -> Iterator[str]:
    yield f"parts.append(u32(4, {plan.rt:d}, v))"


def _write_u64(plan: FieldPlan) -> Iterator[str]:
    yield f"parts.append(u64(8, {plan.rt:d}, v))"


def _write_s32(plan: FieldPlan) -> Iterator[str]:
    yield f"parts.append(s32(4, {plan.rt:d}, v))"


def _write_time(plan: FieldPlan) -> Iterator[str]:
    yield f"parts.append(u64(8, {plan.rt:d}, round(v * 1_000_000)))"


def _write_octets(plan: FieldPlan) -> Iterator[str]:
    yield "n = len(v)"
    yield f"parts += (head(n, {plan.rt:d}), v, PAD[n & 3])"


def _write_text(plan: FieldPlan) -> Iterator[str]:
    yield "v = v.encode()"
    yield from _write_octets(plan)


def _write_reply(plan: FieldPlan) -> Iterator[str]:
    yield "v = write_reply(v)"
    yield from _write_octets(plan)


def _write_items(plan: FieldPlan) -> Iterator[str]:
    yield f"parts.append(u32(4, {plan.rt:d}, len(v)))"
    yield "for one in v:"
    yield f" parts += write_{plan.name}(one)"


def _write_texts(plan: FieldPlan) -> Iterator[str]:
    yield f"parts.append(u32(4, {plan.rt:d}, len(v)))"
    yield "for one in v:"
    yield " one = one.encode()"
    yield " n = len(one)"
    yield f" parts += (head(n, {plan.item_rt or 0:d}), one, PAD[n & 3])"


_WRITE: Final[dict[Kind, Callable[[FieldPlan], Iterator[str]]]] = {
    Kind.U32: _write_u32,
    Kind.U64: _write_u64,
    Kind.S32: _write_s32,
    Kind.BOOL: _write_u32,
    Kind.TIME: _write_time,
    Kind.OCTETS: _write_octets,
    Kind.TEXT: _write_text,
    Kind.ITEMS: _write_items,
    Kind.TEXTS: _write_texts,
    Kind.REPLY: _write_reply,
}


# -- reading ---------------------------------------------------------------------------------------------------------------


def reader_source(cls: type[Message]) -> str:
    """Gives the source of the function that reads a message."""
    lines = ["def read(body, o, n, t):", " msg = new(Cls)", " try:", "  end = len(body)"]
    for plan in cls.PLAN.fields:
        indent = "  "
        if plan.optional:
            lines += [f"  if t != {plan.rt:d}:", f"   set_{plan.name}(msg, default_{plan.name})", "  else:"]
            indent = "   "
        lines += [indent + line for line in _read(plan)]
    lines += [
        " except StructError as error:",
        "  raise ProtocolError('record header is cut short') from error",
        " except UnicodeDecodeError as error:",
        "  raise ProtocolError(f'record {t:#06x} is not UTF-8') from error",
        " return msg, o, n, t",
    ]
    return "\n".join(lines) + "\n"


def _read(plan: FieldPlan) -> Iterator[str]:
    yield from _read_value(plan.rt)
    yield from _READ[plan.kind](plan)


def _read_value(rt: int) -> Iterator[str]:
    """Leaves the value of the next record, which must be of type rt, between s and e, and o behind its padding."""
    yield "s = o + 8"
    yield "e = s + n"
    yield "o = e + (-n & 3)"
    yield f"if t != {rt:d} or o > end or (n & 3 and body[e:o] != PAD[n & 3]):"
    yield f" fault(body, {rt:d}, t, e, o)"


def _next(indent: str = "") -> str:
    return f"{indent}n, t = peek(body, o) if o != end else (0, 0)"


def _set(plan: FieldPlan, expression: str) -> Iterator[str]:
    """Sets the field and goes on to the next record."""
    yield f"set_{plan.name}(msg, {expression})"
    yield _next()


def _read_number(plan: FieldPlan, size: int) -> Iterator[str]:
    yield f"if n != {size}:"
    yield f" raise ProtocolError(f'record {plan.rt:#06x} has {{n}} bytes, not {size}')"
    yield "v = number(body[s:e])"


def _read_u32(plan: FieldPlan) -> Iterator[str]:
    yield from _read_number(plan, 4)
    yield from _set(plan, "v")


def _read_u64(plan: FieldPlan) -> Iterator[str]:
    yield from _read_number(plan, 8)
    yield from _set(plan, "v")


def _read_s32(plan: FieldPlan) -> Iterator[str]:
    yield from _read_number(plan, 4)
    yield from _set(plan, "v - (v >> 31 << 32)")


def _read_bool(plan: FieldPlan) -> Iterator[str]:
    yield from _read_number(plan, 4)
    yield "if v > 1:"
    yield f" raise ProtocolError(f'record {plan.rt:#06x} is {{v}}, not 0 or 1')"
    yield from _set(plan, "v == 1")


def _read_time(plan: FieldPlan) -> Iterator[str]:
    yield from _read_number(plan, 8)
    yield from _set(plan, "v / 1_000_000")


def _read_octets(plan: FieldPlan) -> Iterator[str]:
    yield from _set(plan, "body[s:e]")


def _read_text(plan: FieldPlan) -> Iterator[str]:
    yield from _set(plan, "body[s:e].decode()")


def _read_reply(plan: FieldPlan) -> Iterator[str]:
    yield from _set(plan, "read_reply(body[s:e])")


def _read_count(plan: FieldPlan) -> Iterator[str]:
    yield from _read_number(plan, 4)
    yield "if v > ITEMS_MAX:"
    yield f" raise ProtocolError(f'record {plan.rt:#06x} announces {{v}} items, more than {{ITEMS_MAX}}')"
    yield _next()
    yield "found = []"
    yield "for _ in range(v):"
    yield " if not t:"
    yield f"  raise ProtocolError('record {plan.rt:#06x} announces more items than there are')"


def _read_items(plan: FieldPlan) -> Iterator[str]:
    yield from _read_count(plan)
    yield f" one, o, n, t = read_{plan.name}(body, o, n, t)"
    yield " found.append(one)"
    yield f"set_{plan.name}(msg, tuple(found))"


def _read_texts(plan: FieldPlan) -> Iterator[str]:
    yield from _read_count(plan)
    yield from (" " + line for line in _read_value(plan.item_rt or 0))
    yield " found.append(body[s:e].decode())"
    yield _next(" ")
    yield f"set_{plan.name}(msg, tuple(found))"


_READ: Final[dict[Kind, Callable[[FieldPlan], Iterator[str]]]] = {
    Kind.U32: _read_u32,
    Kind.U64: _read_u64,
    Kind.S32: _read_s32,
    Kind.BOOL: _read_bool,
    Kind.TIME: _read_time,
    Kind.OCTETS: _read_octets,
    Kind.TEXT: _read_text,
    Kind.ITEMS: _read_items,
    Kind.TEXTS: _read_texts,
    Kind.REPLY: _read_reply,
}


def _fault(body: bytes, rt: int, found: int, end: int, padded: int) -> None:
    """Says what is wrong with a record."""
    if found != rt:
        raise ProtocolError(f"record {rt:#06x} expected, {found:#06x} found")
    if padded > len(body):
        raise ProtocolError(f"record {rt:#06x} is cut short")
    raise ProtocolError(f"record {rt:#06x} is padded with other bytes than NUL")


def _show(name: str) -> int:
    from meta1g.rcb.protocols import DISK_RECORDS, PROTOCOLS

    tables = [table for pair in PROTOCOLS for table in (pair.from_client, pair.from_server)]
    for cls in (*(cls for table in tables for cls in table.values()), *DISK_RECORDS):
        if cls.__name__ == name:
            sys.stdout.write(f"{writer_source(cls)}\n\n{reader_source(cls)}")
            return 0
    sys.stderr.write(f"{name}: no such message; docs/record-types.md lists them\n")
    return 1


if __name__ == "__main__":
    raise SystemExit(_show(sys.argv[1] if len(sys.argv) == 2 else ""))
