"""Descriptor objects, and waiting for them.

Owner: the process (one native thread).
Ref: State Threads reference, "I/O Functions" (st_netfd_ calls, st_poll).
"""

import errno
import os
import select
import socket
from collections.abc import Callable, Sequence
from typing import Any, Final, NoReturn

from meta1g.base.dataclass import dataclass
from meta1g.st.errors import StError, fail
from meta1g.st.sched import ThreadState, runtime, st_thread_self, take_interrupt, wait, wake

POLLIN: Final = select.POLLIN
POLLOUT: Final = select.POLLOUT
POLLPRI: Final = select.POLLPRI
POLLNVAL: Final = select.POLLNVAL
READ: Final = 1
WRITE: Final = 2
_POLL_EVENTS: Final = POLLIN | POLLOUT | POLLPRI


class NetFd:
    """A descriptor of the library.

    Attributes:
        fd: number of the descriptor, -1 after st_netfd_close() and st_netfd_free().
        sock: the socket, None if it is none.
        recv: reads at most so many bytes without waiting; a layer like TLS puts its own in its place.
        send: writes without waiting what goes, likewise.
        buffered: tells how many bytes a layer holds that can be read without waiting.
        layer: what is closed before the descriptor is; None for nothing.

    Owner: the threads that use it; one reader and one writer at a time.
    """

    __slots__ = ("_destructor", "_others", "_reader", "_specific", "_writer", "buffered", "fd", "layer", "recv", "send", "sock")

    def __init__(self, fd: int, sock: socket.socket | None) -> None:
        self.fd = fd
        self.sock = sock
        self._reader: Any = None
        self._writer: Any = None
        self._others: list[Any] = []
        self._specific: Any = None
        self._destructor: Callable[[Any], None] | None = None
        self.recv: Callable[[int], bytes] = sock.recv if sock is not None else self._os_read
        self.send: Callable[[Any], int] = sock.send if sock is not None else self._os_write
        self.buffered: Callable[[], int] | None = None
        self.layer: Any = None

    def _os_read(self, nbyte: int) -> bytes:
        return os.read(self.fd, nbyte)

    def _os_write(self, data: Any) -> int:
        return os.write(self.fd, data)

    def take_watcher(self, how: int) -> Any:
        """Gives an idle watcher: those for READ and for WRITE are kept, further ones are made for the call."""
        if how == READ:
            watcher = self._reader = self._reader or runtime.loop.io(self.fd, READ)
        elif how == WRITE:
            watcher = self._writer = self._writer or runtime.loop.io(self.fd, WRITE)
        else:
            watcher = None
        if watcher is None or watcher.active:  # another thread waits for the same
            watcher = runtime.loop.io(self.fd, how)
            self._others.append(watcher)
        return watcher

    def give_watcher(self, watcher: Any) -> None:
        """Takes a watcher back after its use."""
        if self.fd < 0:  # drop_watchers() has closed it
            return
        watcher.stop()
        if watcher in self._others:
            self._others.remove(watcher)
            watcher.close()

    def drop_watchers(self) -> None:
        """Closes the watchers; a thread that waits gets EBADF."""
        for watcher in (self._reader, self._writer, *self._others):
            if watcher is not None:
                thread = watcher.args[0] if watcher.args else None
                watcher.stop()
                watcher.close()
                if thread is not None:
                    wake(thread)
        self._reader = self._writer = None
        self._others.clear()

    def drop_layer(self) -> None:
        """Closes the layer, with a word to the peer if that goes without waiting; nothing can be read or written any more."""
        layer, self.layer = self.layer, None
        if layer is not None:
            self.recv = self.send = _closed
            self.buffered = None
            layer.shutdown()
            layer.close()

    def set_specific(self, value: Any, destructor: Callable[[Any], None] | None) -> None:
        """Replaces the attached value; the destructor of the old one takes it."""
        old, take = self._specific, self._destructor
        self._specific, self._destructor = value, destructor
        if old is not value and old is not None and take is not None:
            take(old)


def _closed(_argument: object) -> NoReturn:
    fail(errno.EBADF)


@dataclass(slots=True)
class PollFd:
    """One descriptor of st_poll(): its number, the events asked for, the events seen.  Owner: the caller."""

    fd: int
    events: int
    revents: int = 0


def st_netfd_open_socket(sock: socket.socket) -> NetFd:
    """Makes a descriptor object of a socket and switches it to non-blocking mode."""
    sock.setblocking(False)
    return NetFd(sock.fileno(), sock)


def st_netfd_open(fd: int) -> NetFd:
    """Makes a descriptor object of a pipe or terminal and switches it to non-blocking mode.

    Raises:
        StError: EBADF.
    """
    try:
        os.set_blocking(fd, False)
    except OSError as error:
        fail(error.errno or errno.EBADF)
    return NetFd(fd, None)


def st_open(path: str | os.PathLike[str], oflags: int, mode: int = 0o666) -> NetFd:
    """Opens a file, FIFO or device without waiting for its other end.

    Raises:
        StError: the system's error.
    """
    try:
        return NetFd(os.open(path, oflags | os.O_NONBLOCK, mode), None)
    except OSError as error:
        raise StError(error.errno, error.strerror) from error


