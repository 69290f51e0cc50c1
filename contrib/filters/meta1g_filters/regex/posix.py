r"""Regular expressions of POSIX, basic and extended, in the words of RE2, which needs time in proportion to the text.

An expression becomes a tree of byte sets, and the tree an expression of RE2 that names bytes only: what it matches does not
depend on the locale, and text of any character set can be looked at.  A letter beyond ASCII is its bytes in UTF-8.

    basic     \( \) \{ \} are operators, also \+ \? \| as the C library of GNU has them; ^ * $ where they have a meaning
    extended  ( ) { } + ? |
    both      . [...] with [:classes:], \< \> [[:<:]] [[:>:]] \b \B \w \W \s \S

What needs backtracking (references back) is refused, and so is a letter behind a backslash that has no meaning.

Pure.  Ref: IEEE Std 1003.1, "Regular Expressions"; re_format(7); regex(7); https://github.com/google/re2/wiki/Syntax.
"""

from collections.abc import Callable
from typing import Final

from meta1g.base.dataclass import dataclass

#: Most repetitions of an interval.  Ref: RE2; RE_DUP_MAX of POSIX is 255 at least.
REPEAT_MAX: Final = 1000
#: Groups inside each other; our choice: more than anybody can read.
NESTING_MAX: Final = 100
_INF: Final = -1
_ALL: Final = frozenset(range(256))
_WORD: Final = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_")
_SPACE: Final = frozenset(b" \t\n\r\f\v")
_CLASSES: Final[dict[str, Callable[[str], bool]]] = {
    "alnum": str.isalnum,
    "alpha": str.isalpha,
    "blank": lambda char: char in " \t",
    "cntrl": lambda char: char < " " or char == "\x7f",
    "digit": str.isdigit,
    "graph": lambda char: "!" <= char <= "~",
    "lower": str.islower,
    "print": lambda char: " " <= char <= "~",
    "punct": lambda char: "!" <= char <= "~" and not char.isalnum(),
    "space": lambda char: ord(char) in _SPACE,
    "upper": str.isupper,
    "xdigit": lambda char: char in "0123456789abcdefABCDEF",
}
_SETS: Final = {"w": _WORD, "W": _ALL - _WORD, "s": _SPACE, "S": _ALL - _SPACE}
_ASSERTIONS: Final = {"b": r"\b", "B": r"\B", "`": r"\A", "'": r"\z"}


class PatternError(ValueError):
    """An expression is wrong.

    Args:
        pos: where in the expression, counted from 0.
        message: what is wrong and what to do about it.
    """

    def __init__(self, pos: int, message: str) -> None:
        super().__init__(message)
        self.pos = pos


@dataclass(frozen=True, slots=True)
class _Bytes:
    """One byte out of a set."""

    values: frozenset[int]


@dataclass(frozen=True, slots=True)
class _Check:
    """A place: begin, end, boundary of a word; edge is -1 for the begin of a word, 1 for its end, else 0."""

    text: str
    pos: int = 0
    edge: int = 0


@dataclass(frozen=True, slots=True)
class _Several:
    """Parts one after another, or one of them."""

    parts: "tuple[_Node, ...]"
    choice: bool = False


@dataclass(frozen=True, slots=True)
class _Repeat:
    """A part several times; high is _INF without a bound."""

    part: "_Node"
    low: int
    high: int


_Node = _Bytes | _Check | _Several | _Repeat


def translate(text: str, *, extended: bool, ignore_case: bool) -> str:
    """Gives an expression of RE2, for texts of bytes (Latin-1), that matches where the one of POSIX does.

    Args:
        text: the expression.
        extended: by the rules of extended expressions, else of basic ones.
        ignore_case: case of letters does not count.

    Raises:
        PatternError: it is wrong, or needs backtracking.
    """
    node = _Reader(text, extended=extended, ignore_case=ignore_case).read()
    _check_edges(node)
    return _written(node)


