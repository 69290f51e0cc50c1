"""The documentation made from the tables: complete, and the files in docs are current."""

import shutil
import subprocess
from pathlib import Path

import pytest

from meta1g.conf import manual
from meta1g.conf.check import walk
from meta1g.conf.defs import ROOT
from meta1g.conf.effects import MARK, REFUSED, WARNED
from tests.unit.conf.text import load

DOCS = Path(__file__).parents[3] / "docs"


@pytest.mark.parametrize(
    ("name", "make", "command"),
    [("configuration.md", manual.markdown, "markdown"), ("man/meta1.conf.5", manual.man_page, "man")],
)
def test_the_file_in_docs_is_current(name, make, command):
    assert (DOCS / name).read_text() == make(), f"run python -m meta1g.conf.manual {command} > docs/{name}"


@pytest.mark.parametrize("make", [manual.markdown, lambda: manual.man_page().replace("\\-", "-")])
def test_every_option_and_section_is_described(make):
    text = make()
    for definition, _ in walk(ROOT):
        for row in definition.options:
            assert row.name in text
            assert row.meaning in text
        if definition.keyword:
            assert definition.meaning in text


def test_the_example_loads():
    assert len(load(manual.EXAMPLE).all_sections) == 4


@pytest.mark.skipif(not shutil.which("groff"), reason="needs groff")
def test_the_manual_page_is_right_roff():
    command = ["groff", "-man", "-Tascii", "-ww", "-z", str(DOCS / "man" / "meta1.conf.5")]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (result.returncode, result.stderr) == (0, "")


def test_help_for_a_section_lists_its_options_with_defaults():
    text = manual.section_help(["SMTPS"])
    assert "  max_hops [100] (number, 1 to 1000; R)" in text.splitlines()
    assert any(line.strip().startswith("8bitmime") for line in text.splitlines())
    assert "policy_milter [NAME] { ... }" in text


def test_help_for_inner_sections_and_for_none():
    assert manual.section_help(["smar", "map"]).startswith("map NAME { ... }: ")
    assert manual.section_help([]) == manual.section_help(["global"])
    assert manual.section_help(["nothing"]) is None
    assert "max_recipients" in manual.section_help(["smtps_session_conf"])


def test_what_has_no_effect_is_marked():
    assert manual.section_help(["smtps"]).count(MARK) == sum(path.startswith("smtps ") for path in WARNED | REFUSED)
    assert f"Unknown senders have to try twice. {MARK}" in manual.markdown()
