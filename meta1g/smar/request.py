"""A request with its open questions: from a route to server addresses.

Each host of the route walks through the states of meta1g.smar.rcpt_fsm; when the last walk has ended, the answer leaves.
If one of the servers is this gateway, those of the same and of worse preference are dropped, whatever their names are.

Ref: RFC 5321 5.1 (MX rules); RFC 7505 (null MX); RFC 6761 6.3 (localhost);
MeTA1 design, "Functional Specification: SMAR" (modelled on).
"""

import ipaddress
import random
from collections.abc import Callable, Iterator
from functools import partial

from meta1g.base import failure
from meta1g.base.dataclass import dataclass
from meta1g.base.log import Log
from meta1g.base.reply import Reply
from meta1g.pt.lock import Lock, LockRank
from meta1g.rcb.common import ServerAddr
from meta1g.rcb.qmgr_smar import Route, Unresolved
from meta1g.smar.dnswire import DnsAnswer, DnsRecord, DnsStatus, RRType
from meta1g.smar.limits import MX_HOSTS_MAX, SERVERS_MAX, STATIC_TTL_S, TTL_MAX_S
from meta1g.smar.myself import Myself
from meta1g.smar.rcpt_fsm import FINAL, TRANSITIONS, Event, State
from meta1g.smar.resolver import Resolver
from meta1g.smar.route import RoutePlan, Target
from meta1g.smar.tlspolicies import Hop, TlsPolicies

OnRoute = Callable[[Route | Unresolved], None]
_PREF_SHIFT = 16
#: Mail would come back to us.
OWN_HOST = Unresolved(
    reply=Reply(
        554, "5.4.6", "The DNS says that this host takes mail of the domain; its mailertable does not say where it goes"
    ),
)
_LOOP_TEXT = "Mail for this recipient would come back to this host by {host}[{addr}]:{port}"
_LOCALHOST = "localhost"
_FAILED = Unresolved(reply=Reply(451, "4.3.0", "Look-up failed; try again later"))
_FAILURE_TEXT = "Name server: {host}: {reason}"


@dataclass(slots=True)
class Host:
    """A host whose addresses are asked for.  Locking: lock of its request."""

    name: str
    pref: int
    order: float  # random place among hosts of equal preference
    secure: bool = False  # what led to its name was validated
    addresses: bool | None = None  # all answers about its addresses were; None if there is none yet
    canonical: str = ""  # where its aliases end


def without_us(servers: tuple[ServerAddr, ...], myself: Myself) -> tuple[tuple[ServerAddr, ...], ServerAddr | None]:
    """Drops this gateway and servers that are not better (RFC 5321 5.1).

    Args:
        servers: servers in the order of preference.
        myself: tells which of them are this gateway.

    Returns:
        What is left, and the first one that is this gateway, if any is.
    """
    limit = myself.limit(servers)
    if limit is None:
        return servers, None
    first = next(one for one in servers if one.pref == limit and myself.is_me(one.addr, one.port))
    return tuple(one for one in servers if one.pref < limit), first


def loops_at(server: ServerAddr) -> Unresolved:
    """Gives the error of a recipient whose best server is this gateway."""
    text = _LOOP_TEXT.format(host=server.host, addr=server.addr, port=server.port)
    return Unresolved(reply=Reply(OWN_HOST.reply.code, OWN_HOST.reply.ecode, text))


def known_addresses(name: str) -> tuple[str, ...]:
    """Gives the addresses of a host that the DNS need not be asked about: an address in place of a name, or localhost."""
    text = name[1:-1] if name.startswith("[") and name.endswith("]") else name
    try:
        return (str(ipaddress.ip_address(text.removeprefix("ipv6:"))),)
    except ValueError:
        return ("127.0.0.1", "::1") if name == _LOCALHOST or name.endswith("." + _LOCALHOST) else ()


def usable_hosts(records: tuple[DnsRecord, ...], own_names: frozenset[str], *, secure: bool = False) -> list[Host] | Unresolved:
    """Picks the hosts of MX records: in the order of preference, hosts of equal preference in random order.

    Args:
        records: the MX records.
        own_names: our host names; ours and what is not better is dropped.
        secure: the records were validated.

    Returns:
        The hosts, or the error if mail for the domain is not wanted or would come back to us.
    """
    if any(not record.value for record in records):
        if len(records) == 1:
            return Unresolved(reply=Reply(556, "5.1.10", "Domain accepts no mail (null MX)"))
        records = tuple(record for record in records if record.value)
    own = [record.pref for record in records if record.value in own_names]
    limit = min(own) if own else None
    hosts = [Host(r.value, r.pref, random.random(), secure) for r in records if limit is None or r.pref < limit]  # noqa: S311  not a secret
    if not hosts:
        return OWN_HOST
    hosts.sort(key=lambda host: (host.pref, host.order))
    return hosts[:MX_HOSTS_MAX]


