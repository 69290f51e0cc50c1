"""What the configuration of authfilter says, ready for use: networks, keys, name servers.

Ref: docs/filter-authentication-options.md.
"""

import ipaddress
from collections.abc import Iterator
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Final

from meta1g.base import hostname
from meta1g.base.dataclass import dataclass
from meta1g.base.idn import to_ascii
from meta1g.conf.check import check_other
from meta1g.conf.config import Section
from meta1g.conf.cross import each
from meta1g.conf.load import ConfigError, read_source
from meta1g.conf.tree import Problem
from meta1g.smtp.address import AddressError, parse_path
from meta1g_filters.auth.options import ROOT
from meta1g_filters.dkim.keys import KeyFileError, PrivateKey, load_private_key
from meta1g_filters.dkim.sign import SigningKey
from meta1g_filters.dkim.tags import domain_name
from meta1g_filters.dmarc.discovery import Discovery
from meta1g_filters.dns import FilterResolver

#: Name of the configuration file below the configuration directory.
CONFIG_NAME: Final = "authfilter.conf"
_LOOPBACK: Final = ("127.0.0.0/8", "::1")


@dataclass(frozen=True, slots=True)
class SignedDomain:
    """A domain that is signed for: its keys, and whether mail of domains below it is signed too."""

    domain: str
    keys: tuple[SigningKey, ...]
    subdomains: bool


@dataclass(frozen=True, slots=True)
class ReportSettings:
    """What aggregate reports are made of and who sends them; see the section reports."""

    directory: Path | None
    max_day_bytes: int
    org_name: str
    email: str
    server: tuple[str, int]


@dataclass(frozen=True, slots=True)
class AuthFilterSettings:
    """The configuration; see the options of the same names."""

    authserv_id: str
    flags: frozenset[str]
    trusted: tuple[IPv4Network | IPv6Network, ...]
    reject_spf_fail: bool
    obey_dmarc: bool
    hold_quarantine: bool
    tempfail: bool
    organization: Discovery
    domains: tuple[SignedDomain, ...]
    arc_trusted: frozenset[str]
    seal: SigningKey | None
    reports: ReportSettings
    resolver: FilterResolver
    max_threads: int

    def is_trusted(self, address: str) -> bool:
        """Tells whether mail of a client is signed; an empty address is that of a local one."""
        if not address:
            return True
        ip = ipaddress.ip_address(address)
        mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
        return any((mapped or ip) in network for network in self.trusted)

    def keys_for(self, domain: str) -> tuple[SigningKey, ...]:
        """Gives the keys that sign mail of an author's domain: those of the nearest domain that is listed."""
        fitting = [
            one for one in self.domains if one.domain == domain or (one.subdomains and domain.endswith(f".{one.domain}"))
        ]
        return max(fitting, key=lambda one: len(one.domain)).keys if fitting else ()


def read_settings(path: Path) -> AuthFilterSettings:
    """Reads a configuration.  Blocks: yes (disk).

    Raises:
        ConfigError: it, or a key that it names, cannot be read or is wrong.
        PermError: it names no name servers, and neither does the system.
    """
    keys: dict[int, PrivateKey] = {}
    conf = check_other(read_source(path), ROOT, lambda root: _problems(root, path.parent, keys))
    authserv_id = conf.get("authserv_id") or _own_name(path)
    return AuthFilterSettings(
        authserv_id,
        conf.get("flags"),
        tuple(ipaddress.ip_network(one) for one in (conf.get("trusted") if conf.given("trusted") else _LOOPBACK)),
        conf.get("spf_fail") == "reject",
        conf.get("dmarc_fail") == "obey",
        conf.get("quarantine") == "hold",
        conf.get("temperror") == "tempfail",
        Discovery(conf.get("organization")),
        tuple(_domain(section, keys) for section in conf.subs("domain")),
        frozenset(map(to_ascii, conf.sub("arc").get("trusted"))),
        _seal(conf.sub("arc"), keys),
        _reports(conf.sub("reports"), authserv_id),
        _resolver(conf),
        conf.get("max_threads"),
    )


