"""Tables for people: columns as wide as their widest cell, the last one as it is.

Pure.  Ref: behaviour of tools (human output beside JSON).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from meta1g.base.dataclass import dataclass
from meta1g.base.reply import printable
from meta1g.base.units import format_time_s


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its title, and how its cell is made from a row.  Immutable."""

    title: str
    cell: Callable[[Mapping[str, Any]], str]


def columns(what: Sequence[Column], rows: Sequence[Mapping[str, Any]]) -> str:
    """Gives rows as printable text with a line of titles."""
    lines = [[column.title for column in what], *([printable(column.cell(row)) for column in what] for row in rows)]
    widths = [max(len(line[number]) for line in lines) for number in range(len(what))]
    return "\n".join("  ".join(f"{cell:{width}}" for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines)


def age(seconds: float) -> str:
    """Gives a time that has passed with its two largest units, such as `2h5m`."""
    whole = max(0, int(seconds))
    for unit_s, next_s in ((7 * 86400, 86400), (86400, 3600), (3600, 60)):
        if whole >= unit_s:
            return format_time_s(whole - whole % next_s)
    return format_time_s(whole)
