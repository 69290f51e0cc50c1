"""Streams: accept, connect, and the read and write families.

The system call is tried first; only EAGAIN leads to a wait.  A busy descriptor switches only when the turn of its thread is
used up: every call, and every round of those that loop, is counted by st_checkpoint().

Owner: the process (one native thread).
Ref: State Threads reference, "I/O Functions".
"""

import errno
import os
import socket
from collections.abc import Sequence
from typing import Any, Final

from meta1g.st.errors import StError, fail
from meta1g.st.limits import CONNECT_AGAIN_US
from meta1g.st.netfd import READ, WRITE, NetFd, st_netfd_open_socket, wait_fd
from meta1g.st.sched import runtime, st_checkpoint, st_usleep

Data = bytes | bytearray | memoryview
_Buffer = bytearray | memoryview

#: Buffers of one readv or writev call.  Ref: POSIX, IOV_MAX of Linux.
_IOV_MAX: Final = 1024


class WantError(BlockingIOError):
    """A layer like TLS has to wait for the other direction first.  Immutable."""

    def __init__(self, how: int) -> None:
        super().__init__(errno.EAGAIN, os.strerror(errno.EAGAIN))
        self.how = how


def retry(error: OSError, nfd: NetFd, how: int, timeout_us: int) -> None:
    """Waits after EAGAIN; everything else is the caller's error.  Switches: yes."""
    if isinstance(error, BlockingIOError):
        wait_fd(nfd, error.how if isinstance(error, WantError) else how, timeout_us)
    elif isinstance(error, StError):
        raise error
    elif not isinstance(error, InterruptedError):
        raise StError(error.errno, error.strerror) from error


def st_read(nfd: NetFd, nbyte: int, timeout_us: int) -> bytes:
    """Reads what there is, at most nbyte bytes; empty at the end.

    Under a layer like TLS bytes may come that are nothing to read yet: the time is for the whole call.

    Raises:
        StError: ETIME when nothing came in timeout_us, EINTR, or the system's error.

    Switches: yes, if nothing is there or the turn is used up.
    """
    st_checkpoint()
    try:
        return nfd.recv(nbyte)
    except OSError as error:
        end_us = runtime.utime() + timeout_us
        retry(error, nfd, READ, timeout_us)
    while True:
        try:
            return nfd.recv(nbyte)
        except OSError as error:
            left_us = timeout_us if timeout_us <= 0 else end_us - runtime.utime()
            if left_us <= 0 < timeout_us:
                fail(errno.ETIME)
            retry(error, nfd, READ, left_us)


def st_read_fully(nfd: NetFd, nbyte: int, timeout_us: int) -> bytes:
    """Reads exactly nbyte bytes, less only at the end.  Switches: yes."""
    data = bytearray()
    while len(data) < nbyte:
        piece = st_read(nfd, nbyte - len(data), timeout_us)
        if not piece:
            break
        data += piece
    return bytes(data)


def st_read_resid(nfd: NetFd, buffer: _Buffer, timeout_us: int) -> int:
    """Fills a buffer, less only at the end.

    Returns:
        The number of bytes that are missing, 0 for none.

    Raises:
        StError: as st_read; its `resid` is the number of bytes that are missing.

    Switches: yes.
    """
    view = memoryview(buffer)
    done = 0
    while done < len(view):
        try:
            piece = st_read(nfd, len(view) - done, timeout_us)
        except StError as error:
            error.resid = len(view) - done
            raise
        if not piece:
            break
        view[done : done + len(piece)] = piece
        done += len(piece)
    return len(view) - done


def st_readv(nfd: NetFd, buffers: Sequence[_Buffer], timeout_us: int) -> int:
    """Reads what there is into several buffers, one after the other.

    Returns:
        The number of bytes, 0 at the end.

    Switches: yes, if nothing is there or the turn is used up.
    """
    data = memoryview(st_read(nfd, sum(len(buffer) for buffer in buffers), timeout_us))
    done = 0
    for buffer in buffers:
        piece = data[done : done + len(buffer)]
        memoryview(buffer)[: len(piece)] = piece
        done += len(piece)
    return done


def st_readv_resid(nfd: NetFd, iov: list[memoryview], timeout_us: int) -> int:
    """Fills several buffers.

    Args:
        nfd: descriptor.
        iov: the buffers; afterwards those that are not full, the first without its full part.
        timeout_us: longest pause, microseconds.

    Returns:
        The number of buffers that are not full: 0, more only at the end.

    Raises:
        StError: as st_read; iov tells what is missing.

    Switches: yes.
    """
    skip(iov, 0)
    while iov:
        count = st_readv(nfd, iov, timeout_us)
        if not count:
            break
        skip(iov, count)
    return len(iov)


