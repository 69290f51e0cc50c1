"""The one exception of all State Threads calls; it carries the errno that the C library would have set.

Ref: State Threads reference, "Error handling".
"""

import errno
import os
from typing import NoReturn


class StError(OSError):
    """A State Threads call failed: EINTR by st_thread_interrupt only, ETIME by its time-out, others by the system.

    Attributes:
        resid: bytes not yet transferred, set by the `_resid` calls; 0 elsewhere.

    Immutable, but for resid.
    """

    resid: int = 0


def fail(number: int, detail: str = "") -> NoReturn:
    """Raises StError for an errno."""
    text = os.strerror(number)
    raise StError(number, f"{text} ({detail})" if detail else text)


EINTR = errno.EINTR
ETIME = errno.ETIME
