"""Connects to a server that has several addresses: whichever answers first is used.

    first address      |--- 250 ms ---|- - - - - - connect_timeout - - - - -|  failed
    second address                    |--- 250 ms ---|  connected: the others are closed
    third address                                    |  not tried any more

The next address is tried as soon as the one before it has failed, or after 250 ms; IPv4 and IPv6 take turns, beginning with the
family that comes first.  Addresses that have failed, or were overtaken, come last for a while.

Owner: the process; each attempt belongs to the session's thread.
Ref: RFC 8305 4, 5 (order and delays); RFC 5321 5.1.
"""

import errno
import os
import socket
from collections import deque
from collections.abc import Callable, Iterable, Sequence

from meta1g.base.dataclass import dataclass
from meta1g.base.errors import TempError
from meta1g.base.reply import Reply
from meta1g.rcb.common import ServerAddr
from meta1g.smtpc.connection import ServerConnection, lost, not_connected, socket_for
from meta1g.smtpc.limits import ATTEMPT_DELAY_US, MICROSECONDS, UNREACHED_MAX, UNREACHED_S
from meta1g.smtpc.sources import Sources
from meta1g.smtpc.status import SessionError
from meta1g.st import POLLOUT, NetFd, PollFd, StError, st_netfd_close, st_netfd_fileno, st_netfd_open_socket, st_poll, st_utime

_Place = tuple[str, int]


class Unreached:
    """Addresses that could not be reached a short time ago.  Owner: the process."""

    __slots__ = ("_until_us",)

    def __init__(self) -> None:
        self._until_us: dict[_Place, int] = {}  # the one that ends first comes first

    def add(self, server: ServerAddr) -> None:
        """Notes one, for UNREACHED_S."""
        self.forget(server)
        while len(self._until_us) >= UNREACHED_MAX:
            del self._until_us[next(iter(self._until_us))]
        self._until_us[server.addr, server.port] = st_utime() + UNREACHED_S * MICROSECONDS

    def forget(self, server: ServerAddr) -> None:
        """Forgets one that was reached."""
        self._until_us.pop((server.addr, server.port), None)

    def has(self, server: ServerAddr) -> bool:
        """Tells whether one is among them."""
        return self._until_us.get((server.addr, server.port), 0) > st_utime()


def in_order(servers: Iterable[ServerAddr], last: Callable[[ServerAddr], bool]) -> list[ServerAddr]:
    """Gives addresses in the order in which they are tried (RFC 8305 4): the families take turns.

    Args:
        servers: addresses, best first.
        last: tells which of them come behind the others.
    """
    queues: dict[bool, deque[ServerAddr]] = {}
    for server in sorted(servers, key=last):
        queues.setdefault(":" in server.addr, deque()).append(server)
    found: list[ServerAddr] = []
    turns = list(queues.values())
    while any(turns):
        found += [queue.popleft() for queue in turns if queue]
    return sorted(found, key=last)


@dataclass(slots=True)
class _Attempt:
    """A connection that is being made, until this time of st_utime()."""

    server: ServerAddr
    netfd: NetFd
    until_us: int


