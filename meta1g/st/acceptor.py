"""Takes connections from a listening socket as long as it is open, whatever goes wrong with one of them.

A shortage, or a connection that broke before it was taken, costs a pause; what is done with a connection costs at most that
connection (invariant I12).  An error of the listening socket itself is the frame's, and its thread ends with it.

Owner: the process (one native thread).
Ref: accept(2), "Error handling"; docs/failures.md.
"""

import errno
from collections.abc import Callable
from typing import Any, Final

from meta1g.base import failure
from meta1g.base.log import Log
from meta1g.st.errors import StError
from meta1g.st.io import st_accept
from meta1g.st.limits import ACCEPT_PAUSE_US
from meta1g.st.netfd import NetFd, st_netfd_close
from meta1g.st.sched import ST_UTIME_NO_TIMEOUT, st_usleep

#: The connection is gone, or somebody woke us: the next one is asked for at once.
_GONE: Final = frozenset((errno.ECONNABORTED, errno.EINTR))
#: No further call can succeed.
_BROKEN: Final = frozenset((errno.EBADF, errno.EINVAL, errno.ENOTSOCK, errno.EFAULT))


def accept_all(
    listener: NetFd,
    take: Callable[[NetFd, Any], object],
    log: Log,
    where: str,
    may_accept: Callable[[], bool] = lambda: True,
) -> None:
    """Takes one connection after the other until the listener is closed.

    Args:
        listener: listening socket; closing it, and interrupting the thread, ends the call.
        take: called as take(connection, address); an exception closes the connection and is contained.
        log: errors are told once, until a connection came again.
        where: the event for the log, `<part>.<what>`.
        may_accept: called before each connection, may wait; False ends the call.  Others stay in the kernel's queue.

    Raises:
        StError: the listener itself is broken.

    Switches: yes.
    """
    told: set[int] = set()
    while _wanted(may_accept) and listener.fd >= 0:
        try:
            nfd, address = st_accept(listener, ST_UTIME_NO_TIMEOUT)
        except StError as error:
            if listener.fd < 0:
                return
            _refused(error, log, where, told)
            continue
        told.clear()
        with failure.item(log, where, lambda _error, nfd=nfd: st_netfd_close(nfd)):  # type: ignore[misc]
            take(nfd, address)


def _wanted(may_accept: Callable[[], bool]) -> bool:
    while True:
        try:
            return may_accept()
        except StError as error:
            if error.errno != errno.EINTR:
                raise


def _refused(error: StError, log: Log, where: str, told: set[int]) -> None:
    """Decides what a failed accept costs.  Switches: yes (pause)."""
    number = error.errno or 0
    if number in _BROKEN:
        raise error
    if number in _GONE:
        return
    if number not in told:
        told.add(number)
        log.error("st.accept", f"cannot accept: {error.strerror}; it is tried again", where=where)
    try:
        st_usleep(ACCEPT_PAUSE_US)
    except StError as interrupt:
        if interrupt.errno != errno.EINTR:
            raise
