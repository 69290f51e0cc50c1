"""The map tls_policy: what TLS has to fulfil where mail of a domain goes, whatever others say about it.

    key      [mx.example.org]:587  [mx.example.org]  example.org:587  example.org  .example.org  .
    value    none | may | encrypt | dane | dane-only | verify [match=...] | secure [match=...] | fingerprint match=...
             beside any of them but none: min_version=tls1.3 ciphers=OPENSSL-LIST

Keys are what the route names: the domain of the recipient, or what the mailertable has in its place, in brackets if MX records
are not asked for.  match= of verify and secure has names, parted by colons: hostname is the server's, nexthop the domain,
dot-nexthop all hosts below it.

Invariant: an entry that is wrong, and a map that does not answer, put mail off; they are never passed over.

Ref: Postfix, smtp_tls_policy_maps (keys, levels and attributes modelled on).
"""

import ipaddress
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Final

from meta1g.base.dataclass import dataclass
from meta1g.base.idn import forms
from meta1g.base.tlspolicy import TlsLevel, TlsPolicy
from meta1g.conf.values import shown, suggest
from meta1g.maps.base import Map, MapStatus
from meta1g.maps.lookup import domain_keys, search
from meta1g.maps.wrong import WrongEntries
from meta1g.smar.keys import domain_problem, route_problem
from meta1g.smar.limits import ROUTE_CACHE_ENTRIES
from meta1g.smar.memo import Memo
from meta1g.smar.route import Target

_SMTP_PORT: Final = 25
_HOSTNAME, _NEXTHOP, _DOT_NEXTHOP = "hostname", "nexthop", "dot-nexthop"
_DANE: Final = ("dane", "dane-only")
_NAMED: Final = {"verify": (_HOSTNAME,), "secure": (_NEXTHOP, _DOT_NEXTHOP)}
_PLAIN: Final = {"none": TlsLevel.NONE, "may": TlsLevel.MAY, "encrypt": TlsLevel.ENCRYPT, "fingerprint": TlsLevel.FINGERPRINT}
LEVELS: Final = (*_PLAIN, *_DANE, *_NAMED)
_VERSIONS: Final = {"tls1.2": False, "tls1.3": True, ">=tlsv1.2": False, ">=tlsv1.3": True, "tlsv1.3": True}
_PRINT: Final = re.compile(r"[0-9a-f]{64}|[0-9a-f]{128}")
_CIPHERS: Final = re.compile(r"[A-Za-z0-9_:+!@=.-]{1,400}")
_PORT: Final = re.compile(r"(.+):(\d{1,5})", re.ASCII)
_PORT_MAX: Final = 0xFFFF
_SAMPLE: Final = "match=" + "ab:" * 31 + "ab"


@dataclass(frozen=True, slots=True)
class PolicyEntry:
    """What the map says about a target.

    Args:
        policy: what holds; its names are those that stand for others, too.
        dane: TLSA records decide; `policy` holds where there are none.
    """

    policy: TlsPolicy
    dane: bool = False

    def at(self, domain: str, host: str) -> TlsPolicy:
        """Gives what holds at a server.

        Args:
            domain: what the route names.
            host: the server's name.
        """
        meant = {_HOSTNAME: host, _NEXTHOP: domain, _DOT_NEXTHOP: f".{domain}"}
        return replace(self.policy, names=tuple(dict.fromkeys(meant.get(one, one) for one in self.policy.names)))


def read_entry(value: str, source: str = "") -> PolicyEntry:
    """Reads a right-hand side.

    Args:
        value: the value.
        source: names the entry, for people.

    Raises:
        ValueError: it is wrong; the text says what to write.
    """
    level, *words = value.split()[:64] or [""]
    level = level.lower()
    if level not in LEVELS:
        raise ValueError(f"{shown(level)} is no level; {suggest(level, LEVELS)}")
    found: dict[str, list[str]] = {}
    for word in words:
        name, equals, rest = word.partition("=")
        if name.lower() not in _ATTRIBUTES or not equals or not rest:
            raise ValueError(f"{shown(word)} is no attribute; write {', '.join(f'{one}=...' for one in _ATTRIBUTES)}")
        found.setdefault(name.lower(), []).append(rest)
    if found and level == "none":
        raise ValueError("none has no attributes; remove them, or write another level")
    policy = TlsPolicy(_PLAIN.get(level, TlsLevel.MAY), fixed=True, source=source)
    if level in _NAMED:
        policy = replace(policy, level=TlsLevel.VERIFY, names=_NAMED[level])
    if level == "dane-only":
        policy = replace(policy, refused="it has no TLSA records, and its tls_policy is dane-only")
    for name, values in found.items():
        policy = _ATTRIBUTES[name](level, policy, values)
    if level == "fingerprint" and not policy.fingerprints:
        raise ValueError("fingerprint needs match=SUM-OF-CERTIFICATE-OR-KEY: SHA-256, 64 hexadecimal digits, or SHA-512")
    return PolicyEntry(policy, level in _DANE)


def _match(level: str, policy: TlsPolicy, values: list[str]) -> TlsPolicy:
    if level == "fingerprint":
        prints = tuple(word.lower().replace(":", "") for one in values for word in one.split("|") if word)
        wrong = next((one for one in prints if not _PRINT.fullmatch(one)), None)
        if wrong is not None:
            text = "is no SHA-256 or SHA-512; write 64 or 128 hexadecimal digits, such as"
            raise ValueError(f"{shown(wrong)} {text} {_SAMPLE}, more behind |")
        if len({len(one) for one in prints}) > 1:  # the weaker ones would not count (RFC 7671 9)
            raise ValueError("match= has sums of SHA-256 and of SHA-512; write those of one kind")
        return replace(policy, fingerprints=prints)
    if level not in _NAMED:
        raise ValueError(f"{level} looks at no names: match= belongs to verify, secure and fingerprint")
    names = tuple(word.lower().rstrip(".") for one in values for word in re.split("[:|]", one) if word)
    wrong = next((one for one in names if one not in (_HOSTNAME, _NEXTHOP, _DOT_NEXTHOP) and domain_problem(one)), None)
    if wrong is not None or not names:
        raise ValueError(
            f"match={shown(wrong or '')}: write names such as example.org:.example.org, hostname, nexthop, dot-nexthop"
        )
    return replace(policy, names=names)


