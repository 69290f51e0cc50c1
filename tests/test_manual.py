"""The manual: every block says how it is run, every page is in it, every program has a page that is current."""

import re

import pytest
from markdown_it import MarkdownIt

from contrib.lib.manual import fitting
from contrib.lib.programs import actions, console_scripts
from meta1g.base import paths
from meta1g.tools import qmgrctl
from tests.manual.blocks import DOCS, BlockError, blocks, blocks_of, by_tests, pages
from tests.manual.player import fits
from tests.tables import rows


@pytest.mark.parametrize("page", pages())
def test_every_block_says_how_it_is_run(page):
    for block in blocks(page):
        if block.kind == "console":
            assert block.commands(), block.where


@pytest.mark.parametrize("page", [page for page in pages() if by_tests(page)])
def test_a_test_that_a_block_names_takes_it_from_its_page(page):
    for test, _what, _text in by_tests(page):
        assert re.search(rf"[\"']{re.escape(page)}[\"']", (DOCS.parent / test).read_text()), f"{test} does not read {page}"


@pytest.mark.parametrize(
    "text",
    [
        "text\n\n    indented\n",
        "```\nno kind\n```\n",
        "```text\nonly shown, but why?\n```\n",
        "```text not run: why?\n```\n",
        "```text run by somebody: a file\n```\n",
        "```sh\n$ ls\n```\n",
        "```console fast\n$ ls\n```\n",
        "```conf in\n```\n",
        "- list\n\n  ```\n  in a list\n  ```\n",
    ],
)
def test_a_block_without_its_mark_is_refused(text):
    with pytest.raises(BlockError, match=r"docs/page\.md:[13]"):
        list(blocks_of(text, "page.md"))


def test_marks_are_read_as_they_are_meant():
    text = "```console until exit 3 debian\n$ a \\\n> b\nout\n\n$ c\n```\n\n"
    text += "```conf in qmgr smtpc\nx\n```\n\n```access file=/a/b\n```\n\n```aliases\n```\n"
    console, conf, access, aliases = blocks_of(text, "page.md")
    assert console.words == ("until", "exit 3", "debian")
    assert [(one.text, one.output) for one in console.commands()] == [("a \\\nb", ("out", "")), ("c", ())]
    assert console.exit_code == 3
    assert conf.section == ("qmgr", "smtpc")
    assert [one.file for one in (conf, access, aliases)] == ["", "/a/b", "/etc/meta1/aliases"]


def test_output_in_front_of_the_first_command_is_refused():
    (block,) = blocks_of("```console\nout\n$ a\n```\n", "page.md")
    with pytest.raises(BlockError, match=r"docs/page\.md:1: begins with output"):
        block.commands()


@pytest.mark.parametrize(
    ("output", "printed", "found"),
    [
        ((), "whatever\n", True),
        (("a ... c",), "a b c\n", True),
        (("a ... c",), "a\nc\n", False),
        (("...", "c"), "a\nb\nc\n", True),
        (("a", "..."), "a\n", True),
        (("a",), "a\nb\n", False),
        (("a+",), "aa\n", False),
        (("a",), "a  ", True),
    ],
)
def test_dots_stand_for_anything(output, printed, found):
    assert fits(output, printed) is found


def test_the_directories_of_the_manual_are_those_that_are_made():
    wanted = [
        (f"`{one.name}`", one.user, one.group, f"{one.mode:04o}")
        for one in paths.QUEUE_DIRECTORIES
        if not re.fullmatch("cdb/[1-9A-F]", one.name)
    ]
    assert [row[:4] for row in rows("building.md", "directory")] == wanted


def test_the_accounts_of_the_manual_are_those_that_are_made():
    wanted = [(one.name, str(one.number), ", ".join(one.member_of)) for one in paths.ACCOUNTS]
    assert [(row[0], row[1], row[3]) for row in rows("building.md", "account")] == wanted


def test_every_page_is_in_the_manual():
    listed = {"index"}
    for page in pages():
        for tree in re.findall(r"^```\{toctree\}\n(.*?)^```", (DOCS / page).read_text(), re.M | re.S):
            lines = [line for line in tree.splitlines() if line and not line.startswith(":")]
            for line in lines:
                listed |= {str(path.relative_to(DOCS))[:-3] for path in DOCS.glob(f"{line}.md")}
                assert "*" in line or line in listed, f"docs/{page} lists {line}, which is not there"
    assert {page.removesuffix(".md") for page in pages()} == listed


def _tokens(tokens):
    for token in tokens:
        yield token
        yield from _tokens(token.children or ())


@pytest.mark.parametrize("page", pages())
def test_nothing_in_angle_brackets_is_lost(page):
    """Markdown takes <root> for HTML and <joe@example.org> for a link; such things stand in backquotes."""
    parsed = MarkdownIt("commonmark").enable("table").parse((DOCS / page).read_text())
    for token in _tokens(parsed):
        assert token.type not in ("html_inline", "html_block") or token.content == "<br>", token.content
        assert token.markup != "autolink" or not str(token.attrs.get("href", "")).startswith("mailto:"), token.attrs


@pytest.mark.parametrize("page", [page for page in pages() if not page.startswith("coming-from")])
def test_options_that_are_only_mentioned_exist(page):
    """Commands in blocks are run; those within a sentence name programs, options and commands that there are."""
    parsed = MarkdownIt("commonmark").enable("table").parse((DOCS / page).read_text())
    for token in _tokens(parsed):
        words = token.content.split() if token.type == "code_inline" else []
        program = words[0].rpartition("/")[2] if words else ""
        if program not in console_scripts() or program == "runas":
            continue
        known = {option for action in actions(program) for option in action.option_strings}
        used = {option for word in words[1:] if word[0] == "-" for option in re.findall(r"--?[A-Za-z][\w-]*", word)}
        assert used <= known, token.content
        if program == "qmgrctl" and len(words) > 1 and not words[1].startswith("-"):
            assert words[1] in {*qmgrctl.SENTENCES, "VERB", "COMMAND"}, token.content


@pytest.mark.parametrize(
    ("wanted", "least", "widths"),
    [
        ([5, 10], [5, 4], [7, 12]),
        ([5, 500], [5, 10], [7, 89]),
        ([60, 60], [10, 10], [48, 48]),
        ([200, 200], [90, 90], [92, 92]),
        ([0, 3], [1, 3], [3, 5]),
    ],
)
def test_columns_of_the_text_get_the_room_that_they_need(wanted, least, widths):
    assert fitting(wanted, least) == widths


def test_each_document_that_is_named_is_there():
    root = DOCS.parent
    texts = [root / "README", root / "CHANGELOG", *DOCS.rglob("*.md")]
    texts += [
        path
        for name in ("meta1g", "contrib", "bench")
        for path in (root / name).rglob("*")
        if path.suffix in (".py", ".conf", ".service")
    ]
    named = {(name, path) for path in texts for name in re.findall(r"docs/[a-z0-9-]+\.md", path.read_text())}
    assert len(named) > 200
    assert sorted(f"{path}: {name}" for name, path in named if not (root / name).exists()) == []
