"""The grammar, and that the parser goes on behind an error."""

import concurrent.futures
import subprocess
import sys
from pathlib import Path

import pytest

from meta1g.conf import grammar, lexer
from meta1g.conf.grammar import parse
from meta1g.conf.tree import OptionNode, SectionNode, Source


def plain(entries):
    """Writes entries in a short form: (name, values) and (keyword, name, entries)."""
    made = []
    for entry in entries:
        if isinstance(entry, OptionNode):
            made.append((entry.name, [value.text for value in entry.values] if entry.is_list else entry.values[0].text))
        else:
            assert isinstance(entry, SectionNode)
            made.append((entry.keyword, entry.name.text if entry.name else None, plain(entry.entries)))
    return made


def right(text):
    entries, problems = parse(Source("t", text))
    assert problems == []
    return plain(entries)


def wrong(text):
    entries, problems = parse(Source("t", text))
    assert problems
    return plain(entries), len(problems)


def test_an_empty_text_is_right():
    assert right("") == right("\n# only a comment\n") == []


@pytest.mark.parametrize("text", ["s { a = 1; }", "s { a = 1; };", "s{a=1;}", "s\n{\na\n=\n1\n;\n}\n;\n"])
def test_layout_is_free_and_the_last_semicolon_optional(text):
    assert right(text) == [("s", None, [("a", "1")])]


@pytest.mark.parametrize("text", ["a = { x, y };", "a = { x, y }", "a = { x, y, };", "a={x,y}"])
def test_a_list_may_end_with_a_comma_and_without_a_semicolon(text):
    assert right(text) == [("a", ["x", "y"])]


def test_a_list_may_be_empty():
    assert right("a = { };") == [("a", [])]


def test_adjacent_strings_are_one_value():
    assert right('a = "one " "two"\n "three"; b = { "x" "y", z };') == [("a", "one twothree"), ("b", ["xy", "z"])]


def test_sections_nest_and_have_names():
    assert right('s MTA { t "a b" { u { } }; o = 1; }') == [("s", "MTA", [("t", "a b", [("u", None, [])]), ("o", "1")])]


@pytest.mark.parametrize(
    ("text", "entries", "errors"),
    [
        ("a = 1\nb = 2;", [("a", "1"), ("b", "2")], 1),
        ("s { a = 1 } b = 2;", [("s", None, [("a", "1")]), ("b", "2")], 1),
        ("a = { x y }; b = 2;", [("a", ["x", "y"]), ("b", "2")], 1),
        ("a = { x, y; b = 2;", [("a", ["x", "y"]), ("b", "2")], 1),
        ("a = { x,\nb = 2;", [("b", "2")], 1),
        ("s { a = 1;\nt { b = 2; }", [("s", None, [("a", "1"), ("t", None, [("b", "2")])])], 1),
        ("a b c; d = 1;", [("d", "1")], 1),
        ("a b c { d = 1; } e = 2;", [("e", "2")], 1),
        ("a b c\nd = 1;", [("d", "1")], 1),
        ("a = ; b = 1; c = = 2; d = 3;", [("b", "1"), ("d", "3")], 2),
        ("s { x } a = 1;", [("s", None, []), ("a", "1")], 1),
        ("s { = } a = 1;", [("s", None, []), ("a", "1")], 1),
        ("} a = 1;", [("a", "1")], 1),
        ("}; a = 1;", [("a", "1")], 1),
        ("{ x = 1; } a = 1;", [("a", "1")], 1),
        ("s\n  a = 1;\n}\nb = 2;", [("b", "2")], 1),
        ("a = {", [("a", [])], 1),
        ("s { t {", [("s", None, [("t", None, [])])], 2),
        ('a = "x;\nb = 2;', [("a", "x;"), ("b", "2")], 1),
    ],
)
def test_an_error_does_not_hide_what_follows(text, entries, errors):
    assert wrong(text) == (entries, errors)


def test_braces_without_end_are_refused_in_time():
    for text in ("a {" * 100_000, "a = {" * 100_000, "a { " * 100_000 + "} " * 100_000):
        _, problems = parse(Source("t", text))
        assert [problem.message for problem in problems] == ["more than 50 open braces; close some"]


def test_parsers_run_side_by_side():
    texts = [f"s{i} {{ a = {i};\n b {i} {i} x;\n c = {i}; }}" for i in range(100)]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        made = list(pool.map(wrong, texts))
    assert made == [([(f"s{i}", None, [("a", str(i)), ("c", str(i))])], 1) for i in range(100)]


def test_the_grammar_has_no_conflicts_and_no_unused_parts_and_its_tables_are_those_that_ply_makes():
    from ply import lex, yacc

    class Strict(yacc.NullLogger):
        def warning(self, text, *args, **kwargs):
            raise AssertionError(text % args)

        error = warning

    log = Strict()
    made = yacc.yacc(module=grammar, start="conf", debug=False, write_tables=False, tabmodule="no_such_tables", errorlog=log)
    tables = grammar._tables()
    assert list(map(str, tables.lr_productions)) == list(map(str, made.productions))
    assert [one.callable for one in tables.lr_productions[1:]] == [one.callable for one in made.productions[1:]]
    assert (tables.lr_action, tables.lr_goto) == (made.action, made.goto)
    assert lex.lex(module=lexer, errorlog=log).lexre == lexer._master().lexre


def test_parsing_leaves_no_files_behind(tmp_path):
    code = "from meta1g.conf.grammar import parse; from meta1g.conf.tree import Source; print(parse(Source('t', 'a=1;'))[1])"
    result = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)
    assert (result.stdout, result.stderr, list(tmp_path.iterdir())) == ("[]\n", "", [])
    assert [path.name for path in Path(grammar.__file__).parent.iterdir() if "tab" in path.stem] == []
