"""What the configuration of authfilter says, ready for use: networks, keys, name servers.

Ref: docs/filter-authentication-options.md.
"""

import ipaddress
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Final

from meta1g.base import hostname
from meta1g.base.dataclass import dataclass
from meta1g.base.idn import to_ascii
from meta1g.conf.check import check_other
from meta1g.conf.config import Section
from meta1g.conf.load import ConfigError, read_source
from meta1g_filters.auth.options import ROOT
from meta1g_filters.dkim.keys import KeyFileError, PrivateKey, load_private_key
from meta1g_filters.dkim.sign import SigningKey
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
    conf = check_other(read_source(path), ROOT)
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
        tuple(_domain(section, path.parent) for section in conf.subs("domain")),
        frozenset(conf.sub("arc").get("trusted")),
        _seal(conf.sub("arc"), path.parent),
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


def _domain(section: Section, directory: Path) -> SignedDomain:
    try:
        domain = to_ascii((section.name or "").lower().removesuffix("."))
    except ValueError as error:
        raise ConfigError(f"{section.where}: {error}") from error
    keys = [
        SigningKey(domain, (one.name or "").lower(), _load_key(directory / one.get("file"), one.where))
        for one in section.subs("key")
    ]
    if not keys:
        raise ConfigError(f"{section.where}: domain {domain} has no key; add key SELECTOR {{ file = ...; }}")
    return SignedDomain(domain, tuple(keys), section.get("subdomains"))


def _seal(section: Section, directory: Path) -> SigningKey | None:
    named = [name for name in ("domain", "selector", "file") if section.get(name)]
    if not named:
        return None
    if len(named) < 3:
        raise ConfigError(f"{section.where}: a seal needs domain, selector and file")
    key = _load_key(directory / section.get("file"), section.where)
    return SigningKey(section.get("domain"), section.get("selector"), key)


def _load_key(path: Path, where: str) -> PrivateKey:
    try:
        return load_private_key(path)[0]
    except KeyFileError as error:
        raise ConfigError(f"{where}: {error}") from error
