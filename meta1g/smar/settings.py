"""What the configuration of SMAR means: maps, rules, name servers.

Ref: MeTA1 README, "SMAR: declaring maps, options" (option names as in meta1.conf).
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from meta1g.base import hostname
from meta1g.base.dataclass import dataclass
from meta1g.base.errors import Meta1Error, Module, PermError
from meta1g.base.log import Log
from meta1g.conf.config import Config, Section
from meta1g.maps.base import Map
from meta1g.maps.declared import DeclaredMaps
from meta1g.maps.registry import MapRegistry, MapSpec
from meta1g.maps.watch import Loader
from meta1g.maps.wrong import WrongEntries
from meta1g.smar.access import AccessMap
from meta1g.smar.alias import Aliases
from meta1g.smar.authsender import AuthSenders
from meta1g.smar.checks import Policy
from meta1g.smar.dnsaddress import DnsSettings, ServerAddress, parse_server
from meta1g.smar.guard import GuardedMap
from meta1g.smar.hostconf import HostConf
from meta1g.smar.limits import RESOLV_CONF_SERVERS
from meta1g.smar.listed import DnsList
from meta1g.smar.localuser import LocalUsers
from meta1g.smar.mapcheck import check_maps
from meta1g.smar.myself import Myself
from meta1g.smar.relay import RelayRules
from meta1g.smar.route import RouteDefaults, Routes
from meta1g.smar.tlsmap import PolicyMap
from meta1g.smar.tlssettings import RptSettings, StsSettings, rpt_settings, sts_settings

if TYPE_CHECKING:
    from meta1g.smar.passwordmap import PasswordMap

#: Sub-sections that name or describe a map.
CONSUMERS: Final = ("mailertable", "aliases", "local_user_map", "access_map", "auth_sender", "password_map", "tls_policy")
T = TypeVar("T")
RESOLV_CONF: Final = Path("/etc/resolv.conf")


@dataclass(frozen=True, slots=True)
class Settings:
    """What SMAR works with.

    Args:
        hostname: our name.
        dns: how names are looked up.
        registry: all maps.
        routes: where domains go.
        aliases: the aliases, None without any.
        policy: the checks of SMTPS.
        lists: the DNS lists that are asked about clients.
        myself: which servers are this gateway.
        blocking_maps: how many maps may block.
        sts: how policies of MTA-STS are fetched; None if nobody asks for them.
        reports: how reports about TLS are made and sent; None if there are none.
        policy_map: what TLS has to fulfil, None without such a map.
    """

    hostname: str
    dns: DnsSettings
    registry: MapRegistry
    routes: Routes
    aliases: Aliases | None
    policy: Policy
    lists: tuple[DnsList, ...]
    myself: Myself
    blocking_maps: int = 0
    sts: StsSettings | None = None
    reports: RptSettings | None = None
    policy_map: PolicyMap | None = None


def _dns(smar: Section) -> DnsSettings:
    flags = smar.get("DNS_flags")
    return DnsSettings(
        name_servers(smar),
        smar.get("DNS_timeout"),
        smar.get("DNS_tries"),
        edns="edns" in flags,
        use_tcp="use_tcp" in flags,
        validated="trust_ad" in flags,
    )


def settings_from(
    config: Config,
    smar: Section,
    log: Log | None = None,
    loader: Loader | None = None,
    watch: Callable[[Map], Map] | None = None,
    wrong: WrongEntries | None = None,
) -> Settings:
    """Reads a section smar and opens its maps.

    Args:
        config: the whole configuration.
        smar: the section.
        log: maps that do not answer are logged here.
        loader: where changed files of maps are read.
        watch: called with each map that is opened; gives what is asked in its place.
        wrong: is told of wrong entries instead of the log.

    Raises:
        PermError: a map or an address in it cannot be used; the error names file and line.
        TempError: the system is short of something.
    """
    return _Reader(config, smar, log, loader, watch, wrong).read()


def problems(config: Config, smar: Section, *, entries: bool = False) -> list[str]:
    """Opens all maps of a section and whatever uses them; gives all that is wrong, each with file and what to do.

    Args:
        config: the whole configuration.
        smar: the section.
        entries: looks at each entry of the maps, too.
    """
    found: list[str] = []

    def look(function: Callable[[], T]) -> T | None:
        try:
            return function()
        except Meta1Error as error:
            found.extend(() if error.cause in found else (error.cause,))
            return None

    reader = look(lambda: _Reader(config, smar, Log("smar", level=0), None))
    look(lambda: name_servers(smar))
    look(lambda: sts_settings(config, smar))
    look(lambda: rpt_settings(config, smar, ""))
    if reader is None:
        return found
    for part in reader.parts():
        look(part)
    settings = None if found else look(reader.read)
    if entries:
        texts = check_maps(config, smar, None if settings is None else settings.aliases)
        found += [text for text in texts if not any(text.partition(": key ")[0] in one for one in found)]
    reader.registry.close()
    return found


class _Reader:
    """Reads one configuration.  Owner: the process (set before the first thread)."""

    def __init__(
        self,
        config: Config,
        smar: Section,
        log: Log | None,
        loader: Loader | None,
        watch: Callable[[Map], Map] | None = None,
        wrong: WrongEntries | None = None,
    ) -> None:
        self._config = config
        self._smar = smar
        self._delimiter: str = smar.get("address_delimiter")
        self._hostname = config.hostname or hostname.system_name()
        self._log = Log("smar") if log is None else log
        self._wrong = WrongEntries(self._log) if wrong is None else wrong
        self._watch = watch
        self._maps = DeclaredMaps(config, smar, loader, self._guarded)
        self._consumer = self._maps.used_by
        self.registry = self._maps.registry

    def _guarded(self, table: Map, spec: MapSpec) -> Map:
        guarded = GuardedMap(table, spec.where, self._log)
        return guarded if self._watch is None else self._watch(guarded)

    def parts(self) -> Iterator[Callable[[], object]]:
        """Gives what opens one map each."""
        return self._maps.openers(*CONSUMERS)

    def read(self) -> Settings:
        """Makes everything."""
        smar = self._smar
        for opener in self._maps.openers():
            opener()
        routes = Routes(self._consumer("mailertable"), self._route_defaults(), self._wrong)
        relay = RelayRules(smar.get("relay_from"), smar.get("relay_to"), smar.get("local_domains"), routes, smar.where)
        aliases, users = self._aliases(relay), self._users()
        table = self._consumer("access_map")
        access = None if table is None else AccessMap(table, self._delimiter, self._wrong)
        conf = None if table is None else HostConf(table, self._delimiter, self._wrong)
        return Settings(
            hostname=self._hostname,
            dns=_dns(smar),
            registry=self.registry,
            routes=routes,
            aliases=aliases,
            policy=Policy(
                routes,
                relay,
                access,
                users,
                aliases,
                "client_names" in smar.get("DNS_flags"),
                conf,
                self._senders(relay),
                self._passwords(),
            ),
            lists=self._lists(access),
            myself=self._myself(),
            blocking_maps=sum(one.blocking for one in self.registry.all()),
            sts=sts_settings(self._config, smar),
            reports=rpt_settings(self._config, smar, self._hostname),
            policy_map=self._policy_map(),
        )

    def _policy_map(self) -> PolicyMap | None:
        table = self._consumer("tls_policy")
        return None if table is None else PolicyMap(table, self._wrong, dane="trust_ad" in self._smar.get("DNS_flags"))

    def _route_defaults(self) -> RouteDefaults:
        smtpc = self._config.glob.sub("smtpc")
        return RouteDefaults(
            port=smtpc.get("remote_port"), lmtp_socket=smtpc.get("LMTP_socket"), queue_directory=self._config.queue_directory
        )

    def _myself(self) -> Myself:
        """Gives what leads back to the SMTP servers of the file; nothing if they may be talked to."""
        smtpc = self._config.glob.sub("smtpc")
        if smtpc.flag("talk_to_myself"):
            return Myself()
        sockets = [one for smtps in self._config.glob.subs("smtps") for one in smtps.subs("listen_socket")]
        listeners = [self._listener(one) for one in sockets]
        proxies, port = self._smar.get("proxy_addresses"), smtpc.get("remote_port")
        return Myself((self._hostname.lower(),), listeners, proxies, port, log=self._log)

    def _listener(self, listen: Section) -> tuple[str, int]:
        path = listen.get("path")
        return (f"unix:{self._config.queue_directory / path}", 0) if path else (listen.get("address") or "", listen.get("port"))

    def _aliases(self, relay: RelayRules) -> Aliases | None:
        table, section = self._consumer("aliases"), self._smar.sub("aliases")
        if table is None:
            return None
        return Aliases(
            table,
            localpart=section.flag("localpart"),
            local_domains=section.flag("local_domains"),
            delimiter=self._delimiter,
            relay=relay,
            hostname=self._hostname,
            wrong=self._wrong,
        )

    def _users(self) -> LocalUsers | None:
        table, section = self._consumer("local_user_map"), self._smar.sub("local_user_map")
        if table is None:
            return None
        return LocalUsers(table, section.flag("localpart"), section.flag("local_domains"), self._delimiter)

    def _senders(self, relay: RelayRules) -> AuthSenders | None:
        table = self._consumer("auth_sender")
        return None if table is None else AuthSenders(table, self._delimiter, relay, self._hostname, self._wrong)

    def _passwords(self) -> "PasswordMap | None":
        table = self._consumer("password_map")
        if table is None:
            return None
        from meta1g.smar.passwordmap import PasswordMap

        return PasswordMap(table, self._wrong)

    def _lists(self, access: AccessMap | None) -> tuple[DnsList, ...]:
        """Gives the DNS lists.

        Raises:
            PermError: there is no access map to say what a result means, or a list has no zone.
        """
        lists = []
        for section in self._smar.subs("dnsbl"):
            if access is None or not section.get("zone"):
                what = "zone = ..." if access is not None else "an access_map with dnsblN: entries"
                raise PermError(Module.SMAR, f"{section.where}: dnsbl needs {what}")
            lists.append(DnsList(section.get("zone"), section.get("timeout")))
        return tuple(lists)


def name_servers(smar: Section, resolv_conf: Path = RESOLV_CONF) -> tuple[ServerAddress, ...]:
    """Gives the name servers of the configuration, or those of resolv.conf, or the one of this machine.

    Raises:
        PermError: an address in the configuration is wrong.
    """
    servers = [ServerAddress(str(one.get("address")), int(one.get("port"))) for one in smar.subs("nameserver")]
    for text in smar.get("nameserver"):
        try:
            servers.append(parse_server(str(text)))
        except PermError as error:
            raise PermError(error.module, f"{smar.where}: {error.cause}") from None
    return tuple(servers) or read_resolv_conf(resolv_conf) or (ServerAddress("127.0.0.1"),)


def read_resolv_conf(path: Path) -> tuple[ServerAddress, ...]:
    """Gives the name servers of a resolv.conf; lines that are wrong are passed over, as other resolvers do."""
    try:
        lines = path.read_text(errors="replace").splitlines()
    except OSError:
        return ()
    servers: list[ServerAddress] = []
    for line in lines:
        words = line.split()
        if len(words) > 1 and words[0] == "nameserver" and len(servers) < RESOLV_CONF_SERVERS:
            try:
                servers.append(parse_server(words[1]))
            except PermError:
                continue
    return tuple(servers)
