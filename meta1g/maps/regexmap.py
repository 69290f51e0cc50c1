r"""A text file of regular expressions: the first one that matches the key gives the value.

    /^(.*)-owner@example\.org$/   ${1}@example.net

Ref: our choice (MeTA1's regex map is not documented); form as in Postfix regexp tables.
"""

import re
from pathlib import Path

from meta1g.base.clock import Clock
from meta1g.base.errors import Module, PermError
from meta1g.maps.base import NOTFOUND, MapResult, ok, perm
from meta1g.maps.limits import REGEX_KEY_MAX_CHARS
from meta1g.maps.rhs import replace
from meta1g.maps.textmap import read_entries
from meta1g.maps.watch import WatchedFile

_RULE = re.compile(r"/((?:[^/\\]|\\.)+)/(x?)")


def read_rules(path: Path) -> list[tuple["re.Pattern[str]", str]]:
    """Reads the file.

    Raises:
        PermError: a line is not `/expression/ value`; the error names file and line.
    """
    rules = []
    for number, key, value in read_entries(path, tagged=True):
        match = _RULE.fullmatch(key)
        if match is None:
            raise PermError(Module.MAP, f"{path}:{number}: write /expression/ value (a blank in it as \\s)")
        try:
            rules.append((re.compile(match[1].replace("\\/", "/"), re.IGNORECASE), value))
        except re.error as error:
            raise PermError(Module.MAP, f"{path}:{number}: wrong expression: {error}") from error
    return rules


class RegexMap:
    """A file of expressions, asked in order.

    Args:
        name: names it in logs.
        path: the file.
        clock: for tests.

    Raises:
        PermError: the file cannot be read or has a wrong expression.

    Locking: none needed; the list is replaced as a whole.
    """

    blocking = False

    def __init__(self, name: str, path: Path, clock: Clock | None = None) -> None:
        self.name = name
        self._file = WatchedFile(path, read_rules, clock)

    def lookup(self, key: str) -> MapResult:
        """Looks a key up; `${0}` in the value is the whole match, `${1}` ... the groups."""
        self.version()
        if len(key) > REGEX_KEY_MAX_CHARS:
            return perm(f"key is longer than {REGEX_KEY_MAX_CHARS} characters")
        for expression, value in self._file.content:
            match = expression.search(key)
            if match is not None:
                groups = {str(number): text or "" for number, text in enumerate((match[0], *match.groups()))}
                return ok(replace(value, groups))
        return NOTFOUND

    def version(self) -> int:
        """Gives a number that grows when the file changes; reads the file then, and keeps the old one if it is wrong."""
        return self._file.look()

    def close(self) -> None:
        """Has nothing to close."""
