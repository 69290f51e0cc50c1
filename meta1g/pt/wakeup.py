"""Wakeup: interrupts a poll from another thread or from a signal handler.

Invariant: after set(), the descriptor is readable until clear().

Ref: MeTA1 design, "Implementation: Event threads" (the controller's pipe, modelled on).
"""

import contextlib
import os
import threading


class Wakeup:
    """An eventfd.  Locking: own lock LEAF, so that nothing is written to a descriptor that was closed meanwhile."""

    __slots__ = ("_lock", "fd")

    def __init__(self) -> None:
        self._lock = threading.RLock()  # a signal handler may interrupt set() and call it
        self.fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)

    def set(self) -> None:
        """Makes the descriptor readable; does nothing after close()."""
        with self._lock:
            if self.fd < 0:
                return
            with contextlib.suppress(BlockingIOError):  # the counter is full: readable all the more
                os.eventfd_write(self.fd, 1)

    def clear(self) -> bool:
        """Makes the descriptor unreadable; tells whether it was readable."""
        try:
            os.eventfd_read(self.fd)
        except BlockingIOError:
            return False
        return True

    def close(self) -> None:
        """Closes the descriptor; it may be called twice."""
        with self._lock:
            if self.fd >= 0:
                os.close(self.fd)
                self.fd = -1
