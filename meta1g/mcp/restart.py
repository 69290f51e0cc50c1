"""When a process that failed is started again: always, but not at once for ever.

A process that ran for a while starts again at once.  One that keeps failing waits 1 s, 2 s, 4 s, up to a minute, and then
a minute each time.  One that says that somebody has to change something first (exit code 64, 77, 78) waits a minute.

Pure: the caller passes the time.
Ref: docs/failures.md, "a component again and again"; MeTA1 design, "Functional Specification: Supervisor".
"""

from typing import Final

from meta1g.mcp.limits import BACKOFF_FIRST_S, BACKOFF_MAX_S, STABLE_RUN_S

_DOUBLINGS_MAX: Final = 30


class Failures:
    """The failures of one process.  Owner: the supervisor."""

    __slots__ = ("_quick",)

    def __init__(self) -> None:
        self._quick = 0

    def record(self, ran_s: float, *, refused: bool = False, short: bool = False) -> float:
        """Notes a failure.

        Args:
            ran_s: how long the process ran, in seconds.
            refused: it ended with a code that asks for a change.
            short: it could not be started for a passing shortage, which is no failure of its own.

        Returns:
            Seconds to wait before it is started again.
        """
        if refused:
            return BACKOFF_MAX_S
        if short:
            return BACKOFF_FIRST_S
        if ran_s >= STABLE_RUN_S:
            self._quick = 0
            return 0.0
        delay_s = BACKOFF_FIRST_S * 2.0 ** min(self._quick, _DOUBLINGS_MAX)
        self._quick += 1
        return min(delay_s, BACKOFF_MAX_S)
