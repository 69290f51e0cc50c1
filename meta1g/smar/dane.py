"""DANE: which TLSA records hold at a host, and what follows where there are none.

    domain -- MX, validated --> host -- addresses, validated --> _PORT._tcp.HOST -- TLSA --> policy
                                  +-- aliases, validated --> _PORT._tcp.END first

    what is found                             what follows
    MX records or addresses not validated     nothing is said
    validated: no TLSA record                 nothing is said
    records that can be used                  one of them has to fit
    records, none of which can be used        TLS, with whatever certificate
    no answer, or one that is bogus           no mail to this host now

Invariant: it is used only behind name servers that validate and are trusted by configuration (resolver.py decides what counts
as secure).

Ref: RFC 7672 2.1 (what answers mean), 2.2 (base domains), 3.1 (usages), 3.2 (names); RFC 6698 2.1; RFC 7671 4.1.
"""

from collections.abc import Iterable, Iterator
from functools import partial
from typing import Final

from meta1g.base.tlsfacts import Tlsa
from meta1g.base.tlspolicy import TlsLevel, TlsPolicy
from meta1g.smar.dnswire import DnsAnswer, DnsRecord, DnsStatus, RRType
from meta1g.smar.limits import TLSA_BYTES_MAX
from meta1g.smar.resolver import Resolver
from meta1g.smar.tlspolicies import Hop, OnPolicy

_TA: Final = 2
_EE: Final = 3
_SELECTORS: Final = (0, 1)
#: Length of the data by matching type; 0 is all of a certificate or key.
_DIGESTS: Final = {1: 32, 2: 64}
_SEQUENCE: Final = 0x30


def read_tlsa(records: Iterable[DnsRecord]) -> Iterator[Tlsa]:
    """Reads records as meta1g.smar.dnswire gives them."""
    for one in records:
        usage, selector, kind, data = one.value.split()
        yield Tlsa(int(usage), int(selector), int(kind), bytes.fromhex(data))


def is_usable(record: Tlsa) -> bool:
    """Tells whether a record says something about a server of mail (RFC 7672 3.1)."""
    if record.usage not in (_TA, _EE) or record.selector not in _SELECTORS:
        return False
    if record.kind == 0:
        return _is_sequence(record.data)
    return len(record.data) == _DIGESTS.get(record.kind)


def _is_sequence(data: bytes) -> bool:
    """Tells whether data are as long as they say, as certificates and keys do (X.690 8.1.3)."""
    if len(data) < 2 or data[0] != _SEQUENCE:
        return False
    count = data[1] & 0x7F if data[1] & 0x80 else 0
    length = int.from_bytes(data[2 : 2 + count]) if count else data[1]
    return len(data) == 2 + count + length


def policy_from(records: Iterable[Tlsa], base: str, hop: Hop) -> TlsPolicy:
    """Gives the policy of a host that has records.

    Args:
        records: all of them.
        base: the domain that they were found at, without port and protocol.
        hop: the host.
    """
    source = f"TLSA {name_of(base, hop.port)}"
    usable = tuple(sorted(filter(is_usable, records), key=lambda one: (-one.usage, one.selector, one.kind, one.data)))
    if not usable:
        return TlsPolicy(TlsLevel.ENCRYPT, server_name=base, source=f"{source}, none can be used")
    if sum(len(one.data) for one in usable) > TLSA_BYTES_MAX:
        return TlsPolicy(refused=f"its TLSA records have more than {TLSA_BYTES_MAX} bytes", source=source)
    names = (base, hop.domain) if hop.use_mx and hop.domain != base else (base,)
    return TlsPolicy(TlsLevel.DANE, names=names, tlsa=usable, server_name=base, source=source)


def name_of(base: str, port: int) -> str:
    """Gives the name that TLSA records stand at."""
    return f"_{port}._tcp.{base}"


class Dane:
    """Asks for TLSA records.

    Args:
        resolver: its name servers validate, if it says that answers are secure.

    Locking: none needed.
    """

    def __init__(self, resolver: Resolver) -> None:
        self._resolver = resolver

    def ask(self, hop: Hop, on_policy: OnPolicy) -> None:
        """Finds out what holds at a host; see PolicySource."""
        if not hop.secure or not hop.port:
            on_policy(None)
        elif hop.secure_host:
            self._look_up([hop.canonical, hop.host] if hop.canonical else [hop.host], hop, on_policy)
        elif hop.canonical:  # the alias may be in a zone that is signed, though the host is not
            self._resolver.ask(hop.host, RRType.CNAME, partial(self._on_alias, hop, on_policy))
        else:
            on_policy(None)

    def _on_alias(self, hop: Hop, on_policy: OnPolicy, answer: DnsAnswer) -> None:
        if answer.status is DnsStatus.TEMP:
            on_policy(_no_answer(hop.host, answer))
        elif answer.secure:
            self._look_up([hop.host], hop, on_policy)
        else:
            on_policy(None)

    def _look_up(self, bases: list[str], hop: Hop, on_policy: OnPolicy) -> None:
        """Asks at the first of some base domains, then at the others if there is nothing."""
        name = name_of(bases[0], hop.port)
        self._resolver.ask(name, RRType.TLSA, partial(self._on_records, bases, hop, on_policy))

    def _on_records(self, bases: list[str], hop: Hop, on_policy: OnPolicy, answer: DnsAnswer) -> None:
        base, others = bases[0], bases[1:]
        if answer.status is DnsStatus.TEMP:
            on_policy(_no_answer(name_of(base, hop.port), answer))
        elif answer.status is DnsStatus.OK and answer.secure:
            on_policy(policy_from(read_tlsa(answer.records), base, hop))
        elif others:
            self._look_up(others, hop, on_policy)
        else:
            on_policy(None)


def _no_answer(name: str, answer: DnsAnswer) -> TlsPolicy:
    """Gives the policy of a host of which it is not known whether it has records (RFC 7672 2.1.1)."""
    return TlsPolicy(refused=f"no answer about its TLSA records: {answer.reason}", source=f"TLSA {name}")
