"""Pieces of the configuration in the access map: for a client of SMTPS, for a server and for a recipient of SMTPC.

    smtps_session_conf:192.0.2         smtpc_session_conf:.example.net        smtpc_rcpt_conf:user@example.org

SMAR finds and checks them; the process that they are for applies them.

Invariant: an entry that is wrong, or not in this version, and a map that does not answer put mail off; an entry is never passed
over.  What it asks for may be why mail may go there at all.

Ref: MeTA1 README, "SMTP Server Session Configuration", "STARTTLS Restrictions" (tags as in MeTA1, look-up order modelled on).
"""

from collections.abc import Iterable
from dataclasses import replace
from itertools import chain
from typing import Final

from meta1g.base.reply import Reply
from meta1g.conf.access import TAGS, TagRow, check_rhs
from meta1g.maps.base import Map, MapStatus, may_have
from meta1g.maps.lookup import access_keys, client_keys, domain_keys, search
from meta1g.maps.wrong import WrongEntries
from meta1g.rcb.common import ServerAddr
from meta1g.rcb.qmgr_smar import Route, Unresolved
from meta1g.smar.limits import SNIPPET_CACHE_ENTRIES
from meta1g.smar.memo import Memo
from meta1g.smtp.address import Address, parse_path

_CLIENT, _SERVER, _RCPT = (TAGS[tag] for tag in ("smtps_session_conf", "smtpc_session_conf", "smtpc_rcpt_conf"))
#: What a recipient has instead of a route.
NO_CONF: Final = Unresolved(reply=Reply(451, "4.3.5", "Configuration of this recipient or its server is wrong"))


class HostConf:
    """The snippets of the access map.

    Args:
        table: the map.
        delimiter: separates user and detail in local parts.
        wrong: is told of wrong entries.

    Locking: own lock LEAF (of the cache).  All methods block if the map does.
    """

    def __init__(self, table: Map, delimiter: str, wrong: WrongEntries) -> None:
        self._table = table
        self._delimiter = delimiter
        self._wrong = wrong
        self._known: Memo[tuple[str, str, str], str] = Memo(SNIPPET_CACHE_ENTRIES)
        self.blocking = table.blocking

    def client(self, address: str, name: str) -> str | None:
        """Gives the snippet for a client of SMTPS: empty without one, None if mail has to wait.

        Args:
            address: its IP address, or what it has instead.
            name: its confirmed name in lower case, empty without one.
        """
        return self._find(_CLIENT, address, name, chain(client_keys(address), domain_keys(name) if name else ()))

    def server(self, server: ServerAddr) -> str | None:
        """Gives the snippet for a server; else as client()."""
        name = "" if server.host == server.addr else server.host.lower()
        return self._find(
            _SERVER, server.addr, name, chain(client_keys(server.addr.lower()), domain_keys(name) if name else ())
        )

    def recipient(self, rcpt: Address) -> str | None:
        """Gives the snippet for a recipient; else as client()."""
        local, domain = rcpt.local.lower(), rcpt.domain.lower()
        return self._find(_RCPT, local, domain, access_keys(local, domain, self._delimiter))

    def applied(self, rcpt: str, route: Route) -> Route | Unresolved:
        """Gives the route of a recipient with the snippets of its servers, or why it has to wait."""
        rcpt_conf = self.recipient(parse_path(rcpt, utf8=True)) if may_have(self._table, _RCPT.tag) else ""
        if rcpt_conf is None:
            return NO_CONF
        if rcpt_conf:
            route = replace(route, rcpt_conf=rcpt_conf)
        if not may_have(self._table, _SERVER.tag):
            return route
        snippets = [self.server(one) for one in route.servers]
        if None in snippets:
            return NO_CONF
        servers = (one if not conf else replace(one, conf=conf) for one, conf in zip(route.servers, snippets, strict=True))
        return replace(route, servers=tuple(servers))

    def _find(self, row: TagRow, first: str, second: str, keys: Iterable[str]) -> str | None:
        """Asks for a snippet; what is right is kept, by the two words that the keys are made of."""
        if not may_have(self._table, row.tag):
            return ""
        version = None if self._table.blocking else self._table.version()
        question = (row.tag, first, second)
        known = None if version is None else self._known.get(question, version)
        if known is not None:
            return known
        found = self._ask(row, keys)
        if found is not None and version is not None:
            self._known.put(question, version, found)
        return found

    def _ask(self, row: TagRow, keys: Iterable[str]) -> str | None:
        key, result = search(self._table, keys, f"{row.tag}:")
        if result.status is not MapStatus.OK:
            return "" if result.status in (MapStatus.NOTFOUND, MapStatus.NOMORE) else None
        try:
            check_rhs(row, result.value, f"{row.tag}:{key}")
        except ValueError as error:
            self._wrong.tell(self._table.name, f"{row.tag}:{key}", result.value, str(error).partition("\n")[0])
            return None
        return result.value
