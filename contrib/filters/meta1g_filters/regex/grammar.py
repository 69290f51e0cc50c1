"""The grammar of milter-regex; the docstrings are the productions.

    file        ::= { NAME "=" expression | action expression { expression } | ( "ipv4file" | "ipv6file" ) text }
    action      ::= "accept" | "discard" | ( "reject" | "tempfail" | "quarantine" ) [ text ]
    expression  ::= term [ ( "and" | "or" ) expression ] | "not" term
    term        ::= subject pattern [ pattern ] | "$" NAME | "(" expression ")"

`and` and `or` bind alike and to the right, as in the original: `a and b or c` is `a and (b or c)`.  After an error the parser
goes on with the next action or definition, so that one run finds all errors.

Pure.  Ref: milter-regex(8), "PLUGIN CONFIGURATION" (the language is its).
"""

import functools
import sys
from typing import Any, Final

from ply import yacc

from meta1g.conf.errors import error_of
from meta1g.conf.tree import Problem, Source
from meta1g_filters.regex.lexer import ACTIONS, LISTS, NEEDLESS, SUBJECTS, Joined, tokenize, tokens  # noqa: F401  ply looks for `tokens`
from meta1g_filters.regex.meaning import RulesBuilder
from meta1g_filters.regex.rules import PAIRS, MailPart, Ruleset

_STATEMENTS: Final = frozenset(("DEFINE", "END", *(word.upper() for word in (*ACTIONS, *LISTS))))
_SUBJECTS: Final = frozenset(word.upper() for word in SUBJECTS)
_PAIRS: Final = frozenset(one.name for one in PAIRS)
#: What stands behind some words.
_AFTER: Final = {
    "DOLLAR": "$ is followed by the name of a macro",
    **dict.fromkeys((word.upper() for word in LISTS), "a path stands in quotation marks"),
}
#: What an action may end with.
_ACTIONS: Final = frozenset(("TEXT", "NAME", *(word.upper() for word in ACTIONS)))
_SHOWN_MAX_CHARS: Final = 40
_SIGNS: Final = {"END": "the end of the file"}


class _Stream:
    """The tokens on their way to the parser.  Owner: one parse."""

    def __init__(self, found: list[Any], builder: RulesBuilder) -> None:
        self.builder = builder
        self._next = iter(found)

    def token(self) -> Any:
        """Gives the next token, None behind END."""
        return next(self._next, None)


def p_file(p: Any) -> None:
    "file : statements END"


def p_statements(p: Any) -> None:
    """statements :
    | statements statement"""


def p_statement_wrong(p: Any) -> None:
    "statement : error"
    p.parser.errok()


def p_definition(p: Any) -> None:
    "statement : DEFINE EQUALS expression"
    p.lexer.builder.define(p[1], p.lexpos(1), p[3])


def p_rule(p: Any) -> None:
    "statement : action expressions"
    p.lexer.builder.add_rules(*p[1], p[2])


def p_list(p: Any) -> None:
    """statement : IPV4FILE TEXT
    | IPV6FILE TEXT"""
    p.lexer.builder.add_list(p[2])


def p_action_bare(p: Any) -> None:
    """action : ACCEPT
    | DISCARD"""
    p[0] = (p[1], "")


def p_action(p: Any) -> None:
    """action : REJECT text
    | TEMPFAIL text
    | QUARANTINE text"""
    p[0] = (p[1], p[2])


def p_text_none(p: Any) -> None:
    "text :"
    p[0] = ""


def p_text(p: Any) -> None:
    """text : TEXT
    | NAME"""
    p[0] = p.lexer.builder.text(p[1], p.lexpos(1))


def p_expressions(p: Any) -> None:
    """expressions : expression
    | expressions expression"""
    p[0] = [*p[1], p[2]] if len(p) > 2 else [p[1]]


def p_expression(p: Any) -> None:
    "expression : term"
    p[0] = p[1]


def p_expression_joint(p: Any) -> None:
    """expression : term AND expression
    | term OR expression"""
    p[0] = p.lexer.builder.join(p[1], p[3], either=p[2] == "or")


