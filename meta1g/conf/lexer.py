"""Tokens of the configuration language.

    WORD     anything without blanks, quotation marks and the signs below: `smtps/smtpsfd`, `5m3s`, `10.10.10.9`
    STRING   "..." with the escapes of C; the grammar joins adjacent ones
    { } = ; ,
    #        a comment to the end of the line

The rules are what ply wants: names that begin with t_, patterns as values or docstrings.

Pure.  Ref: meta1.conf(5), lexical rules; quoted strings as in GNU grecs.
"""

import functools
import re
import sys
from typing import Any, Final

from ply import lex

from meta1g.conf.tree import Problem

tokens = ("WORD", "STRING", "LBRACE", "RBRACE", "EQUALS", "SEMI", "COMMA", "END")

_ESCAPES: Final = {"n": "\n", "t": "\t", "r": "\r", "a": "\a", "b": "\b", "f": "\f", "v": "\v", "\n": ""}
_BAD: Final = re.compile(r"['\\\x00-\x08\x0e-\x1b\x7f]")
_ESCAPED: Final = re.compile(r"\\(.)", re.DOTALL)

t_ignore = " \t\r\f\v"
t_ignore_COMMENT = r"\#[^\n]*"
t_ignore_NEWLINE = r"\n+"
t_LBRACE = r"\{"
t_RBRACE = r"\}"
t_EQUALS = r"="
t_SEMI = r";"
t_COMMA = r","
t_WORD = r"[^\s\{\}=;,\"'\#\\\x00-\x1f\x7f]+"


def t_STRING(t: Any) -> Any:
    r'"(?:[^"\\\n]|\\(?:.|\n))*"'
    t.endpos = t.lexer.lexpos
    t.value = _unescape(t, t.value[1:-1])
    return t


def t_OPEN_STRING(t: Any) -> Any:
    r'"(?:[^"\\\n]|\\.)*'
    t.type = "STRING"
    t.is_open = True
    t.lexer.problems.append(Problem(t.lexpos, 'quotation mark is not closed on its line; add " or join lines by \\'))
    t.endpos = t.lexer.lexpos
    t.value = _unescape(t, t.value[1:].rstrip("\\"))
    return t


def t_SINGLE_STRING(t: Any) -> Any:
    r"'[^'\n]*'"
    t.type = "STRING"
    t.endpos = t.lexer.lexpos
    t.lexer.problems.append(Problem(t.lexpos, "unexpected character '; use double quotation marks"))
    t.value = t.value[1:-1]
    return t


def t_BAD_WORD(t: Any) -> Any:
    r"""[^\s\{\}=;,"\#]*['\\\x00-\x08\x0e-\x1b\x7f][^\s\{\}=;,"\#]*"""
    t.type = "WORD"
    found = _BAD.search(t.value)
    if found is not None:
        t.lexer.problems.append(_unexpected(found[0], t.lexpos + found.start()))
    return t


def t_error(t: Any) -> None:
    char = t.value[0]
    t.lexer.problems.append(_unexpected(char, t.lexpos))
    size = 1
    while size < len(t.value) and t.value[size] == char:
        size += 1
    t.lexer.skip(size)


def _unexpected(char: str, pos: int) -> Problem:
    if not char.isprintable():
        return Problem(pos, f"unexpected character U+{ord(char):04X}; remove it")
    return Problem(pos, f"unexpected character {char}; put the value in double quotation marks")


def _unescape(t: Any, text: str) -> str:
    """Replaces the escapes of a quoted string."""
    if "\\" not in text:
        return text

    def one(match: "re.Match[str]") -> str:
        char = match[1]
        if char not in _ESCAPES and char not in '"\\':
            place = t.lexpos + 1 + match.start()
            t.lexer.problems.append(Problem(place, f"unknown escape \\{char}; write \\\\ for a backslash"))
        return _ESCAPES.get(char, char)

    return _ESCAPED.sub(one, text)


@functools.cache
def _master() -> Any:
    # a test looks for mistakes in this file, not every start; no file of tables is read or written
    return lex.lex(module=sys.modules[__name__], errorlog=lex.NullLogger(), optimize=True, lextab=())


def tokenize(text: str) -> tuple[list[Any], list[Problem]]:
    """Cuts a text into tokens; what is no token is reported and left out.

    Returns:
        Tokens with `type`, `value`, `lexpos`, the last one of type END; and the problems.
    """
    lexer = _master().clone()
    lexer.problems = []
    lexer.input(text)
    found = list(iter(lexer.token, None))
    end = lex.LexToken()
    end.type, end.value, end.lexpos, end.lineno = "END", "", len(text), 0
    found.append(end)
    return found, lexer.problems