def st_write(nfd: NetFd, data: Data, timeout_us: int) -> int:
    """Writes all of data; timeout_us is the longest pause, not the whole time.

    Returns:
        The number of bytes.

    Raises:
        StError: ETIME, EINTR, or the system's error; a part may have been written, `resid` bytes are left.

    Switches: yes, if the descriptor is full or the turn is used up.
    """
    total = len(data)
    sent = 0
    while True:
        st_checkpoint()
        try:
            sent += nfd.send(memoryview(data)[sent:] if sent else data)
            if sent >= total:
                return total
        except OSError as error:
            _retry_write(error, nfd, timeout_us, total - sent)


def _retry_write(error: OSError, nfd: NetFd, timeout_us: int, left: int) -> None:
    """Switches: yes."""
    try:
        retry(error, nfd, WRITE, timeout_us)
    except StError as failure:
        failure.resid = left
        raise


def st_write_resid(nfd: NetFd, data: Data, timeout_us: int) -> int:
    """Writes all of data and gives 0, the number of bytes left; an error tells it as `resid`.  Switches: yes."""
    st_write(nfd, data, timeout_us)
    return 0


def st_writev(nfd: NetFd, parts: Sequence[Data], timeout_us: int) -> int:
    """Writes several pieces, all of them, and gives the number of bytes.  Switches: yes."""
    return st_write(nfd, b"".join(parts), timeout_us)


def st_writev_resid(nfd: NetFd, iov: list[memoryview], timeout_us: int) -> int:
    """Writes several pieces.

    Args:
        nfd: descriptor.
        iov: the pieces; afterwards empty, after an error what is left of them.
        timeout_us: longest pause, microseconds.

    Returns:
        0, the number of pieces left.

    Raises:
        StError: as st_write; iov tells what is left.

    Switches: yes.
    """
    skip(iov, 0)
    while iov:
        group = b"".join(iov[:_IOV_MAX])
        try:
            st_write(nfd, group, timeout_us)
        except StError as error:
            skip(iov, len(group) - error.resid)
            raise
        skip(iov, len(group))
    return 0


def skip(iov: list[memoryview], count: int) -> None:
    """Takes count bytes off the front of several pieces, empty ones too."""
    while iov and count >= len(iov[0]):
        count -= len(iov.pop(0))
    if count:
        iov[0] = memoryview(iov[0])[count:]


def st_accept(nfd: NetFd, timeout_us: int) -> tuple[NetFd, Any]:
    """Takes a connection from a listening socket.

    Returns:
        The new descriptor object and the address of the peer.

    Raises:
        StError: ETIME, EINTR, or the system's error.

    Switches: yes, if there is none or the turn is used up.
    """
    if nfd.sock is None:
        fail(errno.ENOTSOCK)
    st_checkpoint()
    while True:
        try:
            sock, address = nfd.sock.accept()
            return st_netfd_open_socket(sock), address
        except OSError as error:
            retry(error, nfd, READ, timeout_us)


def st_connect(nfd: NetFd, address: Any, timeout_us: int) -> int:
    """Connects; a Unix socket whose queue is full is waited for, since nothing tells when that is over.

    Raises:
        StError: ETIME, EINTR, or why there is no connection; EAGAIN if the queue was full all the time.

    Switches: yes.
    """
    if nfd.sock is None:
        fail(errno.ENOTSOCK)
    st_checkpoint()
    begun_us = runtime.utime()
    while (number := _connect(nfd.sock, address)) == errno.EAGAIN and nfd.sock.family == socket.AF_UNIX:
        if 0 <= timeout_us <= runtime.utime() - begun_us:
            break
        st_usleep(CONNECT_AGAIN_US)
    if number not in (errno.EINPROGRESS, errno.EALREADY, errno.EINTR):
        if number:
            fail(number)
        return 0
    wait_fd(nfd, WRITE, timeout_us)
    number = nfd.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if number:
        fail(number)
    return 0


def _connect(sock: socket.socket, address: Any) -> int:
    try:
        return sock.connect_ex(address)
    except OSError as error:
        raise StError(error.errno or errno.EINVAL, error.strerror or str(error)) from error
