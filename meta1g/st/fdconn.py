"""One connection of mcp that brings listening sockets: the socket of a rcb/connection.py among state threads.

Each message is an RCB frame, its descriptor travels beside it as SCM_RIGHTS ancillary data, in the same order.  Only
root and our own account may send (the kernel tells who it is).

Invariant: a descriptor is given to `take` or closed.

Owner: the process (one native thread).
Ref: MeTA1 design, "Functional Specification: Supervisor" (start_action = pass, modelled on); unix(7), SCM_RIGHTS.
"""

import array
import os
import socket
from collections import deque
from collections.abc import Callable
from typing import Any, Final, cast

from meta1g.base import failure, unixsock
from meta1g.base.errors import PermError, ProtocolError, TempError
from meta1g.base.log import Log
from meta1g.rcb.connection import Buffer, Connection
from meta1g.rcb.mcp_child import PROTOCOL, FdTaken, PassFd
from meta1g.st.datagram import st_recvmsg
from meta1g.st.io import st_write
from meta1g.st.limits import PASS_FD_TIMEOUT_US, PASS_FDS_MAX
from meta1g.st.netfd import NetFd, st_netfd_close

Take = Callable[[socket.socket, PassFd], object]

_READ_BYTES: Final = 4096


class FdConn:
    """One connection of mcp.  Owner: the thread that accepts."""

    def __init__(self, nfd: NetFd, take: Take, log: Log) -> None:
        self._nfd = nfd
        self._take = take
        self._log = log
        self._rcb = Connection(PROTOCOL, server=True)
        self._fds: deque[int] = deque()

    def close(self) -> None:
        """Closes the connection and what came without a message."""
        st_netfd_close(self._nfd)
        while self._fds:
            os.close(self._fds.popleft())

    def serve(self) -> None:
        """Takes messages until the sender closes.  Switches: yes.

        Raises:
            ProtocolError: the sender may not send, or sends nonsense.
            StError: it is too slow, or the system's error.
        """
        _check_sender(self._nfd)
        anc_bytes = socket.CMSG_SPACE(PASS_FDS_MAX * array.array("i").itemsize)
        self._rcb.give(self._write)
        while True:
            data, anc, flags, _address = st_recvmsg(
                self._nfd, _READ_BYTES, anc_bytes, PASS_FD_TIMEOUT_US, socket.MSG_CMSG_CLOEXEC
            )
            self._keep(anc)
            if flags & socket.MSG_CTRUNC:
                raise ProtocolError("mcp-child: more descriptors than allowed in one message, or than this process may have")
            if not data:
                return
            try:
                for msg, request_id, _ in self._rcb.receive(data):
                    self._rcb.reply(request_id, self._pass_on(cast("PassFd", msg)))
            finally:
                self._rcb.give(self._write)

    def _write(self, data: Buffer) -> int:
        """Switches: yes."""
        return st_write(self._nfd, data, PASS_FD_TIMEOUT_US)

    def _keep(self, anc: list[Any]) -> None:
        for level, kind, data in anc:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                numbers = array.array("i")
                numbers.frombytes(data[: len(data) - len(data) % numbers.itemsize])
                self._fds.extend(numbers)

    def _pass_on(self, msg: PassFd) -> FdTaken:
        if not self._fds:
            return FdTaken(status=1, text="no descriptor came with the message")
        fd = self._fds.popleft()
        try:
            sock = socket.socket(fileno=fd)
        except OSError as error:
            os.close(fd)
            return FdTaken(status=1, text=f"not a socket: {error.strerror}")
        answers = [FdTaken(status=0)]

        def refuse(error: Exception) -> None:
            sock.close()
            answers[:] = [FdTaken(status=1, text=str(error))]

        with failure.item(self._log, "st.fdpass", refuse):
            try:
                self._take(sock, msg)
            except (OSError, TempError, PermError) as error:
                refuse(error)
        return answers[0]


def _check_sender(nfd: NetFd) -> None:
    sock = cast("socket.socket", nfd.sock)
    uid = unixsock.peer_of(sock).uid
    if uid not in (0, os.getuid()):
        raise ProtocolError(f"mcp-child: user id {uid} may not pass descriptors; only root and our own may")
