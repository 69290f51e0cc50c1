import pytest

from meta1g.conf.tree import Problem, Source


@pytest.mark.parametrize(("pos", "expected"), [(0, (1, 1)), (2, (1, 3)), (3, (2, 1)), (4, (3, 1)), (6, (3, 3))])
def test_positions_become_lines_and_columns(pos, expected):
    assert Source("f", "ab\n\ncd").line_column(pos) == expected


def test_a_report_shows_the_line_with_a_caret():
    source = Source("f.conf", "ok;\n\tbad value;\n")
    assert source.report(Problem(9, "it is wrong")) == "f.conf:2:6: it is wrong\n     bad value;\n         ^"


def test_a_report_at_the_end_of_an_empty_text():
    assert Source("f", "").report(Problem(0, "empty")) == "f:1:1: empty\n    \n    ^"


def test_a_long_line_is_cut_around_the_place():
    report = Source("f", "x" * 1000).report(Problem(500, "here"))
    first, excerpt, caret = report.split("\n")
    assert first == "f:1:501: here"
    assert len(excerpt) == 4 + 120
    assert caret == " " * 64 + "^"


def test_characters_that_a_terminal_obeys_are_not_shown():
    assert "\x1b" not in Source("f", "a\x1b[31m;").report(Problem(0, "x"))
