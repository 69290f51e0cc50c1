"""What the manual adds to Sphinx: synopsis and options of programs from their argparse, links where files of docs/ are named.

```{synopsis} mailq         the command line, as bold and italic text
```{options} mailq          a list of options and arguments with their meanings
    ```{commands} qmgrctl       a list of what it can be told
"""

import argparse
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, Final

from docutils import nodes
from pygments.lexers.special import TextLexer
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util.docutils import SphinxDirective

from contrib.lib import programs
from meta1g.tools import qmgrctl

#: First line of a manual page: name, and what it is.
_TITLE: Final = re.compile(r"# (?P<name>\S+)\((?P<section>\d)\): (?P<meaning>.+)")
_NAMED: Final = re.compile(r"\bdocs/(?P<name>[a-z0-9/.-]+)\.md\b|(?P<page>[a-z][a-z0-9.]+)\((?P<section>[1-9])\)")
#: Manual pages that are made without Sphinx, and the page that says the same.
_ELSEWHERE: Final = {"man/meta1.conf.5": "configuration"}
#: Code is shown in quotation marks.
_QUOTES: Final = 2
#: Letters of a row of a table in the text, without lines between columns.
_TABLE_LETTERS: Final = 96


def man_pages(directory: Path) -> list[tuple[str, str, str, str, int]]:
    """Gives what `man_pages` of Sphinx wants, from the first lines of the files `NAME.SECTION.md`.

    Raises:
        ValueError: a first line is not `# NAME(SECTION): meaning`, or does not fit the name of its file.
    """
    found = []
    for path in sorted(directory.glob("*.md")):
        title = _TITLE.fullmatch(path.read_text().partition("\n")[0])
        if title is None or path.stem != f"{title['name']}.{title['section']}":
            raise ValueError(f"{path}:1: has to be `# {path.stem[:-2]}({path.stem[-1]}): what it is`")
        found.append((f"{directory.name}/{path.stem}", title["name"], title["meaning"], "", int(title["section"])))
    return found


class _Programs(SphinxDirective):
    """A directive with the name of a program."""

    required_arguments = 1

    def program(self) -> str:
        """Gives the name; the page is made again when the program changes."""
        name: str = self.arguments[0]
        if name not in programs.console_scripts():
            raise self.error(f"setup.cfg installs no program {name}")
        module = programs.console_scripts()[name].partition(":")[0]
        self.env.note_dependency(str(programs.ROOT / f"{module.replace('.', '/')}.py"))
        return name


class Synopsis(_Programs):
    """The command line of a program."""

    def run(self) -> list[nodes.Node]:
        """Makes one paragraph."""
        name = self.program()
        line = nodes.paragraph("", "", nodes.strong(text=name))
        groups = programs.exclusive(name)
        for action in sorted(programs.actions(name), key=lambda action: not action.option_strings):
            group = next((group for group in groups if action in group), [action])
            if action is group[0]:
                line += nodes.Text(" ")
                line += list(_choice(group))
        return [line]


def _choice(group: list[argparse.Action]) -> Iterator[nodes.Node]:
    """Gives one option or argument, or several of which one may be given."""
    optional = bool(group[0].option_strings) and not group[0].required
    if optional:
        yield nodes.Text("[")
    for number, action in enumerate(group):
        if number:
            yield nodes.Text(" | ")
        if action.option_strings:
            yield nodes.strong(text=action.option_strings[0])
        yield from _value(action)
    if optional:
        yield nodes.Text("]")


def _value(action: argparse.Action) -> Iterator[nodes.Node]:
    value = programs.value_of(action)
    if not value:
        return
    if action.option_strings:
        yield nodes.Text(" ")
    before, after = {"?": ("[", "]"), "*": ("[", " ...]"), "+": ("", " ..."), "...": ("", " ...")}.get(
        str(action.nargs), ("", "")
    )
    yield nodes.Text(before)
    yield nodes.emphasis(text=value)
    yield nodes.Text(after)


class Options(_Programs):
    """Options and arguments of a program with their meanings."""

    def run(self) -> list[nodes.Node]:
        """Makes one list."""
        name = self.program()
        made = nodes.definition_list()
        for action in programs.actions(name):
            term = nodes.term()
            for number, word in enumerate(action.option_strings):
                term += [nodes.Text(", ")] * bool(number)
                term += nodes.strong(text=word)
            term += list(_value(action))
            meaning = nodes.definition("", nodes.paragraph(text=programs.help_of(action, name)))
            made += nodes.definition_list_item("", term, meaning)
        return [made]


class Commands(_Programs):
    """Commands of qmgrctl with their meanings."""

    def run(self) -> list[nodes.Node]:
        """Makes one list."""
        self.program()
        made = nodes.definition_list()
        for word, sentence in qmgrctl.SENTENCES.items():
            term = nodes.term("", "", nodes.strong(text=word), nodes.Text(" "), nodes.emphasis(text=sentence.arguments))
            made += nodes.definition_list_item("", term, nodes.definition("", nodes.paragraph(text=sentence.meaning)))
        return [made]