class Walk:
    """One target of a route on its way to addresses.

    Args:
        request: the request it belongs to.
        number: its place in the route.
        target: the target.

    Locking: lock of its request for all that changes.
    """

    def __init__(self, request: "Resolution", number: int, target: Target) -> None:
        self.state = State.ROUTE
        self.servers: list[tuple[tuple[int, float, int, float], ServerAddr, Host]] = []
        self.failures: list[tuple[int, Unresolved]] = []  # with the preference of the host
        self._request = request
        self._number = number
        self._target = target
        self._open = 0
        self._ttl_s = TTL_MAX_S

    def start(self) -> None:
        """Asks the first question, or is done at once."""
        target, request = self._target, self._request
        if target.is_address:
            self._add(Host(target.host, 0, 0.0), RRType.A, target.host, STATIC_TTL_S)
            self._step(Event.KNOWN)
        elif target.use_mx:
            self._step(Event.DOMAIN)
            request.resolver.ask(target.host, RRType.MX, lambda answer: request.contained(partial(self._on_mx, answer)))
        else:
            self._step(Event.HOST)
            self._ask_addresses([Host(target.host, 0, 0.0, secure=True)])

    def _step(self, event: Event) -> None:
        with self._request.lock:
            self.state = TRANSITIONS[self.state, event]
        if self.state in FINAL:
            self._request.walk_ended()

    def _on_mx(self, answer: DnsAnswer) -> None:
        host = self._target.host
        if answer.status is DnsStatus.OK:
            self._ttl_s = min(self._ttl_s, answer.ttl_s)
            hosts = usable_hosts(answer.records, self._request.myself.names, secure=answer.secure)
            if isinstance(hosts, Unresolved):
                self._fail(hosts)
            else:
                self._step(Event.HOSTS)
                self._ask_addresses(hosts)
        elif answer.status is DnsStatus.NODATA and host in self._request.myself.names:
            self._fail(OWN_HOST)
        elif answer.status is DnsStatus.NODATA:
            self._step(Event.NO_MX)
            self._ask_addresses([Host(host, 0, 0.0, answer.secure)])
        else:
            self._fail(_failure(host, answer))

    def _fail(self, failure: Unresolved) -> None:
        with self._request.lock:
            self.failures.append((self._number << _PREF_SHIFT, failure))
        self._step(Event.FAILED)

    def _ask_addresses(self, hosts: list[Host]) -> None:
        questions = []
        for host in hosts:
            addresses = known_addresses(host.name)
            questions += [] if addresses else [(host, RRType.A), (host, RRType.AAAA)]
            for address in addresses:
                self._add(host, RRType.AAAA if ":" in address else RRType.A, address, self._ttl_s)
        self._open = len(questions)
        if not questions:
            self._step(Event.ADDRESSES)
        for host, rrtype in questions:
            self._ask_address(host, rrtype)

    def _ask_address(self, host: Host, rrtype: RRType) -> None:
        request = self._request
        request.resolver.ask(
            host.name, rrtype, lambda answer: request.contained(partial(self._on_address, host, rrtype, answer))
        )

    def _on_address(self, host: Host, rrtype: RRType, answer: DnsAnswer) -> None:
        with self._request.lock:
            if answer.status is not DnsStatus.TEMP:  # whoever keeps an answer from coming must not make the host look unsigned
                host.addresses = answer.secure and host.addresses is not False
                host.canonical = host.canonical or answer.canonical
            if answer.status is DnsStatus.OK:
                for record in answer.records[:SERVERS_MAX]:
                    self._add(host, rrtype, record.value, min(self._ttl_s, answer.ttl_s))
            else:
                self.failures.append((self._number << _PREF_SHIFT | host.pref, _failure(host.name, answer)))
            self._open -= 1
            ended = self._open == 0
        if ended:
            self._step(Event.ADDRESSES if self.servers else Event.FAILED)

    def _add(self, host: Host, rrtype: RRType, address: str, ttl_s: int) -> None:
        """Enters an address; IPv4 before IPv6 within a host, addresses of one kind in random order."""
        pref = self._number << _PREF_SHIFT | host.pref
        place = (pref, host.order, int(rrtype), random.random())  # noqa: S311  not a secret
        server = ServerAddr(addr=address, port=self._target.port, pref=pref, ttl_s=ttl_s, host=host.name)
        self.servers.append((place, server, host))

    def hops(self) -> Iterator[tuple[ServerAddr, Hop]]:
        """Gives the host of each server."""
        target, entry = self._target, self._request.entries.get(self._target)
        for _, server, host in self.servers:
            yield (
                server,
                Hop(
                    target.host,
                    host.name,
                    target.port,
                    use_mx=target.use_mx,
                    secure=host.secure,
                    secure_host=bool(host.addresses),
                    canonical=host.canonical,
                    entry=entry,
                ),
            )


