"""Datagrams and messages: recvfrom, sendto, recvmsg, sendmsg.

Each call counts for the turn of its thread (st_checkpoint).

Owner: the process (one native thread).
Ref: State Threads reference, "I/O Functions".
"""

import errno
import socket
from collections.abc import Sequence
from typing import Any

from meta1g.st.errors import fail
from meta1g.st.io import retry
from meta1g.st.netfd import READ, WRITE, NetFd
from meta1g.st.sched import st_checkpoint


def _socket_of(nfd: NetFd) -> socket.socket:
    """Gives the socket, for one call.  Switches: yes, if the turn is used up."""
    if nfd.sock is None:
        fail(errno.ENOTSOCK)
    st_checkpoint()
    return nfd.sock


def st_recvfrom(nfd: NetFd, nbyte: int, timeout_us: int) -> tuple[bytes, Any]:
    """Receives a datagram, cut to nbyte bytes, and the address of its sender.

    Raises:
        StError: ETIME, EINTR, or the system's error.

    Switches: yes, if there is none or the turn is used up.
    """
    sock = _socket_of(nfd)
    while True:
        try:
            return sock.recvfrom(nbyte)
        except OSError as error:
            retry(error, nfd, READ, timeout_us)


def st_sendto(nfd: NetFd, data: bytes, address: Any, timeout_us: int) -> int:
    """Sends a datagram; gives the number of bytes.

    Raises:
        StError: ETIME, EINTR, or the system's error.

    Switches: yes, if the socket is full or the turn is used up.
    """
    sock = _socket_of(nfd)
    while True:
        try:
            return sock.sendto(data, address)
        except OSError as error:
            retry(error, nfd, WRITE, timeout_us)


def st_recvmsg(nfd: NetFd, bufsize: int, ancbufsize: int, timeout_us: int, flags: int = 0) -> tuple[bytes, list[Any], int, Any]:
    """Receives a message with ancillary data, as socket.recvmsg().

    Switches: yes, if there is none or the turn is used up.
    """
    sock = _socket_of(nfd)
    while True:
        try:
            return sock.recvmsg(bufsize, ancbufsize, flags)
        except OSError as error:
            retry(error, nfd, READ, timeout_us)


def st_sendmsg(nfd: NetFd, buffers: Sequence[bytes], ancdata: Sequence[Any], timeout_us: int, flags: int = 0) -> int:
    """Sends a message with ancillary data; gives the number of bytes sent.

    Switches: yes, if the socket is full or the turn is used up.
    """
    sock = _socket_of(nfd)
    while True:
        try:
            return sock.sendmsg(buffers, ancdata, flags)
        except OSError as error:
            retry(error, nfd, WRITE, timeout_us)
