"""Routes: the mailertable and what its values mean.

    key      example.org   .example.net   .          exact domain, subdomains, everything else
    value    lmtp:  lmtp:PATH  lmtp:24^[192.0.2.1]  [192.0.2.1]  [2001:db8::1]  [host]  host  26^[192.0.2.1]  26^host
             several, separated by blanks, in the order of preference

Invariant: a compiled route is used only as long as the map it came from is unchanged.

Ref: MeTA1 README, "Mail Routing" (keys and values modelled on); RFC 5321 5.1.
"""

import ipaddress
from pathlib import Path
from typing import Final

from meta1g.base.dataclass import dataclass
from meta1g.base.errors import Module, PermError
from meta1g.base.log import Log
from meta1g.base.reply import Reply
from meta1g.conf.values import shown
from meta1g.maps.base import Map, MapStatus
from meta1g.maps.lookup import domain_keys, search
from meta1g.maps.wrong import WrongEntries
from meta1g.rcb.common import DeliveryAgent, ServerAddr
from meta1g.rcb.qmgr_smar import Route, Unresolved
from meta1g.smar.limits import ROUTE_CACHE_ENTRIES, SERVERS_MAX, STATIC_TTL_S
from meta1g.smar.memo import Memo
from meta1g.smtp.address import is_host

_PORT_MAX: Final = 0xFFFF
_LMTP: Final = "lmtp:"
_SMTP_PREFIXES: Final = ("esmtp:", "smtp:")


@dataclass(frozen=True, slots=True)
class Target:
    """One server, or one host whose servers the DNS knows.

    Args:
        host: IP address, host name, or `unix:PATH`.
        port: port; 0 for a local socket.
        is_address: host needs no look-up.
        use_mx: MX records of the host decide, else only its addresses.
    """

    host: str
    port: int
    is_address: bool
    use_mx: bool = False


@dataclass(frozen=True, slots=True)
class RoutePlan:
    """Where mail of a domain goes.

    Args:
        da: the delivery agent.
        targets: servers and hosts in the order of preference.
        answer: the ready answer, if no look-up is needed, or the error of a wrong value.
        explicit: it comes from a mailertable entry of the domain itself or a parent, not from `.` and not from the DNS.
    """

    da: DeliveryAgent
    targets: tuple[Target, ...]
    answer: Route | Unresolved | None = None
    explicit: bool = False


@dataclass(frozen=True, slots=True)
class RouteDefaults:
    """What a value that does not say it means.

    Args:
        port: port of SMTP servers.
        lmtp_socket: path of the local LMTP server.
        queue_directory: relative paths are relative to it.
    """

    port: int
    lmtp_socket: str
    queue_directory: Path


def parse_value(value: str, defaults: RouteDefaults) -> tuple[DeliveryAgent, tuple[Target, ...]]:
    """Reads a right-hand side of the mailertable.

    Raises:
        PermError: it names no server, a wrong port, or mixes LMTP with SMTP; the error says what to write.
    """
    agents, targets = [], []
    words = value.split(None, SERVERS_MAX)
    if len(words) > SERVERS_MAX:
        raise _wrong(f"names more than {SERVERS_MAX} servers; name fewer")
    for word in words:
        is_lmtp = word.lower().startswith(_LMTP)
        agents.append(DeliveryAgent.LMTP if is_lmtp else DeliveryAgent.ESMTP)
        targets.append(_lmtp_target(word[len(_LMTP) :], defaults) if is_lmtp else _smtp_target(word, defaults.port))
    if not targets:
        raise _wrong("is empty; write lmtp:, [ADDRESS], HOST or PORT^[ADDRESS]")
    if len(set(agents)) > 1:
        raise _wrong(f"{shown(value)} mixes lmtp: with other servers; write one of them")
    return agents[0], tuple(targets)


def _wrong(text: str) -> PermError:
    return PermError(Module.SMAR, f"mailertable value {text}")


def _lmtp_target(rest: str, defaults: RouteDefaults) -> Target:
    if rest[:5].lower() == "unix:":
        raise _wrong(f"lmtp:{shown(rest)}: a local socket has no unix: here; write lmtp:{shown(rest[5:])}")
    if not rest or "/" in rest:
        if rest.startswith("~") or ".." in rest.split("/"):
            raise _wrong(f"lmtp:{shown(rest)}: write the whole path, or one relative to the queue directory, without ~ and ..")
        return Target(f"unix:{defaults.queue_directory / (rest or defaults.lmtp_socket)}", 0, is_address=True)
    if "^" not in rest:
        raise _wrong(f"lmtp:{shown(rest)}: write lmtp:PATH with a slash, or lmtp:PORT^[ADDRESS]")
    return _smtp_target(rest, 0)