class Links(SphinxTransform):
    """Makes a link wherever a page names a file of docs/, which then shows the title, or a manual page; code stays as it is."""

    default_priority: ClassVar[int] = 500

    def apply(self, **_arguments: Any) -> None:
        """Goes through all text of a page."""
        for text in list(self.document.findall(nodes.Text)):
            parent = text.parent
            if isinstance(parent, nodes.literal | nodes.literal_block | nodes.reference | addnodes.pending_xref):
                continue
            pieces = list(self._pieces(str(text)))
            if len(pieces) > 1:
                parent.replace(text, pieces)

    def _pieces(self, text: str) -> Iterator[nodes.Node]:
        end = 0
        for match in _NAMED.finditer(text):
            target = match["name"] or f"man/{match['page']}.{match['section']}"
            target = _ELSEWHERE.get(target, target)
            if target in self.env.found_docs and target != self.env.docname:
                yield nodes.Text(text[end : match.start()])
                yield self._link(target, "" if match["name"] else match[0])
                end = match.end()
        yield nodes.Text(text[end:])

    def _link(self, target: str, text: str) -> addnodes.pending_xref:
        """Makes a link; without text it shows the title of its target."""
        where = {"refdoc": self.env.docname, "refdomain": "std", "reftype": "doc", "refwarn": True}
        shown = nodes.inline("", text or target, classes=["doc"])
        return addnodes.pending_xref("", shown, reftarget=f"/{target}", refexplicit=bool(text), **where)


class Breaks(SphinxPostTransform):
    """Makes of a break of a line in a cell of a table what can be seen without HTML."""

    default_priority: ClassVar[int] = 900
    formats: ClassVar[tuple[str, ...]] = ("man", "text")

    def run(self, **_arguments: Any) -> None:
        """Goes through one page."""
        for raw in list(self.document.findall(nodes.raw)):
            raw.replace_self(nodes.Text(" / "))


class Columns(SphinxPostTransform):
    """Gives each column of a table the room that its text needs, where letters are all of one width."""

    default_priority: ClassVar[int] = 910
    formats: ClassVar[tuple[str, ...]] = ("text",)

    def run(self, **_arguments: Any) -> None:
        """Goes through one page."""
        for table in self.document.findall(nodes.table):
            rows = [[cell.astext() for cell in row.children] for row in table.findall(nodes.row)]
            columns = list(zip(*rows, strict=True))
            widths = fitting(
                [max(map(len, column)) for column in columns],
                [max((len(word) for text in column for word in text.split()), default=1) for column in columns],
            )
            for specification, width in zip(table.findall(nodes.colspec), widths, strict=True):
                specification["colwidth"] = width


def fitting(wanted: list[int], least: list[int]) -> list[int]:
    """Divides the width of a table.

    Args:
        wanted: letters that each column needs to have all its cells on one line.
        least: letters of the longest word of each column.

    Returns:
        Letters for each column: what is wanted if it fits; otherwise those that want most give, down to their longest word.
    """
    widths = [max(want, 1) + _QUOTES for want in wanted]
    while sum(widths) > _TABLE_LETTERS:
        most = max(range(len(widths)), key=lambda column: widths[column] - min(least[column] + _QUOTES, widths[column]))
        if widths[most] <= least[most] + _QUOTES:
            break
        widths[most] -= 1
    return widths


class ForMan(SphinxPostTransform):
    """Makes of a page what man(1) can show: links are text; tables are lists, since their cells would be too narrow there."""

    default_priority: ClassVar[int] = 900
    formats: ClassVar[tuple[str, ...]] = ("man",)

    def run(self, **_arguments: Any) -> None:
        """Goes through one page."""
        for link in list(self.document.findall(nodes.reference)):
            link.replace_self(link.children)
        for table in list(self.document.findall(nodes.table)):
            table.replace_self(_as_list(table))


def _as_list(table: nodes.table) -> nodes.definition_list:
    """Gives a list with an item for each row: its first cell, then the other ones with the words of the head."""
    made = nodes.definition_list()
    (head,) = (row for part in table.findall(nodes.thead) for row in part.findall(nodes.row))
    words = [cell.astext() for cell in head.children]
    for row in (row for part in table.findall(nodes.tbody) for row in part.findall(nodes.row)):
        first, *others = row.children
        meaning = nodes.definition()
        for word, cell in zip(words[1:], others, strict=True):
            said = [node for part in cell.children for node in part.children]
            if said:
                meaning += nodes.paragraph("", f"{word}: " if len(others) > 1 else "", *said)
        made += nodes.definition_list_item(
            "", nodes.term("", "", *[n for part in first.children for n in part.children]), meaning
        )
    return made


def setup(app: Sphinx) -> dict[str, bool]:
    """Is called by Sphinx."""
    app.add_directive("synopsis", Synopsis)
    app.add_directive("options", Options)
    app.add_directive("commands", Commands)
    app.add_transform(Links)
    app.add_post_transform(Breaks)
    app.add_post_transform(Columns)
    app.add_post_transform(ForMan)
    for sample in ("conf", "map", "mailertable", "access", "aliases"):  # kinds of blocks, see tests/manual/blocks.py
        app.add_lexer(sample, TextLexer)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
