r"""A text file of regular expressions: the first one that matches the key gives the value.

    /^(.*)-owner@example\.org$/   ${1}@example.net

The expressions are those of RE2, which needs time in proportion to the key whatever the expression; what only a
backtracking engine can do (look-around, references back) is refused.

Ref: our choice (MeTA1's regex map is not documented); form as in Postfix regexp tables; https://github.com/google/re2/wiki/Syntax.
"""

import re
from pathlib import Path
from typing import Any, Final

from meta1g.base.clock import Clock
from meta1g.base.errors import Module, PermError
from meta1g.maps.base import NOTFOUND, MapResult, ok, perm
from meta1g.maps.filemap import FileMap
from meta1g.maps.limits import REGEX_KEY_MAX_CHARS, REGEX_MEMORY_BYTES, REGEX_RULES_MAX, REGEX_STEPS_MAX
from meta1g.maps.rhs import replace
from meta1g.maps.textmap import read_entries
from meta1g.maps.watch import Loader

#: Expressions of the library have no types.
Expression = Any
_RULE: Final = re.compile(r"/((?:[^/\\]|\\.)++)/")


def compile_expression(text: str) -> Expression:
    """Makes an expression ready; case does not count.

    Raises:
        ValueError: it is wrong, too large, or needs backtracking; the message says what to do.
    """
    import re2  # some 3 MiB, for those who have such a map

    options = re2.Options()
    options.case_sensitive = False
    options.log_errors = False
    options.max_mem = REGEX_MEMORY_BYTES
    try:
        made = re2.compile(text, options)
    except re2.error as error:
        cause = error.args[0] if error.args else ""
        reason = cause.decode("utf-8", "replace") if isinstance(cause, bytes) else str(cause)
        raise ValueError(f"wrong expression: {reason}; write it without look-around and references back (RE2)") from error
    if made.programsize > REGEX_STEPS_MAX:
        raise ValueError(f"expression is too large ({made.programsize} steps, at most {REGEX_STEPS_MAX}); make several of it")
    return made


def read_rule(key: str) -> Expression:
    """Makes the expression of a key `/expression/` ready.

    Raises:
        ValueError: it is none, or wrong; the message says what to do.
    """
    match = _RULE.fullmatch(key)
    if match is None:
        raise ValueError("write /expression/ value (a blank in it as \\s)")
    return compile_expression(match[1].replace("\\/", "/"))


def read_rules(path: Path) -> list[tuple[Expression, str]]:
    """Reads the file.

    Raises:
        PermError: a line is not `/expression/ value`, or there are too many; the error names file and line.
    """
    rules: list[tuple[Expression, str]] = []
    for number, key, value in read_entries(path, tagged=True):
        if len(rules) >= REGEX_RULES_MAX:
            raise PermError(Module.MAP, f"{path}:{number}: more than {REGEX_RULES_MAX} expressions; use a text or hash map")
        try:
            rules.append((read_rule(key), value))
        except ValueError as error:
            raise PermError(Module.MAP, f"{path}:{number}: {error}") from error
    return rules


class RegexMap(FileMap[list[tuple[Expression, str]]]):
    """A file of expressions, asked in order.

    Args:
        name: names it in logs.
        path: the file.
        clock: for tests.
        loader: where a changed file is read.

    Raises:
        PermError: the file cannot be read or has a wrong expression.

    Locking: none needed; the list is replaced as a whole.
    """

    def __init__(self, name: str, path: Path, clock: Clock | None = None, loader: Loader | None = None) -> None:
        super().__init__(name, path, read_rules, clock, loader)

    def lookup(self, key: str) -> MapResult:
        """Looks a key up; `${0}` in the value is the whole match, `${1}` ... the groups."""
        if len(key) > REGEX_KEY_MAX_CHARS:
            return perm(f"key is longer than {REGEX_KEY_MAX_CHARS} characters")
        if not key.isascii():
            key = key.encode("utf-8", "replace").decode()  # bytes that are no UTF-8 match `?`
        for expression, value in self.content:
            match = expression.search(key)
            if match is not None:
                groups = {str(number): text or "" for number, text in enumerate((match[0], *match.groups()))}
                return ok(replace(value, groups))
        return NOTFOUND
