"""Checks what is written against the tables and gives typed sections; finds all errors in one run.

With `lenient`, what the tables do not know is left out with a warning, unless it concerns TLS, AUTH, access or relaying:
nobody's mail may become less protected because an option was not understood.

Pure.  Ref: MeTA1 README, chapter on configuration (modelled on).
"""

import functools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from meta1g.conf.config import UNREAD, Config, Given, Section
from meta1g.conf.cross import cross_check, cross_check_file, each
from meta1g.conf.defs import COMPONENTS, ROOT
from meta1g.conf.effects import REFUSED, WARNED
from meta1g.conf.errors import error_of
from meta1g.conf.grammar import parse
from meta1g.conf.idle import idle_warnings
from meta1g.conf.schema import Naming, OptionDef, SectionDef
from meta1g.conf.tree import OptionNode, Problem, SectionNode, Source, TreeEntry, Value
from meta1g.conf.values import LISTED_MAX, Flags, UnknownNameError, nearest, shown, suggest

#: Places that an advice names; our choice.
_HOMES_MAX: Final = 3
PROTECTS: Final = re.compile(
    r"tls|ssl|cert|crl|cipher|dane|mta_?sts|auth|sasl|scram|password|access|relay|protect|trust|allow|deny|permit|reject|"
    r"cltaddr|cltname|cltresolve|local_domain|local_user|ehlo|helo|dns_?[bw]l|rbl|milter|grey|spf|dkim|dmarc|_conf$|conf_map|"
    r"crypt|secur|verif|plaintext|restrict|block|black|white|reputation|strict|checks|refus|filter|quarantine|bare_|routing|"
    r"xclient|xforward|proxy",
    re.IGNORECASE,
)


def check_text(source: Source, path: Path, *, lenient: bool = False) -> Config:
    """Makes a configuration of a text.

    Args:
        source: the text.
        path: its file.
        lenient: leave out what is not known.

    Raises:
        ConfigError: the text is wrong; the error tells all that is.
    """
    entries, problems = parse(source)
    lost = source.text if problems else ""
    checker = Checker(source, problems, lenient=lenient)
    glob = checker.section(ROOT, SectionNode("", 0, None, entries), ())
    problems += cross_check_file(glob, lost)
    keywords = [row.keyword for row in COMPONENTS]
    components = sorted((section for keyword in keywords for section in glob.subs(keyword)), key=lambda one: one.pos)
    config = Config(path, glob, tuple(components), checker.warnings, source.text)
    if problems:
        raise error_of(source, problems, config)
    for one in idle_warnings(glob):
        checker.warn_of(one.pos, one.message)
    return config


def check_other(source: Source, root: SectionDef, rules: Callable[[Section], Iterable[Problem]] | None = None) -> Section:
    """Checks a text against other tables than the gateway's: the file of a filter.

    Args:
        source: the text.
        root: what may stand outside of all sections, and which sections there are.
        rules: gives what is wrong beyond that; where it meets a value that is wrong it says no more (see cross.each()).

    Raises:
        ConfigError: the text is wrong; the error tells all that is.
    """
    entries, problems = parse(source)
    is_whole = not problems  # else sections may have got lost
    section = Checker(source, problems, lenient=False, root=root).section(root, SectionNode("", 0, None, entries), ())
    if rules is not None and is_whole:
        problems += each([section], rules)
    if problems:
        raise error_of(source, problems)
    return section


