"""Who may relay: by client address, or because the recipient's domain is ours to take.

Ref: MeTA1 README, "Relaying" (modelled on); RFC 5321 7.8 (relaying for everybody is abuse).
"""

from collections.abc import Iterable

from meta1g.base.errors import Module, PermError
from meta1g.maps.cidrmap import NetworkTable, parse_address
from meta1g.maps.lookup import domain_keys
from meta1g.smar.limits import ROUTE_CACHE_ENTRIES
from meta1g.smar.memo import Memo
from meta1g.smar.route import Routes


def network_table(entries: Iterable[str], where: str) -> NetworkTable:
    """Makes a table of addresses and networks.

    Raises:
        PermError: an entry is none.
    """
    table = NetworkTable()
    for entry in entries:
        try:
            table.add(entry, "relay")
        except ValueError as error:
            raise PermError(Module.SMAR, f"{where}: relay_from: {error}; write addresses and networks") from error
    return table


class RelayRules:
    """The rules of relaying.

    Args:
        relay_from: addresses and networks of clients that may relay.
        relay_to: domains that anybody may write to; `.example.org` stands for the subdomains.
        local_domains: the same, for domains that are delivered here.
        routes: domains that the mailertable sends to a local LMTP server are local too.
        where: place in the configuration, for errors.

    Raises:
        PermError: an address is wrong.

    Locking: own lock LEAF (of the cache).
    """

    def __init__(
        self, relay_from: Iterable[str], relay_to: Iterable[str], local_domains: Iterable[str], routes: Routes, where: str = ""
    ) -> None:
        self._clients = network_table(relay_from, where)
        self._relay_to = frozenset(domain.lower() for domain in relay_to)
        self._local = frozenset(domain.lower() for domain in local_domains)
        self._routes = routes
        self._known: Memo[str, str] = Memo(ROUTE_CACHE_ENTRIES)

    def client_may(self, address: str) -> bool:
        """Tells whether the client may relay anywhere.

        Args:
            address: IP address; a local socket or anything else may not.
        """
        known = self._known.get(address, 0)
        if known is None:
            try:
                known = self._clients.find(parse_address(address)) or "no"
            except ValueError:
                known = "no"
            self._known.put(address, 0, known)
        return known == "relay"

    def is_local(self, domain: str) -> bool:
        """Tells whether a domain is delivered here.  Blocks: only if the mailertable does."""
        return _listed(domain, self._local) or self._routes.is_local(domain)

    def domain_may(self, domain: str) -> bool:
        """Tells whether anybody may write to a domain.  Blocks: only if the mailertable does."""
        return _listed(domain, self._relay_to) or self.is_local(domain)


def _listed(domain: str, domains: frozenset[str]) -> bool:
    return bool(domains) and any(key in domains for key in domain_keys(domain))
