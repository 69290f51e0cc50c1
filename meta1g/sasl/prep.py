"""SASLprep: names and passwords in the form in which they are compared.

Pure.  Ref: RFC 4013; RFC 3454 (tables C and D); Python's stringprep and unicodedata.
"""

import stringprep
import unicodedata
from collections.abc import Callable
from typing import Final

from meta1g.sasl.base import SaslError, malformed

_PROHIBITED: Final[tuple[Callable[[str], bool], ...]] = (
    stringprep.in_table_c12,
    stringprep.in_table_c21_c22,
    stringprep.in_table_c3,
    stringprep.in_table_c4,
    stringprep.in_table_c5,
    stringprep.in_table_c6,
    stringprep.in_table_c7,
    stringprep.in_table_c8,
    stringprep.in_table_c9,
)


def saslprep(text: str, *, stored: bool = False) -> str:
    """Prepares a name or a password.

    Args:
        text: as it was given.
        stored: it is to be kept, so that code points that Unicode 3.2 has not assigned are refused (RFC 3454 7).

    Raises:
        SaslError: it has characters that may not be in it.
    """
    if text.isascii() and text.isprintable():
        return text
    mapped = "".join(" " if stringprep.in_table_c12(one) else one for one in text if not stringprep.in_table_b1(one))
    prepared = unicodedata.normalize("NFKC", mapped)
    if any(prohibited(one) for one in prepared for prohibited in _PROHIBITED):
        raise malformed("a character may not stand in a name or a password")
    if stored and any(stringprep.in_table_a1(one) for one in prepared):
        raise malformed("a character is not assigned in Unicode 3.2")
    _check_direction(prepared)
    return prepared


def _check_direction(text: str) -> None:
    """Looks at text that runs from right to left (RFC 3454 6)."""
    if not any(stringprep.in_table_d1(one) for one in text):
        return
    mixed = any(stringprep.in_table_d2(one) for one in text)
    if mixed or not (stringprep.in_table_d1(text[0]) and stringprep.in_table_d1(text[-1])):
        raise malformed("text from right to left is mixed with other text")


def prepared_or_none(text: str) -> str | None:
    """Prepares a text; None if it may not be used."""
    try:
        return saslprep(text)
    except SaslError:
        return None
