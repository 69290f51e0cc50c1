"""ICC, the incoming connection cache: open sessions and connection rate of each client address.

Invariant: an address without open sessions is kept only as long as its rate matters, and never more addresses than the
limit (I4).

Locking: caller holds IQDB.
Ref: MeTA1 design, "Implementation: incoming connection cache" (modelled on).
"""

from collections import OrderedDict, deque

#: The rate counts connections of this time.
RATE_WINDOW_S = 60.0


class _Client:
    """One address.  Locking: caller holds IQDB."""

    __slots__ = ("open", "times")

    def __init__(self) -> None:
        self.open = 0
        self.times: deque[float] = deque()


class Icc:
    """Counts of all clients.

    Args:
        max_connections: open sessions of one address, 0 for no limit.
        max_rate: connections of one address in a minute, 0 for no limit.
        limit: greatest number of addresses kept.

    Locking: caller holds IQDB.
    """

    __slots__ = ("_clients", "_limit", "max_connections", "max_rate")

    def __init__(self, max_connections: int, max_rate: int, limit: int) -> None:
        self.max_connections = max_connections
        self.max_rate = max_rate
        self._limit = limit
        self._clients: OrderedDict[str, _Client] = OrderedDict()

    def __len__(self) -> int:
        """Gives the number of addresses."""
        return len(self._clients)

    def open_of(self, client_addr: str) -> int:
        """Gives the number of open sessions of an address."""
        client = self._clients.get(client_addr)
        return 0 if client is None else client.open

    def connect(self, client_addr: str, now_s: float) -> str:
        """Counts a connection.

        Args:
            client_addr: address of the client.
            now_s: monotonic time.

        Returns:
            Why it is too much, empty if the client may stay; only then it counts as open, until disconnect().
        """
        client = self._clients.get(client_addr)
        if client is None:
            self._trim()
            client = self._clients[client_addr] = _Client()
        self._clients.move_to_end(client_addr)
        if self.max_rate:
            while client.times and client.times[0] <= now_s - RATE_WINDOW_S:
                client.times.popleft()
            if len(client.times) >= self.max_rate:
                return "connection rate limit exceeded"
            client.times.append(now_s)
        if self.max_connections and client.open >= self.max_connections:
            return "too many open connections"
        client.open += 1
        return ""

    def disconnect(self, client_addr: str) -> None:
        """Counts the end of an open session."""
        client = self._clients.get(client_addr)
        if client is not None:
            client.open = max(0, client.open - 1)
            if not client.open and not client.times:
                del self._clients[client_addr]

    def _trim(self) -> None:
        """Makes room for one more: forgets the address that was quiet longest among those without open sessions."""
        if len(self._clients) < self._limit:
            return
        for client_addr, client in self._clients.items():
            if not client.open:
                del self._clients[client_addr]
                return
