"""Attributes of XCLIENT and XFORWARD: what a proxy or a filter in front of us says of the client behind it.

    XCLIENT     NAME ADDR PORT PROTO HELO LOGIN DESTADDR DESTPORT    the session goes on as that client's
    XFORWARD    NAME ADDR PORT PROTO HELO IDENT SOURCE               for the log

Values are xtext; `[UNAVAILABLE]` and `[TEMPUNAVAIL]` say that nothing is known, which is an empty value here.

Pure.  Ref: Postfix, XCLIENT_README, XFORWARD_README; RFC 3461 4 (xtext).
"""

import ipaddress
import re
from collections.abc import Callable, Mapping
from typing import Final

from meta1g.base.reply import Reply
from meta1g.smtp import replies, xtext
from meta1g.smtp.address import ehlo_text, is_host
from meta1g.smtp.proxyheader import PORT_MAX, plain_address

#: Our choice is that of Postfix.
VALUE_MAX_CHARS: Final = 255
_UNKNOWN: Final = frozenset(("[UNAVAILABLE]", "[TEMPUNAVAIL]"))
_IPV6: Final = "IPV6:"
_ATTRIBUTE: Final = re.compile(r"([A-Za-z]+)=([!-~]+)")


def _name(value: str) -> str:
    if not is_host(value) or value.startswith("["):
        raise ValueError(value)
    return value.lower()


def _addr(value: str) -> str:
    text = value[len(_IPV6) :] if value[: len(_IPV6)].upper() == _IPV6 else value
    if "%" in text:
        raise ValueError(value)
    return plain_address(ipaddress.ip_address(text))


def _port(value: str) -> str:
    if not value.isascii() or not value.isdigit() or int(value) > PORT_MAX:
        raise ValueError(value)
    return str(int(value))


def _one_of(*words: str) -> Callable[[str], str]:
    def check(value: str) -> str:
        if value.upper() not in words:
            raise ValueError(value)
        return value.upper()

    return check


def _helo(value: str) -> str:
    text = ehlo_text(value, strict=False)
    if text is None:
        raise ValueError(value)
    return text


def _ident(value: str) -> str:
    if not value.isascii() or not value.isprintable():
        raise ValueError(value)
    return value


def _login(value: str) -> str:
    if not value.isprintable():
        raise ValueError(value)
    return value


_COMMON: Final[Mapping[str, Callable[[str], str]]] = {
    "NAME": _name,
    "ADDR": _addr,
    "PORT": _port,
    "PROTO": _one_of("SMTP", "ESMTP"),
    "HELO": _helo,
}
#: Attributes with the check of their values, in the order of the answer to EHLO.
XCLIENT_ATTRIBUTES: Final[Mapping[str, Callable[[str], str]]] = {
    **_COMMON,
    "LOGIN": _login,
    "DESTADDR": _addr,
    "DESTPORT": _port,
}
XFORWARD_ATTRIBUTES: Final[Mapping[str, Callable[[str], str]]] = {
    **_COMMON,
    "IDENT": _ident,
    "SOURCE": _one_of("LOCAL", "REMOTE"),
}


def parse_attributes(argument: str, table: Mapping[str, Callable[[str], str]]) -> dict[str, str] | Reply:
    """Reads the argument of XCLIENT or XFORWARD.

    Args:
        argument: what follows the verb.
        table: the attributes of the command.

    Returns:
        Attributes by their names in upper case, empty for what is not known; or the reply that refuses the command.
    """
    values: dict[str, str] = {}
    for word in argument.split(" "):
        if not word:
            continue
        match = _ATTRIBUTE.fullmatch(word)
        name = "" if match is None else match[1].upper()
        if match is None or name not in table or name in values:
            return replies.BAD_ATTRIBUTE
        try:
            text = xtext.decode(match[2])
            values[name] = "" if text.upper() in _UNKNOWN else table[name](_short(text))
        except ValueError:
            return replies.BAD_ATTRIBUTE
    return values or replies.BAD_ATTRIBUTE


def _short(text: str) -> str:
    if not 0 < len(text) <= VALUE_MAX_CHARS:
        raise ValueError(text)
    return text
