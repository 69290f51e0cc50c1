"""Connecting again and again: how long to pause, and what the log is told of it.

Invariant: the log hears of the first failure of a row only.

Pure.  Ref: MeTA1 design, "Implementation: RCB communication" (modelled on).
"""

from pathlib import Path
from typing import Final

from meta1g.base.log import Log

#: First and longest pause between two attempts to connect.  Our choice: a restart of the peer is noticed at once.
RETRY_FIRST_S: Final = 0.02
RETRY_MAX_S: Final = 1.0


class Again:
    """The attempts to connect to one server.

    Args:
        path: its socket.
        log: ups and downs are logged here.

    Owner: the link.
    """

    __slots__ = ("_log", "_path", "_pause_s", "_told")

    def __init__(self, path: Path, log: Log) -> None:
        self._path = str(path)
        self._log = log
        self._pause_s = RETRY_FIRST_S
        self._told = False

    def failed(self, reason: str) -> None:
        """Notes that connecting failed."""
        if not self._told:
            self._told = True
            self._log.info("rcb.waits", reason, path=self._path)

    def pause_s(self) -> float:
        """Gives the pause before the next attempt, in seconds: longer each time."""
        pause_s = self._pause_s
        self._pause_s = min(pause_s * 2, RETRY_MAX_S)
        return pause_s

    def came_up(self, pid: int | None = None) -> None:
        """Notes that the connection is there.

        Args:
            pid: process id of the server, if it is known.
        """
        self._told = False
        self._pause_s = RETRY_FIRST_S
        self._log.info("rcb.connect", "ok", path=self._path, pid=pid)

    def went_down(self, reason: str) -> None:
        """Notes that the connection is gone."""
        self._log.notice("rcb.down", reason, path=self._path)
