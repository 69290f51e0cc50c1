"""What the configuration of milter-spamd says, ready for use.

Ref: docs/filter-spamd-options.md.
"""

import ipaddress
from collections.abc import Iterator
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Final

from meta1g.base.dataclass import dataclass
from meta1g.conf.check import check_other
from meta1g.conf.config import Section
from meta1g.conf.cross import each
from meta1g.conf.load import read_source
from meta1g.conf.tree import Problem
from meta1g_filters.spamd.client import SpamdServer
from meta1g_filters.spamd.options import ROOT
from meta1g_filters.spamd.protocol import Method

#: Name of the configuration file below the configuration directory.
CONFIG_NAME: Final = "milter-spamd.conf"
_LOOPBACK: Final = ("127.0.0.0/8", "::1")
_USUAL_PORT: Final = 783
#: What a score may lead to; each has an option.
_ACTIONS: Final = ("reject", "discard", "hold")


@dataclass(frozen=True, slots=True)
class SpamdSettings:
    """The configuration; see the options of the same names.

    Args:
        limits: score and action (`reject`, `discard`, `hold`), the greatest score first.
    """

    servers: tuple[SpamdServer, ...]
    method: Method
    max_bytes: int
    timeout_s: int
    connect_timeout_s: int
    tempfail: bool
    limits: tuple[tuple[float, str], ...]
    reject_text: str
    subject_tag: str
    user: str
    user_of_recipient: str
    not_asked: tuple[IPv4Network | IPv6Network, ...]
    flags: frozenset[str]
    max_threads: int

    def asks_about(self, address: str) -> bool:
        """Tells whether mail of a client is looked at; an empty address is that of a local one."""
        if not address:
            return False
        ip = ipaddress.ip_address(address)
        mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
        return not any((mapped or ip) in network for network in self.not_asked)


def read_spamd_settings(path: Path) -> SpamdSettings:
    """Reads a configuration.  Blocks: yes (disk).

    Raises:
        ConfigError: it cannot be read, or is wrong; the cause tells all that is.
    """
    conf = check_other(read_source(path), ROOT, _problems)
    servers = tuple(map(_server, conf.subs("spamd"))) or (SpamdServer("127.0.0.1", _USUAL_PORT),)
    return SpamdSettings(
        servers=servers,
        method=Method(conf.get("method")),
        max_bytes=conf.get("max_size"),
        timeout_s=conf.get("timeout"),
        connect_timeout_s=conf.get("connect_timeout"),
        tempfail=conf.get("without_spamd") == "tempfail",
        limits=_limits(conf),
        reject_text=conf.get("reject_text"),
        subject_tag=conf.get("subject_tag") or "",
        user=conf.get("user") or "",
        user_of_recipient=conf.get("user_of_recipient"),
        not_asked=tuple(ipaddress.ip_network(one) for one in (conf.get("not_asked") if conf.given("not_asked") else _LOOPBACK)),
        flags=conf.get("flags"),
        max_threads=conf.get("max_threads"),
    )


def _server(section: Section) -> SpamdServer:
    if section.get("type") == "inet":
        return SpamdServer(section.get("address"), section.get("port"))
    return SpamdServer(section.get("path"))


def _limits(conf: Section) -> tuple[tuple[float, str], ...]:
    given = [name for name in _ACTIONS if conf.given(f"{name}_score")]
    return tuple(sorted(((conf.get(f"{name}_score"), name) for name in given), reverse=True))


def _problems(conf: Section) -> Iterator[Problem]:
    yield from each(conf.subs("spamd"), _server_problems)
    yield from each([conf], _time_problems)
    yield from each([conf], _limit_problems)


def _server_problems(section: Section) -> Iterator[Problem]:
    if section.get("type") == "unix":
        if not section.get("path"):
            yield Problem(section.pos, "a spamd of type unix needs path = ...;")
        return
    if section.given("path"):
        yield Problem(section.place("path"), "path: a spamd with a path has type = unix;")


def _time_problems(conf: Section) -> Iterator[Problem]:
    if conf.get("connect_timeout") > conf.get("timeout"):
        yield Problem(conf.place("connect_timeout"), "connect_timeout: is longer than timeout; shorten it")


def _limit_problems(conf: Section) -> Iterator[Problem]:
    found: dict[float, str] = {}
    for name in _ACTIONS:
        option = f"{name}_score"
        other = found.setdefault(conf.get(option), name) if conf.given(option) else name
        if other != name:
            yield Problem(conf.place(option), f"{option}: is that of {other}_score, which would act alone; change one")
