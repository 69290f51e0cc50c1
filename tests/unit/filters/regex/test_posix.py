"""Expressions of POSIX: they match as those of the C library do, and what is wrong or impossible is told."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meta1g_filters.regex.patterns import compiled
from meta1g_filters.regex.posix import PatternError, translate
from tests.fuzz.filters_fuzz import expression


def ours(pattern: str, *, extended: bool, ignore_case: bool = False):
    try:
        search = compiled(translate(pattern, extended=extended, ignore_case=ignore_case))
    except PatternError:
        return None
    return lambda text: search(text) is not None


def test_expressions_match_as_in_the_c_library():
    assert sum(expression(random.Random(number)) for number in range(2000)) > 400


@pytest.mark.parametrize(
    ("pattern", "extended", "fits", "fits_not"),
    [
        (r"\.(exe|pif)$", True, b"a.exe", b"a.exe "),
        (r"<(.*@.*|Postmaster)>", True, b"<a@b>", b"<a>"),
        (r"^a+b\+$", False, b"a+bbb", b"aab"),
        ("^*a", False, b"*a", b"a"),
        ("a{x}", True, b"a{x}", b"ax"),
        ("[]-]", False, b"]", b"["),
        ("[[.-.]-/]", False, b".", b","),
        ("[[=a=]]", False, b"a", b"="),
        ("^$", False, b"", b"\n"),
        ("a.b", False, b"a\nb", b"ab"),
        ("a$", False, b"a", b"a\n"),
        ("[[:<:]]fast[[:>:]]", True, b"so fast!", b"breakfast"),
        (r"\<a\|b\>", False, b"xb", b"xa"),
        (r"[\]x", False, b"\\x", b"]x"),
        ("gr\u00fcn", False, "gr\u00fcn".encode(), b"gr\xfcn"),
        ("^[a\u00fc]*$", False, "a\u00fca\u00fc".encode(), "\u00fb".encode()),
        ("^\u00fc{2}$", True, "\u00fc\u00fc".encode(), "\u00fc".encode()),
        ("[[:space:][:cntrl:]]", False, b"\x01", b"a"),
        ("^x{2,3}$", True, b"xxx", b"xxxx"),
        (r"^x\{2,\}$", False, b"xxxx", b"x"),
        ("(|a)b", True, b"b", b"a"),
        (".", False, b"\xff", b""),
    ],
)
def test_what_an_expression_means(pattern, extended, fits, fits_not):
    made = ours(pattern, extended=extended)
    assert (made(fits), made(fits_not)) == (True, False)


def test_case_does_not_count_if_it_is_asked_for():
    made = ours("^[b-d]\u00e4X$", extended=False, ignore_case=True)
    assert made("C\u00c4x".encode())
    assert made("c\u00e4x".encode())
    assert not made("a\u00e4x".encode())
    assert not ours("X", extended=False)(b"x")
    # bytes that are letters in one character set only are no letters
    assert not ours("\u00e9", extended=False, ignore_case=True)(b"\xe3\xa9")


@pytest.mark.parametrize(
    ("pattern", "extended", "pos", "message"),
    [
        ("(a", True, 0, r"( without ); write \( for the sign itself"),
        (r"x\(a", False, 1, r"\( without \); write ( for the sign itself"),
        ("a)", True, 1, r") without (; write \) for the sign itself"),
        (r"a\)", False, 1, r"\) without \(; write ) for the sign itself"),
        ("[a", False, 0, "[ without ]; write \\[ for the sign itself"),
        ("[a-", False, 0, "[ without ]"),
        ("[[:foo:]]", False, 1, "[:foo:] is no class; there are alnum,"),
        ("[z-a]", False, 1, "z-a is no range"),
        ("[[.ab.]]", False, 1, "[. names one sign only"),
        ("[^\u00fc]", False, 0, "[^...] with \u00fc, which is several bytes"),
        (r"\(a\)\1", False, 5, r"\1 refers back to a group, which is not possible here"),
        (r"(a)\1", True, 3, r"\1 refers back"),
        (r"\d", True, 0, r"\d has no meaning; write d, or [0-9] for a digit"),
        ("a\\", False, 1, "a backslash at the end"),
        ("*a", True, 0, r"* has nothing in front of it to repeat; write \* for the sign itself"),
        ("a|+b", True, 2, "+ has nothing in front of it"),
        ("{2}", True, 0, "{ has nothing in front of it"),
        ("^*", True, 0, "^* repeats a place"),
        (r"\{2\}", False, 0, r"\{ has nothing to do here"),
        ("a{3,2}", True, 1, "3 to 2 is no interval"),
        ("a{1001}", True, 1, "not an interval; write {2,5}, up to 1000"),
        (r"a\{2", False, 1, r"not an interval; write \{2,5\}"),
        (r"\<.a", True, 0, r"a letter, digit or _ has to stand behind the edge of a word; write \b"),
        (r"a*\>", True, 2, "has to stand in front of the edge"),
        ("(" * 101, True, 100, "more than 100 groups"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(pattern, extended, pos, message):
    with pytest.raises(PatternError) as raised:
        translate(pattern, extended=extended, ignore_case=False)
    assert message in str(raised.value)
    assert raised.value.pos == pos


def test_an_expression_that_is_too_large_is_refused():
    with pytest.raises(ValueError, match="too large"):
        compiled(translate("((a{255}){255}){255}", extended=True, ignore_case=False))


@given(st.text(max_size=30), st.booleans(), st.booleans())
def test_any_text_is_an_expression_or_refused(text, extended, ignore_case):
    try:
        source = translate(text, extended=extended, ignore_case=ignore_case)
        compiled(source)(b"abc")
    except ValueError as error:
        message = str(error)
    else:
        return
    assert "; " in message
