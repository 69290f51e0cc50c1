"""Error messages of the parser, and how it finds the next statement.

    a missing `;` `,` or `}`   is reported and put in: nothing that follows is lost
    anything else              is reported; tokens are left out up to the end of the statement, which is the `;` or `}`
                               that belongs to it, or a line that begins with `name =` or `name {`

Invariant: every error takes at least one token or completes a statement, so parsing ends.

Pure.
"""

import copy
from typing import Any, Final

from meta1g.conf.tree import Problem, Source

_TEXTS: Final = {"LBRACE": "{", "RBRACE": "}", "EQUALS": "=", "SEMI": ";", "COMMA": ",", "END": "end of the file"}
_PLACES: Final = {"SEMI": "after the value", "COMMA": "between the values", "RBRACE": "at the end of the list"}
_VALUES: Final = ("WORD", "STRING")
_SHOWN_MAX_CHARS: Final = 40


class Token:
    """A token that the text does not have.  Owner: one parse."""

    __slots__ = ("lexer", "lexpos", "lineno", "type", "value")

    def __init__(self, kind: str, pos: int) -> None:
        self.type = kind
        self.value = _TEXTS[kind]
        self.lexpos = pos
        self.lineno = 0
        self.lexer = None


class TokenStream:
    """The tokens of one text on their way to the parser; its lexer and error handler.

    Args:
        source: the text.
        tokens: all tokens, the last of type END.
        problems: errors are added here.

    Owner: one parse.
    """

    def __init__(self, source: Source, tokens: list[Any], problems: list[Problem]) -> None:
        self._source = source
        self._tokens = tokens
        self._problems = problems
        self._next = 0
        self.parser: Any = None

    def token(self) -> Any:
        """Gives the next token, None behind END."""
        at = self._next
        if at >= len(self._tokens):
            return None
        self._next = at + 1
        return self._tokens[at]

    def on_error(self, token: Any) -> Any:
        """Reports that a token does not fit; ply calls it.

        Returns:
            The token that is put in before it, or None: the statement is given up.
        """
        accepted = self.parser.action[self.parser.state]
        statement = self._statement()
        in_list = statement[1:3] == ["EQUALS", "LBRACE"] and "RBRACE" not in statement
        if in_list and token.type in ("EQUALS", "LBRACE") and self._begins_statement(self._next - 2):
            return self._give_back(token)
        if (
            len(statement) > 1
            and token.type == "EQUALS"
            and "EQUALS" not in statement
            and self._begins_statement(self._next - 2)
        ):
            return self._give_up_section(token)
        missing = self._missing(token, statement, in_list)
        if missing in accepted:
            return self._put_in(missing, token, in_list)
        self._report(token, _expected(token, statement, in_list))
        self._skip(token, int(in_list), stop_at_statements=True)
        return None

    # -- where the parser stands

    def _statement(self) -> list[str]:
        """Gives the symbols of the statement that is being read."""
        kinds = [symbol.type for symbol in self.parser.symstack]
        return kinds[_last(kinds, "entries") + 1 :]

    def _in_section(self) -> bool:
        kinds = [symbol.type for symbol in self.parser.symstack]
        return "LBRACE" in kinds[: _last(kinds, "entries") + 1]

    def _opened(self) -> Any:
        """Gives the keyword of the innermost open section."""
        stack = self.parser.symstack
        at = _last([symbol.type for symbol in stack], "LBRACE")
        while stack[at].type != "WORD":
            at -= 1
        return stack[at]

    # -- putting in what is missing

    def _missing(self, token: Any, statement: list[str], in_list: bool) -> str:
        """Tells which sign would make the token fit, empty if none."""
        if in_list:
            if token.type in _VALUES and not self._begins_statement(self._next - 1):
                return "COMMA"
            return "RBRACE" if token.type in ("WORD", "SEMI", "END") else ""
        if not statement:
            return "RBRACE" if token.type == "END" else ""
        if statement[1:2] == ["EQUALS"] and (
            token.type in ("RBRACE", "END") or (token.type == "WORD" and self._begins_line(self._next - 1))
        ):
            return "SEMI"
        return ""

    def _give_back(self, token: Any) -> None:
        """Ends a list that was not closed before the statement whose name was taken for a value."""
        self._next -= 2
        comma = self._tokens[self._next - 1]
        self._problems.append(Problem(comma.lexpos, f"missing }} {_PLACES['RBRACE']}"))
        self._tokens[self._next + 1] = copy.copy(token)
        token.type, token.value = "SEMI", ";"

    def _give_up_section(self, token: Any) -> None:
        """Leaves out a section without `{`, whose first option was taken for its name."""
        keyword = self._tokens[self._next - 3]
        self._problems.append(Problem(keyword.lexpos + len(keyword.value), f"missing {{ after {keyword.value}"))
        self._skip(token, 1, stop_at_statements=False)

    def _put_in(self, missing: str, token: Any, in_list: bool) -> Any:
        if missing == "RBRACE" and not in_list:
            opened = self._opened()
            self._problems.append(Problem(opened.lexpos, f"section {opened.value} is not closed; add }} at its end"))
        else:
            previous = self._tokens[self._next - 2]
            end = getattr(previous, "endpos", previous.lexpos + len(previous.value))
            if not getattr(previous, "is_open", False):  # else the open quotation mark has swallowed it
                self._problems.append(Problem(end, f"missing {_TEXTS[missing]} {_PLACES[missing]}"))
        self._next -= 1
        self.parser.errok()
        return Token(missing, token.lexpos)

    # -- giving up a statement

    def _report(self, token: Any, expected: str) -> None:
        shown = str(token.value) if token.type in _VALUES else _TEXTS[token.type]
        if token.type not in (*_VALUES, "END"):
            shown = f"'{shown}'"
        if len(shown) > _SHOWN_MAX_CHARS:
            shown = shown[:_SHOWN_MAX_CHARS] + "..."
        shown = "".join(char if char.isprintable() else "?" for char in shown)
        nearby = [str(one.value) for one in self._tokens[max(self._next - 2, 0) : self._next]]
        if any(text.startswith(("/*", "//")) for text in nearby):
            expected = "comments begin with #"
        self._problems.append(Problem(token.lexpos, f"unexpected {shown}; {expected}"))

    def _skip(self, token: Any, base: int, *, stop_at_statements: bool) -> None:
        """Leaves out tokens up to the end of the statement, then lets the wrong token be the `;` that ends it.

        Args:
            token: the wrong token.
            base: braces of the statement that are open.
            stop_at_statements: a line that begins like a statement ends the wrong one too.
        """
        first = at = self._next - 1
        depth = base
        while (kind := self._tokens[at].type) != "END":
            if stop_at_statements and at > first and depth <= base and self._begins_statement(at):
                break
            if kind == "RBRACE" and depth == 0 and self._in_section():
                break
            at += 1
            depth += (kind == "LBRACE") - (kind == "RBRACE")
            if kind == "SEMI" and depth == 0:
                break
            if kind == "RBRACE" and depth <= 0:
                at += self._tokens[at].type == "SEMI"
                break
        if at == first:  # it will be read again, unchanged
            self._tokens[first] = copy.copy(token)
        self._next = at
        token.type, token.value = "SEMI", ";"

    def _begins_statement(self, at: int) -> bool:
        if self._tokens[at].type != "WORD" or not self._begins_line(at):
            return False
        following = [token.type for token in self._tokens[at + 1 : at + 3]]
        return following[:1] in (["EQUALS"], ["LBRACE"]) or following in (["WORD", "LBRACE"], ["STRING", "LBRACE"])

    def _begins_line(self, at: int) -> bool:
        return at == 0 or "\n" in self._source.text[self._tokens[at - 1].lexpos : self._tokens[at].lexpos]


def _last(kinds: list[str], kind: str) -> int:
    return len(kinds) - 1 - kinds[::-1].index(kind)


def _expected(token: Any, statement: list[str], in_list: bool) -> str:
    """Says what should stand in a place."""
    if in_list and token.type == "EQUALS":
        return "a list holds values; a section is written without = before its {"
    if in_list:
        return "a list holds values, separated by commas, and ends with }"
    if statement == ["WORD"]:
        return "a name is followed by = and a value, or by { for a section"
    if statement == ["WORD", "EQUALS"]:
        return "after = comes a value, or a list in braces"
    if statement[1:2] == ["EQUALS"]:
        return "a value with blanks needs quotation marks" if token.type in _VALUES else "a value ends with ;"
    if len(statement) > 1 and token.type == "SEMI":
        return "an option is written with =, as in name = value;"
    if len(statement) > 1:
        return "the name of a section is followed by {"
    return "here begins an option (name = value;) or a section (keyword { ... })"
