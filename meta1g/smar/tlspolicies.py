"""Which TLS policy holds at each server of a route: the map first, then the other sources, in their order.

    Target -- the map --> an entry decides alone, but for what only DANE can say
       |  without one
    Hop -- DANE -- further sources, each the next one if the one before says nothing --> TlsPolicy, in ServerAddr

A source is asked once for each host of a route, when its addresses are known; it answers at once, or in a worker.

Invariants: each route gets one answer; a source that fails refuses the host for now, it is not passed over: what it would have
said may be why mail may go there at all.

Ref: RFC 7672 2.2; RFC 8461 2 (DANE comes first); Postfix, smtp_tls_policy_maps (modelled on).
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Protocol

from meta1g.base import failure
from meta1g.base.dataclass import dataclass
from meta1g.base.log import Log
from meta1g.base.tlspolicy import OPPORTUNISTIC, TlsLevel, TlsPolicy
from meta1g.pt.lock import Lock, LockRank
from meta1g.rcb.common import ServerAddr
from meta1g.rcb.qmgr_smar import Route
from meta1g.smar.route import Target
from meta1g.smar.tlsmap import PolicyEntry, PolicyMap

OnPolicy = Callable[[TlsPolicy | None], None]
_CONFUSED = TlsPolicy(refused="its TLS policy is not known, see the log of smar")


@dataclass(frozen=True, slots=True)
class Hop:
    """A host that mail goes to, and how it was found.

    Args:
        domain: what the route names, lower case: a domain, a host, or an IP address.
        host: the server's name, lower case; an IP address if it has none.
        port: its port.
        use_mx: the host was found by MX records of the domain, or stands for it because there are none.
        secure: all answers that led from the domain to the host were validated (DNSSEC), by a name server that is trusted.
        secure_host: the same for those that led from the host to its addresses; no alias stands between.
        canonical: where the aliases (CNAME) of the host end; empty without aliases.
        entry: what the map says about the target; None if it says nothing.
    """

    domain: str
    host: str
    port: int
    use_mx: bool
    secure: bool = False
    secure_host: bool = False
    canonical: str = ""
    entry: PolicyEntry | None = None


class PolicySource(Protocol):
    """Who may know what TLS has to fulfil at a host.

    Locking: its own; it is called without locks.
    """

    def ask(self, hop: Hop, on_policy: OnPolicy) -> None:
        """Finds out what holds at a host.

        Args:
            hop: the host.
            on_policy: called once, at once or in a worker; with None if this source says nothing.  A policy that it gives is
                final: its `source` names it for people, `refused` says why no mail may go to this host now.
        """
        ...


class TlsPolicies:
    """The policies of a process.

    Args:
        sources: whoever may say something about a host that the map says nothing about, first one first.
        log: what fails is logged here.
        table: the map, None without one.
        dane: asks for TLSA records where the map wants it; it stands among the sources, too.
        counted: sessions are counted for reports, so that servers have to tell whose they are.

    Attributes:
        blocking: entry() may block.

    Locking: own lock LEAF for each route.
    """

    def __init__(
        self,
        sources: Sequence[PolicySource],
        log: Log,
        table: PolicyMap | None = None,
        dane: PolicySource | None = None,
        *,
        counted: bool = False,
    ) -> None:
        self._counted = counted
        self._sources = tuple(sources)
        self._log = log
        self._table = table
        self._dane = dane
        self.blocking = table is not None and table.blocking

    def entry(self, target: Target) -> PolicyEntry | None:
        """Gives what the map says about a target of a route.  Blocks: if the map does."""
        return None if self._table is None else self._table.entry(target)

    def apply(self, route: Route, hops: Sequence[Hop], on_route: Callable[[Route], None]) -> None:
        """Finds the policy of each server of a route.

        Args:
            route: the route; servers of one address may differ by their names.
            hops: the host of each of its servers.
            on_route: called once with the route and its policies, at once or in a worker.
        """
        found: dict[Hop, TlsPolicy] = {}
        left = set(hops)
        lock = Lock(LockRank.LEAF, "policies of a route")

        def decided(hop: Hop, policy: TlsPolicy) -> None:
            with lock:
                if hop not in left:
                    return
                left.remove(hop)
                found[hop] = policy
                ended = not left
            if ended:
                servers = [
                    _with(server, found[hop], hop.domain if self._counted and hop.use_mx and hop.entry is None else "")
                    for server, hop in zip(route.servers, hops, strict=True)
                ]
                alike = {(one.addr, one.port, one.tls): one for one in reversed(servers)}
                on_route(Route(da=route.da, servers=tuple(alike[key] for key in _in_order(servers))))

        for hop in tuple(left):
            if hop.entry is None:
                self._next(hop, self._sources, OPPORTUNISTIC, partial(decided, hop))
            else:
                asked = (self._dane,) if hop.entry.dane and self._dane is not None else ()
                self._next(hop, asked, hop.entry.at(hop.domain, hop.host), partial(decided, hop))

    def _next(self, hop: Hop, sources: Sequence[PolicySource], last: TlsPolicy, decided: Callable[[TlsPolicy], None]) -> None:
        """Asks the first of some sources, then the others; the last policy holds if none of them says anything."""
        if not sources:
            decided(last)
            return

        def on_policy(policy: TlsPolicy | None) -> None:
            if policy is None:
                self._next(hop, sources[1:], last, decided)
            else:
                decided(policy if hop.entry is None else _as_configured(policy, last))

        confused = replace(_CONFUSED, fixed=last.fixed)
        with failure.item(self._log, "smar.tls_policy", lambda _: decided(confused), name=hop.host):
            sources[0].ask(hop, on_policy)


def _as_configured(found: TlsPolicy, entry: TlsPolicy) -> TlsPolicy:
    """Gives what DANE says, where the map wants it, with what the map says beside it."""
    source, refused = f"{found.source}, {entry.source}", found.refused
    if entry.refused and found.level is not TlsLevel.DANE:  # dane-only
        refused = refused or "none of its TLSA records can be used, and its tls_policy is dane-only"
    return replace(found, tls13=entry.tls13, ciphers=entry.ciphers, fixed=entry.fixed, refused=refused, source=source)


def _in_order(servers: Sequence[ServerAddr]) -> dict[tuple[str, int, str], None]:
    """Gives servers by their address and what they have to fulfil, each once: another name alone makes no difference."""
    return dict.fromkeys((one.addr, one.port, one.tls) for one in servers)


def _with(server: ServerAddr, policy: TlsPolicy, domain: str) -> ServerAddr:
    demands = policy.demands()
    if not demands and not policy.source and not domain:
        return server
    return replace(server, tls=demands, tls_source=policy.source, domain=domain)