def _min_version(_level: str, policy: TlsPolicy, values: list[str]) -> TlsPolicy:
    tls13 = _VERSIONS.get(values[-1].lower())
    if tls13 is None:
        raise ValueError(f"{shown(values[-1])} is no version; write min_version=tls1.2 or min_version=tls1.3")
    return replace(policy, tls13=tls13)


def _ciphers(_level: str, policy: TlsPolicy, values: list[str]) -> TlsPolicy:
    if not _CIPHERS.fullmatch(values[-1]):
        raise ValueError(f"{shown(values[-1])} is no list of ciphers; write one of OpenSSL, such as ciphers=ECDHE+AESGCM")
    return replace(policy, ciphers=values[-1])


_ATTRIBUTES: Final[dict[str, Callable[[str, TlsPolicy, list[str]], TlsPolicy]]] = {
    "match": _match,
    "min_version": _min_version,
    "protocols": _min_version,
    "ciphers": _ciphers,
}


def needs_dane(value: str) -> bool:
    """Tells whether a right-hand side has effect only behind name servers that are trusted."""
    return value.split()[:1] != [] and value.split(maxsplit=1)[0].lower() in _DANE


def key_problem(key: str) -> str:
    """Checks a key, lower case; gives what is wrong and what to write."""
    with_port = _PORT.fullmatch(key) if "]:" in key or ":" not in key.rpartition(":")[0] else None
    if with_port is not None and not key.endswith("]"):
        if not 0 < int(with_port[2]) <= _PORT_MAX:
            return f"{shown(key)}: port is not 1 to {_PORT_MAX}"
        key = with_port[1]
    if key.startswith("[") and key.endswith("]"):
        host = key[1:-1]
        return domain_problem(host) and _address_problem(host, key)
    return route_problem(key)


def _address_problem(host: str, key: str) -> str:
    try:
        wanted = str(ipaddress.ip_address(host))
    except ValueError:
        return f"{shown(key)} is no host; write [mx.example.org], [192.0.2.1] or [2001:db8::1]"
    return "" if wanted == host else f"{shown(key)} is never asked for in this form; write [{wanted}]"


def target_of(key: str) -> Target:
    """Gives the target that a key is for."""
    with_port = _PORT.fullmatch(key) if "]:" in key or key.count(":") == 1 else None
    name, port = (with_port[1], int(with_port[2])) if with_port is not None else (key, _SMTP_PORT)
    if not (name.startswith("[") and name.endswith("]")):
        return Target(name, port, is_address=False, use_mx=True)
    host = name[1:-1]
    try:
        return Target(str(ipaddress.ip_address(host)), port, is_address=True)
    except ValueError:
        return Target(host, port, is_address=False)


def keys_of(target: Target) -> Iterator[str]:
    """Gives the keys of a target, most specific first."""
    host, port = target.host, target.port
    if target.use_mx:
        for form in forms(host):
            yield f"{form}:{port}"
        yield from domain_keys(host)
    else:
        yield f"[{host}]:{port}"
        yield f"[{host}]"
        if not target.is_address:
            yield from domain_keys(host)
    yield "."


class PolicyMap:
    """The map.

    Args:
        table: the map.
        wrong: is told of wrong entries.
        dane: TLSA records can be asked for.

    Locking: own lock LEAF (of the cache).
    """

    def __init__(self, table: Map, wrong: WrongEntries, *, dane: bool) -> None:
        self._table = table
        self._wrong = wrong
        self._dane = dane
        self._known: Memo[Target, tuple[PolicyEntry | None]] = Memo(ROUTE_CACHE_ENTRIES)
        self.blocking = table.blocking

    def version(self) -> int | None:
        """Gives a number that changes with the map; None if nothing that comes from it may be kept."""
        return None if self.blocking else self._table.version()

    def entry(self, target: Target) -> PolicyEntry | None:
        """Gives what the map says about a target, None if it says nothing.  Blocks: if the map does."""
        if not target.port:  # a local socket
            return None
        version = self.version()
        known = None if version is None else self._known.get(target, version)
        if known is not None:
            return known[0]
        found, keep = self._look_up(target)
        if keep and version is not None:
            self._known.put(target, version, (found,))
        return found

    def _look_up(self, target: Target) -> tuple[PolicyEntry | None, bool]:
        """Gives what the map says, and whether it may be kept."""
        key, result = search(self._table, keys_of(target))
        if result.status in (MapStatus.NOTFOUND, MapStatus.NOMORE):
            return None, True
        source = f"{self._table.name} {key}".strip()
        if result.status is not MapStatus.OK:
            return _refused("its TLS policy is not known: the map does not answer", source), False
        try:
            entry = read_entry(result.value, source)
            if entry.dane and not self._dane:
                raise ValueError("needs DNS_flags = { trust_ad } in section smar")
        except ValueError as error:
            self._wrong.tell(self._table.name, key, result.value, str(error))
            return _refused("its TLS policy is wrong, see the log of smar", source), True
        return entry, True


def _refused(why: str, source: str) -> PolicyEntry:
    """Gives what holds while nobody knows what the configuration demands: no message may ask for less."""
    return PolicyEntry(TlsPolicy(fixed=True, refused=why, source=source))