class Checker:
    """The check of one text.

    Args:
        source: the text.
        problems: errors are added here.
        lenient: leave out what is not known.
        root: the tables.

    Owner: one call.
    """

    def __init__(self, source: Source, problems: list[Problem], *, lenient: bool, root: SectionDef = ROOT) -> None:
        self._root = root
        self._source = source
        self._problems = problems
        self._lenient = lenient
        self._lost = tuple(problems)
        self._inherited: dict[str, Given] = {}
        self.warnings: list[str] = []

    def section(self, definition: SectionDef, node: SectionNode, path: tuple[str, ...]) -> Section:
        """Checks one section and what is inside.

        Args:
            definition: its rows.
            node: as it is written.
            path: keywords of the sections around it, its own included.
        """
        given: dict[str, Given] = {}
        subs: dict[str, list[Section]] = {}
        for entry in node.entries:
            if isinstance(entry, OptionNode):
                self._option(definition, entry, given, path)
        if definition is self._root:
            self._inherited = given
        for entry in node.entries:
            if isinstance(entry, SectionNode):
                self._sub(definition, entry, subs, path)
        section = Section(
            definition,
            node.name.text if node.name is not None and definition.naming is not Naming.NONE else None,
            self._source.where(node.pos),
            node.pos,
            given=given,
            subs={keyword: tuple(found) for keyword, found in subs.items()},
            inherited=self._inherited,
        )
        if not self._has_lost(node):
            self._problems += cross_check(section)
        self._not_yet(node.pos, f"section {section.title}", *path)
        return section

    def _has_lost(self, node: SectionNode) -> bool:
        """Tells whether a syntax error may have taken an option of a section: what it says is not known then."""
        inside = [one for one in node.entries if isinstance(one, SectionNode)]
        return any(
            node.pos <= problem.pos <= node.end and not any(one.pos <= problem.pos <= one.end for one in inside)
            for problem in self._lost
        )

    # -- options

    def _option(self, definition: SectionDef, node: OptionNode, given: dict[str, Given], path: tuple[str, ...]) -> None:
        key = node.name.lower()
        row = definition.by_option.get(key)
        if row is None:
            self._unknown(definition, node, node.name, path)
            return
        before = given.get(key)
        if before is not None and not row.repeat:
            self._add(
                node.pos, f"option {row.name} is given twice, first in line {before.where.rpartition(':')[2]}; remove one"
            )
            return
        known = len(self._problems)
        value = self._value(row, node, path)
        if value is not None:
            joined = value if before is None or before.value is UNREAD else before.value + value
            given[key] = Given(joined, node.pos, self._source.where(node.pos))
        elif len(self._problems) > known:
            given[key] = Given(UNREAD, node.pos, self._source.where(node.pos))

    def _value(self, row: OptionDef, node: OptionNode, path: tuple[str, ...]) -> Any:
        """Reads the values of an option; None if one is wrong."""
        if node.is_list and not row.kind.many:
            self._add(node.pos, f"{row.name} takes one value, not a list; remove the braces")
            return None
        items = [self._item(row, value, path) for value in node.values]
        try:
            return (
                row.kind.combine([item for item in items if item is not None]) if None not in items or row.kind.many else None
            )
        except ValueError as error:
            self._add(node.pos, f"{row.name}: {error}")
            return None

    def _item(self, row: OptionDef, value: Value, path: tuple[str, ...]) -> Any:
        try:
            item = row.kind.parse(value.text)
            if isinstance(row.kind, Flags):
                self._not_yet(value.pos, f"flag {value.text}", *path, row.name, item[0] if item[1] else f"dont_{item[0]}")
            return item
        except UnknownNameError as error:
            near = nearest(value.text, [flag.name for flag in row.kind.flags]) if isinstance(row.kind, Flags) else ""
            self._leave_out(value.pos, f"{row.name}: {error}", _protects((*path, value.text, near)))
        except ValueError as error:
            self._add(value.pos, f"{row.name}: {error}")
        return None

    def _not_yet(self, pos: int, what: str, *path: str) -> None:
        """Warns of what has no code yet, or refuses it: to pass over it in silence would be worse."""
        name = " ".join(path)
        if name in WARNED:
            self.warn_of(pos, f"{what} has no effect in this version")
        elif name in REFUSED:
            self._add(pos, f"{what} is not in this version; remove it")

    # -- sections

    def _sub(self, definition: SectionDef, node: SectionNode, subs: dict[str, list[Section]], path: tuple[str, ...]) -> None:
        key = node.keyword.lower()
        row = definition.by_section.get(key)
        if row is None:
            self._unknown(definition, node, node.keyword, path)
            return
        before = subs.setdefault(key, [])
        self._naming(row, node, before)
        before.append(self.section(row, node, (*path, row.keyword)))

    def _naming(self, row: SectionDef, node: SectionNode, before: list[Section]) -> None:
        name = None if node.name is None else node.name.text
        if row.naming is Naming.NONE and node.name is not None:
            self._add(node.name.pos, f"section {row.keyword} has no name; remove {shown(node.name.text)}")
        elif row.naming is Naming.MUST and not name:
            self._add(node.pos, f"section {row.keyword} needs a name; write {row.keyword} NAME {{ ... }}")
        elif before and not row.repeat:
            line = before[0].where.rpartition(":")[2]
            self._add(node.pos, f"section {row.keyword} is given twice, first in line {line}; join them")
        elif row.naming is not Naming.NONE:
            same = [section for section in before if section.name == name]
            if same and not (name is None and row.keyword == "dnsbl"):
                line = same[0].where.rpartition(":")[2]
                title = row.keyword if name is None else f"{row.keyword} {shown(name)}"
                self._add(node.pos, f"section {title} is given twice, first in line {line}; give them different names")

    # -- what is not known

    def _unknown(self, definition: SectionDef, node: TreeEntry, name: str, path: tuple[str, ...]) -> None:
        is_option = isinstance(node, OptionNode)
        place = f"in section {path[-1]}" if path else "outside of all sections"
        what = "option" if is_option else "section"
        text = f"unknown {what} {shown(name)} {place}; {_advice(self._root, definition, name, is_option=is_option)}"
        own = ([row.name for row in definition.options], [row.keyword for row in definition.sections])
        near = [nearest(name, names) for names in own]  # a letter that is missing is no reason to do without
        self._leave_out(node.pos, text, _protects((*path, *_names(node), *near)))

    def _leave_out(self, pos: int, text: str, protects: bool) -> None:
        if self._lenient and not protects:
            self.warn_of(pos, f"{text}; left out")
        else:
            self._add(pos, text)

    def warn_of(self, pos: int, text: str) -> None:
        """Adds a warning about a place in the text."""
        line, column = self._source.line_column(pos)
        self.warnings.append(f"{self._source.name}:{line}:{column}: {text}")

    def _add(self, pos: int, text: str) -> None:
        self._problems.append(Problem(pos, text))