class _Reader:
    """Reads one expression.  Owner: translate()."""

    def __init__(self, text: str, *, extended: bool, ignore_case: bool) -> None:
        self._text = text
        self._extended = extended
        self._ignore_case = ignore_case
        self._at = 0
        self._depth = 0

    def read(self) -> _Node:
        """Reads all of it."""
        node = self._choice()
        if self._at < len(self._text):
            raise PatternError(
                self._at, f"{self._sign(')')} without {self._sign('(')}; write {self._plain(')')} for the sign itself"
            )
        return node

    def _sign(self, char: str) -> str:
        return char if self._extended else "\\" + char

    def _plain(self, char: str) -> str:
        return "\\" + char if self._extended else char

    def _sees(self, operator: str) -> bool:
        """Tells whether an operator stands here that needs a backslash in a basic expression."""
        return self._text.startswith(self._sign(operator), self._at)

    def _take(self, operator: str) -> bool:
        if not self._sees(operator):
            return False
        self._at += len(self._sign(operator))
        return True

    def _choice(self) -> _Node:
        parts = [self._sequence()]
        while self._take("|"):
            parts.append(self._sequence())
        return parts[0] if len(parts) == 1 else _Several(tuple(parts), choice=True)

    def _sequence(self) -> _Node:
        parts: list[_Node] = []
        while self._at < len(self._text) and not self._sees("|") and not self._sees(")"):
            start = self._at
            plain_star = not parts or (len(parts) == 1 and self._text[start - 1] == "^" and isinstance(parts[0], _Check))
            atom = self._atom(first=not parts, plain_star=plain_star)
            parts.append(self._repeated(atom, start))
        return parts[0] if len(parts) == 1 else _Several(tuple(parts))

    def _repeated(self, atom: _Node, start: int) -> _Node:
        if isinstance(atom, _Check) and not self._extended:
            return atom  # the star of ^* is a sign like others
        while (bounds := self._bounds()) is not None:
            if isinstance(atom, _Check):
                raise PatternError(
                    start, f"{self._text[start : self._at]} repeats a place, not a sign; leave the repetition out"
                )
            atom = _Repeat(atom, *bounds)
        return atom

    def _bounds(self) -> tuple[int, int] | None:
        """Reads a repetition, if one stands here."""
        if self._text.startswith("*", self._at):
            self._at += 1
            return 0, _INF
        if self._take("+"):
            return 1, _INF
        if self._take("?"):
            return 0, 1
        after = self._at + len(self._sign("{"))
        if not self._sees("{") or (self._extended and not self._text[after : after + 1].isdigit()):
            return None  # in an extended expression { is a sign like others if no number follows
        return self._interval()

    def _interval(self) -> tuple[int, int]:
        start = self._at
        self._take("{")
        end = self._text.find(self._sign("}"), self._at)
        low, comma, high = self._text[self._at : end].partition(",") if end >= 0 else ("", "", "")
        numbers = [low, high] if comma and high else [low]
        if not all(one.isascii() and one.isdigit() and int(one[:9]) <= REPEAT_MAX for one in numbers):
            raise PatternError(start, f"not an interval; write {self._sign('{')}2,5{self._sign('}')}, up to {REPEAT_MAX}")
        self._at = end + len(self._sign("}"))
        least, most = int(low), int(high) if high else _INF if comma else int(low)
        if 0 <= most < least:
            raise PatternError(start, f"{least} to {most} is no interval; write the lesser number first")
        return least, most

    def _atom(self, *, first: bool, plain_star: bool) -> _Node:
        start, char = self._at, self._text[self._at]
        if self._take("("):
            return self._group(start)
        if char == "\\":
            return self._escaped()
        if char == "[":
            return self._bracket()
        if char == "^" and (first or self._extended):
            self._at += 1
            return _Check(r"\A")
        if char == "$" and (self._extended or self._ends(start + 1)):
            self._at += 1
            return _Check(r"\z")
        if self._extended and self._text[start + 1 : start + 2].isdigit() and char == "{":
            raise PatternError(start, "{ has nothing in front of it to repeat; write \\{ for the sign itself")
        if (char == "*" and (self._extended or not plain_star)) or (self._extended and char in "+?"):
            raise PatternError(start, f"{char} has nothing in front of it to repeat; write \\{char} for the sign itself")
        self._at += 1
        return _Bytes(_ALL) if char == "." else self._literal(char)

    def _ends(self, at: int) -> bool:
        """Tells whether a sequence of a basic expression ends here."""
        return at == len(self._text) or self._text.startswith(("\\)", "\\|"), at)

    def _group(self, start: int) -> _Node:
        self._depth += 1
        if self._depth > NESTING_MAX:
            raise PatternError(start, f"more than {NESTING_MAX} groups inside each other; make it simpler")
        node = self._choice()
        if not self._take(")"):
            raise PatternError(
                start, f"{self._sign('(')} without {self._sign(')')}; write {self._plain('(')} for the sign itself"
            )
        self._depth -= 1
        return _Several((node,))

    def _escaped(self) -> _Node:
        start = self._at
        char = self._text[start + 1 : start + 2]
        self._at += 2
        if char in _SETS and char:
            return _Bytes(_SETS[char])
        if char in _ASSERTIONS and char:
            return _Check(_ASSERTIONS[char])
        if char in ("<", ">"):
            return _Check(r"\b", start, -1 if char == "<" else 1)
        if not char:
            raise PatternError(start, "a backslash at the end; write \\\\ for the sign itself")
        if char.isdigit() and char != "0":
            raise PatternError(
                start, f"\\{char} refers back to a group, which is not possible here; write out what it stands for"
            )
        if char.isalnum():
            raise PatternError(start, f"\\{char} has no meaning; write {char}{_HINTS.get(char, '')}")
        if not self._extended and char in "{}+?":
            raise PatternError(start, f"\\{char} has nothing to do here; write {char} for the sign itself")
        return self._literal(char)

    def _literal(self, char: str) -> _Node:
        forms = {char, *(one for one in (char.lower(), char.upper()) if self._ignore_case and len(one) == 1)}
        if char.isascii():
            return _Bytes(frozenset(ord(one) for one in forms if one.isascii()))
        spelt = sorted(one.encode("utf-8", "surrogateescape") for one in forms)
        words = tuple(_Several(tuple(_Bytes(frozenset((byte,))) for byte in one)) for one in spelt)
        return _Several(words, choice=True)

    def _bracket(self) -> _Node:
        for text, edge in (("[[:<:]]", -1), ("[[:>:]]", 1)):
            if self._text.startswith(text, self._at):
                self._at += len(text)
                return _Check(r"\b", self._at - len(text), edge)
        start = self._at
        self._at += 1
        negated = self._text.startswith("^", self._at)
        self._at += negated
        values, others = self._members(start)
        if self._ignore_case:
            values |= {ord(one) for char in map(chr, values) if char.isascii() for one in (char.lower(), char.upper())}
        if not others:
            return _Bytes(_ALL - values if negated else frozenset(values))
        if negated:
            raise PatternError(start, f"[^...] with {others[0]}, which is several bytes; name only ASCII in it")
        return _Several((_Bytes(frozenset(values)), *(self._literal(char) for char in others)), choice=True)

    def _members(self, start: int) -> tuple[set[int], list[str]]:
        """Reads the members of a bracket: bytes, and characters that are several bytes."""
        values: set[int] = set()
        others: list[str] = []
        first = True
        while first or not self._text.startswith("]", self._at):
            if self._at >= len(self._text):
                raise PatternError(start, "[ without ]; write \\[ for the sign itself")
            first = False
            if self._text.startswith("[:", self._at):
                values |= self._class()
                continue
            place, low = self._at, self._member(start)
            if self._text.startswith("-", self._at) and self._text[self._at + 1 : self._at + 2] not in ("]", ""):
                self._at += 1
                high = self._member(start)
                if not (low.isascii() and high.isascii() and low <= high):
                    raise PatternError(place, f"{low}-{high} is no range; write the lesser first, both ASCII")
                values |= set(range(ord(low), ord(high) + 1))
            elif low.isascii():
                values.add(ord(low))
            else:
                others.append(low)
        self._at += 1
        return values, others

    def _class(self) -> set[int]:
        end = self._text.find(":]", self._at)
        name = self._text[self._at + 2 : end] if end >= 0 else ""
        if name not in _CLASSES:
            raise PatternError(self._at, f"[:{name}:] is no class; there are {', '.join(_CLASSES)}")
        self._at = end + 2
        return {byte for byte in range(128) if _CLASSES[name](chr(byte))}

    def _member(self, start: int) -> str:
        """Reads one member: a sign, or one in [. .] or [= =]."""
        for mark in ".=":
            if self._text.startswith("[" + mark, self._at):
                if self._text[self._at + 3 : self._at + 5] != mark + "]":
                    raise PatternError(self._at, f"[{mark} names one sign only, as in [{mark}-{mark}]")
                self._at += 5
                return self._text[self._at - 3]
        if self._at >= len(self._text):
            raise PatternError(start, "[ without ]; write \\[ for the sign itself")
        self._at += 1
        return self._text[self._at - 1]


