"""Mail addresses: reverse-paths and forward-paths of the envelope, and their parts.

The text of an address is what stands between the angle brackets, without a source route; the null reverse-path is the
empty text.  Records, stores and logs all use this form.

Pure.  Ref: RFC 5321 4.1.2, 4.1.3, 4.5.3.1; RFC 6531 3.3.
"""

import ipaddress
import re
from typing import Final

from meta1g.base.dataclass import dataclass
from meta1g.smtp.limits import ADDRESS_MAX_BYTES, DOMAIN_MAX_BYTES, LABEL_MAX_BYTES, LOCAL_PART_MAX_BYTES

#: Other characters than ASCII; none of those that stand for bytes that are no UTF-8 (RFC 6531 3.3).
_OTHER: Final = r"[^\x00-\xA0\uD800-\uDFFF]"
_ATOM: Final = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~\-]+"
_UATOM: Final = rf"(?:[A-Za-z0-9!#$%&'*+/=?^_`{{|}}~\-]|{_OTHER})+"
_QUOTED: Final = r'"(?:[ !#-\[\]-~]|\\[ -~])*"'
_UQUOTED: Final = rf'"(?:[ !#-\[\]-~]|\\[ -~]|{_OTHER})*"'
_LABEL: Final = r"[A-Za-z0-9_](?:[A-Za-z0-9_\-]*[A-Za-z0-9_])?"
_ULABEL: Final = rf"(?:[A-Za-z0-9_]|{_OTHER})(?:(?:[A-Za-z0-9_\-]|{_OTHER})*(?:[A-Za-z0-9_]|{_OTHER}))?"
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
_BARE: Final = re.compile(r'((?:[^"<> @]|"(?:[^"\\]|\\.)*+")*+@[^"<> @]*+)(?: ++(.*))?', re.DOTALL)
#: A local part of atoms and dots that is no Dot-string: `a..b`, `.a`, `a.`.
_ODD_DOTS: Final = re.compile(r"([A-Za-z0-9!#$%&'*+/=?^_`{|}~.\-]+)@")
_UODD_DOTS: Final = re.compile(rf"((?:[A-Za-z0-9!#$%&'*+/=?^_`{{|}}~.\-]|{_OTHER})+)@")
_LOCAL_SENDER: Final = re.compile(rf"[^@\"]+|{_UQUOTED}")
#: What clients write that mean an address literal: any address, with or without tag; RFC 5321 4.1.3 has no zone.
_BRACKET_NAME: Final = re.compile(r"\[[A-Za-z0-9._:\-]*\]?[A-Za-z0-9._:\-]*")
_NOT_IN_EHLO: Final = re.compile(r"[^A-Za-z0-9!#$%&'*+/=?^_`{|}~.:\[\]\-]")


class AddressError(ValueError):
    """Text is not an address; the message says why, in words for a client."""


@dataclass(frozen=True, slots=True)
class Leniency:
    """What is taken beyond the syntax of RFC 5321; all of it is put right, so that nobody behind has to know of it.

    Args:
        bare: an address without angle brackets, or with blanks inside them.
        odd_dots: dots in any place of a local part, which goes on as a Quoted-string; a dot at the end of the domain, which is
            dropped.
        sender_domain: domain of a sender without one; empty if such a sender is wrong.
    """

    bare: bool = False
    odd_dots: bool = False
    sender_domain: str = ""


STRICT: Final = Leniency()


@dataclass(frozen=True, slots=True)
class Address:
    """One address.

    Args:
        local: local part without quotes; empty for the null reverse-path.
        domain: domain as written, or an address literal with its brackets; empty for `postmaster` and the null path.
        text: the address as it goes on, without brackets and source route.
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


NULL: Final = Address("", "", "")


def split_path(argument: str, lenient: Leniency = STRICT) -> tuple[str, str]:
    """Splits what follows `FROM:` or `TO:` into the text between the brackets and the parameters.

    Raises:
        AddressError: there is no path in angle brackets.
    """
    match = _BRACKETED.fullmatch(argument)
    if match is not None:
        return match[1].strip(" ") if lenient.bare else match[1], match[2] or ""
    match = _BARE.fullmatch(argument) if lenient.bare else None
    if match is None:
        raise AddressError("angle brackets are missing")
    return match[1], match[2] or ""


def parse_sender(text: str, lenient: Leniency = STRICT, *, utf8: bool = False) -> Address:
    """Reads a reverse-path; see parse_path.  The null path is allowed, and `root` alone may get a domain."""
    if lenient.sender_domain and _LOCAL_SENDER.fullmatch(text):
        text = f"{text}@{lenient.sender_domain}"
    return parse_path(text, lenient, null_ok=True, utf8=utf8)


def parse_path(text: str, lenient: Leniency = STRICT, *, null_ok: bool = False, utf8: bool = False) -> Address:
    """Reads a path with or without its angle brackets; a source route is dropped (RFC 5321 4.1.1.3, appendix C).

    Args:
        text: the path.
        lenient: what is taken beyond the syntax.
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
    pattern = _UMAILBOX if utf8 else _MAILBOX
    match = pattern.fullmatch(text)
    if match is None and lenient.odd_dots:
        text = _quoted(text, _UODD_DOTS if utf8 else _ODD_DOTS)
        match = pattern.fullmatch(text)
    if match is None:
        return _without_domain(text)
    local, domain = match[1], match[2]
    _check_lengths(local, domain)
    if local[0] == '"':
        local = _QUOTED_PAIR.sub(r"\1", local[1:-1])
    if domain[0] == "[":
        check_literal(domain)
    return Address(local, domain, text)


def _quoted(text: str, odd: "re.Pattern[str]") -> str:
    """Puts quotes around a local part of atoms and dots that is no Dot-string, and drops the dot at the end of the domain."""
    text = text.removesuffix(".")
    match = odd.match(text)
    is_odd = match is not None and not all(match[1].split("."))
    return f'"{match[1]}"{text[match.end(1) :]}' if match and is_odd else text


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


def ehlo_text(argument: str, *, strict: bool) -> str | None:
    """Gives the argument of EHLO or HELO as it goes into a header field, None if it is refused.

    What is neither a domain nor an address literal is taken unless strict, cut and with `?` for the characters that mean
    something in a field: clients send what their owner called the machine.  What begins as an address literal has to be made
    of the characters of host names and addresses.
    """
    if is_host(argument):
        return argument
    if strict or (argument.startswith("[") and not _BRACKET_NAME.fullmatch(argument)):
        return None
    return _NOT_IN_EHLO.sub("?", argument[:DOMAIN_MAX_BYTES])
