"""Patterns of the configuration, made ready by RE2.

Ref: milter-regex(8), "REGULAR EXPRESSIONS"; https://github.com/google/re2/wiki/Syntax.
"""

from collections.abc import Iterable
from typing import Any, Final

import re2

from meta1g_filters.regex.lexer import PatternText
from meta1g_filters.regex.posix import PatternError, translate
from meta1g_filters.regex.rules import Pattern

_FLAGS: Final = "ein"
#: Memory of one expression; our choice: what RE2 has by default, more than any that is written by hand.
_MEMORY_BYTES: Final = 8 << 20


def compiled(source: str) -> Any:
    """Gives the search of an expression of RE2 over bytes.

    Raises:
        ValueError: it is too large.
    """
    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1
    options.log_errors = False
    options.never_capture = True
    options.max_mem = _MEMORY_BYTES
    try:
        return re2.compile(source.encode("ascii"), options).search
    except re2.error as error:
        raise ValueError("the expression is too large for the memory that it may have; make several of it") from error


def pattern_of(text: PatternText) -> Pattern:
    """Makes a pattern ready.

    Raises:
        PatternError: an unknown flag, or a wrong expression; the place is one of the file.
    """
    for at, flag in enumerate(text.flags):
        if flag not in _FLAGS:
            raise PatternError(text.flags_pos + at, f"unknown flag {flag}; there are e (extended), i (ignore case), n (not)")
    if not text.text:
        if text.flags:
            raise PatternError(text.flags_pos, "an empty pattern fits everything and has no flags; remove them")
        return Pattern(None, "", negated=False)
    try:
        source = translate(text.text, extended="e" in text.flags, ignore_case="i" in text.flags)
        return Pattern(compiled(source), source, "n" in text.flags)
    except PatternError as error:
        raise PatternError(text.pos + error.pos, str(error)) from error
    except ValueError as error:
        raise PatternError(text.pos, str(error)) from error


def any_of(patterns: Iterable[Pattern]) -> Any:
    """Gives a search that finds something if one of the patterns fits, for many texts that mostly do not fit.

    Returns:
        None: there is no such search, each pattern has to be asked.
    """
    sources: list[str] = []
    for pattern in patterns:
        if pattern.negated or pattern.search is None:
            return None
        sources.append(pattern.source)
    try:
        return compiled("|".join(f"(?:{source})" for source in sources)) if len(sources) > 1 else None
    except ValueError:
        return None
