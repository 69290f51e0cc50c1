"""xtext: how arbitrary text stands in the value of an SMTP parameter.

Pure.  Ref: RFC 3461 4.
"""

import re
from typing import Final

_XTEXT: Final = re.compile(r"(?:[!-*,-<>-~]|\+[0-9A-F]{2})*")
_QUOTED: Final = re.compile(r"\+([0-9A-F]{2})")
_TO_QUOTE: Final = re.compile(r"[^!-*,-<>-~]")


def is_xtext(text: str) -> bool:
    """Tells whether text is well-formed xtext."""
    return _XTEXT.fullmatch(text) is not None


def encode(text: str) -> str:
    """Gives text as xtext; other characters than ASCII are written as their UTF-8 bytes."""
    return _TO_QUOTE.sub(lambda match: "".join(f"+{byte:02X}" for byte in match[0].encode("utf-8", "surrogateescape")), text)


def decode(text: str) -> str:
    """Gives the text behind an xtext.

    Raises:
        ValueError: text is not well-formed.
    """
    if not is_xtext(text):
        raise ValueError(f"not xtext: {text!r}")
    return _QUOTED.sub(lambda match: chr(int(match[1], 16)), text).encode("latin-1").decode("utf-8", "surrogateescape")
