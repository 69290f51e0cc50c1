r"""xtext: how arbitrary text stands in the value of an SMTP parameter; and the forms of an internationalized address there.

    address    ORCPT
    a+b@x      rfc822;a+2Bb@x
    ä+b@x      utf-8;\x{E4}\x{2B}b@x, where SMTPUTF8 is spoken also utf-8;ä\x{2B}b@x

Pure.  Ref: RFC 3461 4; RFC 6533 3.
"""

import re
from typing import Final

_XTEXT: Final = re.compile(r"(?:[!-*,-<>-~]|\+[0-9A-F]{2})*")
_QUOTED: Final = re.compile(r"\+([0-9A-F]{2})")
_TO_QUOTE: Final = re.compile(r"[^!-*,-<>-~]")
#: The type of address that may hold other characters than ASCII.
UTF8_TYPE: Final = "utf-8"
_UNICODE: Final = re.compile(r"\\x\{((?:10|0?[0-9A-F])?[0-9A-F]{1,4})\}")
_UNITEXT: Final = re.compile(r"(?:[!-*,-<>-\[\]-~]|[^\x00-\x9f]|\\x\{(?:10|0?[0-9A-F])?[0-9A-F]{1,4}\})+")
_TO_EMBED: Final = re.compile(r"[^!-*,-<>-\[\]-~]")


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


def is_unitext(text: str) -> bool:
    """Tells whether text is an address in one of the forms of the type utf-8: xtext, unitext, or as it is."""
    if _UNITEXT.fullmatch(text) is None:
        return False
    return all(not 0xD800 <= int(match, 16) <= 0xDFFF and int(match, 16) for match in _UNICODE.findall(text))


def embed(address: str) -> str:
    r"""Gives an address in ASCII, everything else in it as `\x{HEX}` (utf-8-addr-xtext)."""
    text = address.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return _TO_EMBED.sub(lambda match: f"\\x{{{ord(match[0]):02X}}}", text)


def address_of(orcpt: str) -> tuple[str, str]:
    """Gives type and address behind the value of ORCPT; an address that is not well-formed stays as it is."""
    kind, _, address = orcpt.partition(";")
    if kind.lower() == UTF8_TYPE and is_unitext(address):
        return kind, _UNICODE.sub(lambda match: chr(int(match[1], 16)), address)
    return kind, decode(address) if is_xtext(address) else address


def orcpt_of(address: str) -> str:
    """Gives the value of ORCPT for an address that is the original recipient (RFC 3461 5.2.1, RFC 6533 3)."""
    return f"rfc822;{encode(address)}" if address.isascii() else f"{UTF8_TYPE};{embed(address)}"
