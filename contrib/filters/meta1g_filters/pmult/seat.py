"""One filter of sendmail 8 in one session: a blocking connection around what is said on it (meta1g/milter/exchange.py).

Ref: docs/filter-pmult.md.
"""

import contextlib
import errno
import socket
import time
from collections.abc import Callable, Iterator, MutableMapping
from typing import Final

from meta1g.milter.changes import FilterChange
from meta1g.milter.errors import MilterProtocolError
from meta1g.milter.exchange import MilterExchange, reason_of
from meta1g.milter.machine import CONTINUE, FilterMachine, FilterVerdict
from meta1g.milter.settings import MilterSettings

_READ_BYTES: Final = 64 << 10
_GOODBYE_US: Final = 1_000_000
_S_US: Final = 1_000_000


class MilterLostError(Exception):
    """A filter cannot be reached, was too slow, or said what it must not."""


class MilterSocket:
    """A connection, with an end to every wait (MilterTransport).  Owner: its seat."""

    __slots__ = ("_sock",)

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    def now_us(self) -> int:
        """Gives a clock that never goes back."""
        return time.monotonic_ns() // 1000

    def checkpoint(self) -> None:
        """Does nothing: the system shares out its threads itself."""

    def send(self, data: bytes, timeout_us: int) -> None:
        """Sends all of it.  Blocks: yes (network)."""
        self._sock.settimeout(timeout_us / _S_US)
        with _etime():
            self._sock.sendall(data)

    def receive(self, timeout_us: int) -> bytes:
        """Gives what has come, nothing at the end of the connection.  Blocks: yes (network)."""
        self._sock.settimeout(timeout_us / _S_US)
        with _etime():
            return self._sock.recv(_READ_BYTES)

    def close(self) -> None:
        """Ends the connection."""
        self._sock.close()


@contextlib.contextmanager
def _etime() -> Iterator[None]:
    """Turns the end of a time into the error that the exchange knows."""
    try:
        yield
    except TimeoutError as error:
        raise OSError(errno.ETIME, "no answer in time") from error


def _connected(settings: MilterSettings) -> MilterSocket:
    """Connects to a filter.  Blocks: yes (network).

    Raises:
        OSError: it cannot be reached.
    """
    address, timeout_s = settings.address, settings.connect_timeout_us / _S_US
    if not isinstance(address, str):
        sock = socket.create_connection(address, timeout_s)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return MilterSocket(sock)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.settimeout(timeout_s)
        sock.connect(address)
    except OSError:
        sock.close()
        raise
    return MilterSocket(sock)


class MilterSeat:
    """One filter in one session.

    Args:
        settings: of the filter.
        macros: that it gets.

    Attributes:
        settings, macros: the same.
        machine: what it was told.

    Owner: the session.
    """

    __slots__ = ("_exchange", "_socket", "machine", "macros", "settings")

    def __init__(self, settings: MilterSettings, macros: MutableMapping[str, str]) -> None:
        self.settings = settings
        self.macros = macros
        self.machine = FilterMachine()
        self._exchange: MilterExchange | None = None
        self._socket: MilterSocket | None = None

    @property
    def rule(self) -> str:
        """How it is named."""
        return f"milter {self.settings.name}"

    def open(self) -> None:
        """Connects and negotiates.  Blocks: yes (network).

        Raises:
            MilterLostError: it cannot be reached, or does not agree.
        """
        self._guard(self._open)

    def _open(self) -> FilterVerdict:
        until_us = time.monotonic_ns() // 1000 + self.settings.connect_timeout_us
        self._socket = _connected(self.settings)
        self._exchange = MilterExchange(self.settings, self._socket, lambda _duration_us: None)
        self.machine = self._exchange.machine
        self._exchange.negotiate(until_us)
        return CONTINUE

    def ask(
        self, tell: "Callable[[MilterSeat], bytes]", on_change: Callable[[FilterChange], None] | None = None
    ) -> FilterVerdict:
        """Tells the filter something and waits for its answer, if it gives one.  Blocks: yes (network).

        Args:
            tell: gives what is to be sent.
            on_change: takes the changes of a message.

        Raises:
            MilterLostError: the filter is lost.
        """
        exchange = self._exchange
        if exchange is None:
            return CONTINUE
        return self._guard(lambda: exchange.ask(lambda _machine: tell(self), on_change))

    def abort(self) -> None:
        """Ends a message that is not over; the filter hears of it with what comes next."""
        if self._exchange is not None:
            self._exchange.later(self.machine.abort())

    def _guard(self, function: Callable[[], FilterVerdict]) -> FilterVerdict:
        try:
            return function()
        except (OSError, MilterProtocolError) as error:
            self.machine.fail()
            self._close()
            raise MilterLostError(reason_of(error)) from error

    def close(self) -> None:
        """Says goodbye, without patience.  Blocks: yes (network)."""
        if self._exchange is not None:
            with contextlib.suppress(OSError):
                self._exchange.goodbye(_GOODBYE_US)
        self._close()

    def _close(self) -> None:
        if self._socket is not None:
            self._socket.close()
        self._socket = self._exchange = None