def _protects(names: tuple[str, ...]) -> bool:
    return any(PROTECTS.search(name) for name in names)


def _names(node: TreeEntry) -> tuple[str, ...]:
    """Gives all names in an entry."""
    found: list[str] = []
    todo: list[TreeEntry] = [node]
    while todo:
        entry = todo.pop()
        if isinstance(entry, OptionNode):
            found.append(entry.name)
            found += [value.text for value in entry.values]
        else:
            found.append(entry.keyword)
            todo += entry.entries
    return tuple(found)


def _advice(root: SectionDef, definition: SectionDef, name: str, *, is_option: bool) -> str:
    key = name.lower()
    if is_option and key in definition.by_section:
        row = definition.by_section[key]
        return f"it is a section: {row.keyword} {{ ... }}"
    if not is_option and key in definition.by_option:
        return f"it is an option: {definition.by_option[key].name} = ...;"
    homes = _homes(root)[is_option].get(key)
    if homes:
        more = f" or into {len(homes) - _HOMES_MAX} more" if len(homes) > _HOMES_MAX else ""
        return f"it belongs {' or '.join(homes[:_HOMES_MAX])}{more}"
    own = [row.name for row in definition.options] if is_option else [row.keyword for row in definition.sections]
    near = suggest(name, own)
    few = near.startswith("did") or len(own) <= LISTED_MAX or root is not ROOT
    return near if few else f"smconf -h {definition.keyword or 'global'} lists all"


@functools.lru_cache(maxsize=4)
def _homes(root: SectionDef) -> Mapping[bool, Mapping[str, tuple[str, ...]]]:
    """Gives the places of every option (True) and section (False) by name in lower case."""
    made: dict[bool, dict[str, tuple[str, ...]]] = {True: {}, False: {}}
    for definition, path in walk(root):
        place = f"into section {' '.join(path)}" if path else "outside of all sections"
        for is_option, keys in ((True, definition.by_option), (False, definition.by_section)):
            for key in keys:
                made[is_option][key] = (*made[is_option].get(key, ()), place)
    return made


def walk(definition: SectionDef, path: tuple[str, ...] = ()) -> Iterator[tuple[SectionDef, tuple[str, ...]]]:
    """Gives a section and all sections inside, each with the keywords that lead to it."""
    yield definition, path
    for row in definition.sections:
        yield from walk(row, (*path, row.keyword))
