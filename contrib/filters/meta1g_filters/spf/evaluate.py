"""check_host(): whether a client may send for a domain, as the domain says.

    record -> its directives in order: the first that matches gives the result -> redirect -> neutral
    include, a, mx, ptr, exists and redirect: 10 in all; those that found nothing: 2 in all; 20 s

It asks a resolver and does nothing else.  A look-up that fails is temperror, except that of names of the client (ptr, `%{p}`)
and of the explanation, which are done without.  A target that cannot be a name does not exist (RFC 7208 4.8 leaves it open).

Ref: RFC 7208 4 to 7, 11.1; RFC 8616 4.
"""

import ipaddress
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address
from typing import Final, Protocol

from meta1g.base.clock import Clock
from meta1g.base.dataclass import dataclass
from meta1g_filters.dns import AddressType, NamesAnswer, TxtAnswer
from meta1g_filters.spf.macros import TEXT_LETTERS, MacroText, SpfSyntaxError, is_domain, macro_text, shortened
from meta1g_filters.spf.record import SpfCode, SpfDirective, SpfRecord, parse_record, selected

#: Terms that ask DNS, terms that find nothing there, mail servers and names of the client, each at most.  Ref: RFC 7208 4.6.4.
LOOKUPS_MAX: Final = 10
VOID_LOOKUPS_MAX: Final = 2
NAMES_MAX: Final = 10
#: Time that one check may take, seconds.  Ref: RFC 7208 4.6.4 (20 at least).
TIME_MAX_S: Final = 20.0
#: Explanation that is told to a client at most; it stands in one line of a reply.  Our choice.
EXPLANATION_MAX_CHARS: Final = 400
_ANSWERED: Final = frozenset(("ok", "nxdomain", "nodata"))
ClientIp = IPv4Address | IPv6Address


class SpfResolver(Protocol):
    """What DNS is asked for; see meta1g_filters.dns.FilterResolver."""

    def txt(self, name: str) -> TxtAnswer: ...  # noqa: D102  as in FilterResolver, and so are the others
    def addresses(self, name: str, kind: AddressType) -> NamesAnswer: ...  # noqa: D102
    def mail_servers(self, name: str) -> NamesAnswer: ...  # noqa: D102
    def names(self, reverse: str) -> NamesAnswer: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class SpfQuery:
    """What is asked.

    Args:
        ip: address of the client; one of IPv6 that stands for one of IPv4 is that.
        domain: whose policy counts, in A-labels.
        sender: MAIL FROM, or `postmaster@` and the name of HELO; without brackets.
        helo: what the client calls itself.
        receiver: name of the host that asks.
    """

    ip: ClientIp
    domain: str
    sender: str
    helo: str
    receiver: str


@dataclass(frozen=True, slots=True)
class SpfResult:
    """What a check came to.

    Args:
        code: the result.
        domain: whose policy was asked for.
        mechanism: the directive that matched; empty if none did.
        problem: why it is temperror or permerror.
        explanation: what the domain wants the client to be told of a fail; printable ASCII, empty without.
    """

    code: SpfCode
    domain: str
    mechanism: str = ""
    problem: str = ""
    explanation: str = ""


class _StopError(Exception):
    """The check is over: nothing that comes can change the result."""

    def __init__(self, code: SpfCode, problem: str) -> None:
        super().__init__(problem)
        self.code = code


@dataclass(frozen=True, slots=True)
class _Verdict:
    """What the record of one domain said; the explanation is that of the record that decided."""

    code: SpfCode
    mechanism: str = ""
    exp: MacroText | None = None
    domain: str = ""


def check_host(query: SpfQuery, resolver: SpfResolver, clock: Clock) -> SpfResult:
    """Gives the result for a client.  Blocks: as long as the resolver (TIME_MAX_S and one question at most)."""
    if not is_domain(query.domain):
        return SpfResult(SpfCode.NONE, query.domain)
    check = _Check(query, resolver, clock)
    try:
        verdict = check.host(shortened(query.domain))
    except _StopError as stop:
        return SpfResult(stop.code, query.domain, problem=str(stop))
    explanation = check.explanation(verdict) if verdict.code is SpfCode.FAIL else ""
    return SpfResult(verdict.code, query.domain, verdict.mechanism, explanation=explanation)


