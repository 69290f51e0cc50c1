"""Lists of tags, `name=value; name=value`: signatures, seals and key records are written so.

What does not fit the grammar makes the whole list invalid, and so does a name that occurs twice.

Pure.  Ref: RFC 6376 3.2; RFC 8616 4 (UTF-8 in values); RFC 8617 4.1.
"""

import base64
import binascii
import re
from typing import Final

from meta1g.base.idn import to_ascii

#: A tag, then `;` or the end.  Values may have blanks and folds inside; VALCHAR and octets of UTF-8 otherwise.
_TAG: Final = re.compile(rb"[ \t\r\n]*+([A-Za-z][A-Za-z0-9_]{0,40}+)[ \t\r\n]*+=([!-:<-~\x80-\xff \t\r\n]*+)(?:;|\Z)")
_BLANKS: Final = re.compile(r"[ \t\r\n]+")
_BASE64: Final = re.compile(r"[A-Za-z0-9+/]*={0,2}")
#: Where a line may end inside a value: before a blank.
_BAD_FOLD: Final = re.compile(rb"\r(?!\n[ \t])|(?<!\r)\n")
#: The tag `b`, its value with the blanks around it.  Ref: RFC 6376 3.7.
_B_TAG: Final = re.compile(rb"((?:\A|;)[ \t\r\n]*+b[ \t\r\n]*+=)[^;]*+")
_NUMBER: Final = re.compile(r"[0-9]{1,12}")
_LABEL: Final = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
DOMAIN_MAX_BYTES: Final = 253


class TagError(Exception):
    """A list of tags is not as the grammar wants it, or a value of it is not.

    Args:
        text: what is wrong, without octets of the list but names of tags.
    """


def parse_tags(value: bytes) -> dict[str, str]:
    """Reads a list of tags.

    Args:
        value: what stands behind the name of the field, or the text of a key record; it may end with a line end.

    Returns:
        Values by the names of their tags, without blanks around them, in their order.

    Raises:
        TagError: it is none.
    """
    value = value.removesuffix(b"\r\n")
    if _BAD_FOLD.search(value):
        raise TagError("a line end that is no fold")
    tags: dict[str, str] = {}
    at, end = 0, len(value.rstrip(b" \t\r\n"))
    while at < end:
        found = _TAG.match(value, at)
        if found is None:
            raise TagError(f"no tag behind {'the first one' if len(tags) == 1 else f'{len(tags)} tags'}" if tags else "no tag")
        name = found[1].decode()
        if name in tags:
            raise TagError(f"two tags {name}=")
        try:
            tags[name] = found[2].strip(b" \t\r\n").decode()
        except UnicodeDecodeError as error:
            raise TagError(f"{name}= is not UTF-8") from error
        at = found.end()
    return tags


def without_b(field: bytes) -> bytes:
    """Gives a field with an empty tag `b` and without the line end behind it, as its own signature covers it (RFC 6376 3.7)."""
    name, colon, value = field.partition(b":")
    return (name + colon + _B_TAG.sub(rb"\1", value, count=1)).removesuffix(b"\r\n")


def compact(value: str) -> str:
    """Gives a value without the blanks inside it."""
    return _BLANKS.sub("", value)


def words(value: str) -> list[str]:
    """Gives the parts of a value between colons, without blanks."""
    return compact(value).split(":")


def number(tags: dict[str, str], name: str) -> int | None:
    """Gives a number of up to 12 digits; None if the tag is not there.

    Raises:
        TagError: it is no such number.
    """
    if name not in tags:
        return None
    if _NUMBER.fullmatch(tags[name]) is None:
        raise TagError(f"{name}= is no number")
    return int(tags[name])


def octets(tags: dict[str, str], name: str) -> bytes:
    """Gives what a tag has in base64, blanks inside it left out.

    Raises:
        TagError: the tag is not there, empty, or not base64.
    """
    text = compact(tags.get(name, ""))
    if not text:
        raise TagError(f"no {name}=")
    try:
        if _BASE64.fullmatch(text):
            return base64.b64decode(text, validate=True)
    except binascii.Error:
        pass
    raise TagError(f"{name}= is not base64")


def domain_name(text: str) -> str:
    """Gives a domain or selector in A-labels and lower case; empty if DNS could not have such a name."""
    try:
        domain = to_ascii(text).lower() if len(text) <= DOMAIN_MAX_BYTES else ""
    except ValueError:
        return ""
    return domain if len(domain) <= DOMAIN_MAX_BYTES and all(map(_LABEL.fullmatch, domain.split("."))) else ""
