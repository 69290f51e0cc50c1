"""The values of the macros that filters may ask for, as a session comes to know them.

Names are those of meta1g/milter/macros.py, for filters of both kinds; an empty value is none.

Ref: sendmail 8, doc/op, "Macros"; MeTA1 pmilter API (macros modelled on).
"""

import ipaddress
from collections.abc import Mapping

from meta1g.base.reply import Reply
from meta1g.milter.frames import Family, PeerAddress
from meta1g.smtp import xtext
from meta1g.smtp.address import Address
from meta1g.smtps.dialogue import Dialogue
from meta1g.smtps.received import client_text
from meta1g.smtps.transaction import Transaction

_MAILER = "smtp"
#: The mailer of a recipient that is refused, as in sendmail.
_ERROR_MAILER = "error"
_NULL_AUTH = "<>"


def of_session(dialogue: Dialogue) -> dict[str, str]:
    """Gives what is known when the client has connected."""
    client = client_text(dialogue.client_name, dialogue.client_addr)
    hostname, name = dialogue.settings.hostname, dialogue.client_name
    macros = {"j": hostname, "daemon_name": hostname, "v": "meta1g", "_": client, "client_addr": dialogue.client_addr}
    macros |= {"client_name": name or "unknown", "client_ptr": name or "unknown", "client_resolve": "OK" if name else "FAIL"}
    sock = dialogue.nfd.sock
    here = None if sock is None else sock.getsockname()
    if isinstance(here, tuple):
        macros |= {"daemon_addr": str(here[0]), "daemon_port": str(here[1]), "if_addr": str(here[0]), "if_name": hostname}
    macros["client_port"] = str(_client_port(dialogue) or "")
    return macros


def of_helo(dialogue: Dialogue, name: str) -> dict[str, str]:
    """Gives what a HELO or EHLO adds: its argument, TLS, and who the client is if it has said that before."""
    macros = {"s": name, "r": dialogue.origin().protocol, **_of_auth(dialogue, None)}
    tls = dialogue.tls
    if tls is not None:
        macros |= {"tls_version": tls.version, "cipher": tls.cipher, "cipher_bits": str(tls.bits)}
        macros |= {"alg_bits": str(tls.algorithm_bits), "cert_subject": tls.subject, "cert_issuer": tls.issuer}
        macros |= {"cn_subject": tls.common_name, "cn_issuer": tls.issuer_common_name}
        macros["verify"] = "OK" if tls.verified else "NO" if tls.peer_cert is None else "FAIL"
    return macros


def of_mail(dialogue: Dialogue, ta: Transaction) -> dict[str, str]:
    """Gives what MAIL adds; what the last transaction had is over."""
    date = dialogue.context.dates.text(dialogue.context.clock.now())
    macros = {"i": ta.ta_id, "b": date, "f": ta.mail.text, "r": dialogue.origin().protocol, "msg_id": "", "c": ""}
    macros |= {"mail_addr": ta.mail.text, "mail_host": ta.mail.domain, "mail_mailer": _MAILER}
    return macros | _of_auth(dialogue, ta.params.auth)


def _of_auth(dialogue: Dialogue, asked: str | None) -> dict[str, str]:
    """Gives who the client is, and on whose behalf it acts: whom its MAIL names (RFC 4954 5), else itself."""
    auth = dialogue.auth
    if auth is None:
        return {"auth_type": "", "auth_authen": "", "auth_author": ""}
    author = auth.user if asked in (None, _NULL_AUTH) else xtext.decode(str(asked))
    return {"auth_type": auth.mechanism, "auth_authen": auth.user, "auth_author": author}


def of_rcpt(address: Address) -> dict[str, str]:
    """Gives what RCPT adds."""
    return {"rcpt_addr": address.text, "rcpt_host": address.domain, "rcpt_mailer": _MAILER}


def of_refused_rcpt(reply: Reply) -> dict[str, str]:
    """Gives what a recipient that is refused adds: the reason stands in place of its address."""
    return {"rcpt_addr": reply.one_line, "rcpt_host": reply.ecode, "rcpt_mailer": _ERROR_MAILER}


def of_end(message_id: str | None, hops: int) -> dict[str, str]:
    """Gives what the end of a message adds: its Message-ID, and how many Received fields it came with."""
    return {"msg_id": message_id or "", "c": str(hops)}


def _client_port(dialogue: Dialogue) -> int:
    """Gives the port of the client; 0 if somebody else's connection speaks for it."""
    sock = dialogue.nfd.sock
    try:
        there = None if sock is None else sock.getpeername()
    except OSError:  # the client is gone; the next read says so
        return 0
    if not isinstance(there, tuple) or str(there[0]).removeprefix("::ffff:") != dialogue.client_addr:
        return 0
    return int(there[1])


def peer(dialogue: Dialogue, macros: Mapping[str, str]) -> PeerAddress:
    """Gives the address of the client as filters are told it; its port is among the macros of the session."""
    address = ipaddress.ip_address(dialogue.client_addr)
    family = Family.INET if address.version == 4 else Family.INET6
    return PeerAddress(family, int(macros["client_port"] or 0), str(address).encode())