class _Check:
    """One check: what it has asked for so far.  Owner: check_host()."""

    def __init__(self, query: SpfQuery, resolver: SpfResolver, clock: Clock) -> None:
        mapped = query.ip.ipv4_mapped if isinstance(query.ip, IPv6Address) else None
        self._ip: ClientIp = mapped or query.ip
        self._kind: AddressType = "A" if self._ip.version == 4 else "AAAA"
        self._query = query
        self._resolver = resolver
        self._clock = clock
        self._end_s = clock.monotonic() + TIME_MAX_S
        self._lookups = 0
        self._voids = 0
        self._local, _at, self._sender_domain = query.sender.rpartition("@")

    def host(self, domain: str) -> _Verdict:
        """Evaluates the record of a domain."""
        record = self._record(domain)
        if record is None:
            return _Verdict(SpfCode.NONE)
        for directive in record.directives:
            if _MATCHERS[directive.mechanism](self, directive, domain):
                return _Verdict(directive.code, directive.text, record.exp, domain)
        if record.redirect is None:
            return _Verdict(SpfCode.NEUTRAL)
        self._count_lookup()
        target = self._expanded(record.redirect, domain)
        verdict = self.host(target)
        if verdict.code is SpfCode.NONE:
            raise _StopError(SpfCode.PERMERROR, f"{domain} redirects to {target}, which has no record")
        return verdict

    def _record(self, domain: str) -> SpfRecord | None:
        if not is_domain(domain):
            return None
        self._check_time()
        answer = self._resolver.txt(domain)
        if answer.status == "temperror":
            raise _StopError(SpfCode.TEMPERROR, f"DNS does not answer for {domain}")
        try:
            text = selected(answer.texts)
            return None if text is None else parse_record(text)
        except SpfSyntaxError as error:
            raise _StopError(SpfCode.PERMERROR, f"{domain}: {error.cause}") from error

    # limits

    def _check_time(self) -> None:
        if self._clock.monotonic() > self._end_s:
            raise _StopError(SpfCode.TEMPERROR, f"not done in {TIME_MAX_S:.0f} s")

    def _count_lookup(self) -> None:
        self._lookups += 1
        if self._lookups > LOOKUPS_MAX:
            raise _StopError(SpfCode.PERMERROR, f"more than {LOOKUPS_MAX} terms that ask DNS")

    def _count_void(self, *answers: NamesAnswer) -> None:
        """Counts a term whose look-ups all came to nothing."""
        if any(answer.status not in ("nxdomain", "nodata") for answer in answers):
            return
        self._voids += 1
        if self._voids > VOID_LOOKUPS_MAX:
            raise _StopError(SpfCode.PERMERROR, f"more than {VOID_LOOKUPS_MAX} terms that found nothing in DNS")

    def _answered(self, answer: NamesAnswer, name: str) -> NamesAnswer:
        if answer.status not in _ANSWERED:
            raise _StopError(SpfCode.TEMPERROR, f"DNS does not answer for {name}")
        return answer

    def _addresses(self, name: str, kind: AddressType) -> NamesAnswer:
        self._check_time()
        return self._resolver.addresses(name, kind)

    # mechanisms

    def match_all(self, directive: SpfDirective, domain: str) -> bool:
        """Matches always."""
        return True

    def match_network(self, directive: SpfDirective, domain: str) -> bool:
        """Matches a client in the network."""
        return directive.network is not None and self._ip in directive.network

    def match_include(self, directive: SpfDirective, domain: str) -> bool:
        """Matches a client that passes by another domain's record."""
        self._count_lookup()
        target = self._target(directive, domain)
        code = self.host(target).code
        if code is SpfCode.NONE:
            raise _StopError(SpfCode.PERMERROR, f"{domain} includes {target}, which has no record")
        return code is SpfCode.PASS

    def match_a(self, directive: SpfDirective, domain: str) -> bool:
        """Matches a client beside an address of the target."""
        self._count_lookup()
        target = self._target(directive, domain)
        answer = self._answered(self._addresses(target, self._kind), target)
        self._count_void(answer)
        return self._is_beside(answer, directive)

    def match_mx(self, directive: SpfDirective, domain: str) -> bool:
        """Matches a client beside a mail server of the target."""
        self._count_lookup()
        target = self._target(directive, domain)
        self._check_time()
        servers = self._answered(self._resolver.mail_servers(target), target)
        if len(servers.values) > NAMES_MAX:
            raise _StopError(SpfCode.PERMERROR, f"{target} has more than {NAMES_MAX} mail servers")
        answers = []
        for name in servers.values:
            answers.append(self._answered(self._addresses(name, self._kind), name))
            if self._is_beside(answers[-1], directive):
                return True
        self._count_void(*answers)
        return False

    def match_ptr(self, directive: SpfDirective, domain: str) -> bool:
        """Matches a client with a name at or below the target."""
        self._count_lookup()
        target = self._target(directive, domain)
        answer = self._names()
        self._count_void(answer)
        return any(_is_below(name, target) and self._is_own(name) for name in answer.values[:NAMES_MAX])

    def match_exists(self, directive: SpfDirective, domain: str) -> bool:
        """Matches if the target has an address of IPv4."""
        self._count_lookup()
        target = self._target(directive, domain)
        answer = self._answered(self._addresses(target, "A"), target)
        self._count_void(answer)
        return answer.status == "ok"

    def _is_beside(self, answer: NamesAnswer, directive: SpfDirective) -> bool:
        bits = directive.ip4_bits if self._kind == "A" else directive.ip6_bits
        return any(self._ip in ipaddress.ip_network(f"{address}/{bits}", strict=False) for address in answer.values)

    def _names(self) -> NamesAnswer:
        self._check_time()
        return self._resolver.names(self._ip.reverse_pointer)

    def _is_own(self, name: str) -> bool:
        """Tells whether a name that the client's address has is a name with that address; an error means no."""
        return any(ipaddress.ip_address(value) == self._ip for value in self._addresses(name, self._kind).values)

    # macros

    def _target(self, directive: SpfDirective, domain: str) -> str:
        return domain if directive.target is None else self._expanded(directive.target, domain)

    def _expanded(self, text: MacroText, domain: str) -> str:
        return shortened(text.expand(lambda letter: self._value(letter, domain)))

    def _value(self, letter: str, domain: str) -> str:
        """Gives what a letter stands for.  Ref: RFC 7208 7.2."""
        query = self._query
        local = self._local or "postmaster"
        values: dict[str, Callable[[], str]] = {
            "s": lambda: f"{local}@{self._sender_domain}",
            "l": lambda: local,
            "o": lambda: self._sender_domain,
            "d": lambda: domain,
            "i": lambda: str(self._ip) if self._ip.version == 4 else ".".join(f"{int(self._ip):032X}"),
            "p": lambda: self._client_name(domain),
            "v": lambda: "in-addr" if self._ip.version == 4 else "ip6",
            "h": lambda: query.helo,
            "c": lambda: str(self._ip),
            "r": lambda: query.receiver,
            "t": lambda: str(int(self._clock.now())),
        }
        return values[letter]()

    def _client_name(self, domain: str) -> str:
        """Gives a name of the client, best one of the domain itself."""
        names = self._names().values[:NAMES_MAX]
        ranked = sorted(names, key=lambda name: (name.lower() != domain.lower(), not _is_below(name, domain)))
        return next((name for name in ranked if self._is_own(name)), "unknown")

    def explanation(self, verdict: _Verdict) -> str:
        """Gives what the domain says of a fail; nothing if that cannot be had or is no text."""
        if verdict.exp is None:
            return ""
        try:
            answer = self._resolver.txt(self._expanded(verdict.exp, verdict.domain))
            if len(answer.texts) != 1 or len(answer.texts[0]) > EXPLANATION_MAX_CHARS:
                return ""
            text = macro_text(answer.texts[0].decode("ascii"), TEXT_LETTERS, blanks=True)
            said = text.expand(lambda letter: self._value(letter, verdict.domain))
        except (SpfSyntaxError, UnicodeDecodeError, _StopError):
            return ""
        return said[:EXPLANATION_MAX_CHARS] if said.isascii() and said.isprintable() else ""


def _is_below(name: str, domain: str) -> bool:
    name, domain = name.lower(), domain.lower()
    return name == domain or name.endswith(f".{domain}")


_MATCHERS: Final[dict[str, Callable[[_Check, SpfDirective, str], bool]]] = {
    "all": _Check.match_all,
    "include": _Check.match_include,
    "a": _Check.match_a,
    "mx": _Check.match_mx,
    "ptr": _Check.match_ptr,
    "ip4": _Check.match_network,
    "ip6": _Check.match_network,
    "exists": _Check.match_exists,
}
