"""docs/design-map.md and docs/references.md: they are current, what they name exists, and the code refers to nothing else."""

import ast
import re
from collections.abc import Iterator

import pytest

from contrib.lib import design_map
from contrib.lib.design_map import MAP, MARKER, PACKAGE, REFERENCES, ROOT, UnknownReferenceError
from contrib.lib.design_names import C_NAMES
from tests.sources import nodes

pytestmark = pytest.mark.xdist_group("sources")


PATH = re.compile(r"(?<![/.])\b(?:meta1g|tests|docs|bench|contrib)(?:/[A-Za-z0-9_.-]+)*(?: [a-z0-9_]+\.py)*")


@pytest.mark.parametrize(("path", "make"), [(MAP, design_map.design_map), (REFERENCES, design_map.references)])
def test_the_document_is_current(path, make):
    assert path.read_text() == make(), "run `python -m contrib.lib.design_map`"


def named(text: str) -> Iterator[str]:
    """Gives the paths of a text; `meta1g/db/a.py b.py` names two files."""
    for match in PATH.findall(text):
        first, *more = match.split(" ")
        yield first.rstrip(".")
        for name in more:
            yield f"{first.rpartition('/')[0]}/{name}"


def test_every_path_of_the_design_map_exists():
    head = MAP.read_text().partition(f"\n{MARKER}\n")[0]
    paths = list(named(head))
    assert [one for one in paths if not (ROOT / one).exists()] == []
    assert len(paths) > 100, "the page is not read as it is written"
    assert list(named("meta1g/db/aq.py none.py, see tests/none.")) == ["meta1g/db/aq.py", "meta1g/db/none.py", "tests/none"]


def test_every_path_of_the_readme_exists():
    paths = [one for one in named((ROOT / "README").read_text()) if "/" in one]
    assert [one for one in paths if not (ROOT / one).exists()] == []
    assert len(paths) > 15


def test_every_file_has_a_row_and_every_row_a_file():
    rows = re.findall(r"^\| `([^`]+)` \|", MAP.read_text().partition(f"\n{MARKER}\n")[2], re.MULTILINE)
    assert rows == [str(path.relative_to(PACKAGE)) for path in design_map.files()]


def test_names_of_meta1_stand_beside_files_that_exist():
    assert [name for name in C_NAMES if not (PACKAGE / name).is_file()] == []
    assert {mark for names in C_NAMES.values() for _, mark in names} == {"S", "R"}


def docstrings() -> Iterator[tuple[str, str]]:
    for path in design_map.files():
        for node in nodes(path):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and (text := ast.get_docstring(node)):
                yield str(path.relative_to(ROOT)), " ".join(text.split())


def test_whatever_is_modelled_on_something_says_on_what_by_a_name_of_the_index():
    texts = [(where, text) for where, text in docstrings() if "modelled on" in text]
    assert len(texts) > 100
    for where, text in texts:
        listed = design_map.models(text) or [*design_map.titles(text, "design"), *design_map.titles(text, "README")]
        assert listed or [*design_map.rfcs(text)], f"{where}: {text}"


@pytest.mark.parametrize(
    ("find", "text", "found"),
    [
        (design_map.rfcs, "RFC 5321 4.5; RFC 2033", ["5321", "2033"]),
        (
            design_map.invariants,
            "invariant I3; invariants I1 to I3 and I12; invariants I10 and I11",
            ["3", "1", "2", "3", "12", "10", "11"],
        ),
        (
            lambda text: design_map.titles(text, "design"),
            'MeTA1 design, "Implementation: AQ" (modelled on), "Implementation: DADB"; "no"',
            ["Implementation: AQ", "Implementation: DADB"],
        ),
    ],
)
def test_what_a_text_refers_to(find, text, found):
    assert list(find(text)) == found


@pytest.mark.parametrize(
    ("find", "text"),
    [
        (design_map.rfcs, "RFC 9999"),
        (design_map.invariants, "invariant I15"),
        (design_map.invariants, "invariants I14 to I16"),
        (lambda text: design_map.titles(text, "design"), 'MeTA1 design, "Poems: AQ" (modelled on)'),
        (lambda text: design_map.titles(text, "design"), 'MeTA1 design, "slow start" (modelled on)'),
    ],
)
def test_what_no_index_has_is_an_error(find, text):
    with pytest.raises(UnknownReferenceError, match="design_names"):
        list(find(text))
