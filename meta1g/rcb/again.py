"""A client connection that comes back by itself, without its socket: whether there is one, how long to pause, what is logged.

Invariant: the log hears of the first failure of a row only.

Pure.  Ref: MeTA1 design, "Implementation: RCB communication" (modelled on).
"""

from pathlib import Path
from typing import Final, Generic, TypeVar

from meta1g.base.errors import Module, TempError
from meta1g.base.log import Log
from meta1g.rcb.connection import Endpoint
from meta1g.rcb.schema import Protocol

#: First and longest pause between two attempts to connect.  Our choice: a restart of the peer is noticed at once.
RETRY_FIRST_S: Final = 0.02
RETRY_MAX_S: Final = 1.0

C = TypeVar("C", bound=Endpoint)


class Again(Generic[C]):
    """What every link is made from.

    Args:
        path: socket of the server.
        protocol: the messages of the pair.
        log: ups and downs are logged here.

    Attributes:
        conn: the connection, None while there is none.
        why: why there was none the last time; empty before the first try.

    Owner: the link.
    """

    def __init__(self, path: Path, protocol: Protocol, log: Log) -> None:
        self.path = path
        self.conn: C | None = None
        self._protocol = protocol
        self._log = log
        self._pause_s = RETRY_FIRST_S
        self._told = False
        self.why = ""

    @property
    def up(self) -> bool:
        """Whether there is a connection now."""
        conn = self.conn
        return conn is not None and not conn.closed

    def now(self) -> C:
        """Gives the connection.

        Raises:
            TempError: there is none now.
        """
        conn = self.conn
        if conn is None or conn.closed:
            raise TempError(Module.RCB, f"{self._protocol.name}: no connection to {self.path} now")
        return conn

    def _failed(self, error: OSError) -> None:
        """Notes that connecting failed."""
        self.why = error.strerror or str(error)
        if not self._told:
            self._told = True
            self._log.info("rcb.waits", self.why, path=str(self.path))

    def _next_pause_s(self) -> float:
        """Gives the pause before the next attempt, in seconds: longer each time."""
        pause_s = self._pause_s
        self._pause_s = min(pause_s * 2, RETRY_MAX_S)
        return pause_s

    def _came_up(self, pid: int | None = None) -> None:
        """Notes that the connection is there.

        Args:
            pid: process id of the server, if it is known.
        """
        self._told = False
        self._pause_s = RETRY_FIRST_S
        self._log.info("rcb.connect", "ok", path=str(self.path), pid=pid)

    def _went_down(self, reason: str) -> None:
        """Notes that the connection is gone."""
        self.conn, self.why = None, reason
        self._log.notice("rcb.down", reason, path=str(self.path))
