"""What mail to an address would meet now: its servers in the order in which they are tried, and what TLS has to fulfil at each.

The answer is that of SMAR, as for a recipient; nothing is sent.

Pure.  Ref: docs/operating.md.
"""

from collections.abc import Iterator
from typing import Any, Final

from meta1g.base import sysexits
from meta1g.base.tlspolicy import TlsLevel, policy_of
from meta1g.qmgr.control.selection import CommandError
from meta1g.rcb.common import DeliveryAgent, ServerAddr
from meta1g.rcb.qmgr_smar import Members, Route, Unresolved
from meta1g.rcb.schema import Message

NO_RESOLVER: Final = "address resolver is not available"


def address_of(word: str) -> str:
    """Gives the address to ask about; that of a domain is its postmaster."""
    return word if "@" in word else f"postmaster@{word}"


def rows_of(answer: Message | None) -> list[dict[str, Any]]:
    """Gives a row for each server, or for each member of an alias.

    Raises:
        CommandError: there is none, with the reply that a sender would get.
    """
    if isinstance(answer, Members):
        return [{**_row("alias", ""), "server": member} for member in answer.members]
    if isinstance(answer, Unresolved):
        raise CommandError(str(answer.reply), sysexits.EX_TEMPFAIL if answer.reply.is_temp else sysexits.EX_NOUSER)
    if not isinstance(answer, Route):
        raise CommandError(NO_RESOLVER, sysexits.EX_TEMPFAIL)
    return [_server(answer, one) for one in answer.servers]


def _row(da: str, tls: str) -> dict[str, Any]:
    return {"server": "", "addr": "", "port": 0, "da": da, "tls": tls, "source": "", "demands": [], "refused": ""}


def _server(route: Route, server: ServerAddr) -> dict[str, Any]:
    policy = policy_of(server.tls, server.tls_source)
    demands = []
    if policy.level is TlsLevel.VERIFY:
        demands.append(f"one of the names {' '.join(policy.names)}")
    if policy.tlsa:
        demands.append(f"one of {len(policy.tlsa)} TLSA records, server name {policy.server_name}")
    if policy.fingerprints:
        demands.append(f"one of {len(policy.fingerprints)} fingerprints")
    demands += _settings(server, route.rcpt_conf, tls13=policy.tls13, ciphers=policy.ciphers)
    return {
        **_row(DeliveryAgent(route.da).name.lower(), policy.level.value),
        "server": server.host or server.addr,
        "addr": server.addr,
        "port": server.port,
        "source": policy.source or "nothing else is demanded",
        "demands": demands,
        "refused": policy.refused,
    }


def _settings(server: ServerAddr, rcpt_conf: str, *, tls13: bool, ciphers: str) -> Iterator[str]:
    if tls13:
        yield "TLS 1.3"
    if ciphers:
        yield f"ciphers {ciphers}"
    if server.conf:
        yield f"smtpc_session_conf: {server.conf}"
    if rcpt_conf:
        yield f"smtpc_rcpt_conf: {rcpt_conf}"
