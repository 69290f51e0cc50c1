"""The tables of docs/json.md, and whether what a program prints is of that shape: every field, of its type, and no other.

A type is a word of _WORDS, the name of a table, `list of TYPE`, `TYPE or null`, or `TYPE by NAME` for an object whose names
are data; behind it `, may be missing`.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from tests import tables

_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
_MISSING: Final = ", may be missing"
_WORDS: Final[Mapping[str, Callable[[Any], bool]]] = {
    "text": lambda value: isinstance(value, str),
    "count": lambda value: isinstance(value, int) and not isinstance(value, bool) and value >= 0,
    "number": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "seconds": lambda value: isinstance(value, int | float) and not isinstance(value, bool) and value >= 0,
    "milliseconds": lambda value: isinstance(value, int | float) and not isinstance(value, bool) and value >= 0,
    "true or false": lambda value: isinstance(value, bool),
    "object": lambda value: isinstance(value, dict),
    "true": lambda value: value is True,
    "time": lambda value: isinstance(value, str) and _TIME.fullmatch(value) is not None,
}


@dataclass
class Shapes:
    """All tables of the page.

    Attributes:
        used: tables that something was compared with.
        seen: (table, field) that was there.
    """

    tables: dict[str, dict[str, str]] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)
    seen: set[tuple[str, str]] = field(default_factory=set)

    @classmethod
    def of_page(cls, page: str = "json.md") -> "Shapes":
        names = re.findall(r"^\| (\S[^|]*?) \| type \|", (tables.DOCS / page).read_text(), re.MULTILINE)
        assert len(set(names)) == len(names), names
        return cls({name: {tables.code(row[0]): row[1] for row in tables.rows(page, name)} for name in names})

    def unseen(self) -> set[tuple[str, str]]:
        """Gives the fields that no compared value had."""
        return {(name, one) for name, fields in self.tables.items() for one in fields} - self.seen

    def check(self, kind: str, value: Any, where: str = "") -> None:
        """Compares a value with a type; an AssertionError names what is wrong."""
        where = where or kind
        if kind.endswith(" or null"):
            kind = kind.removesuffix(" or null")
            if value is None:
                return
        if kind in _WORDS:
            assert _WORDS[kind](value), f"{where}: {value!r} is no {kind}"
        elif kind.startswith("list of "):
            assert isinstance(value, list), f"{where}: {value!r} is no list"
            for number, one in enumerate(value):
                self.check(kind.removeprefix("list of "), one, f"{where}[{number}]")
        elif " by " in kind:
            assert isinstance(value, dict), f"{where}: {value!r} is no object"
            for name, one in value.items():
                self.check(kind.partition(" by ")[0], one, f"{where}.{name}")
        else:
            self._object(kind, value, where)

    def _object(self, kind: str, value: Any, where: str) -> None:
        fields = self.tables[kind]
        self.used.add(kind)
        assert isinstance(value, dict), f"{where}: {value!r} is no object"
        assert not value.keys() - fields.keys(), f"{where}: {value.keys() - fields.keys()} are in no table"
        for name, text in fields.items():
            if name not in value:
                assert text.endswith(_MISSING), f"{where}: {name} is missing"
                continue
            self.seen.add((kind, name))
            self.check(text.removesuffix(_MISSING), value[name], f"{where}.{name}")
