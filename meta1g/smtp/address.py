"""Mail addresses: reverse-paths and forward-paths of the envelope, and their parts.

The text of an address is what stands between the angle brackets, without a source route; the null reverse-path is the
empty text.  Records, stores and logs all use this form.

Pure.  Ref: RFC 5321 4.1.2, 4.1.3, 4.5.3.1; RFC 6531 3.3.
"""

import ipaddress
import re
from dataclasses import dataclass
from typing import Final

from meta1g.smtp.limits import ADDRESS_MAX_BYTES, DOMAIN_MAX_BYTES, LABEL_MAX_BYTES, LOCAL_PART_MAX_BYTES

_ATOM: Final = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~\-]+"
_UATOM: Final = r"(?:[A-Za-z0-9!#$%&'*+/=?^_`{|}~\-]|[^\x00-\xA0])+"
_QUOTED: Final = r'"(?:[ !#-\[\]-~]|\\[ -~])*"'
_UQUOTED: Final = r'"(?:[ !#-\[\]-~]|\\[ -~]|[^\x00-\xA0])*"'
_LABEL: Final = r"[A-Za-z0-9_](?:[A-Za-z0-9_\-]*[A-Za-z0-9_])?"
_ULABEL: Final = r"(?:[A-Za-z0-9_]|[^\x00-\xA0])(?:(?:[A-Za-z0-9_\-]|[^\x00-\xA0])*(?:[A-Za-z0-9_]|[^\x00-\xA0]))?"
_LITERAL: Final = r"\[[!-Z^-~]+\]"


def _mailbox(atom: str, quoted: str, label: str) -> "re.Pattern[str]":
    local = rf"({atom}(?:\.{atom})*|{quoted})"
    return re.compile(rf"{local}@({label}(?:\.{label})*|{_LITERAL})")


_MAILBOX: Final = _mailbox(_ATOM, _QUOTED, _LABEL)
_UMAILBOX: Final = _mailbox(_UATOM, _UQUOTED, _ULABEL)
_ROUTE: Final = re.compile(rf"@{_LABEL}(?:\.{_LABEL})*(?:,@{_LABEL}(?:\.{_LABEL})*)*:")
_DOMAIN: Final = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_QUOTED_PAIR: Final = re.compile(r"\\(.)")
_BRACKETED: Final = re.compile(r'<((?:[^"<>]|"(?:[^"\\]|\\.)*")*)>(?: +(.*))?', re.DOTALL)


class AddressError(ValueError):
    """Text is not an address; the message says why, in words for a client."""


@dataclass(frozen=True, slots=True)
class Address:
    """One address.

    Args:
        local: local part without quotes; empty for the null reverse-path.
        domain: domain as written, or an address literal with its brackets; empty for `postmaster` and the null path.
        text: the address as it goes on, without brackets and source route.

    Immutable.
    """

    local: str
    domain: str
    text: str

    @property
    def is_null(self) -> bool:
        """Whether it is the null reverse-path."""
        return not self.text

    @property
    def key(self) -> str:
        """The address as a look-up key: lower case, local part without quotes."""
        return f"{self.local}@{self.domain}".lower() if self.domain else self.local.lower()

    @property
    def is_ascii(self) -> bool:
        """Whether the address needs no SMTPUTF8."""
        return self.text.isascii()


NULL: Final = Address("", "", "")


def split_path(argument: str) -> tuple[str, str]:
    """Splits what follows `FROM:` or `TO:` into the text between the brackets and the parameters.

    Raises:
        AddressError: there is no path in angle brackets.
    """
    match = _BRACKETED.fullmatch(argument)
    if match is None:
        raise AddressError("angle brackets are missing")
    return match[1], match[2] or ""


def parse_path(text: str, *, null_ok: bool = False, utf8: bool = False) -> Address:
    """Reads a path with or without its angle brackets; a source route is dropped.

    Args:
        text: the path.
        null_ok: the null reverse-path is allowed.
        utf8: characters beyond ASCII are allowed (SMTPUTF8).

    Raises:
        AddressError: it is not an address.
    """
    if text.startswith("<") and text.endswith(">"):
        text = text[1:-1]
    if not text:
        if null_ok:
            return NULL
        raise AddressError("address is empty")
    if text[0] == "@":
        route = _ROUTE.match(text)
        text = text[route.end() :] if route else text
    if len(text) > ADDRESS_MAX_BYTES:
        raise AddressError(f"address is longer than {ADDRESS_MAX_BYTES} characters")
    match = (_UMAILBOX if utf8 else _MAILBOX).fullmatch(text)
    if match is None:
        return _without_domain(text)
    local, domain = match[1], match[2]
    _check_lengths(local, domain)
    if local[0] == '"':
        local = _QUOTED_PAIR.sub(r"\1", local[1:-1])
    if domain[0] == "[":
        check_literal(domain)
    return Address(local, domain, text)


def _without_domain(text: str) -> Address:
    """Gives the one address that needs no domain (RFC 5321 4.5.1)."""
    if text.lower() == "postmaster":
        return Address(text, "", text)
    raise AddressError("domain is missing" if "@" not in text else "address has a wrong form")


def _check_lengths(local: str, domain: str) -> None:
    if len(local.encode()) > LOCAL_PART_MAX_BYTES:
        raise AddressError(f"local part is longer than {LOCAL_PART_MAX_BYTES} bytes")
    if len(domain.encode()) > DOMAIN_MAX_BYTES:
        raise AddressError(f"domain is longer than {DOMAIN_MAX_BYTES} bytes")
    if domain[0] != "[" and len(domain) > LABEL_MAX_BYTES and max(map(len, domain.split("."))) > LABEL_MAX_BYTES:
        raise AddressError(f"a label of the domain is longer than {LABEL_MAX_BYTES} bytes")


def check_literal(literal: str) -> None:
    """Checks an address literal such as `[192.0.2.1]` or `[IPv6:2001:db8::1]`.

    Raises:
        AddressError: it names no address.
    """
    inner = literal[1:-1]
    try:
        if "%" in inner:
            raise ValueError("a zone (RFC 4007) is no part of an address literal")
        if inner[:5].lower() == "ipv6:":
            ipaddress.IPv6Address(inner[5:])
        else:
            ipaddress.IPv4Address(inner)
    except ValueError:
        raise AddressError("address literal is not valid") from None


def is_host(text: str) -> bool:
    """Tells whether text can be the argument of EHLO or HELO: a domain or an address literal."""
    if text.startswith("[") and text.endswith("]"):
        try:
            check_literal(text)
        except AddressError:
            return False
        return True
    return len(text) <= DOMAIN_MAX_BYTES and _DOMAIN.fullmatch(text) is not None


def split_detail(local: str, delimiter: str = "+") -> tuple[str, str | None]:
    """Splits a local part at the first delimiter into user and detail; detail is None if there is none.

    A delimiter at the very start belongs to the user.
    """
    at = local.find(delimiter, 1) if delimiter else -1
    return (local, None) if at < 0 else (local[:at], local[at + len(delimiter) :])