def _failure(host: str, answer: DnsAnswer) -> Unresolved:
    if answer.status is DnsStatus.TEMP:
        return Unresolved(reply=Reply(451, "4.4.3", _FAILURE_TEXT.format(host=host, reason=answer.reason)))
    if answer.status is DnsStatus.NXDOMAIN:
        return Unresolved(reply=Reply(550, "5.1.2", _FAILURE_TEXT.format(host=host, reason="host not found")))
    return Unresolved(reply=Reply(550, "5.1.2", _FAILURE_TEXT.format(host=host, reason="no mail server and no address")))


class Resolution:
    """A route on its way to addresses.

    Args:
        plan: the route; has at least one target.
        resolver: answers questions.
        myself: tells which servers are this gateway.
        on_route: called once with the answer, at once or in a worker.
        log: failures are logged here.
        policies: what TLS has to fulfil at the servers; None if nobody says anything about it.

    Locking: own lock LEAF.  Blocks when it is made: if the map of policies does.
    """

    def __init__(
        self,
        plan: RoutePlan,
        resolver: Resolver,
        myself: Myself,
        on_route: OnRoute,
        log: Log | None = None,
        policies: TlsPolicies | None = None,
    ) -> None:
        self._policies = policies
        self.entries = {} if policies is None else {target: policies.entry(target) for target in plan.targets}
        self._log = Log("smar") if log is None else log
        self.resolver = resolver
        self.myself = myself
        self.lock = Lock(LockRank.LEAF, "resolution")
        self._plan = plan
        self._on_route = on_route
        self._walks = [Walk(self, number, target) for number, target in enumerate(plan.targets)]
        self._left = len(self._walks)

    def start(self) -> None:
        """Starts all walks."""
        for walk in self._walks:
            walk.start()

    def walk_ended(self) -> None:
        """Counts the walks that ended; the last one brings the answer."""
        with self.lock:
            self._left -= 1
            if self._left != 0:
                return
        answer = self._answer()
        if self._policies is None or isinstance(answer, Unresolved):
            self._on_route(answer)
        else:
            hops = dict(pair for walk in self._walks for pair in walk.hops())
            self._policies.apply(answer, [hops[one] for one in answer.servers], self._on_route)

    def contained(self, function: Callable[[], None]) -> None:
        """Takes a step of a walk; one that fails ends the request, which nobody else would answer."""
        with failure.item(self._log, "smar.walk", self._give_up):
            function()

    def _give_up(self, error: Exception) -> None:
        with self.lock:
            if self._left <= 0:
                return
            self._left = 0
        self._on_route(_FAILED)

    def _answer(self) -> Route | Unresolved:
        found = sorted((entry for walk in self._walks for entry in walk.servers), key=lambda entry: entry[0])
        if found:
            unique = {self._key(server): server for _, server, _ in reversed(found)}
            servers = tuple(server for _, server, _ in found if unique[self._key(server)] is server)
            servers, own = without_us(servers, self.myself)
            if own is not None and not servers:
                return self._failure(own.pref) or loops_at(own)
            return Route(da=self._plan.da, servers=servers[:SERVERS_MAX])
        return self._failure() or self._walks[0].failures[0][1]

    def _key(self, server: ServerAddr) -> tuple[str, int, str]:
        """Gives what makes a server another one: its name, too, if policies are by name."""
        return server.addr, server.port, "" if self._policies is None else server.host

    def _failure(self, limit: int | None = None) -> Unresolved | None:
        """Gives a temporary failure; with a limit, one of a host with a better preference than that."""
        failures = [one for walk in self._walks for one in walk.failures]
        return next((one for pref, one in failures if one.reply.is_temp and (limit is None or pref < limit)), None)
