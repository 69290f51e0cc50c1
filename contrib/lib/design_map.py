"""Makes the indexes of the code: `python -m contrib.lib.design_map` renews docs/design-map.md and docs/references.md.

The design map has a row for every file of meta1g below its marker, the text above is written by hand.  The references list
RFCs, invariants, chapters of MeTA1's design document and sections of its README with the files whose docstrings or comments
name them.  What has no title in design_names.py is an error: nothing refers to what no index lists.
"""

import ast
import re
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

from contrib.lib.design_names import C_NAMES, CHAPTERS, INVARIANTS, MODELS, README_SECTIONS, RFCS, R, S

ROOT: Final = Path(__file__).resolve().parents[2]
PACKAGE: Final = ROOT / "meta1g"
MAP: Final = ROOT / "docs" / "design-map.md"
REFERENCES: Final = ROOT / "docs" / "references.md"
MARKER: Final = "## Files"

_LINE_END: Final = re.compile(r"\s*\n[ \t]*(?:#:? ?)?")
_RFC: Final = re.compile(r"\bRFC (\d{3,4})\b")
#: What would end a cell, or be taken for HTML.
_ACTIVE: Final = re.compile(r"([|<])")
_INVARIANTS: Final = re.compile(r"\binvariants? (I\d+(?:(?:, | and | to )I\d+)*)")
_RANGE: Final = re.compile(r"I(\d+)(?: to I(\d+))?")
_QUOTED: Final = re.compile(r'MeTA1 (design|README)(?:, "[^"]+"(?: \([^)]*\))?(?=[,; ]|\.|$))+')
_TITLE: Final = re.compile(r'"([^"]+)"')

#: What a text refers to -> files.
Places = Mapping[str, list[str]]


class UnknownReferenceError(Exception):
    """Something refers to what has no title."""


def files() -> list[Path]:
    """Gives all files of the package that have something in them."""
    return [path for path in sorted(PACKAGE.rglob("*.py")) if path.read_text().strip()]


def short(path: Path) -> str:
    """Gives a path as the indexes write it."""
    return str(path.relative_to(PACKAGE))


def text_of(path: Path) -> str:
    """Gives a file as one line, so that nothing is torn by the end of a line."""
    return _LINE_END.sub(" ", path.read_text())


def summary(path: Path) -> str:
    """Gives the first sentence of the docstring of a file."""
    text = ast.get_docstring(ast.parse(path.read_text())) or path.read_text().partition("\n")[0].lstrip("# ")
    return text.partition("\n")[0].partition("  Ref:")[0]


def rfcs(text: str) -> Iterator[str]:
    """Gives the numbers of RFCs that a text names.

    Raises:
        UnknownReferenceError: one has no title.
    """
    numbers = _RFC.findall(text)
    unknown = sorted({number for number in numbers if int(number) not in RFCS})
    if unknown:
        raise UnknownReferenceError(f"RFC {', '.join(unknown)}: no title in contrib/lib/design_names.py")
    yield from numbers


def invariants(text: str) -> Iterator[str]:
    """Gives the numbers of invariants that a text names.

    Raises:
        UnknownReferenceError: there is none of this number.
    """
    for found in _INVARIANTS.findall(text):
        for first, last in _RANGE.findall(found):
            for number in range(int(first), int(last or first) + 1):
                if number not in INVARIANTS:
                    raise UnknownReferenceError(f"there is no invariant I{number} in contrib/lib/design_names.py")
                yield str(number)


def titles(text: str, document: str) -> Iterator[str]:
    """Gives the titles of a document of MeTA1 that a text names.

    Args:
        text: the text.
        document: `design` or `README`.

    Raises:
        UnknownReferenceError: it is no chapter of the design document.
    """
    for match in _QUOTED.finditer(text):
        if match[1] != document:
            continue
        for title in _TITLE.findall(match[0]):
            chapter, colon, _subject = title.partition(":")
            if document == "design" and not (colon and chapter in CHAPTERS):
                raise UnknownReferenceError(f"{title}: it is in no chapter that contrib/lib/design_names.py has")
            yield title


def models(text: str) -> set[str]:
    """Gives what else a text says that something is modelled on."""
    return {title for words, title in MODELS.items() if re.search(words, text)}


