"""ICC, the incoming connection cache: open sessions and connection rate of each client: an address, IPv6 by /64.

Invariants: a client without open sessions is kept only as long as its rate matters, and never more clients than the limit
(I4).  No client has more sessions than its share of those that its SMTPS serves (I11).

Locking: caller holds IQDB.
Ref: MeTA1 design, "Implementation: incoming connection cache" (modelled on).
"""

from collections import OrderedDict, deque
from itertools import islice
from typing import Final

from meta1g.base.shares import client_key

#: The rate counts connections of this time.
RATE_WINDOW_S: Final = 60.0
#: A client may have this part of the sessions of an SMTPS, unless an option says how many.  Ref: invariant I11.
SESSIONS_PART: Final = 8
#: Clients looked at to make room; those with open sessions are as few as IQDB has sessions.
_TRIM_LOOKS: Final = 1000


class _Client:
    """One client.  Locking: caller holds IQDB."""

    __slots__ = ("open", "times")

    def __init__(self) -> None:
        self.open = 0
        self.times: deque[float] = deque()


class Icc:
    """Counts of all clients.

    Args:
        max_connections: open sessions of one client; 0 for its share of those that its SMTPS serves.
        max_rate: connections of one client in a minute, 0 for no limit.
        limit: greatest number of clients kept.

    Locking: caller holds IQDB.
    """

    __slots__ = ("_clients", "_limit", "max_connections", "max_rate")

    def __init__(self, max_connections: int, max_rate: int, limit: int) -> None:
        self.max_connections = max_connections
        self.max_rate = max_rate
        self._limit = limit
        self._clients: OrderedDict[str, _Client] = OrderedDict()

    def __len__(self) -> int:
        """Gives the number of clients."""
        return len(self._clients)

    def open_of(self, client_addr: str) -> int:
        """Gives the number of open sessions of the client with an address."""
        client = self._clients.get(client_key(client_addr))
        return 0 if client is None else client.open

    def _most(self, sessions: int) -> int:
        """Gives how many sessions a client may have, 0 for no limit."""
        if self.max_connections or not sessions:
            return self.max_connections
        return max(1, sessions // SESSIONS_PART)

    def connect(self, client_addr: str, now_s: float, sessions: int = 0) -> str:
        """Counts a connection.

        Args:
            client_addr: address of the client.
            now_s: monotonic time.
            sessions: how many its SMTPS serves, 0 if that is not known.

        Returns:
            Why it is too much, empty if the client may stay; only then it counts as open, until disconnect().
        """
        key = client_key(client_addr)
        client = self._clients.get(key)
        if client is None:
            self._trim()
            client = self._clients[key] = _Client()
        self._clients.move_to_end(key)
        if self.max_rate:
            while client.times and client.times[0] <= now_s - RATE_WINDOW_S:
                client.times.popleft()
            if len(client.times) >= self.max_rate:
                return "connection rate limit exceeded"
            client.times.append(now_s)
        most = self._most(sessions)
        if most and client.open >= most:
            return "too many open connections"
        client.open += 1
        return ""

    def disconnect(self, client_addr: str) -> None:
        """Counts the end of an open session."""
        key = client_key(client_addr)
        client = self._clients.get(key)
        if client is not None:
            client.open = max(0, client.open - 1)
            if not client.open and not client.times:
                del self._clients[key]

    def _trim(self) -> None:
        """Makes room for one more: forgets the client that was quiet longest among the first without open sessions."""
        if len(self._clients) < self._limit:
            return
        for key, client in islice(self._clients.items(), _TRIM_LOOKS):
            if not client.open:
                del self._clients[key]
                return