def _own_name(path: Path) -> str:
    """Gives the name of the machine.  Blocks: yes (name service).

    Raises:
        ConfigError: it has none that others could know.
    """
    name = hostname.system_name()
    if hostname.problem(name):
        text = f"authserv_id is not set, and {name or 'nothing'}, which the system has, is no full name"
        raise ConfigError(f"{path}: {text}; add authserv_id = mx.example.org;")
    return name


def _resolver(conf: Section) -> FilterResolver:
    servers = [(one.get("address"), one.get("port")) for one in conf.subs("nameserver")]
    servers += [(address, 53) for address in conf.get("nameserver")]
    lifetime_s = float(conf.get("DNS_timeout"))
    return FilterResolver(servers, timeout_s=max(1.0, lifetime_s / 2), lifetime_s=lifetime_s)


def _reports(section: Section, authserv_id: str) -> ReportSettings:
    directory = section.get("directory")
    return ReportSettings(
        Path(directory) if directory else None,
        section.get("max_day_size"),
        section.get("org_name") or authserv_id,
        section.get("email") or "",
        (section.get("server"), section.get("port")),
    )


def _domain(section: Section, keys: dict[int, PrivateKey]) -> SignedDomain:
    domain = to_ascii(_name(section))
    made = tuple(SigningKey(domain, to_ascii(_name(one)), keys[one.pos]) for one in section.subs("key"))
    return SignedDomain(domain, made, section.get("subdomains"))


def _seal(section: Section, keys: dict[int, PrivateKey]) -> SigningKey | None:
    if section.pos not in keys:
        return None
    return SigningKey(to_ascii(section.get("domain")), to_ascii(section.get("selector")), keys[section.pos])


def _name(section: Section) -> str:
    return (section.name or "").lower().removesuffix(".")


def _problems(root: Section, directory: Path, keys: dict[int, PrivateKey]) -> Iterator[Problem]:
    """Gives all that is wrong with names and keys.  Blocks: yes (disk).

    Args:
        root: the configuration.
        directory: where files of keys begin.
        keys: gets those that are right, by the places of their sections.
    """
    for section in root.subs("domain"):
        yield from _misnamed(_name(section), section.pos)
        if not section.subs("key"):
            yield Problem(section.pos, f"domain {section.name} has no key; add key SELECTOR {{ file = ...; }}")
        yield from each(section.subs("key"), lambda one: _misnamed(_name(one), one.pos))
        with_file = [one for one in section.subs("key") if one.given("file")]  # without is told already
        yield from each(with_file, lambda one: _load_key(one, directory, keys))
    yield from each([root.sub("arc")], lambda arc: _seal_problems(arc, directory, keys))
    yield from each([root.sub("reports")], _report_problems)


def _seal_problems(arc: Section, directory: Path, keys: dict[int, PrivateKey]) -> Iterator[Problem]:
    """Blocks: yes (disk)."""
    for option, names in (
        ("trusted", arc.get("trusted")),
        *((word, [arc.get(word) or "ok"]) for word in ("domain", "selector")),
    ):
        for name in names:
            yield from _misnamed(name, arc.place(option))
    given = [word for word in ("domain", "selector", "file") if arc.get(word)]
    if 0 < len(given) < 3:
        yield Problem(arc.pos, "a seal needs domain, selector and file")
    elif given:
        yield from _load_key(arc, directory, keys)


def _report_problems(reports: Section) -> Iterator[Problem]:
    try:
        parse_path(reports.get("email") or "postmaster")
    except AddressError as error:
        yield Problem(reports.place("email"), f"{reports.get('email')}: {error}")


def _misnamed(name: str, pos: int) -> Iterator[Problem]:
    """Tells of a name that DNS could not have."""
    if not domain_name(name):
        yield Problem(pos, f"{name} is no name that DNS could have")


def _load_key(section: Section, directory: Path, keys: dict[int, PrivateKey]) -> Iterator[Problem]:
    """Tells why a key cannot be used.  Blocks: yes (disk)."""
    try:
        keys[section.pos] = load_private_key(directory / section.get("file"))[0]
    except KeyFileError as error:
        yield Problem(section.place("file"), str(error))
