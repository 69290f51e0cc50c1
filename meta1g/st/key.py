"""Thread-specific data under keys, 16 at most for the process.

Owner: the process (one native thread).
Ref: State Threads reference, "Per-Thread Private Data".
"""

import errno
from collections.abc import Callable
from typing import Any, Final

from meta1g.st.errors import fail
from meta1g.st.sched import StThread, runtime, st_thread_self

KEYS_MAX: Final = 16
Destructor = Callable[[Any], None]

_destructors: Final[list[Destructor | None]] = []


def st_key_create(destructor: Destructor | None = None) -> int:
    """Makes a key; all threads have None under it.

    Args:
        destructor: called with a value that is replaced, or whose thread ends; None for nothing.

    Raises:
        StError: EAGAIN, there are KEYS_MAX already.
    """
    if len(_destructors) >= KEYS_MAX:
        fail(errno.EAGAIN)
    _destructors.append(destructor)
    runtime.destructors = _destroy
    return len(_destructors) - 1


def st_key_getlimit() -> int:
    """Gives the greatest number of keys."""
    return KEYS_MAX


def st_thread_setspecific(key: int, value: Any) -> int:
    """Sets the running thread's value; the destructor takes the old one if it is another.

    Raises:
        StError: EINVAL, there is no such key.
    """
    if not 0 <= key < len(_destructors):
        fail(errno.EINVAL)
    me = st_thread_self()
    if me.specific is None:
        me.specific = [None] * KEYS_MAX
    if value is not me.specific[key]:
        _drop(me.specific, key)
        me.specific[key] = value
    return 0


def st_thread_getspecific(key: int) -> Any:
    """Gives the running thread's value, None if it has none."""
    specific = st_thread_self().specific
    return specific[key] if specific is not None and 0 <= key < len(_destructors) else None


def _drop(specific: list[Any], key: int) -> None:
    destructor = _destructors[key]
    if specific[key] is not None and destructor is not None:
        destructor(specific[key])


def _destroy(thread: StThread) -> None:
    """Runs the destructors of a thread that ends, in the order of the keys."""
    specific = thread.specific
    if specific is None:
        return
    for key in range(len(_destructors)):
        _drop(specific, key)
        specific[key] = None
