"""One connection to one filter, for one SMTP session: state threads around what is said on it (meta1g/milter/exchange.py).

What goes wrong is a FilterFailedError, which names the filter and says what it did; the connection is of no use then.

Ref: MeTA1 design, "Functional Specification: SMTPS, policy milter" (place modelled on); sendmail 8, libmilter/docs.
"""

import errno
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Final, NoReturn

from meta1g.base.errors import BugError
from meta1g.milter.changes import FilterChange
from meta1g.milter.errors import FilterFault, MilterProtocolError
from meta1g.milter.exchange import MilterExchange, fault_of, reason_of
from meta1g.milter.machine import FilterMachine, FilterVerdict
from meta1g.milter.settings import MilterSettings
from meta1g.smtps.filterstats import FilterPresence, FilterTally
from meta1g.smtps.limits import FILTER_READ_BYTES, GOODBYE_TIMEOUT_US
from meta1g.st import (
    NetFd,
    StError,
    st_checkpoint,
    st_connect,
    st_netfd_close,
    st_netfd_open_socket,
    st_read,
    st_utime,
    st_write,
)

#: TCP_QUICKACK of Linux: filters that write an answer in two pieces wait for the acknowledgement of the first one.
_QUICKACK: Final = getattr(socket, "TCP_QUICKACK", 12)
_LOSSES: Final = (OSError, MilterProtocolError, BugError)


class FilterFailedError(Exception):
    """A filter cannot be reached, was too slow, or said what it must not.

    Args:
        fault: which of these.
        text: what it did, for the log.
    """

    def __init__(self, fault: FilterFault, text: str) -> None:
        super().__init__(text)
        self.fault = fault


class MilterConnection:
    """One connection.

    Args:
        settings: of the filter.
        tally: its figures.

    Attributes:
        settings: the same.
        tally: the same.
        machine: what the filter was told.

    Owner: the state thread of the session.
    """

    __slots__ = ("_exchange", "_nfd", "machine", "settings", "tally")

    def __init__(self, settings: MilterSettings, tally: FilterTally) -> None:
        self.settings = settings
        self.tally = tally
        self._exchange = MilterExchange(settings, self, tally.answered)
        self.machine: FilterMachine = self._exchange.machine
        self._nfd: NetFd | None = None

    def open(self) -> None:
        """Connects and negotiates.  Switches: yes (network).

        Raises:
            FilterFailedError: it cannot be reached, or does not agree.
            StError: EINTR.
        """
        until_us = st_utime() + self.settings.connect_timeout_us
        doing = "connecting"
        try:
            self._connect(self.settings.connect_timeout_us)
            doing = "negotiating"
            self._exchange.negotiate(until_us)
        except _LOSSES as error:
            self._lost(doing, error)
        self.tally.became(FilterPresence.UP)

    def _connect(self, timeout_us: int) -> None:
        """Switches: yes (connect)."""
        address = self.settings.address
        if isinstance(address, str):
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        else:
            sock = socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET, socket.SOCK_STREAM)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._nfd = st_netfd_open_socket(sock)
        st_connect(self._nfd, address, timeout_us)

    def ask(
        self, tell: Callable[[FilterMachine], bytes], on_change: Callable[[FilterChange], None] | None = None
    ) -> FilterVerdict:
        """Tells the filter something and waits for its answer, if it gives one.  Switches: yes (network), if it listens.

        Args:
            tell: gives what is to be sent, by the machine.
            on_change: takes the changes of a message.

        Raises:
            FilterFailedError: the filter is lost.
            StError: EINTR.
        """
        try:
            return self._exchange.ask(tell, on_change)
        except _LOSSES as error:
            self._lost("answering", error)

    def later(self, data: bytes) -> None:
        """Keeps what needs no answer until something is sent that does, or until there is much."""
        self._exchange.later(data)

    #: The clock of state threads (MilterTransport, and so are the next three).
    now_us = staticmethod(st_utime)

    def checkpoint(self) -> None:
        """Switches: yes, if the turn is used up."""
        st_checkpoint()

    def send(self, data: bytes, timeout_us: int) -> None:
        """Switches: yes (write)."""
        assert self._nfd is not None
        st_write(self._nfd, data, timeout_us)

    def receive(self, timeout_us: int) -> bytes:
        """Switches: yes (read)."""
        nfd = self._nfd
        assert nfd is not None
        if not isinstance(self.settings.address, str) and nfd.sock is not None:
            nfd.sock.setsockopt(socket.IPPROTO_TCP, _QUICKACK, 1)
        return st_read(nfd, FILTER_READ_BYTES, timeout_us)

    def _lost(self, doing: str, error: OSError | MilterProtocolError | BugError) -> NoReturn:
        """Gives the filter up, and turns what went wrong into one error."""
        self.fail()
        if isinstance(error, BugError) or (isinstance(error, StError) and error.errno == errno.EINTR):
            raise error
        self.tally.became(FilterPresence.DOWN)
        raise FilterFailedError(fault_of(error), f"{doing}: {reason_of(error)}") from error

    def fail(self) -> None:
        """Gives the filter up."""
        self.machine.fail()
        self._close()

    def close(self) -> None:
        """Says goodbye, without patience.  Switches: yes (write)."""
        if self._nfd is None:
            return
        try:
            with suppress(OSError):  # it has gone already, or sees the end of the connection
                self._exchange.goodbye(GOODBYE_TIMEOUT_US)
        finally:
            self._close()

    def _close(self) -> None:
        nfd, self._nfd = self._nfd, None
        if nfd is not None:
            st_netfd_close(nfd)