def collect(find: Callable[[str], Iterator[str]]) -> Places:
    """Gives what find() finds in the files, with the files.

    Raises:
        UnknownReferenceError: it found something without a title.
    """
    places: dict[str, list[str]] = defaultdict(list)
    unknown = []
    for path in files():
        try:
            for one in dict.fromkeys(find(text_of(path))):
                places[one].append(short(path))
        except UnknownReferenceError as error:
            unknown.append(f"{path.relative_to(ROOT)}: {error}")
    if unknown:
        raise UnknownReferenceError("\n".join(unknown))
    return places


def _row(*cells: str) -> str:
    passive = [_ACTIVE.sub(r"\\\1", cell) for cell in cells]
    return f"| {' | '.join(passive)} |"


def _escaped(match: re.Match[str]) -> str:
    return f"\\{match[0]}"


def _code(names: list[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def file_tables() -> Iterator[str]:
    """Gives the rows of the design map, a table for each package."""
    package = ""
    for path in files():
        here = str(path.parent.relative_to(ROOT))
        if here != package:
            package = here
            yield from (
                "",
                f"### {package}",
                "",
                _row("file", "what it is", "names of MeTA1", "tests"),
                "| --- | --- | --- | --- |",
            )
        names = ", ".join(f"{name} ({mark})" for name, mark in C_NAMES.get(short(path), ()))
        test = ROOT / "tests" / "unit" / path.relative_to(PACKAGE).with_name(f"test_{path.name}")
        tested = f"`{test.relative_to(ROOT)}`" if test.is_file() else ""
        yield _row(f"`{short(path)}`", summary(path), names, tested)


def design_map() -> str:
    """Gives docs/design-map.md: its own beginning, then the rows."""
    head = MAP.read_text().partition(f"\n{MARKER}\n")[0]
    text = (
        "One row for each file, paths below `meta1g/`.  Names of MeTA1 are marked S (they stand in published material) or R\n"
        "(recalled; the spelling may differ there); a file without one is this project's own cut.  The rows are made by\n"
        "`python -m contrib.lib.design_map` from the docstrings."
    )
    return "\n".join([head, MARKER, "", text, *file_tables(), ""])


def references() -> str:
    """Gives docs/references.md."""
    lines = [
        "# References",
        "",
        "What the code refers to, and where; paths are below `meta1g/`.  Made by `python -m contrib.lib.design_map` from",
        "docstrings and comments.",
    ]
    lines += _section("RFCs", ("RFC", "title", "files"), _rfc_rows())
    lines += _section("Invariants", ("name", "promise", "files that say how they keep it"), _invariant_rows())
    lines += _section(
        "Design document of MeTA1",
        ("subject", "chapter's title", "files"),
        ((title, CHAPTERS.get(title.partition(":")[0], R), _code(where)) for title, where in _sorted("design")),
        "Chapters marked S have a sourced title, others are recalled, and so are the subjects behind the colon.  Where a file\n"
        "is modelled on one, the idea is MeTA1's, as far as it is known; the code is not.",
    )
    lines += _section(
        "README of MeTA1",
        ("section", "title", "files"),
        ((title, S if title in README_SECTIONS else R, _code(where)) for title, where in _sorted("README")),
    )
    lines += _section("Others", ("source", "files"), ((one, _code(where)) for one, where in sorted(_others().items())))
    return "\n".join([*lines, ""])


def _section(title: str, head: tuple[str, ...], rows: Iterator[tuple[str, ...]], text: str = "") -> list[str]:
    before = [text, ""] if text else []
    return ["", f"## {title}", "", *before, _row(*head), _row(*("---" for _ in head)), *(_row(*row) for row in rows)]


def _rfc_rows() -> Iterator[tuple[str, ...]]:
    for number, where in sorted(collect(rfcs).items(), key=lambda item: int(item[0])):
        yield number, RFCS[int(number)], _code(where)


def _invariant_rows() -> Iterator[tuple[str, ...]]:
    found = collect(invariants)
    for number, promise in INVARIANTS.items():
        yield f"I{number}", promise, _code(found.get(str(number), []))


def _sorted(document: str) -> list[tuple[str, list[str]]]:
    return sorted(collect(lambda text: titles(text, document)).items())


def _others() -> Places:
    return collect(lambda text: iter(sorted(models(text))) if "modelled on" in text else iter(()))


def main() -> int:
    """Renews both documents."""
    try:
        texts = {MAP: design_map(), REFERENCES: references()}
    except UnknownReferenceError as error:
        sys.stderr.write(f"design_map: {error}\n")
        return 1
    for path, text in texts.items():
        path.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
