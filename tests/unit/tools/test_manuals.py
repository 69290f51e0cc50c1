"""Manual pages and docs/operating.md of the queue tools name every command, condition, option and answer."""

import re
from pathlib import Path

import pytest

from meta1g.qmgr.control.changing import VERBS
from meta1g.qmgr.control.listing import COUNTS
from meta1g.qmgr.control.selection import KEYS, STATES
from meta1g.tools import mailq, metaqueue, qmgrctl

DOCS = Path(__file__).parents[3] / "docs"
PAGES = {"qmgrctl": qmgrctl._parser, "mailq": mailq._parser, "metaqueue": metaqueue._parser}


def page(name: str) -> str:
    return (DOCS / f"man/{name}.8").read_text().replace("\\-", "-")


@pytest.mark.parametrize("name", PAGES)
def test_a_page_has_every_option(name):
    options = [word for action in PAGES[name]()._actions for word in action.option_strings if word.startswith("--")]
    assert [word for word in options if word not in page(name)] == ["--help", "--version"]


def test_every_command_and_condition_is_described():
    operating = (DOCS / "operating.md").read_text()
    for word in qmgrctl.SENTENCES:
        assert f".B {word}\n" in page("qmgrctl")
        assert f"`{word}`" in operating or f"qmgrctl {word}" in operating or f"--json {word}" in operating, word
    for key in KEYS:
        assert f"{key}=" in page("qmgrctl")
        assert f"`{key}=" in operating
    for word in (*(verb.done for verb in VERBS.values()), *STATES):
        assert word in operating
    for by in COUNTS:
        assert by in page("mailq")
    for word in (metaqueue._LIST, *metaqueue._COMMANDS):
        assert f".B {word}\n" in page("metaqueue")


def test_the_tools_count_what_qmgr_can_count():
    assert set(mailq.BY) == set(COUNTS)


def test_no_line_begins_with_a_request_that_troff_does_not_know():
    for name in PAGES:
        found = {line.split()[0] for line in (DOCS / f"man/{name}.8").read_text().splitlines() if line.startswith(".")}
        assert found <= {".TH", ".SH", ".TP", ".B", ".BR", ".BI", ".I", ".IR", ".RB", ".RI", ".br"}
        assert re.search(r"^\.SH NAME\n\w+ \\- ", (DOCS / f"man/{name}.8").read_text(), re.M)
