"""Merges a user's configuration with a newer example: the user's text stays as it is, what it lacks is added.

    an option the example sets and the user does not        is added at the end of the section
    the same, but it concerns TLS, AUTH, access or relaying  is added as a comment: the user has to decide
    a section the user does not have                         is added at the end, as a comment if the user has another one
                                                             of its kind
    a value that differs                                     stays as the user has it, and is told

Pure.  Ref: MeTA1 metaconf (modelled on).
"""

from collections.abc import Iterator
from dataclasses import field
from typing import Final

from meta1g.base.dataclass import dataclass
from meta1g.conf.check import PROTECTS
from meta1g.conf.defs import ROOT
from meta1g.conf.errors import error_of
from meta1g.conf.grammar import parse
from meta1g.conf.schema import SectionDef
from meta1g.conf.tree import OptionNode, SectionNode, Source, TreeEntry, Value
from meta1g.conf.values import quote

_INDENT: Final = "  "


@dataclass(slots=True)
class Merged:
    """The result.

    Args:
        text: the user's text with the additions.
        changes: what was added, kept, or is not known any more; one line each.

    Owner: the caller.
    """

    text: str
    changes: list[str] = field(default_factory=list)


def merge(user: Source, example: Source) -> Merged:
    """Merges two texts.

    Args:
        user: the user's configuration.
        example: the example of a newer release.

    Returns:
        The merged text and what changed.

    Raises:
        ConfigError: one of the texts cannot be parsed.
    """
    merger = _Merger(user, example)
    end = SectionNode("", 0, None, _entries(user), len(user.text))
    merger.section(ROOT, end, _entries(example), ())
    return Merged(merger.text(), merger.changes)


def _entries(source: Source) -> tuple[TreeEntry, ...]:
    entries, problems = parse(source)
    if problems:
        raise error_of(source, problems)
    return entries


class _Merger:
    """One merge.  Owner: one call."""

    def __init__(self, user: Source, example: Source) -> None:
        self._user = user
        self._example = example
        self._inserts: list[tuple[int, list[str]]] = []
        self.changes: list[str] = []

    def text(self) -> str:
        """Gives the user's text with the additions."""
        text = self._user.text
        for pos, lines in sorted(self._inserts, reverse=True):
            text = _insert(text, pos, lines)
        return text

    def section(self, definition: SectionDef, mine: SectionNode, theirs: tuple[TreeEntry, ...], path: tuple[str, ...]) -> None:
        """Merges one section and those inside."""
        place = " ".join(path) or "outside of all sections"
        self._tell_unknown(definition, mine, place)
        lines: list[str] = []
        for entry in theirs:
            if isinstance(entry, OptionNode):
                lines += self._option(mine, entry, path, place)
            else:
                lines += self._sub(definition, mine, entry, path)
        if lines:
            self._inserts.append((mine.end, [_INDENT * len(path) + line for line in lines]))

    def _option(self, mine: SectionNode, entry: OptionNode, path: tuple[str, ...], place: str) -> Iterator[str]:
        same = [one for one in mine.entries if isinstance(one, OptionNode) and one.name.lower() == entry.name.lower()]
        new = _option_text(entry)
        if not same:
            yield self._added(new, entry, path, place)
        elif [_texts(one.values) for one in same] != [_texts(entry.values)]:
            old = " ".join(_option_text(one) for one in same)
            self.changes.append(f"{self._user.where(same[0].pos)}: {place}: kept {old} the example has {new}")

    def _added(self, new: str, entry: OptionNode, path: tuple[str, ...], place: str) -> str:
        protects = any(PROTECTS.search(word) for word in (*path, entry.name, *_texts(entry.values)))
        how = "proposed as a comment" if protects else "added"
        self.changes.append(f"{self._example.where(entry.pos)}: {place}: {how} {new}")
        return f"# {new}" if protects else new

    def _sub(self, definition: SectionDef, mine: SectionNode, entry: SectionNode, path: tuple[str, ...]) -> list[str]:
        row = definition.by_section.get(entry.keyword.lower())
        same = [one for one in mine.entries if isinstance(one, SectionNode) and one.keyword.lower() == entry.keyword.lower()]
        name = None if entry.name is None else entry.name.text
        match = [one for one in same if (None if one.name is None else one.name.text) == name] or same[: len(same) == 1]
        repeated = row is not None and row.repeat and name is None and bool(path)
        if repeated and same:
            return []
        if match:
            title = row.keyword if row else entry.keyword
            self.section(row or SectionDef(title, "", definition.origin), match[0], entry.entries, (*path, title))
            return []
        return self._new_section(entry, bool(same), path)

    def _new_section(self, entry: SectionNode, as_comment: bool, path: tuple[str, ...]) -> list[str]:
        as_comment = as_comment or any(PROTECTS.search(word) for word in (*path, entry.keyword))
        place = " ".join(path) or "outside of all sections"
        how = "proposed as a comment" if as_comment else "added"
        self.changes.append(f"{self._example.where(entry.pos)}: {place}: {how} section {_title(entry)}")
        lines = list(_section_lines(entry, ""))
        return [f"# {line}" for line in lines] if as_comment else lines

    def _tell_unknown(self, definition: SectionDef, mine: SectionNode, place: str) -> None:
        for entry in mine.entries:
            is_option = isinstance(entry, OptionNode)
            name = entry.name if isinstance(entry, OptionNode) else entry.keyword
            if name.lower() not in (definition.by_option if is_option else definition.by_section):
                what = "option" if is_option else "section"
                self.changes.append(f"{self._user.where(entry.pos)}: {place}: {what} {name} is not known any more")


def _texts(values: tuple[Value, ...]) -> list[str]:
    return [value.text for value in values]


def _option_text(entry: OptionNode) -> str:
    words = ", ".join(quote(text) for text in _texts(entry.values))
    return f"{entry.name} = {{ {words} }};" if entry.is_list else f"{entry.name} = {words};"


def _title(entry: SectionNode) -> str:
    return entry.keyword if entry.name is None else f"{entry.keyword} {quote(entry.name.text)}"


def _section_lines(entry: SectionNode, indent: str) -> Iterator[str]:
    yield f"{indent}{_title(entry)} {{"
    for inside in entry.entries:
        if isinstance(inside, OptionNode):
            yield f"{indent}{_INDENT}{_option_text(inside)}"
        else:
            yield from _section_lines(inside, indent + _INDENT)
    yield f"{indent}}}"


def _insert(text: str, pos: int, lines: list[str]) -> str:
    """Puts lines before a position; a brace that ends a line of its own keeps its indentation."""
    begin = text.rfind("\n", 0, pos) + 1
    if text[begin:pos].strip():
        before, after = text[:pos].rstrip(" \t") + "\n", text[pos:]
        indent = text[begin : begin + len(text[begin:pos]) - len(text[begin:pos].lstrip())]
        return f"{before}{''.join(line + chr(10) for line in lines)}{indent}{after}"
    return f"{text[:begin]}{''.join(line + chr(10) for line in lines)}{text[begin:]}"
