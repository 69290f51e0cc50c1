"""The configuration as the programs use it: sections with typed values and defaults.

Pure.  Ref: MeTA1 README, chapter on configuration (modelled on).
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from meta1g.base.dataclass import dataclass
from meta1g.base.errors import BugError, Module, PermError
from meta1g.conf.schema import OptionDef, SectionDef
from meta1g.conf.values import Flags, suggest


class UnreadError(Exception):
    """A rule asks for a value that is wrong, which is told already."""


#: Stands for a value that is wrong.
UNREAD: Final = object()


@dataclass(frozen=True, slots=True)
class Given:
    """A value that stands in the text, and where; UNREAD if it is wrong."""

    value: Any
    pos: int
    where: str


@dataclass(frozen=True, slots=True)
class DumpedOption:
    """One option for a dump: its row, its value, and `file:line` if it is given."""

    row: OptionDef
    value: Any
    where: str | None


class Section:
    """One section; options that are not given have their defaults.

    Args:
        definition: its rows.
        name: its name, None if it has none.
        where: `file:line`; empty if the text has no such section.
        pos: position in the text, -1 if the text has no such section.
        given: values by name in lower case.
        subs: sections inside it by keyword in lower case.
        inherited: options outside of all sections that are given, for the rows that inherit them.

    Immutable.
    """

    __slots__ = ("_given", "_inherited", "_subs", "definition", "name", "pos", "where")

    def __init__(
        self,
        definition: SectionDef,
        name: str | None = None,
        where: str = "",
        pos: int = -1,
        *,
        given: "Mapping[str, Given] | None" = None,
        subs: "Mapping[str, tuple[Section, ...]] | None" = None,
        inherited: "Mapping[str, Given] | None" = None,
    ) -> None:
        self.definition = definition
        self.name = name
        self.where = where
        self.pos = pos
        self._given = given or {}
        self._subs = subs or {}
        self._inherited = inherited or {}

    def __repr__(self) -> str:
        return f"<section {self.title} {self.where}>"

    @property
    def keyword(self) -> str:
        """The keyword in the spelling of the table."""
        return self.definition.keyword

    @property
    def title(self) -> str:
        """Keyword and name."""
        return self.keyword if self.name is None else f"{self.keyword} {self.name}"

    @property
    def exists(self) -> bool:
        """Whether the text has this section."""
        return self.pos >= 0

    def get(self, option: str) -> Any:
        """Gives the value of an option, or its default.

        Args:
            option: name in any case.

        Raises:
            BugError: the table has no such option.
            UnreadError: its value is wrong; never if the text has no errors.
        """
        row = self._row(option.lower())
        given = self._effective(row)
        if given is None:
            return row.default
        if given.value is UNREAD:
            raise UnreadError
        return given.value

    def given(self, option: str) -> bool:
        """Tells whether an option stands in the text.

        Raises:
            BugError: the table has no such option.
        """
        self._row(option.lower())
        return option.lower() in self._given

    def differs(self, option: str) -> bool:
        """Tells whether an option has another value than its default, of which smconf -p writes all; raises as get()."""
        return bool(self.get(option) != self._row(option.lower()).default)

    def place(self, option: str) -> int:
        """Gives the position of an option in the text, that of the section if it is not given."""
        given = self._given.get(option.lower())
        return max(self.pos, 0) if given is None else given.pos

    def flag(self, name: str) -> bool:
        """Tells whether a flag of the option `flags` is set.

        Raises:
            BugError: the table has no such flag.
        """
        kind = self._row("flags").kind
        if not isinstance(kind, Flags) or name.lower() not in {flag.name for flag in kind.flags}:
            raise BugError(Module.CONF, f"section {self.keyword} has no flag {name}")
        return name.lower() in self.get("flags")

    def changed(self, snippet: "Section") -> "Section":
        """Gives this section as a snippet changes it: what the snippet gives counts, and flags that it does not name stay.

        A section inside counts as a whole.
        """
        given = dict(self._given)
        for key, one in snippet._given.items():  # noqa: SLF001  one of ours
            value = one.value
            if isinstance(value, Mapping):
                on = {name for name, is_on in value.items() if is_on}
                value = (self.get(key) - value.keys()) | on
            given[key] = Given(value, self.pos, one.where)
        subs = {**self._subs, **snippet._subs}  # noqa: SLF001  one of ours
        return Section(self.definition, self.name, self.where, self.pos, given=given, subs=subs, inherited=self._inherited)

    def sub(self, keyword: str) -> "Section":
        """Gives the (first) section with a keyword inside this one; an empty one with all defaults if there is none.

        Raises:
            BugError: the table has no such section.
        """
        found = self.subs(keyword)
        return found[0] if found else Section(self._sub_definition(keyword), inherited=self._inherited)

    def subs(self, keyword: str) -> "tuple[Section, ...]":
        """Gives all sections with a keyword inside this one, in the order of the text.

        Raises:
            BugError: the table has no such section.
        """
        self._sub_definition(keyword)
        return self._subs.get(keyword.lower(), ())

    def items(self) -> Iterator[DumpedOption]:
        """Gives all options in the order of the table."""
        for row in self.definition.options:
            given = self._effective(row)
            yield DumpedOption(row, row.default if given is None else given.value, None if given is None else given.where)

    def children(self) -> "Iterator[Section]":
        """Gives all sections inside this one, in the order of the table."""
        for row in self.definition.sections:
            yield from self._subs.get(row.keyword.lower(), ())

    def _effective(self, row: OptionDef) -> Given | None:
        key = row.name.lower()
        return self._given.get(key) or (self._inherited.get(key) if row.inherit else None)

    def _row(self, key: str) -> OptionDef:
        row = self.definition.by_option.get(key)
        if row is None:
            raise BugError(Module.CONF, f"section {self.keyword or 'outside'} has no option {key}; add a row to conf/defs")
        return row

    def _sub_definition(self, keyword: str) -> SectionDef:
        found = self.definition.by_section.get(keyword.lower())
        if found is None:
            raise BugError(Module.CONF, f"section {self.keyword or 'outside'} has no section {keyword}; add it to conf/defs")
        return found


@dataclass(frozen=True, slots=True)
class Config:
    """A whole configuration.

    Args:
        path: the file.
        glob: options outside all sections.
        all_sections: the sections of components, in the order of the file.
        warnings: what a lenient check left out, and what has no effect, `file:line:column: message`.
        text: what the file said.
    """

    path: Path
    glob: Section
    all_sections: tuple[Section, ...]
    warnings: list[str]
    text: str = ""

    @property
    def queue_directory(self) -> Path:
        """Queue files and sockets are relative to it."""
        return Path(self.glob.get("queue_directory"))

    @property
    def configuration_directory(self) -> Path:
        """Map files are relative to it."""
        return Path(self.glob.get("configuration_directory") or self.path.absolute().parent)

    @property
    def hostname(self) -> str:
        """Name of this machine, empty if it is not given."""
        return self.glob.get("hostname") or ""

    def log_section(self, section: Section) -> Section:
        """Gives the `log` section that applies to a component: its own, otherwise that of the whole file."""
        own = section.sub("log")
        return own if any(option.where for option in own.items()) else self.glob.sub("log")

    def sections(self, keyword: str) -> tuple[Section, ...]:
        """Gives all sections with a keyword, in the order of the file.

        Raises:
            BugError: the table has no such section.
        """
        return self.glob.subs(keyword)

    def section(self, keyword: str, name: str | None = None) -> Section:
        """Gives one section.

        Args:
            keyword: its keyword.
            name: its name; without one it is the only section with this keyword, or the only one without a name.

        Returns:
            The section; an empty one with all defaults if no name is asked for and the file has none.

        Raises:
            PermError: no section has this name, or a name is needed.
        """
        found = self.sections(keyword)
        if name is not None:
            named = [section for section in found if section.name == name]
            if not named:
                advice = suggest(name, [section.name for section in found if section.name])
                raise PermError(Module.CONF, f"{self.path}: there is no section {keyword} {name}; {advice}")
            return named[0]
        if len(found) > 1:
            unnamed = [section for section in found if section.name is None]
            if not unnamed:
                names = ", ".join(section.name or "" for section in found)
                raise PermError(Module.CONF, f"{self.path}: there are several sections {keyword}; choose one of {names} by -n")
            return unnamed[0]
        return self.glob.sub(keyword)
