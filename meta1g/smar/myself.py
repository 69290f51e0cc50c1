"""Which servers are this gateway itself: mail that is sent there comes back.

A name says little, since a host has many; what counts is address and port, so that other servers on this machine are others:

    address and port that a section smtps listens on; if it listens on all addresses, those of all interfaces and 127.0.0.0/8
    path of a Unix socket that a section smtps listens on
    0.0.0.0 and :: lead where 127.0.0.1 and ::1 lead; ::ffff:192.0.2.1 is 192.0.2.1
    proxy_addresses, at the ports that smtps listens on and at the port of SMTP servers: a translation leads from there to us

Interfaces come and go, so their addresses are read again once in INTERFACES_TTL_S; the version tells that they have changed.

Ref: RFC 5321 5.1 (a server that finds itself among the MX hosts); MeTA1 README, `talk_to_myself` (modelled on).
"""

import ipaddress
import os
from collections.abc import Callable, Iterable
from typing import Final

from meta1g.base.clock import Clock, SystemClock
from meta1g.base.dataclass import dataclass
from meta1g.base.interfaces import own_addresses
from meta1g.base.log import Log
from meta1g.rcb.common import ServerAddr
from meta1g.smar.limits import INTERFACES_TTL_S

_LOOPBACK: Final = {4: "127.0.0.1", 6: "::1"}
_UNIX: Final = "unix:"
_LOOPBACK_NET4: Final = "127."
#: Listening addresses that stand for all, with the families they stand for.
_ALL: Final = {"": (4, 6), "0.0.0.0": (4,), "::": (6,)}


@dataclass(frozen=True, slots=True)
class _Snapshot:
    """The addresses of the interfaces at one time."""

    addresses: frozenset[str]
    version: int
    until_s: float


class Myself:
    """What leads back to this gateway.

    Args:
        names: our host names in lower case.
        listeners: address, empty for all, and port of each socket of SMTP servers; `unix:PATH` and 0 for a local one.
        proxies: addresses from which a translation leads to us.
        remote_port: port of SMTP servers.
        read: gives the addresses of the interfaces.
        clock: for their age.
        log: a kernel that does not tell them is logged here.

    Locking: none needed; two threads that read the interfaces at the same time find the same.
    """

    def __init__(
        self,
        names: Iterable[str] = (),
        listeners: Iterable[tuple[str, int]] = (),
        proxies: Iterable[str] = (),
        remote_port: int = 25,
        *,
        read: Callable[[], frozenset[str]] = own_addresses,
        clock: Clock | None = None,
        log: Log | None = None,
    ) -> None:
        self.names = frozenset(names)
        listeners = list(listeners)
        sockets = [(address, port) for address, port in listeners if port]
        self._paths = frozenset(canonical(address) for address, _ in listeners if address.startswith(_UNIX))
        self._exact = frozenset((canonical(address), port) for address, port in sockets if address not in _ALL)
        self._any = frozenset((family, port) for address, port in sockets for family in _ALL.get(address, ()))
        self._proxies = frozenset(canonical(address) for address in proxies)
        self._ports = frozenset(port for _, port in sockets) | ({remote_port} if self._proxies else set())
        self._read = read
        self._clock = SystemClock() if clock is None else clock
        self._log = Log("smar") if log is None else log
        self._known = _Snapshot(frozenset(), 0, 0.0)

    def version(self) -> int:
        """Gives a number that grows when the answers may be others."""
        return self._snapshot().version if self._any else 0

    def is_me(self, address: str, port: int) -> bool:
        """Tells whether a server is this gateway.

        Args:
            address: IP address, or `unix:PATH`.
            port: its port.
        """
        address = canonical(address)
        if address in self._paths:
            return True
        if port not in self._ports:
            return False
        if (address, port) in self._exact or address in self._proxies:
            return True
        if (6 if ":" in address else 4, port) not in self._any:
            return False
        return address.startswith(_LOOPBACK_NET4) or address in self._snapshot().addresses

    def limit(self, servers: Iterable[ServerAddr]) -> int | None:
        """Gives the best preference at which a server is this gateway, None if none is; others are only tried if better."""
        return min((one.pref for one in servers if self.is_me(one.addr, one.port)), default=None)

    def _snapshot(self) -> _Snapshot:
        known, now = self._known, self._clock.monotonic()
        if now < known.until_s:
            return known
        try:
            addresses = self._read() | frozenset(_LOOPBACK.values())
        except OSError as error:
            self._log.warn("smar.interfaces", f"addresses of the interfaces cannot be read: {error}")
            addresses = known.addresses or frozenset(_LOOPBACK.values())
        version = known.version + (addresses != known.addresses)
        self._known = known = _Snapshot(addresses, version, now + INTERFACES_TTL_S)
        return known


def canonical(address: str) -> str:
    """Gives the address that a connection to an address leads to, in one form; what is no address stays as it is."""
    if address.startswith(_UNIX):
        return _UNIX + os.path.normpath(address.removeprefix(_UNIX))
    if ":" not in address:
        return _LOOPBACK[4] if address == "0.0.0.0" else address
    try:
        parsed = ipaddress.IPv6Address(address.partition("%")[0])
    except ValueError:
        return address
    if parsed.ipv4_mapped is not None:
        return canonical(str(parsed.ipv4_mapped))
    return _LOOPBACK[6] if parsed.is_unspecified else str(parsed)
