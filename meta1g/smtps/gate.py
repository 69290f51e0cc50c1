"""Waiting for what a client needs: the links to QMGR and SMAR, and room for one more session.

Nobody is let in before both links have been up once.  While one of them is made again, clients wait, new ones in the kernel's
queue, where they outlast a restart of SMTPS too; wait_s after it broke they are told to come later (invariant I8).

Owner: the process (all state threads of it).
Ref: MeTA1 design, "Functional Specification: SMTPS" (ours).
"""

import errno
from collections.abc import Callable
from typing import Protocol

from meta1g.base.clock import Clock
from meta1g.smtps.limits import US
from meta1g.st import ST_UTIME_NO_TIMEOUT, StError, st_cond_broadcast, st_cond_new, st_cond_timedwait


class Link(Protocol):
    """What clients need."""

    @property
    def up(self) -> bool:
        """Whether it is there."""
        ...


class Gate:
    """One place to wait until something has changed.

    Args:
        clock: the clock.
        wait_s: how long clients wait for a link.

    Attributes:
        on_down: called when a link is gone; None for nothing.
        closed: the process stops, and so do the others: a link that is away does not come back.

    Owner: the process.
    """

    __slots__ = ("_away_since_s", "_changed", "_clock", "_links", "_wait_s", "closed", "on_down")

    def __init__(self, clock: Clock, wait_s: float) -> None:
        self._changed = st_cond_new()
        self._clock = clock
        self._wait_s = wait_s
        self._away_since_s: float | None = None
        self._links: list[Link] = []
        self.closed = False
        self.on_down: Callable[[], object] | None = None

    def add(self, link: Link) -> None:
        """Adds a link that clients need."""
        self._links.append(link)

    def links_up(self) -> bool:
        """Tells whether all links are there."""
        return all(link.up for link in self._links)

    def tell(self) -> None:
        """Says that something has changed: a link came up, a session has ended, the process stops."""
        if self._away_since_s is not None and self.links_up():
            self._away_since_s = None
        st_cond_broadcast(self._changed)

    def close(self) -> None:
        """Says that the process stops."""
        self.closed = True
        self.tell()

    def tell_down(self) -> None:
        """Says that a link is gone."""
        if self._away_since_s is None:
            self._away_since_s = self._clock.monotonic()
        self.tell()
        if self.on_down is not None:
            self.on_down()

    def deadline(self) -> float:
        """Gives the time until which a client waits for a link that is away now, monotonic seconds."""
        since_s = self._clock.monotonic() if self._away_since_s is None else self._away_since_s
        return since_s + self._wait_s

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