def p_expression_not(p: Any) -> None:
    "expression : NOT term"
    p[0] = p.lexer.builder.negate(p[2])


def p_term_pair(p: Any) -> None:
    """term : CONNECT PATTERN PATTERN
    | HEADER PATTERN PATTERN
    | MACRO PATTERN PATTERN"""
    p[0] = p.lexer.builder.condition(MailPart[p[1].upper()], (p[2], p[3]), p.lexpos(1))


def p_term_single(p: Any) -> None:
    """term : COUNTRY PATTERN
    | HELO PATTERN
    | ENVFROM PATTERN
    | ENVRCPT PATTERN
    | BODY PATTERN"""
    p[0] = p.lexer.builder.condition(MailPart[p[1].upper()], (p[2],), p.lexpos(1))


def p_term_macro(p: Any) -> None:
    "term : DOLLAR NAME"
    p[0] = p.lexer.builder.defined(p[2], p.lexpos(2))


def p_term_group(p: Any) -> None:
    "term : LPAREN expression RPAREN"
    p[0] = p[2]


def p_error(token: Any) -> None:
    """Reports that a token does not fit; ply goes on with the next statement."""
    if token.value in NEEDLESS and token.type == "NAME":
        return  # the lexer has said it
    shown = _SIGNS.get(token.type) or str(getattr(token.value, "text", token.value))
    if len(shown) > _SHOWN_MAX_CHARS:
        shown = shown[:_SHOWN_MAX_CHARS] + "..."
    token.builder.problems.append(Problem(token.lexpos, f"unexpected {shown}; {_expected(token)}"))


def _expected(token: Any) -> str:
    """Says what should stand in a place, by what stands before it."""
    earlier, before = token.before
    if before in _AFTER:
        return _AFTER[before]
    ends = token.type in _STATEMENTS
    if before in _SUBJECTS:
        return f"{before.lower()} is followed by a pattern between two equal signs, such as /.../"
    if before == "PATTERN" and token.type == "PATTERN":
        return "this condition has one pattern; its sign ends it"
    if before == "PATTERN" and earlier in _PAIRS:
        return f"{earlier.lower()} has two patterns; // fits everything"
    if token.type in ("AND", "OR") and before in ("PATTERN", "RPAREN", "NAME"):
        return "not binds one term only; write parentheses"
    if token.type == "RPAREN" or before == "LPAREN" or (ends and token.is_open):
        return "parentheses stand around one expression; ( needs its )"
    if before in _ACTIONS and ends:
        return "an action is followed by the expressions that lead to it"
    if token.type == "NAME":
        return "a macro is used as $name, and a blank stands behind each word"
    if not before:
        return f"a file begins with an action ({', '.join(ACTIONS)}) or a macro (name = ...)"
    return f"here stands an expression: {', '.join(SUBJECTS)}, not, $name or ( )"


def _annotate(found: list[Any], builder: RulesBuilder) -> None:
    """Lets each token know what stands before it, and whether a parenthesis is open."""
    before, is_open = ("", ""), 0
    for token in found:
        token.builder, token.before, token.is_open = builder, before, is_open > 0
        before = (before[1], token.type)
        is_open = 0 if token.type in _STATEMENTS else is_open + (token.type == "LPAREN") - (token.type == "RPAREN")


@functools.cache
def _parser() -> Any:
    """Makes the parser; its tables are kept in memory only."""
    this = sys.modules[__name__]
    quiet = yacc.NullLogger()
    return yacc.yacc(module=this, start="file", debug=False, write_tables=False, tabmodule="no_such_tables", errorlog=quiet)


def parse(source: Source) -> Ruleset:
    """Reads a configuration.

    Raises:
        ConfigError: it is wrong; the cause tells everything that is, each with its place.
    """
    joined = Joined(source.text)
    found, problems = tokenize(joined.text)
    builder = RulesBuilder(lambda pos: source.where(joined.original(pos)), problems)
    _annotate(found, builder)
    _parser().parse(lexer=_Stream(found, builder))
    builder.finish()
    if problems:
        raise error_of(source, (Problem(joined.original(one.pos), one.message) for one in problems))
    return builder.ruleset()
