"""When a process that failed is started again, and when it is given up.

A process that ran for a while starts again at once.  One that keeps failing waits 1 s, 2 s, 4 s, up to a minute.  Five
failures within a minute mean that starting it again does not help.

Pure: the caller passes the time.
Ref: MeTA1 design, "Functional Specification: Supervisor" (too quick repeated failure stops the system, modelled on).
"""

from collections import deque
from typing import Final

from meta1g.mcp.limits import BACKOFF_FIRST_S, BACKOFF_MAX_S, FAILURES_MAX, FAILURES_WINDOW_S, STABLE_RUN_S

_DOUBLINGS_MAX: Final = 30


class Failures:
    """The failures of one process.  Owner: the supervisor."""

    __slots__ = ("_quick", "_times")

    def __init__(self) -> None:
        self._times: deque[float] = deque(maxlen=FAILURES_MAX)
        self._quick = 0

    @property
    def too_many(self) -> bool:
        """Tells whether the last FAILURES_MAX failures lie within FAILURES_WINDOW_S."""
        return len(self._times) == FAILURES_MAX and self._times[-1] - self._times[0] <= FAILURES_WINDOW_S

    def record(self, now_s: float, ran_s: float) -> float:
        """Notes a failure.

        Args:
            now_s: monotonic time.
            ran_s: how long the process ran, in seconds.

        Returns:
            Seconds to wait before it is started again.
        """
        self._times.append(now_s)
        if ran_s >= STABLE_RUN_S:
            self._quick = 0
            return 0.0
        delay_s = BACKOFF_FIRST_S * 2.0 ** min(self._quick, _DOUBLINGS_MAX)
        self._quick += 1
        return min(delay_s, BACKOFF_MAX_S)