class Race:
    """One connection to one of several addresses.

    Args:
        servers: addresses, best first; at least two.
        timeout_s: for each of them.
        sources: where connections come from.
        unreached: addresses that come last.
    """

    __slots__ = ("_failed", "_left", "_next_us", "_open", "_sources", "_timeout_us", "_unreached")

    def __init__(self, servers: Sequence[ServerAddr], timeout_s: int, sources: Sources, unreached: Unreached) -> None:
        self._left = deque(in_order(servers, unreached.has))
        self._timeout_us = timeout_s * MICROSECONDS
        self._sources = sources
        self._unreached = unreached
        self._open: list[_Attempt] = []
        self._failed: list[SessionError] = []
        self._next_us = 0

    def run(self) -> ServerConnection:
        """Connects.

        Raises:
            SessionError: no address could be reached.
            TempError: as ServerConnection.open().

        Switches: yes (st_poll).
        """
        try:
            while True:
                winner = self._begin_due() or self._wait()
                if winner is not None:
                    self._open.remove(winner)
                    self._overtake()
                    self._unreached.forget(winner.server)
                    made = ServerConnection(winner.netfd, winner.server)
                    made.spare = (*(attempt.server for attempt in self._open), *self._left)
                    return made
                if not self._open and not self._left:
                    raise self._nobody()
        finally:
            for attempt in self._open:
                st_netfd_close(attempt.netfd)

    def _begin_due(self) -> _Attempt | None:
        """Begins the next attempt if its time has come; gives it if it is connected at once."""
        if not self._left or (self._open and st_utime() < self._next_us):
            return None
        server = self._left.popleft()
        try:
            attempt, done = self._begin(server)
        except SessionError as error:
            self._fail(server, error)
            return None
        except TempError:
            if not self._open:
                raise
            self._left.clear()  # those that are under way may do
            return None
        self._open.append(attempt)
        self._next_us = st_utime() + ATTEMPT_DELAY_US
        return attempt if done else None

    def _begin(self, server: ServerAddr) -> tuple[_Attempt, bool]:
        try:
            sock, address = socket_for(server, self._sources)
            netfd = st_netfd_open_socket(sock)
            try:
                number = sock.connect_ex(address)
                if number not in (0, errno.EINPROGRESS):
                    raise StError(number, os.strerror(number))
            except BaseException:
                st_netfd_close(netfd)
                raise
        except (OSError, ValueError, TypeError, OverflowError) as error:
            raise not_connected(server, error) from error
        return _Attempt(server, netfd, st_utime() + self._timeout_us), number == 0

    def _wait(self) -> _Attempt | None:
        """Waits for the first connection, the next attempt or the end of one; gives what is connected.  Switches: yes."""
        if not self._open:
            return None
        until_us = min(attempt.until_us for attempt in self._open)
        if self._left:
            until_us = min(until_us, self._next_us)
        fds = [PollFd(st_netfd_fileno(attempt.netfd), POLLOUT) for attempt in self._open]
        st_poll(fds, max(until_us - st_utime(), 0))
        for attempt, fd in zip(tuple(self._open), fds, strict=True):
            if fd.revents and not (number := self._error_of(attempt)):
                return attempt
            if fd.revents or attempt.until_us <= st_utime():
                number = number if fd.revents else errno.ETIME
                self._end(attempt, StError(number, os.strerror(number)))
        return None

    @staticmethod
    def _error_of(attempt: _Attempt) -> int:
        sock = attempt.netfd.sock
        return errno.EBADF if sock is None else sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)

    def _end(self, attempt: _Attempt, error: StError) -> None:
        self._open.remove(attempt)
        st_netfd_close(attempt.netfd)
        self._fail(attempt.server, lost(attempt.server, "connecting", error))

    def _fail(self, server: ServerAddr, error: SessionError) -> None:
        self._failed.append(error)
        self._unreached.add(server)
        self._next_us = 0

    def _overtake(self) -> None:
        """Notes those that have had their time and were slower."""
        for attempt in self._open:
            if attempt.until_us - self._timeout_us + ATTEMPT_DELAY_US <= st_utime():
                self._unreached.add(attempt.server)

    def _nobody(self) -> SessionError:
        first, *others = self._failed
        reply = first.reply
        if others:
            more = f"{len(others)} more addresses: {others[-1].reply.one_line}"
            reply = Reply(reply.code, reply.ecode, f"{reply.one_line}; {more}")
        return SessionError(reply)


def connect(servers: Sequence[ServerAddr], timeout_s: int, sources: Sources, unreached: Unreached) -> ServerConnection:
    """Connects to one of several addresses; arguments and errors as those of Race and ServerConnection.open().

    Switches: yes (connect).
    """
    if len(servers) > 1:
        return Race(servers, timeout_s, sources, unreached).run()
    return ServerConnection.open(servers[0], timeout_s, sources)
