import pytest

from meta1g.conf.lexer import tokenize


def kinds_and_values(text):
    tokens, problems = tokenize(text)
    assert problems == []
    return [(token.type, token.value) for token in tokens]


@pytest.mark.parametrize(
    "word",
    ["smtps/smtpsfd", "/usr/libexec/smtps", "10.10.10.9", "5m3s", "8bitmime", "!access", "2001:db8::1", "[::1]", "a@b.c"],
)
def test_a_bare_value_is_one_token(word):
    assert kinds_and_values(f"{word};") == [("WORD", word), ("SEMI", ";"), ("END", "")]


def test_signs_need_no_blanks_around_them():
    assert [kind for kind, _ in kinds_and_values('a={b,"c"};')] == [
        *("WORD", "EQUALS", "LBRACE", "WORD", "COMMA", "STRING", "RBRACE", "SEMI", "END")
    ]


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ('"qmgr -f /etc/x"', "qmgr -f /etc/x"),
        ('"a # no comment; {"', "a # no comment; {"),
        (r'"say \"yes\""', 'say "yes"'),
        (r'"back\\slash"', "back\\slash"),
        (r'"tab\tend"', "tab\tend"),
        ('"two \\\nlines"', "two lines"),
        ('""', ""),
    ],
)
def test_quoted_strings_have_the_escapes_of_c(written, read):
    assert kinds_and_values(written) == [("STRING", read), ("END", "")]


def test_comments_and_line_ends_of_any_system_are_blanks():
    assert kinds_and_values("# one\r\na # two\n\t# three") == [("WORD", "a"), ("END", "")]


def test_the_end_stands_behind_the_last_character():
    tokens, _ = tokenize("a = 1;\n")
    assert tokens[-1].lexpos == len("a = 1;\n")


def test_what_is_no_token_is_reported_once_and_left_out():
    tokens, problems = tokenize("a\u00a0\u00a0= 1;")
    assert [token.type for token in tokens] == ["WORD", "EQUALS", "WORD", "SEMI", "END"]
    assert [(problem.pos, problem.message) for problem in problems] == [(1, "unexpected character U+00A0; remove it")]


def test_lexers_do_not_share_their_errors():
    assert tokenize('"a')[1] != []
    assert tokenize('"a"')[1] == []
