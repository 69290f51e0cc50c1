"""One question over TCP, after an answer that did not fit into a UDP packet.

Ref: RFC 1035 4.2.2; RFC 7766.
"""

import errno
import os
import socket
import struct
from collections.abc import Callable

from meta1g.pt.evthr import Evthr
from meta1g.pt.task import Ev, Result, Task
from meta1g.smar.dnsserver import ServerAddress
from meta1g.smar.limits import UDP_MAX_BYTES

_LENGTH = struct.Struct(">H")


class TcpQuestion:
    """A connection for one question.

    Args:
        evthr: the system it runs in.
        where: the name server.
        packet: the question.
        timeout_s: for the whole exchange.
        on_done: called once in a worker as on_done(packet), None if there is no answer.

    Owner: its task.
    """

    __slots__ = ("_evthr", "_input", "_on_done", "_output", "_reported", "_sock", "_timeout_s", "_where")

    def __init__(
        self, evthr: Evthr, where: ServerAddress, packet: bytes, timeout_s: float, on_done: Callable[[bytes | None], None]
    ) -> None:
        self._evthr = evthr
        self._where = where
        self._timeout_s = timeout_s
        self._on_done = on_done
        self._output = _LENGTH.pack(len(packet)) + packet
        self._input = bytearray()
        self._reported = False
        self._sock: socket.socket | None = None

    def start(self) -> None:
        """Connects.

        Raises:
            OSError: there is no way to the server; on_done is not called.

        Blocks: no.
        """
        sock = socket.socket(self._where.family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        code = sock.connect_ex((self._where.address, self._where.port))
        if code not in (0, errno.EINPROGRESS):
            sock.close()
            raise OSError(code, os.strerror(code))
        self._sock = sock
        wake_at = self._evthr.clock.monotonic() + self._timeout_s
        self._evthr.task_new(self._on_event, fd=sock.fileno(), events=Ev.RD | Ev.WR | Ev.CL, wake_at=wake_at, name="dns tcp")

    def _on_event(self, task: Task) -> Result:
        sock = self._sock
        if sock is None:
            return Result.DEL
        if task.seen_bits & Ev.CL:
            self._report(None)
            sock.close()
            return Result.DEL
        if task.seen_bits & Ev.SL:
            return Result.DEL
        try:
            return self._talk(sock)
        except BlockingIOError:
            return Result.WAITQ
        except OSError:
            return Result.DEL

    def _talk(self, sock: socket.socket) -> Result:
        if self._output:
            self._output = self._output[sock.send(self._output) :]
            return Result.WAITQ if self._output else Result.WAITQ | Result.W_NO
        data = sock.recv(UDP_MAX_BYTES)
        self._input += data
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
