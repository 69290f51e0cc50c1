"""Macros of sendmail 8 that a condition `macro` can look at, and where their values come from.

A name stands with braces if it has more than one letter, as the original gives it to patterns.  What has no value is empty.

Pure.  Ref: milter-regex(8), condition "macro" (the list is its, as far as the gateway knows them).
"""

from collections.abc import Iterator, Mapping
from typing import Final

from meta1g.pmilter import Pmm, PmServer, PmSession, Stage
from meta1g_filters.regex.decide import PartTexts

_TLS: Final[Mapping[Pmm, bytes]] = {
    Pmm.TLS_VERSION: b"{tls_version}",
    Pmm.TLS_CIPHER_SUITE: b"{cipher}",
    Pmm.TLS_CIPHER_BITS: b"{cipher_bits}",
    Pmm.TLS_ALG_BITS: b"{alg_bits}",
    Pmm.TLS_CERT_SUBJECT: b"{cert_subject}",
    Pmm.TLS_CERT_ISSUER: b"{cert_issuer}",
    Pmm.TLS_CN_SUBJECT: b"{cn_subject}",
    Pmm.TLS_CN_ISSUER: b"{cn_issuer}",
    Pmm.TLS_VRFY: b"{verify}",
}
_MAIL: Final[Mapping[Pmm, bytes]] = {
    Pmm.MAIL_TAID: b"i",
    Pmm.AUTH_TYPE: b"{auth_type}",
    Pmm.AUTH_AUTHEN: b"{auth_authen}",
    Pmm.AUTH_AUTHOR: b"{auth_author}",
}


def ask_for_macros(server: PmServer) -> None:
    """Asks a server for the macros of each stage."""
    server.setmaclist(Stage.CONNECT, Pmm.SRVHOSTNAME, Pmm.CLIENT_RESOLVE)
    server.setmaclist(Stage.HELO, *_TLS)
    server.setmaclist(Stage.MAIL, *_TLS, *_MAIL)


def at_connect(session: PmSession) -> Iterator[PartTexts]:
    """Gives the macros of a session."""
    yield b"j", _text(session.getmac(Pmm.SRVHOSTNAME))
    yield b"{client_resolve}", _text(session.getmac(Pmm.CLIENT_RESOLVE))
    yield b"{client_addr}", _text(session.client_addr)
    yield b"{client_name}", _text(session.client_name)


def at_helo(session: PmSession) -> Iterator[PartTexts]:
    """Gives the macros that TLS has given a value; a session without it may still begin it."""
    yield from (item for item in _values(session, _TLS) if item[1])


def at_mail(session: PmSession, mail: str) -> Iterator[PartTexts]:
    """Gives the macros of a sender."""
    yield from _values(session, {**_TLS, **_MAIL})
    yield b"{mail_addr}", _address(mail)


def at_rcpt(rcpt: str) -> Iterator[PartTexts]:
    """Gives the macros of a recipient."""
    yield b"{rcpt_addr}", _address(rcpt)


def _values(session: PmSession, names: Mapping[Pmm, bytes]) -> Iterator[PartTexts]:
    for macro, name in names.items():
        yield name, _text(session.getmac(macro))


def _text(value: str | None) -> bytes:
    return (value or "").encode("utf-8", "surrogateescape")


def _address(path: str) -> bytes:
    return _text(path.removeprefix("<").removesuffix(">"))
