"""The configuration map: what single destinations have of their own, connections, recipients of a transaction, retry times.

    mx.example.org   max_connections = 2; max_rcpts_per_transaction = 20;
    .example.net     min_retry_delay = 30m;
    192.0.2          initial_connections = 1;

Keys are the address of the server or the begin of it, then the name that its address was found by, and its parents.

Invariant: an entry that is wrong puts mail for its destination off; it is never passed over.

Ref: MeTA1 README, "Configuration Map for QMGR" (modelled on).
"""

from collections.abc import Callable
from itertools import chain
from typing import Final

from meta1g.base.dataclass import dataclass
from meta1g.base.errors import Module, PermError
from meta1g.base.log import Log
from meta1g.conf.config import Config, Section
from meta1g.conf.errors import ConfigError
from meta1g.conf.snippet import parse_snippet
from meta1g.maps.base import Map, MapStatus
from meta1g.maps.declared import DeclaredMaps
from meta1g.maps.lookup import client_keys, domain_keys, search
from meta1g.maps.watch import Loader
from meta1g.maps.wrong import WrongEntries
from meta1g.qmgr.limits import OCC_ENTRIES_MAX
from meta1g.rcb.common import ServerAddr


@dataclass(frozen=True, slots=True, kw_only=True)
class DestinationLimits:
    """What a destination has of its own; None for what the section qmgr says.  Times in seconds."""

    initial_connections: int | None = None
    max_connections: int | None = None
    max_rcpts: int | None = None
    min_retry_delay_s: int | None = None
    max_retry_delay_s: int | None = None

    def retry_bounds(self, low_s: int, high_s: int) -> tuple[int, int]:
        """Gives the bounds of the time until the next attempt; those of the section give way where they contradict."""
        low = self.min_retry_delay_s
        high = self.max_retry_delay_s
        if low is None:
            low = low_s if high is None else min(low_s, high)
        return low, max(high_s, low) if high is None else high


COMMON: Final = DestinationLimits()


class Destinations:
    """The destinations with limits of their own.

    Args:
        table: the configuration map; None if all are alike.
        wrong: is told of wrong entries.

    Locking: caller holds AQ.
    """

    __slots__ = ("_known", "_table", "_version", "_wrong")

    def __init__(self, table: Map | None = None, wrong: WrongEntries | None = None) -> None:
        self._table = table
        self._wrong = WrongEntries(Log("qmgr")) if wrong is None else wrong
        self._version = 0
        self._known: dict[tuple[str, str], DestinationLimits | None] = {}

    def of(self, server: Callable[[], ServerAddr]) -> DestinationLimits | None:
        """Gives what a destination has of its own, None if its entry is wrong or cannot be read now.

        Args:
            server: gives the server; called only if there is a map.
        """
        table = self._table
        if table is None:
            return COMMON
        asked = server()
        question = (asked.addr, asked.host.lower())
        version = table.version()
        if version != self._version or len(self._known) >= OCC_ENTRIES_MAX:
            self._version = version
            self._known.clear()
        if question not in self._known:
            limits = self._ask(table, *question)
            if limits is None:
                return None
            self._known[question] = limits
        return self._known[question]

    def _ask(self, table: Map, addr: str, host: str) -> DestinationLimits | None:
        keys = chain(client_keys(addr.lower()), domain_keys(host) if host and host != addr else ())
        key, result = search(table, keys)
        if result.status in (MapStatus.NOTFOUND, MapStatus.NOMORE):
            return COMMON
        why = result.value
        if result.status is MapStatus.OK:
            try:
                return _limits_of(parse_snippet(result.value, "destination_conf", key))
            except ConfigError as error:
                why = error.cause.partition("\n")[0]
        self._wrong.tell(table.name, key, result.value, why)
        return None


def _limits_of(section: Section) -> DestinationLimits:
    return DestinationLimits(
        initial_connections=section.get("initial_connections"),
        max_connections=section.get("max_connections"),
        max_rcpts=section.get("max_rcpts_per_transaction"),
        min_retry_delay_s=section.get("min_retry_delay"),
        max_retry_delay_s=section.get("max_retry_delay"),
    )


def configuration_map(config: Config, section: Section, loader: Loader | None = None) -> Map | None:
    """Opens the maps of a section qmgr; gives its configuration map, None if it has none.

    Args:
        config: the whole configuration.
        section: the section.
        loader: where changed files are read.

    Raises:
        PermError: a map cannot be used, or may block: the scheduler waits for nobody.
    """
    maps = DeclaredMaps(config, section, loader)
    for opener in maps.openers():
        opener()
    table = maps.used_by("conf_map")
    if table is not None and table.blocking:
        where = section.sub("conf_map").where
        raise PermError(Module.QMGR, f"{where}: conf_map: map {table.name} asks others; name a map in a file")
    return table
