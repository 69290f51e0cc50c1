"""Places for handshakes that are not over: many clients that stay in half of one do not take the places of all others.

A part of the sessions may be in a handshake at the same time; each client has its share of that part (meta1g.base.shares).
When it fills up, a client has less time.

Ref: invariants I4 and I11; RFC 3207 4 (454: not available for a passing reason).
"""

import contextlib
from collections.abc import Iterator

from meta1g.base.shares import Pool, client_key
from meta1g.smtps.limits import HANDSHAKE_BUSY_TIMEOUT_US, HANDSHAKE_TIMEOUT_US, HANDSHAKES_LEAST, HANDSHAKES_PART


class Handshakes:
    """The handshakes of a process.

    Args:
        sessions_max: sessions that can be served at the same time.

    Owner: the process (one native thread).
    """

    def __init__(self, sessions_max: int) -> None:
        self._pool = Pool(max(1, sessions_max // HANDSHAKES_PART), greed=2, least=HANDSHAKES_LEAST)

    def has_room(self, client_addr: str) -> bool:
        """Tells whether a client may begin one."""
        return self._pool.room(client_key(client_addr)) > 0

    @contextlib.contextmanager
    def place(self, client_addr: str) -> Iterator[None]:
        """Counts one as long as the context is entered."""
        key = client_key(client_addr)
        self._pool.hold(key)
        try:
            yield
        finally:
            self._pool.give(key)

    def timeout_us(self) -> int:
        """Gives how long the next one may take."""
        return HANDSHAKE_TIMEOUT_US if self._pool.free > self._pool.used else HANDSHAKE_BUSY_TIMEOUT_US
