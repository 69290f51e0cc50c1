"""Wakeup: interrupts a poll from another thread or from a signal handler.

Invariant: after set(), the descriptor is readable until clear().

Ref: MeTA1 design, "Implementation: Event threads" (the controller's pipe, modelled on).
"""

import contextlib
import os


class Wakeup:
    """An eventfd.  Owner: the process; set() may be called from any thread."""

    __slots__ = ("fd",)

    def __init__(self) -> None:
        self.fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)

    def set(self) -> None:
        """Makes the descriptor readable; does nothing after close().  Blocks: no."""
        if self.fd < 0:
            return
        with contextlib.suppress(BlockingIOError):  # the counter is full: readable all the more
            os.eventfd_write(self.fd, 1)

    def clear(self) -> bool:
        """Makes the descriptor unreadable; tells whether it was readable.  Blocks: no."""
        try:
            os.eventfd_read(self.fd)
        except BlockingIOError:
            return False
        return True

    def close(self) -> None:
        """Closes the descriptor; it may be called twice."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
