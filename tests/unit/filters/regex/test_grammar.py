"""The configuration language of milter-regex: what it means, and what it says of what is wrong."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meta1g.conf.errors import ConfigError
from meta1g.conf.tree import Source
from meta1g_filters.regex.grammar import parse
from meta1g_filters.regex.lexer import ACTIONS, SUBJECTS
from meta1g_filters.regex.rules import Joint, Negation, RuleAction, Term, value

ROOT = Path(__file__).parents[4]
SOME = ", ".join(SUBJECTS)
#: Forms that the manual page of the original shows.
SAMPLE = r"""# a comment that goes on \
reject in the next line
friends         = header /^Received$/ /^from [^ ]*(ork\.net|home\.com)/e
attachments     = header ,^Content-Type$, ,multipart/mixed, and \
                  body ,^Content-Type: application/,
executables     = $attachments and body ,name=".*\.(pif|exe|scr)"$,e

reject "executable attachment from non-friends"
$executables and not $friends

accept
macro /tls_version/ /TLSv/
tempfail "Sender IP address not resolving"
connect /\[.*\]/ //
reject 'Malformed HELO (not a domain, no dot)'
helo /\./n
envrcpt /<(.*@.*|Postmaster)>/ein   # a second one for the same action
discard
( not header /From/ /domain/ ) and ( body 1sex1 or body /fast/ )
quarantine looks-odd envfrom /x/
"""


def ruleset(text):
    return parse(Source("f", text))


def problems(text):
    with pytest.raises(ConfigError) as raised:
        ruleset(text)
    return [line for line in raised.value.cause.splitlines() if line.startswith("f:")]


def test_all_forms_are_read():
    made = ruleset(SAMPLE)
    assert [(rule.action, rule.text, rule.where) for rule in made.rules] == [
        (RuleAction.REJECT, "executable attachment from non-friends", "f:9"),
        (RuleAction.ACCEPT, "", "f:12"),
        (RuleAction.TEMPFAIL, "Sender IP address not resolving", "f:14"),
        (RuleAction.REJECT, "Malformed HELO (not a domain, no dot)", "f:16"),
        (RuleAction.REJECT, "Malformed HELO (not a domain, no dot)", "f:17"),
        (RuleAction.DISCARD, "", "f:19"),
        (RuleAction.QUARANTINE, "looks-odd", "f:20"),
    ]
    executable = made.rules[0].expression
    assert isinstance(executable, Joint)
    assert isinstance(executable.parts[-1], Negation)
    assert [one.subject.name for one in made.conditions[:4]] == ["HEADER", "HEADER", "BODY", "BODY"]
    received = made.conditions[0]
    assert received.fits((b"Received", b"from mail.home.com (x)"))
    assert not received.fits((b"Received", b"from mail.home-com (x)"))
    assert made.conditions[made.rules[4].expression.number].fits((b"nobody",))
    assert not made.conditions[made.rules[4].expression.number].fits((b"<POSTMASTER>",))


def test_usual_texts_stand_for_none():
    made = ruleset('reject helo /a/ tempfail "" helo /b/ quarantine helo /c/')
    assert [rule.text for rule in made.rules] == ["Command rejected", "Please try again later", "Quarantined by a rule"]


def test_a_condition_that_stands_twice_is_one():
    made = ruleset("accept helo /a/ or helo /b/ reject helo /a/ and helo ,a,")
    assert len(made.conditions) == 2
    assert made.rules[1].expression == Joint((Term(0), Term(0)), either=False)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("helo /a/ and helo /b/ or helo /c/", "a and (b or c)"),
        ("helo /a/ or helo /b/ and helo /c/", "a or (b and c)"),
        ("( helo /a/ and helo /b/ ) or helo /c/", "(a and b) or c"),
        ("helo /a/ and not helo /b/", "a and not b"),
        ("not ( helo /a/ or helo /b/ )", "not (a or b)"),
    ],
)
def test_operators_bind_as_in_the_original(text, expected):
    made = ruleset(f"accept {text}")
    for bits in range(8):
        known = [bool(bits & 1), bool(bits & 2), bool(bits & 4)]
        wanted = eval(expected, dict(zip("abc", known, strict=True)))
        assert value(made.rules[0].expression, known) == wanted


def test_what_is_not_known_leaves_open_only_what_depends_on_it():
    a_and_b, a_or_b = (ruleset(f"accept helo /a/ {word} helo /b/").rules[0].expression for word in ("and", "or"))
    table = {(None, None): (None, None), (None, True): (None, True), (None, False): (False, None), (True, False): (False, True)}
    for known, (both, either) in table.items():
        assert (value(a_and_b, known), value(a_or_b, known)) == (both, either)
        assert (value(a_and_b, known[::-1]), value(a_or_b, known[::-1])) == (both, either)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('geoipCashMax "1M"', ["f:1:1: geoipCashMax has no effect here: the lists of countries are in memory; leave it out"]),
        ("ipv4file /x/", ["f:1:10: unexpected x; a path stands in quotation marks"]),
        ('reject "a\nhelo /x/', ['f:1:8: quotation mark is not closed on its line; add "']),
        ("accept helo /abc", ["f:1:13: no second / on this line; it begins an expression, which ends with the same sign"]),
        ("accept helo /a/q", ["f:1:16: unknown flag q; there are e (extended), i (ignore case), n (not)"]),
        ("accept helo //n", ["f:1:15: an empty pattern fits everything and has no flags; remove them"]),
        ("accept not helo /a/ and helo /b/", ["f:1:21: unexpected and; not binds one term only; write parentheses"]),
        (
            "accept ( helo /a/\naccept helo /b/",
            ["f:2:1: unexpected accept; parentheses stand around one expression; ( needs its )"],
        ),
        ("accept helo /a/ /b/", ["f:1:17: unexpected b; this condition has one pattern; its sign ends it"]),
        ("accept header /a/", ["f:1:18: unexpected the end of the file; header has two patterns; // fits everything"]),
        ("accept helo x", ["f:1:13: unexpected x; helo is followed by a pattern between two equal signs, such as /.../"]),
        ("accept\nreject helo /a/", ["f:2:1: unexpected reject; an action is followed by the expressions that lead to it"]),
        ("helo /a/", [f"f:1:1: unexpected helo; a file begins with an action ({', '.join(ACTIONS)}) or a macro (name = ...)"]),
        ("accept $a", ["f:1:9: no macro a is defined above; define it as a = ..."]),
        ("a = helo /a/ a = helo /b/", ["f:1:14: macro a is defined already; give this one another name"]),
        ("helo = helo /a/", ["f:1:1: helo is a keyword; give the macro another name"]),
        ("accept $ helo /a/", ["f:1:10: unexpected helo; $ is followed by the name of a macro"]),
        ("accept helo /a/ a", ["f:1:17: unexpected a; a macro is used as $name, and a blank stands behind each word"]),
        ("and = helo /a/", ["f:1:1: and is a keyword; give the macro another name"]),
        ("m = helo /a/ and and", [f"f:1:18: unexpected and; here stands an expression: {SOME}, not, $name or ( )"]),
        ('reject "caf\u00e9" helo /a/', ["f:1:8: the text is told to clients, in ASCII; leave out other signs"]),
        (f'reject "{"x" * 481}" helo /a/', ["f:1:492: the text of the action above has 481 characters; 480 are possible"]),
        ("accept helo /a/ \x01", ["f:1:17: unexpected character U+0001; remove it"]),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_with_its_place(text, expected):
    assert problems(text) == expected


def test_one_run_tells_all_errors_and_joined_lines_keep_their_places():
    text = "accept helo /[/ and \\\n  body /(/e\nreject nobody = helo /a/\ntempfail helo \\\r\n /a/x\n"
    assert [line.split(": ", 1)[0] for line in problems(text)] == ["f:1:14", "f:2:9", "f:3:8", "f:5:5"]


def test_expressions_that_grow_by_macros_are_bounded():
    doubled = "m0 = helo /a/\n" + "".join(f"m{one + 1} = $m{one} and body /{one}/ and $m{one}\n" for one in range(40))
    assert any("10000 are possible" in line for line in problems(doubled + "accept $m40"))
    deep = "m0 = helo /a/\n" + "".join(f"m{one + 1} = not $m{one}\n" for one in range(120))
    assert any("100 are possible" in line for line in problems(deep))


def test_a_long_chain_is_one_level():
    made = ruleset("accept " + " or ".join(f"helo /{one}/" for one in range(3000)))
    assert len(made.rules[0].expression.parts) == 3000
    assert value(made.rules[0].expression, [False] * 2999 + [True]) is True


WORD = 'accept reject helo header connect and or not ( ) $m m= m /a/ // /[/ "t" # e'
WORDS = [*WORD.split(), "\\\n", "\n"]


@given(st.one_of(st.text(max_size=60), st.lists(st.sampled_from(WORDS), max_size=25).map(" ".join)))
def test_any_text_is_read_or_refused_with_a_place(text):
    try:
        ruleset(text)
    except ConfigError as error:
        cause = error.cause
    else:
        return
    assert cause.startswith("f:")


def test_the_rules_that_the_manual_gives_for_those_of_postfix_are_right():
    page = (ROOT / "docs/filter-regex.md").read_text().partition("## Coming from header_checks")[2].partition("\n## ")[0]
    rows = [
        line.split(" | ")[-1].split("`")[1] for line in page.splitlines() if line.startswith("| `/") and line.endswith("` |")
    ]
    assert len(rows) == 4
    made = ruleset("\n".join(rows))
    assert [one.action.value for one in made.rules] == ["reject", "quarantine", "discard", "reject"]
    assert made.conditions[-1].fits((b'Content-Type: x; name="Setup.EXE"',))
