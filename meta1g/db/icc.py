"""ICC, the incoming connection cache: open sessions and rates of each client: an address, IPv6 by /64.

A rate is what a client may do in a unit of time, which begins with the first thing it does; what is refused does not count.

Invariants: a client without open sessions is kept only as long as its rates matter, and never more clients than the limit
(I4).  No client has more sessions than its share of those that its SMTPS serves (I11).

Locking: caller holds IQDB.
Ref: MeTA1 design, "Implementation: incoming connection cache" (modelled on).
"""

from collections import OrderedDict
from collections.abc import Mapping
from itertools import islice
from typing import Final

from meta1g.base.shares import client_key
from meta1g.rcb.smtps_qmgr import ClientEvent

#: The unit of time of rates, if no option says otherwise.
RATE_UNIT_S: Final = 60.0
#: What is said of a rate that is exceeded.
_EXCEEDED: Final[Mapping[ClientEvent, str]] = {
    ClientEvent.CONNECTION: "connection rate limit exceeded",
    ClientEvent.MESSAGE: "message rate limit exceeded",
    ClientEvent.RECIPIENT: "recipient rate limit exceeded",
}
#: A client may have this part of the sessions of an SMTPS, unless an option says how many.  Ref: invariant I11.
SESSIONS_PART: Final = 8
#: Clients looked at to make room; those with open sessions are as few as IQDB has sessions.
_TRIM_LOOKS: Final = 1000


class _Client:
    """One client.  Locking: caller holds IQDB."""

    __slots__ = ("counts", "open", "since_s")

    def __init__(self) -> None:
        self.open = 0
        self.since_s = 0.0  # when the unit of time began that is counted
        self.counts: dict[ClientEvent, int] = {}


class Icc:
    """Counts of all clients.

    Args:
        max_connections: open sessions of one client; 0 for its share of those that its SMTPS serves.
        max_rate: connections of one client in a unit of time, 0 for no limit.
        limit: greatest number of clients kept.
        unit_s: the unit of time.
        rates: how often a client may do other things in a unit; 0 or nothing for no limit.

    Attributes:
        rates: for every event; 0 for no limit.

    Locking: caller holds IQDB.
    """

    __slots__ = ("_clients", "_limit", "_unit_s", "max_connections", "rates")

    def __init__(
        self,
        max_connections: int,
        max_rate: int,
        limit: int,
        unit_s: float = RATE_UNIT_S,
        rates: Mapping[ClientEvent, int] | None = None,
    ) -> None:
        self.max_connections = max_connections
        self.rates = {ClientEvent.MESSAGE: 0, ClientEvent.RECIPIENT: 0, **(rates or {}), ClientEvent.CONNECTION: max_rate}
        self._limit = limit
        self._unit_s = unit_s
        self._clients: OrderedDict[str, _Client] = OrderedDict()

    def __len__(self) -> int:
        """Gives the number of clients."""
        return len(self._clients)

    def open_of(self, client_addr: str) -> int:
        """Gives the number of open sessions of the client with an address."""
        client = self._clients.get(client_key(client_addr))
        return 0 if client is None else client.open

    @property
    def counted(self) -> ClientEvent:
        """What has a rate, beside connections."""
        wanted = ClientEvent(0)
        for event in (ClientEvent.MESSAGE, ClientEvent.RECIPIENT):
            wanted |= event if self.rates[event] else ClientEvent(0)
        return wanted

    def _most(self, sessions: int, *, exempt: bool) -> int:
        """Gives how many sessions a client may have, 0 for no limit."""
        if (self.max_connections and not exempt) or not sessions:
            return 0 if exempt else self.max_connections
        return max(1, sessions // SESSIONS_PART)

    def connect(self, client_addr: str, now_s: float, sessions: int = 0, *, exempt: bool = False) -> str:
        """Counts a connection.

        Args:
            client_addr: address of the client.
            now_s: monotonic time.
            sessions: how many its SMTPS serves, 0 if that is not known.
            exempt: the client has no rate, and its share of the sessions in place of max_connections.

        Returns:
            Why it is too much, empty if the client may stay; only then it counts as open, until disconnect().
        """
        client = self._client(client_addr)
        if not exempt and (refusal := self._over(client, ClientEvent.CONNECTION, now_s)):
            return refusal
        most = self._most(sessions, exempt=exempt)
        if most and client.open >= most:
            return "too many open connections"
        client.open += 1
        return ""

    def count(self, client_addr: str, event: ClientEvent, now_s: float) -> str:
        """Counts what a client does; gives why it is too much, empty if it is not."""
        return self._over(self._client(client_addr), event, now_s)

    def _client(self, client_addr: str) -> _Client:
        """Gives a client, which counts as the one that was quiet last."""
        key = client_key(client_addr)
        client = self._clients.get(key)
        if client is None:
            self._trim()
            client = self._clients[key] = _Client()
        self._clients.move_to_end(key)
        return client

    def _over(self, client: _Client, event: ClientEvent, now_s: float) -> str:
        """Counts an event against its rate; gives why it is too much, empty if it is not."""
        rate = self.rates[event]
        if not rate:
            return ""
        if now_s >= client.since_s + self._unit_s or not client.counts:
            client.since_s, client.counts = now_s, {}
        number = client.counts.get(event, 0)
        if number >= rate:
            return _EXCEEDED[event]
        client.counts[event] = number + 1
        return ""

    def disconnect(self, client_addr: str) -> None:
        """Counts the end of an open session."""
        key = client_key(client_addr)
        client = self._clients.get(key)
        if client is not None:
            client.open = max(0, client.open - 1)
            if not client.open and not client.counts:
                del self._clients[key]

    def _trim(self) -> None:
        """Makes room for one more: forgets the client that was quiet longest among the first without open sessions."""
        if len(self._clients) < self._limit:
            return
        for key, client in islice(self._clients.items(), _TRIM_LOOKS):
            if not client.open:
                del self._clients[key]
                return
