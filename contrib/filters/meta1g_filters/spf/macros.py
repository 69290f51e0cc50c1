"""Macro strings of SPF: checked when a record is read, expanded when a term is evaluated.

    %{ir}.sbl.%{d2}   letter, number of right-hand labels, `r` to reverse, delimiters; `%%`, `%_`, `%-`

Pure.  Ref: RFC 7208 7 and 12 (domain-spec, explain-string); RFC 8616 4 (local parts that are not ASCII match nothing).
"""

import re
from collections.abc import Callable
from typing import Final
from urllib.parse import quote

from meta1g.base.dataclass import dataclass
from meta1g.base.errors import Module, PermError

#: Letters that a domain may have, and those that an explanation may have beside them.
DOMAIN_LETTERS: Final = "slodiphv"
TEXT_LETTERS: Final = "slodiphvcrt"
#: Longest name that is asked for; labels are removed from the left of one that is longer.  Ref: RFC 7208 7.3.
NAME_MAX_CHARS: Final = 253
_MACRO: Final = re.compile(r"%(?:\{([A-Za-z])([0-9]*)([rR]?)([-.+,/_=]*)\}|([%_-]))")
_PLAIN: Final = {"%": "%", "_": " ", "-": "%20"}
_TOPLABEL: Final = r"(?:[a-z0-9]*[a-z][a-z0-9]*|[a-z0-9]+-[a-z0-9-]*[a-z0-9])"
_DOMAIN_END: Final = re.compile(rf"\.{_TOPLABEL}\.?\Z", re.IGNORECASE)


class SpfSyntaxError(PermError):
    """A record, or a text of one, is not what RFC 7208 allows."""

    def __init__(self, cause: str) -> None:
        super().__init__(Module.PMILTER, cause)


@dataclass(frozen=True, slots=True)
class Macro:
    """One macro.

    Args:
        letter: which value, in lower case.
        parts: right-hand parts that are kept, 0 for all.
        reverse: the parts are reversed before.
        delimiters: what parts the value.
        escape: the value is escaped as in a URL.
    """

    letter: str
    parts: int
    reverse: bool
    delimiters: str
    escape: bool

    def expand(self, value: str) -> str:
        """Gives what stands for a value."""
        pieces = re.split(f"[{re.escape(self.delimiters)}]", value)
        if self.reverse:
            pieces.reverse()
        text = ".".join(pieces[-self.parts :])
        return quote(text, safe="-._~") if self.escape else text


@dataclass(frozen=True, slots=True)
class MacroText:
    """A text that was checked.

    Args:
        pieces: literal texts and macros in turn.
    """

    pieces: tuple[str | Macro, ...]

    def expand(self, value_of: Callable[[str], str]) -> str:
        """Gives the text with the values of its macros.

        Args:
            value_of: gives the value of a letter; asked only for those that there are.
        """
        return "".join(one if isinstance(one, str) else one.expand(value_of(one.letter)) for one in self.pieces)


def macro_text(source: str, letters: str = DOMAIN_LETTERS, *, blanks: bool = False) -> MacroText:
    """Reads a macro-string, or an explain-string with blanks.

    Raises:
        SpfSyntaxError: it is none, or has a macro that may not stand here.
    """
    pieces: list[str | Macro] = []
    at = 0
    for found in _MACRO.finditer(source):
        pieces.append(_literal(source[at : found.start()], blanks=blanks))
        pieces.append(_PLAIN[found[5]] if found[5] else _macro(found, letters))
        at = found.end()
    pieces.append(_literal(source[at:], blanks=blanks))
    return MacroText(tuple(one for one in pieces if one != ""))


def domain_spec(source: str) -> MacroText:
    """Reads a domain-spec: it ends in a macro or in a label that can stand at the top.

    Raises:
        SpfSyntaxError: it is none.
    """
    text = macro_text(source)
    ends = [found.end() for found in _MACRO.finditer(source)]
    rest = source[ends[-1] if ends else 0 :]
    if not source or (rest and not _DOMAIN_END.search(rest)):
        raise SpfSyntaxError(f"{source[:80]!r} is no domain")
    return text


def is_domain(name: str) -> bool:
    """Tells whether a name without macros can have a policy: two labels at least, each of 1 to 63 octets, no address.

    Ref: RFC 7208 4.3.
    """
    labels = name.removesuffix(".").split(".")
    fits = len(labels) > 1 and all(0 < len(label) < 64 for label in labels) and len(name) <= NAME_MAX_CHARS + 1
    return fits and name.isascii() and _DOMAIN_END.search(name) is not None


def shortened(name: str) -> str:
    """Gives the name that is asked for: without a last dot, without labels that are too many."""
    name = name.removesuffix(".")
    while len(name) > NAME_MAX_CHARS and "." in name:
        name = name.partition(".")[2]
    return name


def _literal(text: str, *, blanks: bool) -> str:
    for char in text:
        if not ("!" <= char <= "~" or (blanks and char == " ")) or char == "%":
            raise SpfSyntaxError(f"{char!r} may not stand in {text[:80]!r}")
    return text


def _macro(found: re.Match[str], letters: str) -> Macro:
    letter, digits, reverse, delimiters = found[1], found[2], found[3], found[4]
    if letter.lower() not in letters:
        raise SpfSyntaxError(f"macro {found[0]} may not stand here")
    parts = int(digits[:4] or 0)
    if digits and not parts:
        raise SpfSyntaxError(f"macro {found[0]} takes no parts")
    return Macro(letter.lower(), parts, bool(reverse), delimiters or ".", letter.isupper())