def _smtp_target(word: str, port: int) -> Target:
    for prefix in _SMTP_PREFIXES:
        if word.lower().startswith(prefix):
            word = word[len(prefix) :]
    number, caret, rest = word.partition("^")
    if caret:
        if not (number.isascii() and number.isdigit() and 0 < int(number) <= _PORT_MAX):
            raise _wrong(f"{shown(word)}: port is not 1 to {_PORT_MAX}")
        port, word = int(number), rest
    bracketed = word.startswith("[") and word.endswith("]")
    host = word[1:-1] if bracketed else word
    if host[:5].lower() == "ipv6:":
        host = host[5:]
    if not host:
        raise _wrong("without host; write [ADDRESS], HOST or PORT^[ADDRESS]")
    try:
        return Target(str(ipaddress.ip_address(host)), port, is_address=True)
    except ValueError:
        host = host.removesuffix(".")
        _check_host(host)
        return Target(host.lower(), port, is_address=False, use_mx=not bracketed)


def _check_host(host: str) -> None:
    """Makes sure that the DNS can be asked for a name.

    Raises:
        PermError: it cannot, or the name is a wrong IP address.
    """
    name, colon, port = host.rpartition(":")
    if colon and port.isdigit() and ":" not in name:
        raise _wrong(f"{shown(host)}: the port stands before the host; write {port}^{shown(name)}")
    last = host.rpartition(".")[2]
    if not is_host(host) or last.isdigit():
        raise _wrong(f"{shown(host)} is no host name and no IP address; write HOST, [ADDRESS] or PORT^[ADDRESS]")


def plan_of(value: str, defaults: RouteDefaults, *, explicit: bool) -> RoutePlan:
    """Makes the plan of a mailertable value; a wrong value gives a plan whose answer is a temporary error."""
    try:
        da, targets = parse_value(value, defaults)
    except PermError as error:
        return RoutePlan(DeliveryAgent.ESMTP, (), Unresolved(reply=Reply(451, "4.3.5", error.cause)))
    answer = None
    if all(target.is_address for target in targets):
        servers = tuple(
            ServerAddr(addr=target.host, port=target.port, pref=number, ttl_s=STATIC_TTL_S, host=target.host)
            for number, target in enumerate(targets)
        )
        answer = Route(da=da, servers=servers)
    return RoutePlan(da, targets, answer, explicit)


class Routes:
    """Routes by domain: mailertable first, else the DNS.

    Args:
        table: the mailertable, None if there is none.
        defaults: what values mean that do not say it.
        wrong: is told of wrong entries.

    Locking: own lock LEAF (of the cache); two threads that miss the same entry make it twice.
    """

    def __init__(self, table: Map | None, defaults: RouteDefaults, wrong: WrongEntries | None = None) -> None:
        self._table = table
        self._wrong = WrongEntries(Log("smar")) if wrong is None else wrong
        self._defaults = defaults
        self._plans: Memo[str, RoutePlan] = Memo(ROUTE_CACHE_ENTRIES)
        self.blocking = table is not None and table.blocking

    def plan(self, domain: str) -> RoutePlan:
        """Gives the plan of a domain.

        Args:
            domain: lower case, or an address literal with its brackets.

        Blocks: only if the map does.
        """
        table = self._table
        if table is None:
            return self._from_dns(domain)
        if table.blocking:
            return self._look_up(domain, table)[0]
        version = table.version()
        plan = self._plans.get(domain, version)
        if plan is not None:
            return plan
        plan, keep = self._look_up(domain, table)
        if keep:
            self._plans.put(domain, version, plan)
        return plan

    def version(self) -> int | None:
        """Gives a number that changes with the mailertable; None if nothing that comes from it may be kept."""
        if self._table is None:
            return 0
        return None if self._table.blocking else self._table.version()

    def is_local(self, domain: str) -> bool:
        """Tells whether the mailertable sends the domain itself to a local LMTP server.  Blocks: only if the map does."""
        if self._table is None:
            return False
        plan = self.plan(domain)
        return plan.explicit and plan.da is DeliveryAgent.LMTP

    def failed(self, domain: str) -> bool:
        """Tells whether the mailertable could not be asked for a domain."""
        return self._table is not None and isinstance(self.plan(domain).answer, Unresolved)

    def _look_up(self, domain: str, table: Map) -> tuple[RoutePlan, bool]:
        """Gives the plan and whether it may be kept."""
        key, result = search(table, (*domain_keys(domain), "."))
        if result.status in (MapStatus.NOTFOUND, MapStatus.NOMORE):
            return self._from_dns(domain), True
        if result.status is MapStatus.OK:
            plan = plan_of(result.value, self._defaults, explicit=key != ".")
            if isinstance(plan.answer, Unresolved):
                self._wrong.tell(table.name, key, result.value, plan.answer.reply.one_line)
            return plan, True
        is_temp = result.status is MapStatus.TEMP
        code, ecode = (451, "4.3.0") if is_temp else (550, "5.3.5")
        return RoutePlan(DeliveryAgent.ESMTP, (), Unresolved(reply=Reply(code, ecode, "mail routing is not known"))), False

    def _from_dns(self, domain: str) -> RoutePlan:
        if domain.startswith("["):
            return plan_of(domain, self._defaults, explicit=False)
        return RoutePlan(DeliveryAgent.ESMTP, (Target(domain, self._defaults.port, is_address=False, use_mx=True),))
