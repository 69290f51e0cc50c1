"""Descriptors: accept, connect, read and write families, poll.

The system call is tried first; only EAGAIN leads to a wait, so that a busy descriptor never switches.

Owner: the process (one native thread).
Ref: State Threads reference, "I/O Functions".
"""

import errno
import os
import select
import socket
from collections.abc import Callable, Sequence
from typing import Any, Final

from meta1g.st.errors import StError, fail
from meta1g.st.sched import ThreadState, runtime, st_thread_self, wait, wake

POLLIN: Final = select.POLLIN
POLLOUT: Final = select.POLLOUT
POLLPRI: Final = select.POLLPRI
_READ: Final = 1
_WRITE: Final = 2


class NetFd:
    """A descriptor of the library.  Owner: the threads that use it; one reader and one writer at a time."""

    __slots__ = ("_destructor", "_reader", "_writer", "fd", "recv", "send", "sock", "specific")

    def __init__(self, fd: int, sock: socket.socket | None) -> None:
        self.fd = fd
        self.sock = sock
        self._reader: Any = None
        self._writer: Any = None
        self.specific: Any = None
        self._destructor: Callable[[Any], None] | None = None
        self.recv: Callable[[int], bytes] = sock.recv if sock is not None else self._os_read
        self.send: Callable[[Any], int] = sock.send if sock is not None else self._os_write

    def _os_read(self, nbyte: int) -> bytes:
        return os.read(self.fd, nbyte)

    def _os_write(self, data: Any) -> int:
        return os.write(self.fd, data)

    def watcher(self, how: int) -> Any:
        """Gives the watcher for reading or writing, made when it is first needed."""
        if how == _READ:
            if self._reader is None:
                self._reader = runtime.loop.io(self.fd, _READ)
            return self._reader
        if self._writer is None:
            self._writer = runtime.loop.io(self.fd, _WRITE)
        return self._writer

    def drop_watchers(self) -> None:
        """Closes the watchers; a thread that waits gets EBADF."""
        for watcher in (self._reader, self._writer):
            if watcher is not None:
                thread = watcher.args[0] if watcher.args else None
                watcher.stop()
                watcher.close()
                if thread is not None:
                    wake(thread)
        self._reader = self._writer = None


def st_netfd_open_socket(sock: socket.socket) -> NetFd:
    """Makes a descriptor object of a socket and switches it to non-blocking mode."""
    sock.setblocking(False)
    return NetFd(sock.fileno(), sock)


def st_netfd_open(fd: int) -> NetFd:
    """Makes a descriptor object of a pipe or terminal and switches it to non-blocking mode."""
    os.set_blocking(fd, False)
    return NetFd(fd, None)


def st_netfd_free(nfd: NetFd) -> None:
    """Frees the object and keeps the descriptor open."""
    nfd.drop_watchers()
    st_netfd_setspecific(nfd, None, None)
    if nfd.sock is not None:
        nfd.sock.detach()
    nfd.fd = -1


def st_netfd_close(nfd: NetFd) -> int:
    """Closes the descriptor and frees the object; a second time does nothing."""
    if nfd.fd < 0:
        return 0
    nfd.drop_watchers()
    st_netfd_setspecific(nfd, None, None)
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
    """Attaches a value; the destructor of the old one is called when another replaces it."""
    old = nfd.specific
    if old is not value and old is not None and nfd._destructor is not None:
        nfd._destructor(old)
    nfd.specific = value
    nfd._destructor = destructor


def st_netfd_getspecific(nfd: NetFd) -> Any:
    """Gives the attached value."""
    return nfd.specific


def st_netfd_serialize_accept(nfd: NetFd) -> int:
    """Does nothing: the kernel wakes one process of those that wait on a socket."""
    return 0


def st_netfd_poll(nfd: NetFd, how: int, timeout_us: int) -> int:
    """Waits until a descriptor is ready.

    Args:
        nfd: descriptor.
        how: POLLIN or POLLOUT.
        timeout_us: microseconds, ST_UTIME_NO_TIMEOUT for ever.

    Raises:
        StError: EBADF, EINTR, ETIME.

    Switches: yes.
    """
    _wait_fd(nfd, _READ if how & (POLLIN | POLLPRI) else _WRITE, timeout_us)
    return 0


def _wait_fd(nfd: NetFd, how: int, timeout_us: int) -> None:
    me = st_thread_self()
    if nfd.fd < 0:
        fail(errno.EBADF)
    watcher = nfd.watcher(how)
    own = watcher.active
    if own:  # another thread waits for the same: this one gets a watcher of its own
        watcher = runtime.loop.io(nfd.fd, how)
    watcher.start(wake, me)
    try:
        ready = wait(me, ThreadState.IO_WAIT, timeout_us)
    finally:
        if nfd.fd >= 0 or own:
            watcher.stop()
            if own:
                watcher.close()
    if nfd.fd < 0:
        fail(errno.EBADF)
    if not ready:
        fail(errno.ETIME)


