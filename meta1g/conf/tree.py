"""A configuration text as it is written: options and sections with their places, nothing checked against tables.

Pure.  Ref: meta1.conf(5), grammar.
"""

import bisect
from dataclasses import field
from typing import Final

from meta1g.base.dataclass import dataclass

#: Characters of an excerpt before and after the place of an error; our choice, a terminal line.
EXCERPT_BEFORE_CHARS: Final = 60
EXCERPT_AFTER_CHARS: Final = 60


@dataclass(frozen=True, slots=True)
class Value:
    """One value: its text without quotation marks, and where it begins."""

    text: str
    pos: int


@dataclass(frozen=True, slots=True)
class OptionNode:
    """`name = value;` or `name = { value, value }`."""

    name: str
    pos: int
    values: tuple[Value, ...]
    is_list: bool


@dataclass(frozen=True, slots=True)
class SectionNode:
    """`keyword name { entries }`; the name may be missing, end is the place of `}`."""

    keyword: str
    pos: int
    name: Value | None
    entries: "tuple[OptionNode | SectionNode, ...]"
    end: int = 0


TreeEntry = OptionNode | SectionNode


@dataclass(frozen=True, slots=True)
class Problem:
    """One error: where, and what to do about it."""

    pos: int
    message: str


@dataclass(frozen=True, slots=True)
class Source:
    """A text with the name that error messages give it.

    Args:
        name: name of the file, or of the map entry the text comes from.
        text: the whole text.
    """

    name: str
    text: str
    _starts: list[int] = field(init=False, repr=False, compare=False, default_factory=lambda: [0])

    def __post_init__(self) -> None:
        at = self.text.find("\n")
        while at >= 0:
            self._starts.append(at + 1)
            at = self.text.find("\n", at + 1)

    def line_column(self, pos: int) -> tuple[int, int]:
        """Gives line and column, both from 1, of a position."""
        line = bisect.bisect_right(self._starts, pos)
        return line, pos - self._starts[line - 1] + 1

    def where(self, pos: int) -> str:
        """Gives `name:line`."""
        return f"{self.name}:{self.line_column(pos)[0]}"

    def report(self, problem: Problem) -> str:
        """Writes a problem: place and message, then the line with a caret below the place."""
        line, column = self.line_column(problem.pos)
        return f"{self.name}:{line}:{column}: {problem.message}\n{self._excerpt(line, column)}"

    def _excerpt(self, line: int, column: int) -> str:
        begin = self._starts[line - 1]
        end = self._starts[line] - 1 if line < len(self._starts) else len(self.text)
        at = begin + column - 1
        first, last = max(begin, at - EXCERPT_BEFORE_CHARS), min(end, at + EXCERPT_AFTER_CHARS)
        shown = "".join(" " if char in "\t\r" else char if char.isprintable() else "?" for char in self.text[first:last])
        return f"    {shown.rstrip()}\n    {' ' * (at - first)}^"
