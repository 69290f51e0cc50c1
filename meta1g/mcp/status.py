"""The status socket: tells control clients which components there are and how they are.

    ("status",) -> JSON {"pid", "config", "components": [{"component", "state", "pids", "starts", ...}]}

Invariant: a client can cost one of STATUS_CLIENTS_MAX connections for STATUS_TIMEOUT_S, nothing else (invariant I4).

Owner: the event loop.
Ref: our choice; protocol in rcb/control.py.
"""

import contextlib
import json
import socket
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import cast

from meta1g.base import paths, unixsock
from meta1g.base.cli import CliError
from meta1g.base.errors import ProtocolError
from meta1g.base.log import Log
from meta1g.base.sysexits import EX_OK, EX_OSERR, EX_USAGE
from meta1g.mcp.child import Member
from meta1g.mcp.limits import STATUS_CLIENTS_MAX, STATUS_TIMEOUT_S
from meta1g.mcp.loop import Loop
from meta1g.rcb.codec import decode, encode
from meta1g.rcb.control import PROTOCOL, Command, CommandResult
from meta1g.rcb.framing import Splitter, preamble

Answer = Callable[[tuple[str, ...]], CommandResult]
_READ_BYTES = 4096


def component_facts(members: Iterable[Member]) -> list[dict[str, object]]:
    """Gives what the status tells of each component."""
    return [
        {
            "component": member.label,
            "kind": member.plan.service.kind,
            "index": member.plan.service.index,
            "state": member.state.name.lower(),
            "since": round(member.since_s, 3),
            "pid": member.pids[0] if member.pids else None,
            "pids": member.pids,
            "user": member.plan.launch.identity.user,
            "starts": member.starts,
            "restarts": max(member.starts - 1, 0),
            "exit": member.last_exit,
        }
        for member in members
    ]


def answer_status(words: tuple[str, ...], facts: Callable[[], dict[str, object]]) -> CommandResult:
    """Answers one command."""
    if words == ("status",):
        return CommandResult(exit_code=EX_OK, text=json.dumps(facts()))
    return CommandResult(exit_code=EX_USAGE, text=json.dumps({"error": "mcp knows the command status only"}))


class StatusServer:
    """Listens on the status socket.

    Args:
        loop: the event loop.
        queue: the queue directory; the socket gets the group of its directory, mode 0660.
        answer: answers a command.
        log: for clients that speak nonsense.

    Raises:
        CliError: the socket cannot be made.

    Owner: the event loop.
    """

    def __init__(self, loop: Loop, queue: Path, answer: Answer, log: Log) -> None:
        self._loop = loop
        self._path = queue / paths.MCP_STATUS_SOCKET
        self._answer = answer
        self._log = log
        self._clients: set[_Client] = set()
        self._sock = self._bind()
        loop.add_reader(self._sock.fileno(), self._accept)

    def _bind(self) -> unixsock.UnixListener:
        try:
            gid = self._path.parent.stat().st_gid
            sock = unixsock.listen(self._path, mode=paths.SOCKET_MODE, gid=gid, backlog=STATUS_CLIENTS_MAX)
        except OSError as error:
            raise CliError(f"cannot listen on {self._path}: {error.strerror}", EX_OSERR) from error
        sock.setblocking(False)
        return sock

    def close(self) -> None:
        """Ends all connections and removes the socket."""
        for client in list(self._clients):
            client.close()
        self._loop.remove(self._sock.fileno())
        self._sock.unlink()
        self._sock.close()

    def _accept(self) -> None:
        with contextlib.suppress(BlockingIOError, ConnectionAbortedError):
            conn, _address = self._sock.accept()
            if len(self._clients) >= STATUS_CLIENTS_MAX:
                conn.close()
                return
            conn.setblocking(False)
            self._clients.add(_Client(self._loop, conn, self._answer, self._log, self._clients.discard))


class _Client:
    """One connection.  Owner: the event loop."""

    def __init__(
        self, loop: Loop, conn: socket.socket, answer: Answer, log: Log, closed: "Callable[[_Client], object]"
    ) -> None:
        self._loop = loop
        self._conn = conn
        self._answer = answer
        self._log = log
        self._closed = closed
        self._splitter = Splitter(PROTOCOL)
        self._limit = loop.call_later(STATUS_TIMEOUT_S, self.close)
        loop.add_reader(conn.fileno(), self._readable)
        with contextlib.suppress(OSError):
            conn.send(preamble(PROTOCOL))

    def close(self) -> None:
        """Ends the connection."""
        self._limit.cancel()
        self._loop.remove(self._conn.fileno())
        self._conn.close()
        self._closed(self)

    def _readable(self) -> None:
        try:
            data = self._conn.recv(_READ_BYTES)
            for body in self._splitter.feed(data):
                request_id, msg = decode(PROTOCOL.from_client, body)
                self._conn.sendall(encode(self._answer(cast("Command", msg).words), request_id))
        except BlockingIOError:
            return
        except ProtocolError as error:
            self._log.warn("mcp.status", error.cause)
            data = b""
        except OSError:
            data = b""
        if not data:
            self.close()