def _retry(error: OSError, nfd: NetFd, how: int, timeout_us: int) -> None:
    """Waits after EAGAIN; everything else is the caller's error."""
    if isinstance(error, BlockingIOError):
        _wait_fd(nfd, how, timeout_us)
    elif not isinstance(error, InterruptedError) or isinstance(error, StError):
        raise StError(error.errno, error.strerror) from error


def st_read(nfd: NetFd, nbyte: int, timeout_us: int) -> bytes:
    """Reads what there is, at most nbyte bytes; empty at the end.

    Raises:
        StError: ETIME when nothing came in timeout_us, EINTR, or the system's error.

    Switches: yes, if nothing is there.
    """
    while True:
        try:
            return nfd.recv(nbyte)
        except OSError as error:
            _retry(error, nfd, _READ, timeout_us)


def st_read_fully(nfd: NetFd, nbyte: int, timeout_us: int) -> bytes:
    """Reads exactly nbyte bytes, less only at the end.  Switches: yes."""
    pieces = []
    while nbyte > 0:
        piece = st_read(nfd, nbyte, timeout_us)
        if not piece:
            break
        pieces.append(piece)
        nbyte -= len(piece)
    return b"".join(pieces)


def st_write(nfd: NetFd, data: bytes | memoryview, timeout_us: int) -> int:
    """Writes all of data; timeout_us is the longest pause, not the whole time.

    Returns:
        The number of bytes.

    Raises:
        StError: ETIME, EINTR, or the system's error; a part may have been written.

    Switches: yes, if the descriptor is full.
    """
    total = len(data)
    sent = 0
    while True:
        try:
            sent += nfd.send(memoryview(data)[sent:] if sent else data)
        except OSError as error:
            _retry(error, nfd, _WRITE, timeout_us)
        if sent >= total:
            return total


def st_writev(nfd: NetFd, parts: Sequence[bytes], timeout_us: int) -> int:
    """Writes several pieces, all of them.  Switches: yes."""
    return st_write(nfd, b"".join(parts), timeout_us)


def st_accept(nfd: NetFd, timeout_us: int) -> tuple[NetFd, Any]:
    """Takes a connection from a listening socket.

    Returns:
        The new descriptor object and the address of the peer.

    Raises:
        StError: ETIME, EINTR, or the system's error.

    Switches: yes, if there is none.
    """
    if nfd.sock is None:
        fail(errno.ENOTSOCK)
    while True:
        try:
            sock, address = nfd.sock.accept()
            return st_netfd_open_socket(sock), address
        except OSError as error:
            _retry(error, nfd, _READ, timeout_us)


def st_connect(nfd: NetFd, address: Any, timeout_us: int) -> int:
    """Connects.

    Raises:
        StError: ETIME, EINTR, or why there is no connection.

    Switches: yes.
    """
    if nfd.sock is None:
        fail(errno.ENOTSOCK)
    while True:
        try:
            number = nfd.sock.connect_ex(address)
        except OSError as error:
            raise StError(error.errno or errno.EINVAL, error.strerror or str(error)) from error
        if number == 0 or number == errno.EISCONN:
            return 0
        if number == errno.EAGAIN:  # the queue of a Unix socket is full: it becomes writable at once, so ask the caller
            fail(errno.EAGAIN)
        if number not in (errno.EINPROGRESS, errno.EALREADY, errno.EINTR):
            fail(number)
        _wait_fd(nfd, _WRITE, timeout_us)
        number = nfd.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if number:
            fail(number)
        return 0


def st_recvmsg(nfd: NetFd, bufsize: int, ancbufsize: int, timeout_us: int) -> tuple[bytes, list[Any], int, Any]:
    """Receives a message with ancillary data.  Switches: yes."""
    if nfd.sock is None:
        fail(errno.ENOTSOCK)
    while True:
        try:
            return nfd.sock.recvmsg(bufsize, ancbufsize)
        except OSError as error:
            _retry(error, nfd, _READ, timeout_us)


def st_sendmsg(nfd: NetFd, buffers: Sequence[bytes], ancdata: Sequence[Any], timeout_us: int) -> int:
    """Sends a message with ancillary data.  Switches: yes."""
    if nfd.sock is None:
        fail(errno.ENOTSOCK)
    while True:
        try:
            return nfd.sock.sendmsg(buffers, ancdata)
        except OSError as error:
            _retry(error, nfd, _WRITE, timeout_us)
