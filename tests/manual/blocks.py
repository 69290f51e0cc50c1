"""The blocks of the manual and their marks: every command and sample of it is run, or says why not.

A block is fenced; the words behind the fence say what it is:

    ```console                  commands behind `$ ` (`> ` continues one), each with the output that it has to have
    ```console until            the last command is repeated until its output is as written
    ```console exit 78          the last command ends with this code
    ```console debian           run on a fresh Debian only (python -m tests.manual.debian): it changes the system
    ```conf                     sections and options for meta1.conf; smconf has to accept them
    ```conf in smar             options that stand in that section (`in qmgr smtpc`: in a section of it)
    ```mailertable, access, aliases, map    a map, written to a file of this name in /etc/meta1; its checker has to accept it
    ```map cidr                 its type, if it is no source of createmap; `wrong`: the commands below show what is told
    ```text file=/etc/x         any file that the commands below it need
    ```text run by tests/FILE.py: WHAT     a test takes it from the page: it needs more than a shell
    ```text not run: REASON     is only shown

`file=PATH` behind `conf` writes it, behind a map it names the file.  In output `...` stands for anything, and for any
lines if it is alone in one.
A directive of Sphinx (```{toctree} ...) is no sample.  Blocks that are indented are refused: they say nothing.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
#: What may stand behind the kind of a block.
WORDS = {
    "console": re.compile(r"(?:until|debian|exit \d+)(?= |$)"),
    "conf": re.compile(r"(?:in(?: [a-z]\w*(?!=))+|file=/\S+)(?= |$)"),
    "map": re.compile(r"(?:file=/\S+|cidr|regex|text|wrong)(?= |$)"),
    **dict.fromkeys(("mailertable", "access", "aliases"), re.compile(r"file=/\S+(?= |$)")),
    "text": re.compile(r"(?:file=/\S+|debian)(?= |$)"),
}
NOT_RUN = re.compile(r"[a-z]+ not run: (?P<reason>.{5,})")
BY_TEST = re.compile(r"[a-z]+ run by (?P<test>tests/\S+\.py): (?P<what>.{5,})")
DIRECTIVE = re.compile(r"\{[a-z-]+\}.*")
_ARGUMENT = re.compile(r"(?P<kind>[a-z]+)(?P<rest>(?: .*)?)")


class BlockError(Exception):
    """A block that does not say what it is; the text names file and line."""


@dataclass(frozen=True)
class Command:
    """One command of a console block with the lines that it has to print; none: whatever it prints."""

    text: str
    output: tuple[str, ...]


@dataclass(frozen=True)
class Block:
    """One block that is run or checked."""

    page: str
    line: int
    kind: str
    words: tuple[str, ...]
    text: str

    @property
    def where(self) -> str:
        return f"docs/{self.page}:{self.line}"

    @property
    def file(self) -> str:
        """Path that it is written to; empty if it is only checked."""
        default = "" if self.kind in ("console", "conf", "text") else f"/etc/meta1/{self.kind}"
        return next((word.removeprefix("file=") for word in self.words if word.startswith("file=")), default)

    @property
    def section(self) -> tuple[str, ...]:
        """Sections that options of a `conf` block stand in."""
        return next((tuple(word.split()[1:]) for word in self.words if word.startswith("in ")), ())

    @property
    def exit_code(self) -> int:
        return next((int(word.split()[1]) for word in self.words if word.startswith("exit ")), 0)

    def commands(self) -> list[Command]:
        """Commands of a console block.

        Raises:
            BlockError: it begins with output.
        """
        found: list[tuple[list[str], list[str]]] = []
        for line in self.text.splitlines():
            if line.startswith("$ "):
                found.append(([line[2:]], []))
            elif not found:
                raise BlockError(f"{self.where}: begins with output; a command stands behind `$ `")
            elif line.startswith("> ") and not found[-1][1]:
                found[-1][0].append(line[2:])
            else:
                found[-1][1].append(line)
        return [Command("\n".join(lines), tuple(output)) for lines, output in found]


def words_of(kind: str, rest: str, where: str) -> tuple[str, ...]:
    """What stands behind a kind, word by word (`exit 78` and `in qmgr smtpc` are one).

    Raises:
        BlockError: it is none of WORDS.
    """
    found = []
    while rest := rest.strip():
        match = WORDS[kind].match(rest)
        if match is None:
            raise BlockError(f"{where}: ```{kind} does not know {rest!r}; see tests/manual/blocks.py")
        found.append(match[0])
        rest = rest[match.end() :]
    return tuple(found)


def blocks_of(text: str, page: str) -> Iterator[Block]:
    """All blocks of a page that are run or checked.

    Raises:
        BlockError: one is not marked, or marked wrongly.
    """
    for token in MarkdownIt("commonmark").parse(text):
        where = f"docs/{page}:{token.map[0] + 1}" if token.map else page
        if token.type == "code_block":
            raise BlockError(f"{where}: is indented; fence it and say what it is (tests/manual/blocks.py)")
        if token.type != "fence" or any(mark.fullmatch(token.info) for mark in (DIRECTIVE, NOT_RUN, BY_TEST)):
            continue
        match = _ARGUMENT.fullmatch(token.info)
        if match is None or match["kind"] not in WORDS or token.info == "text":
            raise BlockError(f"{where}: ```{token.info} does not say how it is run, or why not (tests/manual/blocks.py)")
        assert token.map is not None
        yield Block(page, token.map[0] + 1, match["kind"], words_of(match["kind"], match["rest"], where), token.content)


def pages() -> list[str]:
    """All pages of the manual, relative to docs/."""
    return sorted(str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md"))


def blocks(page: str) -> list[Block]:
    """The blocks of one page.

    Raises:
        BlockError: one is not marked.
    """
    return list(blocks_of((DOCS / page).read_text(), page))


def by_tests(page: str) -> list[tuple[str, str, str]]:
    """The blocks of a page that tests take from it: file of the test, what they are, their text."""
    found = []
    for token in MarkdownIt("commonmark").parse((DOCS / page).read_text()):
        if token.type == "fence" and (match := BY_TEST.fullmatch(token.info)):
            found.append((match["test"], match["what"], token.content))
    return found


def shown(page: str, what: str) -> str:
    """The text of a block that a test takes from a page.

    Args:
        page: file below docs/.
        what: what stands behind the name of the test.
    """
    (text,) = (text for _test, known, text in by_tests(page) if known == what)
    return text


def is_played(page: str) -> bool:
    """Tells whether a page has something that is run or checked on any machine."""
    try:
        return any("debian" not in block.words for block in blocks(page))
    except BlockError:
        return False  # it has a test of its own
