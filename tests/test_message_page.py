"""docs/message.md: every file and every name that it mentions exists."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.sources import tree

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "message.md"
SPAN = re.compile(r"`(?P<file>[a-z0-9_/]+\.py)(?:: (?P<names>[A-Za-z0-9_., ]+))?`")
DOCS = re.compile(r"docs/[a-z-]+\.md")
QUESTIONS = (
    "where a recipient is refused",
    "where 250 is decided",
    "where a retry is scheduled",
    "where a bounce is made",
    "where STARTTLS is decided",
    "where a login is judged",
    "where a filter's answer takes effect",
)
#: Files of the processes on a message's way that are no step of it.
SUPPORT = {
    "qmgr": "check env settings limits context resources status filterstatus smtpc_link",
    "smtps": "authsettings check context dialogue filtering filtermacros filterstats limits link listen milters passed "
    "settings tickets tlscheck transaction verify",
    "smtpc": "auth check forward limits patience settings sources",
}


@cache
def names_of(path: Path) -> frozenset[str]:
    """Gives the functions, classes and methods of a file, as the page writes them."""
    found = set()
    for node in tree(path).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        if isinstance(node, ast.ClassDef):
            found |= {f"{node.name}.{one.name}" for one in node.body if isinstance(one, ast.FunctionDef)}
    return frozenset(found)


def missing(text: str, root: Path = ROOT) -> Iterator[str]:
    """Gives what a page names and nobody finds."""
    for span in SPAN.finditer(text):
        path = root / "meta1g" / span["file"]
        if span["file"].startswith("tests/"):
            path = root / span["file"]
        if not path.is_file():
            yield span["file"]
            continue
        for name in (span["names"] or "").split(", "):
            if name and name not in names_of(path):
                yield f"{span['file']}: {name}"
    yield from (name for name in DOCS.findall(text) if not (root / name).is_file())


def test_every_file_and_name_of_the_page_exists():
    text = PAGE.read_text()
    assert list(missing(text)) == []
    assert len(SPAN.findall(text)) > 60, "the page is not read as it is written"


def test_every_span_that_looks_like_a_file_is_understood():
    spans = re.findall(r"`([^`]*\.py[^`]*)`", PAGE.read_text())
    assert [one for one in spans if not SPAN.fullmatch(f"`{one}`")] == []


@pytest.mark.parametrize("process", SUPPORT)
def test_every_step_of_a_process_is_on_the_page(process):
    files = {path.stem for path in (ROOT / "meta1g" / process).glob("*.py")}
    support = {"__init__", "main", *SUPPORT[process].split()}
    assert support <= files, "a file that is no longer there is excused"
    named = {Path(one["file"]) for one in SPAN.finditer(PAGE.read_text())}
    assert files - support - {path.stem for path in named if path.parts[0] == process} == set()


@pytest.mark.parametrize("question", QUESTIONS)
def test_the_page_answers_at_its_top(question):
    rows = [line for line in PAGE.read_text().splitlines()[:22] if line.startswith(f"| {question} |")]
    assert len(rows) == 1
    assert SPAN.search(rows[0])


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("`qmgr/nobody.py`", ["qmgr/nobody.py"]),
        ("`qmgr/sched.py: Scheduler.nothing, Scheduler`", ["qmgr/sched.py: Scheduler.nothing"]),
        ("`qmgr/sched.py: wake`", ["qmgr/sched.py: wake"]),
        ("see docs/nothing.md", ["docs/nothing.md"]),
        ("`qmgr/sched.py: Scheduler.wake`", []),
    ],
)
def test_what_does_not_exist_is_found(text, found):
    assert list(missing(text)) == found
