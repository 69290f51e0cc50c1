"""Tables of the documents, for tests that try what they say."""

import re
from collections.abc import Iterator
from pathlib import Path

DOCS = Path(__file__).parents[1] / "docs"
_CELL = re.compile(r"(?<!\\)\|")
_CODE = re.compile(r"`([^`]*)`")

Row = tuple[str, ...]


def rows(page: str, first: str) -> list[Row]:
    """Gives the rows of the tables of a page whose first head cell is as given; raises AssertionError if there are none.

    Args:
        page: file below docs.
        first: text of the first cell of the head.
    """
    found = list(_rows((DOCS / page).read_text().splitlines(), first))
    assert found, f"{page} has no table {first!r}"
    return found


def _rows(lines: list[str], first: str) -> Iterator[Row]:
    inside = False
    for line in lines:
        if not line.startswith("|"):
            inside = False
        elif inside:
            cells = _cells(line)
            if not all(set(cell) <= set("-: ") and cell for cell in cells):
                yield cells
        else:
            inside = _cells(line)[0] == first


def _cells(line: str) -> Row:
    return tuple(cell.strip().replace("\\|", "|") for cell in _CELL.split(line)[1:-1])


def codes(cell: str) -> list[str]:
    """Gives what stands in backquotes in a cell."""
    return _CODE.findall(cell)


def code(cell: str) -> str:
    """Gives what stands in the one pair of backquotes of a cell; empty for an empty cell."""
    found = codes(cell)
    assert len(found) == (1 if cell else 0), cell
    return "".join(found)
