"""Tables for people: columns as wide as their widest cell, the last one as it is.

Pure.  Ref: docs/operating.md.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from meta1g.base.dataclass import dataclass
from meta1g.base.reply import printable
from meta1g.base.units import format_time_s


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its title, and how its cell is made from a row."""

    title: str
    cell: Callable[[Mapping[str, Any]], str]


class Table:
    """A table that is printed piece by piece; the first piece says how wide the columns are.  Owner: who made it.

    Args:
        what: its columns.
    """

    def __init__(self, what: Sequence[Column]) -> None:
        self._what = what
        self._widths: list[int] = []

    def lines(self, rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
        """Gives rows as printable lines; before the first ones stands a line of titles."""
        lines = [[printable(column.cell(row)) for column in self._what] for row in rows]
        if not self._widths:
            lines.insert(0, [column.title for column in self._what])
            self._widths = [max(len(line[number]) for line in lines) for number in range(len(self._what))]
        for line in lines:
            yield "  ".join(f"{cell:{width}}" for cell, width in zip(line, self._widths, strict=True)).rstrip()


def columns(what: Sequence[Column], rows: Sequence[Mapping[str, Any]]) -> str:
    """Gives rows as printable text with a line of titles."""
    return "\n".join(Table(what).lines(rows))


def age(seconds: float) -> str:
    """Gives a time that has passed with its two largest units, such as `2h5m`."""
    whole = max(0, int(seconds))
    for unit_s, next_s in ((7 * 86400, 86400), (86400, 3600), (3600, 60)):
        if whole >= unit_s:
            return format_time_s(whole - whole % next_s)
    return format_time_s(whole)
