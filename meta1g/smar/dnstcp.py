"""One question over TCP, after an answer that did not fit into a UDP packet.

The time of the exchange is that of its attempt: the resolver closes the connection when it is over.

Ref: RFC 1035 4.2.2; RFC 7766.
"""

import errno
import os
import socket
import struct
from collections.abc import Callable

from meta1g.pt.evthr import Evthr
from meta1g.pt.task import Ev, Result, Task
from meta1g.smar.dnsaddress import ServerAddress
from meta1g.smar.limits import ANSWER_MAX_BYTES, TCP_READ_BYTES

_LENGTH = struct.Struct(">H")


class TcpQuestion:
    """A connection for one question.

    Args:
        evthr: the system it runs in.
        where: the name server.
        packet: the question.
        on_done: called once in a worker as on_done(packet), None if there is no answer.

    Owner: its task; close() may be called from any thread.
    """

    __slots__ = ("_closed", "_evthr", "_input", "_on_done", "_output", "_reported", "_sock", "_task", "_where")

    def __init__(self, evthr: Evthr, where: ServerAddress, packet: bytes, on_done: Callable[[bytes | None], None]) -> None:
        self._evthr = evthr
        self._where = where
        self._on_done = on_done
        self._output = _LENGTH.pack(len(packet)) + packet
        self._input = bytearray()
        self._reported = False
        self._closed = False
        self._sock: socket.socket | None = None
        self._task: Task | None = None

    def start(self) -> None:
        """Connects.

        Raises:
            OSError: there is no way to the server; on_done is not called.
        """
        sock = socket.socket(self._where.family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            code = sock.connect_ex((self._where.address, self._where.port))
            if code not in (0, errno.EINPROGRESS):
                raise OSError(code, os.strerror(code))
            self._sock = sock
            self._task = self._evthr.task_new(self._on_event, fd=sock.fileno(), events=Ev.RD | Ev.WR | Ev.CL, name="dns tcp")
        except BaseException:
            sock.close()
            raise
        if self._closed:
            self._task.delete()

    def close(self) -> None:
        """Gives the connection up; on_done is still called, with None."""
        self._closed = True
        if self._task is not None:
            self._task.delete()

    def _on_event(self, task: Task) -> Result:
        sock = self._sock
        if sock is None:
            return Result.DEL
        if task.seen_bits & Ev.CL:
            sock.close()
            self._report(None)
            return Result.DEL
        try:
            return self._talk(task, sock)
        except BlockingIOError:
            return Result.WAITQ
        except OSError:
            return Result.DEL

    def _talk(self, task: Task, sock: socket.socket) -> Result:
        if self._output:
            self._output = self._output[sock.send(self._output) :]
            task.want_write(bool(self._output))
            return Result.WAITQ
        data = sock.recv(TCP_READ_BYTES)
        self._input += data
        if len(self._input) > ANSWER_MAX_BYTES + _LENGTH.size:
            return Result.DEL
        answer = self._answer()
        if answer is not None:
            self._report(answer)
        return Result.WAITQ if data and answer is None else Result.DEL

    def _answer(self) -> bytes | None:
        if len(self._input) < _LENGTH.size:
            return None
        end = _LENGTH.size + int(_LENGTH.unpack_from(self._input)[0])
        return bytes(self._input[_LENGTH.size : end]) if len(self._input) >= end else None

    def _report(self, packet: bytes | None) -> None:
        """Reports the outcome, the first time it is called; the socket is closed by the last call of the task."""
        if not self._reported:
            self._reported = True
            self._on_done(packet)
