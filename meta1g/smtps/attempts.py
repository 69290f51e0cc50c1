"""Who has failed to log in, how often: limits by client and by user, in tables of a fixed size.

    a client   one address, or an IPv6 /64: beyond its limit none of its attempts is looked at until its time is over
    a user     the same, for attempts of clients that have not yet been this user

A client that has been a user before goes on with it whatever others try, so that nobody can be locked out from afar; its own
failures end that.  A full table forgets who has been quiet for longest: a flood from many addresses forgets itself.

Pure.  Ref: NIST SP 800-63B 5.2.2 (throttling); invariants I4, I11.
"""

from typing import Final

from meta1g.base.dataclass import dataclass
from meta1g.base.errors import Module
from meta1g.base.rsc import Rsc

#: Clients, users and pairs of both that are remembered.  Our choice: some 300 bytes each.
ENTRIES_MAX: Final = 10_000


@dataclass(frozen=True, slots=True)
class AttemptLimits:
    """How many failures are too many.

    Args:
        client: failures of a client within the time, 1 or more.
        user: failures of a user within the time, 1 or more.
        window_s: the time, from the first of them.
    """

    client: int
    user: int
    window_s: float


@dataclass(slots=True)
class _Failures:
    """Failures of one name.  Owner: Attempts."""

    begun_s: float
    count: int = 0


class Attempts:
    """The tables.

    Args:
        limits: how many failures are too many.
        entries: size of each table, 1 or more.

    Owner: the process.
    """

    __slots__ = ("_clients", "_known", "_limits", "_users")

    def __init__(self, limits: AttemptLimits, entries: int = ENTRIES_MAX) -> None:
        self._limits = limits
        self._clients: Rsc[str, _Failures] = Rsc(entries, Module.SMTPS)
        self._users: Rsc[str, _Failures] = Rsc(entries, Module.SMTPS)
        self._known: Rsc[tuple[str, str], _Failures] = Rsc(entries, Module.SMTPS)

    def too_many(self, client: str, user: str, now_s: float) -> int:
        """Gives the limit that an attempt is beyond, 0 if it may be made.

        Args:
            client: who tries.
            user: whom it wants to be.
            now_s: monotonic time.
        """
        limits = self._limits
        if self._count(self._known.get((client, user)), now_s) is not None:
            return 0
        if (self._count(self._clients.get(client), now_s) or 0) >= limits.client:
            return limits.client
        return limits.user if (self._count(self._users.get(user), now_s) or 0) >= limits.user else 0

    def failed(self, client: str, user: str, now_s: float) -> None:
        """Counts a failure; user is empty if it did not say whom it wants to be."""
        pair = (client, user)
        known = self._known.get(pair)
        if known is not None:
            known.count += 1
            if known.count < self._limits.user:
                return
            self._known.pop(pair)
        self._add(self._clients, client, now_s)
        if user:
            self._add(self._users, user, now_s)

    def succeeded(self, client: str, user: str, now_s: float) -> None:
        """Remembers that a client has been a user."""
        self._known.put((client, user), _Failures(now_s))

    def _add(self, table: "Rsc[str, _Failures]", key: str, now_s: float) -> None:
        failures = table.get(key)
        if failures is None or now_s - failures.begun_s >= self._limits.window_s:
            failures = _Failures(now_s)
            table.put(key, failures)
        failures.count += 1

    def _count(self, failures: _Failures | None, now_s: float) -> int | None:
        if failures is None:
            return None
        return 0 if now_s - failures.begun_s >= self._limits.window_s else failures.count
