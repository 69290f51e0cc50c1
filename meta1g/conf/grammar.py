"""The grammar of the configuration language; the docstrings are the productions.

    conf        ::= entries
    entries     ::= entry *
    entry       ::= option | section
    section     ::= keyword [name] "{" entries "}" [";"]
    option      ::= option-name "=" rhs
    rhs         ::= value ";" | "{" value-list "}" [";"]

A comma may end a value list.  After an error the parser goes on with the next statement, so that one run finds all
errors; the rule `entry : error SEMI` and class TokenStream work together for that.

Pure.  Ref: meta1.conf(5), grammar.
"""

import functools
import sys
from typing import Any, Final

from ply import yacc

from meta1g.conf.lexer import tokenize, tokens
from meta1g.conf.recover import TokenStream
from meta1g.conf.tree import OptionNode, Problem, SectionNode, Source, TreeEntry, Value

#: Open braces at the same time; our choice: ten times what the tables allow, and errors stay cheap to find.
NESTING_MAX: Final = 50


def p_conf(p: Any) -> None:
    "conf : entries END"
    p[0] = p[1]


def p_entries_none(p: Any) -> None:
    "entries :"
    p[0] = []


def p_entries(p: Any) -> None:
    "entries : entries entry"
    p[0] = p[1]
    if p[2] is not None:
        p[0].append(p[2])


def p_entry(p: Any) -> None:
    """entry : option
    | section"""
    p[0] = p[1]


def p_entry_wrong(p: Any) -> None:
    "entry : error SEMI"
    p.parser.errok()


def p_section(p: Any) -> None:
    "section : WORD name LBRACE entries RBRACE semi"
    p[0] = SectionNode(p[1], p.lexpos(1), p[2], tuple(p[4]), p.lexpos(5))


def p_name(p: Any) -> None:
    """name :
    | value"""
    p[0] = p[1] if len(p) > 1 else None


def p_option_single(p: Any) -> None:
    "option : WORD EQUALS value SEMI"
    p[0] = OptionNode(p[1], p.lexpos(1), (p[3],), False)


def p_option_list(p: Any) -> None:
    "option : WORD EQUALS LBRACE values RBRACE semi"
    p[0] = OptionNode(p[1], p.lexpos(1), tuple(p[4]), True)


def p_semi(p: Any) -> None:
    """semi :
    | SEMI"""


def p_values(p: Any) -> None:
    """values :
    | list
    | list COMMA"""
    p[0] = p[1] if len(p) > 1 else []


def p_list_first(p: Any) -> None:
    "list : value"
    p[0] = [p[1]]


def p_list(p: Any) -> None:
    "list : list COMMA value"
    p[0] = p[1]
    p[0].append(p[3])


def p_value_word(p: Any) -> None:
    "value : WORD"
    p[0] = Value(p[1], p.lexpos(1))


def p_value_string(p: Any) -> None:
    "value : strings"
    text, pos = p[1]
    p[0] = Value(text, pos)


def p_strings_first(p: Any) -> None:
    "strings : STRING"
    p[0] = (p[1], p.lexpos(1))


def p_strings(p: Any) -> None:
    "strings : strings STRING"
    p[0] = (p[1][0] + p[2], p[1][1])


def p_error(token: Any) -> None:
    """Stands here because ply asks for it; TokenStream.on_error is what runs."""
    raise AssertionError


class _Tables:
    """The LALR tables in the shape in which a parser takes them.  Immutable."""

    def __init__(self, made: Any) -> None:
        self.lr_productions = made.lr_productions
        self.lr_action = made.lr_action
        self.lr_goto = made.lr_goto
        #: States that can only reduce do so whatever comes; an error is then found where a statement begins.
        self.defaulted_states = {
            state: min(actions.values()) for state, actions in made.lr_action.items() if len(set(actions.values())) == 1
        }
        self.defaulted_states = {state: act for state, act in self.defaulted_states.items() if act < 0}


@functools.cache
def _tables() -> _Tables:
    """Makes the tables; they are kept in memory only.

    It is what yacc.yacc() does, without its look for mistakes in this file: a test lets it look.
    """
    names = vars(sys.modules[__name__])
    rules = [names[name] for name in names if name.startswith("p_") and name != "p_error"]
    made = yacc.Grammar(list(tokens))
    for rule in sorted(rules, key=lambda rule: int(rule.__code__.co_firstlineno)):
        for file, line, name, words in yacc.parse_grammar(rule.__doc__, __file__, rule.__code__.co_firstlineno):
            made.add_production(name, words, rule.__name__, file, line)
    made.set_start("conf")
    tables = yacc.LRGeneratedTable(made, log=yacc.NullLogger())
    tables.bind_callables(names)
    return _Tables(tables)


def _too_deep(found: list[Any]) -> int | None:
    """Gives the position of the first brace that opens too many levels."""
    depth = 0
    for token in found:
        if token.type == "LBRACE":
            depth += 1
            if depth > NESTING_MAX:
                return int(token.lexpos)
        elif token.type == "RBRACE":
            depth = max(0, depth - 1)
    return None


def parse(source: Source) -> tuple[tuple[TreeEntry, ...], list[Problem]]:
    """Parses a text.

    Returns:
        The entries outside all sections, as far as they are right, and all errors in no order.
    """
    found, problems = tokenize(source.text)
    too_deep = _too_deep(found)
    if too_deep is not None:
        problems.append(Problem(too_deep, f"more than {NESTING_MAX} open braces; close some"))
        return (), problems
    stream = TokenStream(source, found, problems)
    tables = _tables()
    parser = yacc.LRParser(tables, stream.on_error)
    parser.defaulted_states = tables.defaulted_states
    stream.parser = parser
    entries = parser.parse(lexer=stream)
    return tuple(entries or ()), problems
