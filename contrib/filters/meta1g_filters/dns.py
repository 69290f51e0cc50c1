"""DNS for filters: a blocking question with an answer that says what came, never an exception.

    question -> cache? -> name servers by dnspython (UDP, TCP after truncation) -> cache -> answer

What an answer is worth is for the caller to say: `nxdomain` and `nodata` are facts, `temperror` is none.  Facts are kept
for their TTL within bounds, `temperror` is not kept.

Ref: RFC 1035, RFC 2308 5 (negative answers); RFC 7208 2.6.6 and 2.6.7, RFC 6376 6.1.2 (who makes what of it).
"""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Final, Literal

import dns.exception
import dns.message
import dns.name
import dns.nameserver
import dns.rdatatype
import dns.rdtypes.ANY.MX
import dns.rdtypes.ANY.PTR
import dns.rdtypes.ANY.TXT
import dns.resolver
from dns.rdata import Rdata

from meta1g.base.clock import Clock, SystemClock
from meta1g.base.dataclass import dataclass
from meta1g.base.errors import Module, PermError
from meta1g.pt.lock import Lock, LockRank

#: Answers and bytes that are kept at most.  Our choice: a busy gateway sees some thousand domains an hour.
CACHE_ENTRIES: Final = 10_000
CACHE_BYTES: Final = 16 << 20
#: Longest time that a fact is kept, seconds, and one that says that there is nothing.  Ref: RFC 2308 5 (1 to 3 hours at most).
POSITIVE_TTL_MAX_S: Final = 3600.0
NEGATIVE_TTL_MAX_S: Final = 300.0
#: Size of answers over UDP that is asked for.  Ref: DNS flag day 2020.
UDP_BYTES: Final = 1232
#: What an answer costs beside its values.
_ENTRY_BYTES: Final = 300

LookupFact = Literal["ok", "nxdomain", "nodata", "temperror"]
AddressType = Literal["A", "AAAA"]


@dataclass(frozen=True, slots=True)
class TxtAnswer:
    """What DNS says of the TXT records of a name.

    Args:
        status: ok, or why there are none; temperror: nobody knows whether there are.
        texts: one for each record, its strings put together (RFC 7208 3.3, RFC 6376 3.6.2.2); in no order.
    """

    status: LookupFact
    texts: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class NamesAnswer:
    """What DNS says of the addresses, mail servers or names of a name or address.

    Args:
        status: as in TxtAnswer.
        values: addresses, or names without the last dot; mail servers in the order of preference.
    """

    status: LookupFact
    values: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Kept:
    values: tuple[bytes, ...]
    status: LookupFact
    until_s: float

    @property
    def size_bytes(self) -> int:
        return _ENTRY_BYTES + sum(len(value) for value in self.values)


class AnswerCache:
    """Answers for as long as they hold, those used last; bounded by number and by bytes.

    Args:
        entries: answers at most.
        size_bytes: what they may take.

    Locking: own lock LEAF.
    """

    __slots__ = ("_entries", "_held_bytes", "_kept", "_lock", "_size_bytes")

    def __init__(self, entries: int = CACHE_ENTRIES, size_bytes: int = CACHE_BYTES) -> None:
        self._lock = Lock(LockRank.LEAF, "answers of DNS")
        self._entries = entries
        self._size_bytes = size_bytes
        self._held_bytes = 0
        self._kept: OrderedDict[tuple[str, str], _Kept] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: tuple[str, str], now_s: float) -> _Kept | None:
        """Gives what is kept and still holds."""
        with self._lock:
            found = self._kept.get(key)
            if found is None or found.until_s <= now_s:
                return None
            self._kept.move_to_end(key)
            return found

    def put(self, key: tuple[str, str], kept: _Kept) -> None:
        """Keeps an answer; those that were not asked for longest make room."""
        with self._lock:
            old = self._kept.pop(key, None)
            self._held_bytes -= 0 if old is None else old.size_bytes
            self._kept[key] = kept
            self._held_bytes += kept.size_bytes
            while len(self._kept) > self._entries or self._held_bytes > self._size_bytes:
                _key, gone = self._kept.popitem(last=False)
                self._held_bytes -= gone.size_bytes


def name_of(text: str) -> dns.name.Name | None:
    """Gives a name as DNS has it; None for a text that cannot be one, which therefore does not exist.

    Args:
        text: labels with dots between them, in ASCII; a backslash is a backslash.
    """
    try:
        return dns.name.Name([*text.removesuffix(".").encode("ascii").split(b"."), b""])
    except (UnicodeEncodeError, dns.exception.DNSException):
        return None


class Questions:
    """The questions that filters ask; how they are answered say those below.  Locking: as those below."""

    def _ask(self, text: str, kind: str) -> _Kept:
        """Asks for the records of a name.  Blocks: yes."""
        raise NotImplementedError

    def txt(self, name: str) -> TxtAnswer:
        """Asks for TXT records.  Blocks: yes."""
        kept = self._ask(name, "TXT")
        return TxtAnswer(kept.status, kept.values)

    def addresses(self, name: str, kind: AddressType) -> NamesAnswer:
        """Asks for A or AAAA records.  Blocks: yes."""
        return _names(self._ask(name, kind))

    def mail_servers(self, name: str) -> NamesAnswer:
        """Asks for MX records.  Blocks: yes."""
        return _names(self._ask(name, "MX"))

    def names(self, reverse: str) -> NamesAnswer:
        """Asks for PTR records.  Blocks: yes.

        Args:
            reverse: the name that stands for the address, below in-addr.arpa or ip6.arpa.
        """
        return _names(self._ask(reverse, "PTR"))


