"""Waiting for what a client needs: the links to QMGR and SMAR, and room for one more session.

Nobody is let in before both links have been up once.  While one of them is made again, clients wait for a bounded time: a
restart of QMGR or SMAR takes a second or two, and nobody has to come again for it (invariant I8).

Owner: the process (all state threads of it).
Ref: MeTA1 design, "Functional Specification: SMTPS" (ours).
"""

import errno
from collections.abc import Callable

from meta1g.base.clock import Clock
from meta1g.smtps.limits import US
from meta1g.st import ST_UTIME_NO_TIMEOUT, StError, st_cond_broadcast, st_cond_new, st_cond_timedwait


class Gate:
    """One place to wait until something has changed.

    Args:
        clock: the clock.
        wait_s: how long a client waits for a link.

    Owner: the process.
    """

    __slots__ = ("_changed", "_clock", "_wait_s")

    def __init__(self, clock: Clock, wait_s: float) -> None:
        self._changed = st_cond_new()
        self._clock = clock
        self._wait_s = wait_s

    def tell(self) -> None:
        """Says that a link is up or down, or that a session has ended.  Switches: no."""
        st_cond_broadcast(self._changed)

    def deadline(self) -> float:
        """Gives the time until which a client that comes now waits for a link, monotonic seconds."""
        return self._clock.monotonic() + self._wait_s

    def wait(self, condition: Callable[[], bool], end_s: float | None = None) -> bool:
        """Waits until a condition holds.

        Args:
            condition: asked again after each change.
            end_s: monotonic time, or None for as long as it takes.

        Returns:
            Whether it holds.

        Raises:
            StError: EINTR.

        Switches: yes, unless it holds already.
        """
        while not condition():
            left_us = ST_UTIME_NO_TIMEOUT if end_s is None else int((end_s - self._clock.monotonic()) * US)
            if end_s is not None and left_us <= 0:
                return False
            try:
                st_cond_timedwait(self._changed, left_us)
            except StError as error:
                if error.errno != errno.ETIME:
                    raise
        return True
