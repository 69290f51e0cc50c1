"""Authentication-Results fields: composed of results, and found among those that others have written.

    Authentication-Results: mx.example.org;
            spf=pass smtp.mailfrom=ada@example.net;
            dkim=fail reason="body has changed" header.d=example.net header.s=s1

Whoever reads the field trusts the name at its beginning, so a field that came with our name is removed (RFC 8601 5), and so
is one that a reader could take for ours: one with our name anywhere in it that does not say clearly that it is another's.

Pure.  Ref: RFC 8601 2.2 (grammar), 5 (removal); RFC 8616 5 (names that are not ASCII).
"""

import re
import unicodedata
from collections.abc import Sequence
from typing import Final

from meta1g.base.dataclass import dataclass
from meta1g.base.idn import forms, to_ascii
from meta1g_filters.fieldtext import bare_text

FIELD_NAME: Final = "Authentication-Results"
#: Longest value that is written; what is longer tells nothing more.  Our choice.
VALUE_MAX_CHARS: Final = 256
_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`{|}~0-9A-Za-z-]+")
#: A dot-string, at sign, domain; or a domain with the at sign in front (RFC 8601 2.2, pvalue).
_ADDRESS: Final = re.compile(r"(?:[!#$%&'*+/=?^_`{|}~0-9A-Za-z-]+(?:\.[!#$%&'*+/=?^_`{|}~0-9A-Za-z-]+)*)?@[0-9A-Za-z._-]+")


@dataclass(frozen=True, slots=True)
class MethodResult:
    """What one method came to.

    Args:
        method: `spf`, `dkim`, `dmarc`, `arc`.
        result: its word for that.
        reason: why, for people; empty without.
        properties: `ptype.property` and value, in order; one without a value is left out.
        comment: stands behind the result in parentheses; empty without.
    """

    method: str
    result: str
    reason: str = ""
    properties: tuple[tuple[str, str], ...] = ()
    comment: str = ""

    def __str__(self) -> str:
        words = [f"{self.method}={self.result}"]
        if self.comment:
            words.append(f"({_comment(self.comment)})")
        if self.reason:
            words.append(f"reason={_quoted(_plain(self.reason))}")
        words += [f"{name}={pvalue(value)}" for name, value in self.properties if value]
        return " ".join(words)


def compose(authserv_id: str, results: Sequence[MethodResult]) -> str:
    """Gives the value of the field, folded, without a line end behind it.

    Args:
        authserv_id: who says so.
        results: in the order in which they stand; none means that nothing was checked.
    """
    said = [str(one) for one in results] or ["none"]
    return f" {_token_or_quoted(authserv_id)};\r\n\t" + ";\r\n\t".join(said)


def pvalue(value: str) -> str:
    """Writes the value of a property: bare if it is a token or an address in ASCII, else in quotation marks."""
    text = _plain(value)
    return text if _TOKEN.fullmatch(text) or _ADDRESS.fullmatch(text) else _quoted(text)


def mailbox(address: str) -> str:
    """Gives an address as a property has it: one whose local part is not ASCII by its domain only, as the field is ASCII."""
    local, at, domain = address.rpartition("@")
    try:
        name = to_ascii(domain)
    except ValueError:
        return ""
    return f"{local if local.isascii() else ''}{at}{name}" if name.isascii() else ""


def _plain(text: str) -> str:
    return "".join(char if " " <= char <= "~" else "?" for char in text[:VALUE_MAX_CHARS])


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _comment(text: str) -> str:
    return re.sub(r'[()"\\]', "?", _plain(text))


def _token_or_quoted(text: str) -> str:
    return text if _TOKEN.fullmatch(text) else _quoted(_plain(text))


def claims(value: bytes, authserv_id: str) -> bool:
    """Tells whether a field that came has to go: it says that it is ours, or could be taken for it.

    Args:
        value: of the field, with its line ends.
        authserv_id: our name.
    """
    text = value.decode("utf-8", "replace").replace("\r\n", "")
    name, ours = authserv_of(text), authserv_id.lower()
    if name is not None:
        return name.lower().removesuffix(".") == ours
    return any(one in _seen(read) for one in forms(ours) for read in (text, bare_text(text.replace('"', ""), "")))


def _seen(text: str) -> str:
    """Gives what a reader may make of a text who is careless: without blanks, what is not seen, and differences of letters."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return "".join(char for char in folded if char.isprintable() and char not in ' \\"')


def has_result(field: bytes, method: str, result: str) -> bool:
    """Tells whether a field, or one of ARC, says that a method came to a result; comments and quoted texts do not count.

    Args:
        field: with its name and line ends.
        method: such as `dmarc`.
        result: such as `pass`.
    """
    text = bare_text(field.decode("utf-8", "replace"), '""')
    return re.search(rf"[;:]\s*{method}(?:/1)?\s*=\s*{result}(?![\w-])", text, re.IGNORECASE) is not None


def authserv_of(text: str) -> str | None:
    """Gives the name at the beginning of an unfolded value, None if it cannot be told."""
    rest = _after_cfws(text)
    if rest is None:
        return None
    if rest.startswith('"'):
        quoted = re.match(r'"((?:[^"\\]|\\.)*)"', rest)
        name, behind = (re.sub(r"\\(.)", r"\1", quoted[1]), rest[quoted.end() :]) if quoted else ("", "")
    else:
        token = re.match(r"[^\x00-\x20\x7f\s;()\"<>@,:\\/\[\]?=]+", rest)
        name, behind = (token[0], rest[token.end() :]) if token else ("", "")
    behind = _after_cfws(behind) or ""
    version = re.match(r"[0-9]+", behind)
    if version:
        behind = _after_cfws(behind[version.end() :]) or ""
    return name if name and name.isascii() and (behind.startswith(";") or not behind) else None


def _after_cfws(text: str) -> str | None:
    """Gives what stands behind blanks and comments; None if a comment does not end."""
    depth = at = 0
    while at < len(text) and (depth or text[at] in " \t("):
        char = text[at]
        at += 2 if char == "\\" else 1
        depth += (char == "(") - (char == ")")
    return None if depth else text[at:]