def st_netfd_free(nfd: NetFd) -> None:
    """Frees the object and keeps the descriptor open."""
    nfd.drop_watchers()
    nfd.drop_layer()
    nfd.set_specific(None, None)
    if nfd.sock is not None:
        nfd.sock.detach()
    nfd.fd = -1


def st_netfd_close(nfd: NetFd) -> int:
    """Closes the descriptor and frees the object; a second time does nothing."""
    if nfd.fd < 0:
        return 0
    nfd.drop_watchers()
    nfd.drop_layer()
    nfd.set_specific(None, None)
    fd, nfd.fd = nfd.fd, -1
    if nfd.sock is not None:
        nfd.sock.close()
    else:
        os.close(fd)
    return 0


def st_netfd_fileno(nfd: NetFd) -> int:
    """Gives the descriptor number."""
    return nfd.fd


def st_netfd_setspecific(nfd: NetFd, value: Any, destructor: Callable[[Any], None] | None) -> None:
    """Attaches a value; the destructor is called when another one replaces it and when the object is freed."""
    nfd.set_specific(value, destructor)


def st_netfd_getspecific(nfd: NetFd) -> Any:
    """Gives the attached value."""
    return nfd._specific  # noqa: SLF001 - the call is the class's other half


def st_netfd_serialize_accept(nfd: NetFd) -> int:
    """Does nothing: the kernel wakes one process of those that wait on a socket."""
    return 0


def st_netfd_poll(nfd: NetFd, how: int, timeout_us: int) -> int:
    """Waits until a descriptor is ready.

    Args:
        nfd: descriptor.
        how: POLLIN, POLLOUT or both; POLLPRI counts as POLLIN.
        timeout_us: microseconds, ST_UTIME_NO_TIMEOUT for ever.

    Raises:
        StError: EINVAL how is something else; EBADF, EINTR, ETIME.

    Switches: yes.
    """
    if not how or how & ~_POLL_EVENTS:
        fail(errno.EINVAL)
    if nfd.buffered is not None and how & POLLIN and nfd.buffered():
        return 0
    wait_fd(nfd, _loop_events(how), timeout_us)
    pd = PollFd(nfd.fd, how)
    _look([pd])
    if pd.revents & POLLNVAL:
        fail(errno.EBADF)
    return 0


def _loop_events(how: int) -> int:
    return (READ if how & (POLLIN | POLLPRI) else 0) | (WRITE if how & POLLOUT else 0)


def wait_fd(nfd: NetFd, how: int, timeout_us: int) -> None:
    """Waits until a descriptor is readable or writable.

    Raises:
        StError: EBADF it is or gets closed; EINTR, ETIME.

    Switches: yes.
    """
    me = st_thread_self()
    if nfd.fd < 0:
        fail(errno.EBADF)
    watcher = nfd.take_watcher(how)
    watcher.start(wake, me)
    try:
        ready = wait(me, ThreadState.IO_WAIT, timeout_us)
    finally:
        nfd.give_watcher(watcher)
    if nfd.fd < 0:
        fail(errno.EBADF)
    if not ready and not _look([PollFd(nfd.fd, (POLLIN if how & READ else 0) | (POLLOUT if how & WRITE else 0))]):
        fail(errno.ETIME)  # else both came while this process was busy, and the descriptor wins


def st_poll(pds: Sequence[PollFd], timeout_us: int) -> int:
    """Waits until one of several descriptors is ready; sets the events seen of each.

    Returns:
        The number of descriptors with events, 0 when the time is over.

    Raises:
        StError: EINVAL a descriptor is negative or its events are none or unknown; EINTR.

    Switches: yes.
    """
    me = st_thread_self()
    if me.interrupted:
        take_interrupt(me)
    for pd in pds:
        if pd.fd < 0 or not pd.events or pd.events & ~_POLL_EVENTS:
            fail(errno.EINVAL)
    if not _look(pds):
        _wait_any(pds, timeout_us)
        return _look(pds)
    wait(me, ThreadState.IO_WAIT, 0)  # the call lets others run even if something is ready
    return _look(pds)


def _wait_any(pds: Sequence[PollFd], timeout_us: int) -> None:
    """Switches: yes."""
    me = st_thread_self()
    watchers = [runtime.loop.io(pd.fd, _loop_events(pd.events)) for pd in pds]
    try:
        for watcher in watchers:
            watcher.start(wake, me)
        wait(me, ThreadState.IO_WAIT, timeout_us)
    finally:
        for watcher in watchers:
            watcher.stop()
            watcher.close()


def _look(pds: Sequence[PollFd]) -> int:
    """Fills in the events seen, without waiting."""
    count = 0
    for pd in pds:
        poller = select.poll()
        poller.register(pd.fd, pd.events)
        seen = poller.poll(0)
        pd.revents = seen[0][1] if seen else 0
        count += bool(seen)
    return count