_HINTS: Final = {"d": ", or [0-9] for a digit", "D": ", or [^0-9] for anything but a digit", "t": ", or [[:blank:]]"}


def _check_edges(node: _Node) -> None:
    r"""Looks whether \b says what \< and \> mean: what stands on the inner side has to be a letter, digit or _.

    Raises:
        PatternError: it may be something else.
    """
    if isinstance(node, _Repeat):
        _check_edges(node.part)
    elif isinstance(node, _Several):
        for at, part in enumerate(node.parts):
            if not isinstance(part, _Check) or node.choice:
                _check_edges(part)
            elif part.edge:
                _check_edge(part, node.parts[at + 1 :] if part.edge < 0 else node.parts[:at])
    elif isinstance(node, _Check) and node.edge:
        _check_edge(node, ())


def _check_edge(check: _Check, inner: "tuple[_Node, ...]") -> None:
    outermost, may_be_empty = _reach(_Several(inner), check.edge)
    if may_be_empty or not outermost <= _WORD:
        side = "behind" if check.edge < 0 else "in front of"
        raise PatternError(check.pos, f"a letter, digit or _ has to stand {side} the edge of a word; write \\b for any edge")


def _reach(node: _Node, edge: int) -> tuple[frozenset[int], bool]:
    """Gives the bytes that a match of a node may begin with (edge -1) or end with (1), and whether it may be empty."""
    if isinstance(node, _Bytes):
        return node.values, False
    if isinstance(node, _Check):
        return frozenset(), True
    if isinstance(node, _Repeat):
        found, empty = _reach(node.part, edge)
        return found, empty or node.low == 0
    reached = [_reach(part, edge) for part in node.parts]
    if node.choice:
        return frozenset().union(*(found for found, _ in reached)), any(empty for _, empty in reached)
    bytes_: frozenset[int] = frozenset()
    for found, empty in reached if edge < 0 else reversed(reached):
        bytes_ |= found
        if not empty:
            return bytes_, False
    return bytes_, True


def _written(node: _Node) -> str:
    """Writes a node as RE2 reads it."""
    if isinstance(node, _Bytes):
        return _set_written(node.values)
    if isinstance(node, _Check):
        return node.text
    if isinstance(node, _Repeat):
        high = "" if node.high == _INF else str(node.high)
        return f"(?:{_written(node.part)}){{{node.low},{high}}}"
    return f"(?:{('|' if node.choice else '').join(map(_written, node.parts))})"


def _set_written(values: frozenset[int]) -> str:
    if len(values) == 1:
        return f"\\x{min(values):02x}"
    if not values:
        return r"[^\x00-\xff]"
    runs: list[list[int]] = []
    for value in sorted(values):
        if runs and runs[-1][1] == value - 1:
            runs[-1][1] = value
        else:
            runs.append([value, value])
    return "[" + "".join(f"\\x{low:02x}-\\x{high:02x}" if low < high else f"\\x{low:02x}" for low, high in runs) + "]"
