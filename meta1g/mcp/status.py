"""The status socket: tells control clients which components there are and how they are.

    ("status",)          JSON {"pid", "config", "well", "reload", "components": [{"component", "state", "pids", ...}]}
    ("reload", [FILE])   answered when the reload is over: 0 and JSON {"number", "exit", "time", "lines"}, or its exit code and
                         the lines as text; for root and the account of mcp only.  FILE has to be the file of mcp.

Invariant: a client can cost one of STATUS_CLIENTS_MAX connections for STATUS_TIMEOUT_S, nothing else (invariant I4); who waits
for a reload may wait as long as that takes.

Owner: the event loop.
Ref: our choice; protocol in rcb/control.py.
"""

import contextlib
import json
import os
import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, cast

from meta1g.base import failure, paths, unixsock
from meta1g.base.cli import CliError
from meta1g.base.errors import ProtocolError
from meta1g.base.log import Log
from meta1g.base.sysexits import EX_NOPERM, EX_OK, EX_OSERR, EX_USAGE
from meta1g.mcp.child import Member
from meta1g.mcp.limits import STATUS_CLIENTS_MAX, STATUS_PAUSE_S, STATUS_TIMEOUT_S
from meta1g.mcp.loop import Loop, Timer
from meta1g.mcp.reload import Answer, Result
from meta1g.rcb.codec import decode, encode
from meta1g.rcb.control import PROTOCOL, Command, CommandResult
from meta1g.rcb.framing import Splitter, preamble

_READ_BYTES: Final = 4096


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
            "trouble": member.trouble,
        }
        for member in members
    ]


@dataclass(frozen=True, slots=True)
class Request:
    """A command and who gives it; reply(result) sends the answer, now or later.  Immutable."""

    words: tuple[str, ...]
    uid: int
    reply: Callable[[CommandResult], object]


class Commands:
    """Carries out what comes through the status socket.

    Args:
        facts: gives what the status tells.
        reload: orders a reload, whose result goes to its argument.
        config: the configuration file of this mcp.

    Owner: the event loop.
    """

    def __init__(self, facts: Callable[[], dict[str, object]], reload: Callable[[Answer], object], config: Path) -> None:
        self._facts = facts
        self._reload = reload
        self._config = config

    def answer(self, request: Request) -> None:
        """Answers one command."""
        word, *arguments = request.words or ("",)
        if word == "status" and not arguments:
            request.reply(CommandResult(exit_code=EX_OK, text=json.dumps(self._facts())))
        elif word == "reload" and len(arguments) <= 1:
            self._order_reload(request, Path(*arguments))
        else:
            request.reply(CommandResult(exit_code=EX_USAGE, text="mcp knows the commands status and reload [FILE]"))

    def _order_reload(self, request: Request, file: Path) -> None:
        if request.uid not in (0, os.geteuid()):
            text = f"user id {request.uid} may not order a reload; run it as root or as the account of mcp"
            request.reply(CommandResult(exit_code=EX_NOPERM, text=text))
        elif file.name and file.resolve() != self._config.resolve():
            text = f"mcp runs with {self._config}, not with {file}; name that one, or stop mcp and start it with the other"
            request.reply(CommandResult(exit_code=EX_USAGE, text=text))
        else:
            self._reload(lambda result: request.reply(_as_command_result(result)))


def _as_command_result(result: Result) -> CommandResult:
    text = "\n".join(result.lines) if result.code else json.dumps(result.facts())
    return CommandResult(exit_code=result.code, text=text)


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

    def __init__(self, loop: Loop, queue: Path, answer: Callable[[Request], object], log: Log) -> None:
        self._loop = loop
        self._path = queue / paths.MCP_STATUS_SOCKET
        self._answer = answer
        self.log = log
        self._pause: Timer | None = None
        self._clients: set[_Client] = set()
        self._sock = self._bind()
        self._listen()

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
        if self._pause is not None:
            self._pause.cancel()
        self._loop.remove(self._sock.fileno())
        self._sock.unlink()
        self._sock.close()

    def _accept(self) -> None:
        try:
            conn, _address = self._sock.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        except OSError as error:  # no descriptor is left: whoever asks waits a moment
            self.log.error("mcp.status", error.strerror or str(error))
            self._loop.remove(self._sock.fileno())
            self._pause = self._loop.call_later(STATUS_PAUSE_S, self._listen)
            return
        if len(self._clients) >= STATUS_CLIENTS_MAX:
            conn.close()
            return
        with failure.item(self.log, "mcp.status", lambda error: conn.close()):
            conn.setblocking(False)
            self._clients.add(_Client(self._loop, conn, self))

    def _listen(self) -> None:
        self._loop.add_reader(self._sock.fileno(), self._accept)

    def serve(self, request: Request) -> None:
        """Answers a command of a client."""
        self._answer(request)

    def forget(self, client: "_Client") -> None:
        """Is told that a connection has ended."""
        self._clients.discard(client)


class _Client:
    """One connection.  Owner: the event loop."""

    def __init__(self, loop: Loop, conn: socket.socket, server: StatusServer) -> None:
        self._loop = loop
        self._conn = conn
        self._server = server
        self._uid = unixsock.peer_of(conn).uid
        self._splitter = Splitter(PROTOCOL)
        self._limit = loop.call_later(STATUS_TIMEOUT_S, self.close)
        self._open = True
        with contextlib.suppress(OSError):
            conn.send(preamble(PROTOCOL))
        loop.add_reader(conn.fileno(), self._readable)

    def close(self) -> None:
        """Ends the connection; does nothing the second time."""
        if self._open:
            self._open = False
            self._limit.cancel()
            self._loop.remove(self._conn.fileno())
            self._conn.close()
            self._server.forget(self)

    def _readable(self) -> None:
        with failure.item(self._server.log, "mcp.status", lambda error: self.close()):
            try:
                data = self._conn.recv(_READ_BYTES)
                for body in self._splitter.feed(data):
                    request_id, msg = decode(PROTOCOL.from_client, body)
                    self._limit.cancel()
                    self._server.serve(Request(cast("Command", msg).words, self._uid, partial(self._reply, request_id)))
            except BlockingIOError:
                return
            except ProtocolError as error:
                self._server.log.warn("mcp.status", error.cause)
                data = b""
            except OSError:
                data = b""
            if not data:
                self.close()

    def _reply(self, request_id: int, result: CommandResult) -> None:
        """Sends an answer, if somebody still waits for it."""
        if not self._open:
            return
        self._limit.cancel()
        self._limit = self._loop.call_later(STATUS_TIMEOUT_S, self.close)
        try:
            self._conn.sendall(encode(result, request_id))
        except OSError:
            self.close()
