r"""Tokens of the configuration language of milter-regex.

    NAME      a letter, then letters, digits and punctuation but `( ) = $ # " '`; DEFINE is one in front of `=`
    TEXT      "..." or '...', without escapes, on one line
    PATTERN   /.../flags: any other sign is a delimiter; without escapes, on one line
    ( ) = $
    #         a comment to the end of the line; a backslash at the end of any line joins it with the next one

The rules are what ply wants: names that begin with t_, patterns as values or docstrings.

Pure.  Ref: milter-regex(8), "PLUGIN CONFIGURATION" and "REGULAR EXPRESSIONS" (the language is its).
"""

import bisect
import functools
import itertools
import re
import sys
from typing import Any, Final

from ply import lex

from meta1g.base.dataclass import dataclass
from meta1g.conf.tree import Problem

ACTIONS: Final = ("accept", "reject", "tempfail", "discard", "quarantine")
SUBJECTS: Final = ("connect", "country", "helo", "envfrom", "envrcpt", "header", "macro", "body")
_OPERATORS: Final = ("and", "or", "not")
LISTS: Final = ("ipv4file", "ipv6file")
_KEYWORDS: Final = frozenset((*ACTIONS, *SUBJECTS, *_OPERATORS, *LISTS))
#: What milter-regex knows and nobody needs here.
NEEDLESS: Final = frozenset(("geoipCashKeep", "geoipCashMax", "geoipDebugLog"))
#: Longest text or expression.  Ref: the buffers of milter-regex.
TOKEN_MAX_CHARS: Final = 8191

tokens = (
    *("NAME", "DEFINE", "TEXT", "PATTERN", "LPAREN", "RPAREN", "EQUALS", "DOLLAR", "END"),
    *(word.upper() for word in sorted(_KEYWORDS)),
)

t_ignore = " \t\r\f\v"
t_ignore_COMMENT = r"\#[^\n]*"
t_ignore_NEWLINE = r"\n+"
t_LPAREN = r"\("
t_RPAREN = r"\)"
t_EQUALS = r"="
t_DOLLAR = r"\$"


@dataclass(frozen=True, slots=True)
class PatternText:
    """A pattern as it is written: what stands between its delimiters, its flags, and where both begin."""

    text: str
    pos: int
    flags: str
    flags_pos: int


def t_NAME(t: Any) -> Any:
    r"[A-Za-z][A-Za-z0-9!%&*+,\-./:;<>?@\[\]\\^_`{|}~]*"
    if t.value in _KEYWORDS:
        t.type = t.value.upper()
    elif t.value in NEEDLESS:
        _complain(t, f"{t.value} has no effect here: the lists of countries are in memory; leave it out")
    return t


def t_TEXT(t: Any) -> Any:
    r"\"[^\"\n]*\"|'[^'\n]*'"
    t.value = t.value[1:-1]
    return t


def t_OPEN_TEXT(t: Any) -> Any:
    r"[\"'][^\n]*"
    t.type = "TEXT"
    _complain(t, f"quotation mark is not closed on its line; add {t.value[0]}")
    t.value = t.value[1:]
    return t


def t_PATTERN(t: Any) -> Any:
    r"(?P<delimiter>[^\s\x00-\x1f\x7fA-Za-z\"'\#()=$])(?:(?!(?P=delimiter))[^\n])*(?P=delimiter)[A-Za-z]*"
    end = t.value.rindex(t.value[0])
    if end > TOKEN_MAX_CHARS:
        _complain(t, f"an expression of {end} characters; {TOKEN_MAX_CHARS} are possible")
    t.value = PatternText(t.value[1:end], t.lexpos + 1, t.value[end + 1 :], t.lexpos + end + 1)
    return t


def t_OPEN_PATTERN(t: Any) -> Any:
    r"[^\s\x00-\x1f\x7fA-Za-z\"'\#()=$][^\n]*"
    t.type = "PATTERN"
    _complain(t, f"no second {t.value[0]} on this line; it begins an expression, which ends with the same sign")
    t.value = PatternText("", t.lexpos + 1, "", t.lexpos + 1)
    return t


def t_error(t: Any) -> None:
    _complain(t, f"unexpected character U+{ord(t.value[0]):04X}; remove it")
    t.lexer.skip(1)


def _complain(t: Any, message: str) -> None:
    t.lexer.problems.append(Problem(t.lexpos, message))


@functools.cache
def _master() -> Any:
    return lex.lex(module=sys.modules[__name__], errorlog=lex.NullLogger())


class Joined:
    r"""A text whose lines are joined where they end in a backslash, and the way back to the places of the original.

    Args:
        text: the original; lines may end in CR LF.

    Attributes:
        text: the joined one.

    Owner: one parse.
    """

    def __init__(self, text: str) -> None:
        self._starts, self._shifts = [0], [0]
        parts, begin, gone = [], 0, 0
        for match in re.finditer(r"\\\r?\n", text):
            parts.append(text[begin : match.start()])
            begin = match.end()
            gone += len(match[0])
            self._starts.append(begin - gone)
            self._shifts.append(gone)
        self.text = "".join((*parts, text[begin:]))

    def original(self, pos: int) -> int:
        """Gives the place in the original of a place in the joined text."""
        return pos + self._shifts[bisect.bisect_right(self._starts, pos) - 1]


def tokenize(text: str) -> tuple[list[Any], list[Problem]]:
    """Cuts a joined text into tokens; what is no token is reported and left out.

    Returns:
        Tokens with `type`, `value`, `lexpos`, the last one of type END; and the problems.
    """
    lexer = _master().clone()
    lexer.problems = []
    lexer.input(text)
    found = list(iter(lexer.token, None))
    for token, following in itertools.pairwise(found):
        if following.type == "EQUALS" and (token.type == "NAME" or token.value in _KEYWORDS):
            if token.type != "NAME":
                _complain(token, f"{token.value} is a keyword; give the macro another name")
            token.type = "DEFINE"
    end = lex.LexToken()
    end.type, end.value, end.lexpos, end.lineno = "END", "", len(text), 0
    return [*found, end], lexer.problems