class FilterResolver(Questions):
    """Asks name servers; many threads may ask at a time.

    Args:
        servers: address and port of each; none: those of /etc/resolv.conf.
        timeout_s: how long one server may take for one answer.
        lifetime_s: how long a question may take in all.
        clock: tells how long answers are kept.

    Raises:
        PermError: there are no servers to ask.

    Locking: that of its cache; the rest does not change.
    """

    def __init__(
        self,
        servers: Sequence[tuple[str, int]] = (),
        *,
        timeout_s: float = 2.0,
        lifetime_s: float = 5.0,
        clock: Clock | None = None,
    ) -> None:
        try:
            self._resolver = dns.resolver.Resolver(configure=not servers)
        except dns.exception.DNSException as error:
            raise PermError(Module.DNS, f"/etc/resolv.conf: {error}; name the servers in the configuration") from error
        if servers:
            self._resolver.nameservers = [dns.nameserver.Do53Nameserver(address, port) for address, port in servers]
        self._resolver.timeout = timeout_s
        self._lifetime_s = lifetime_s
        self._resolver.use_edns(0, 0, UDP_BYTES)
        self._clock = clock or SystemClock()
        self.cache = AnswerCache()

    def within(self, time_s: float) -> "TimedResolver":
        """Gives a resolver for one message, all of whose questions take no longer than this in all."""
        return TimedResolver(self, self._clock.monotonic() + time_s)

    def _ask(self, text: str, kind: str) -> _Kept:
        return self.ask_until(text, kind, self._clock.monotonic() + self._lifetime_s)

    def ask_until(self, text: str, kind: str, end_s: float) -> _Kept:
        """Asks for the records of a name.  Blocks: yes (lifetime_s at most).

        Args:
            text: the name.
            kind: type of the records.
            end_s: until when, monotonic; what is kept is told even later.
        """
        name = name_of(text)
        if name is None:
            return _Kept((), "nxdomain", 0.0)
        key, now_s = (text.lower().removesuffix("."), kind), self._clock.monotonic()
        kept = self.cache.get(key, now_s)
        if kept is None:
            kept = self._asked(name, kind, min(self._lifetime_s, end_s - now_s))
            if kept.status != "temperror":
                self.cache.put(key, kept)
        return kept

    def _asked(self, name: dns.name.Name, kind: str, lifetime_s: float) -> _Kept:
        """Blocks: yes (lifetime_s at most)."""
        if lifetime_s <= 0:
            return _Kept((), "temperror", 0.0)
        try:
            answer = self._resolver.resolve(name, kind, raise_on_no_answer=False, search=False, lifetime=lifetime_s)
        except dns.resolver.NXDOMAIN as error:
            return self._keep((), "nxdomain", _negative_ttl_s(error.response(name)), NEGATIVE_TTL_MAX_S)  # type: ignore[no-untyped-call]
        except (dns.exception.DNSException, OSError, ValueError):  # no server, no answer, or none that can be read
            return _Kept((), "temperror", 0.0)
        if answer.rrset is None:
            return self._keep((), "nodata", _negative_ttl_s(answer.response), NEGATIVE_TTL_MAX_S)
        values = tuple(_text(record) for record in sorted(answer.rrset, key=_preference))
        return self._keep(values, "ok", answer.chaining_result.minimum_ttl, POSITIVE_TTL_MAX_S)

    def _keep(self, values: tuple[bytes, ...], status: LookupFact, ttl_s: float, most_s: float) -> _Kept:
        return _Kept(values, status, self._clock.monotonic() + min(ttl_s, most_s))


class TimedResolver(Questions):
    """A resolver whose time is up at some moment: whatever a message names, it holds nobody up for longer.

    Args:
        resolver: asks.
        end_s: the moment, monotonic.

    Locking: as the resolver.
    """

    def __init__(self, resolver: FilterResolver, end_s: float) -> None:
        self._resolver = resolver
        self._end_s = end_s

    def _ask(self, text: str, kind: str) -> _Kept:
        return self._resolver.ask_until(text, kind, self._end_s)


def _negative_ttl_s(response: dns.message.Message) -> float:
    """Gives how long nothing is there: the SOA record says so; without one it is not to be kept (RFC 2308 5)."""
    found = [rrset for rrset in response.authority if rrset.rdtype == dns.rdatatype.SOA]
    return min((float(min(rrset.ttl, rrset[0].minimum)) for rrset in found), default=0.0)


def _preference(record: Rdata) -> int:
    return record.preference if isinstance(record, dns.rdtypes.ANY.MX.MX) else 0


def _text(record: Rdata) -> bytes:
    """Gives a record as its users want to have it."""
    if isinstance(record, dns.rdtypes.ANY.TXT.TXT):
        return b"".join(record.strings)
    if isinstance(record, dns.rdtypes.ANY.MX.MX):
        return _plain(record.exchange)
    if isinstance(record, dns.rdtypes.ANY.PTR.PTR):
        return _plain(record.target)
    return record.to_text().encode()


def _plain(name: dns.name.Name) -> bytes:
    return name.to_text(omit_final_dot=True).removesuffix(".").encode()


def _names(kept: _Kept) -> NamesAnswer:
    return NamesAnswer(kept.status, tuple(value.decode("ascii", "replace") for value in kept.values))
