"""One connection to one filter, for one SMTP session: bytes and time limits around the machine of meta1g/milter.

Every wait has an end: for each answer the time of its step, whatever trickles in, and at the end of a message a total.  What
goes wrong is a FilterFailedError, which names the filter and says what it did; the connection is of no use then.

Ref: MeTA1 design, "Functional Specification: SMTPS, policy milter" (place modelled on); sendmail 8, libmilter/docs.
"""

import errno
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from meta1g.base.errors import BugError
from meta1g.milter.changes import FilterChange
from meta1g.milter.codec import FrameReader
from meta1g.milter.errors import MilterProtocolError
from meta1g.milter.frames import ANSWERS_BY_CODE, Frame, Smfic
from meta1g.milter.fsm import State
from meta1g.milter.machine import CONTINUE, FilterMachine, FilterVerdict
from meta1g.smtps.filterstats import FilterFault, FilterPresence, FilterTally
from meta1g.smtps.limits import FILTER_AGAIN_US, FILTER_READ_BYTES, FILTER_TIMES, FILTER_UNSENT_BYTES, GOODBYE_TIMEOUT_US
from meta1g.smtps.milters import MilterSettings
from meta1g.st import NetFd, StError, st_connect, st_netfd_close, st_netfd_open_socket, st_read, st_usleep, st_utime, st_write

#: TCP_QUICKACK of Linux: filters that write an answer in two pieces wait for the acknowledgement of the first one.
_QUICKACK: Final = getattr(socket, "TCP_QUICKACK", 12)


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
        machine: what it was told.

    Owner: the state thread of the session.
    """

    __slots__ = ("_nfd", "_reader", "_unsent", "_unsent_bytes", "machine", "settings", "tally")

    def __init__(self, settings: MilterSettings, tally: FilterTally) -> None:
        self.settings = settings
        self.tally = tally
        self.machine = FilterMachine()
        self._reader = FrameReader(ANSWERS_BY_CODE)
        self._nfd: NetFd | None = None
        self._unsent: list[bytes] = []
        self._unsent_bytes = 0

    def open(self) -> None:
        """Connects and negotiates.  Switches: yes (network).

        Raises:
            FilterFailedError: it cannot be reached, or does not agree.
            StError: EINTR.
        """
        until_us = st_utime() + self.settings.connect_timeout_us
        self._guard("connecting", lambda: self._connect(self.settings.connect_timeout_us))
        self._guard("negotiating", lambda: self._answer(self.machine.negotiate(), until_us, None))
        self._reader.max_bytes = self.machine.frame_max_bytes
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
        end_us = st_utime() + timeout_us
        while True:
            try:
                st_connect(self._nfd, address, timeout_us)
                return
            except StError as error:  # EAGAIN: too many others wait at a Unix socket, and nothing tells when that is over
                if error.errno != errno.EAGAIN or st_utime() >= end_us:
                    raise
            st_usleep(FILTER_AGAIN_US)

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
        return self._guard("answering", lambda: self._ask(tell, on_change))

    def _ask(self, tell: Callable[[FilterMachine], bytes], on_change: Callable[[FilterChange], None] | None) -> FilterVerdict:
        """Switches: yes (network), if it listens."""
        data, machine = tell(self.machine), self.machine
        if machine.waits_for is None:
            self.later(data)
            if self._unsent_bytes > FILTER_UNSENT_BYTES:
                self._send(b"")
            return CONTINUE
        return self._answer(data, 0, on_change)

    def later(self, data: bytes) -> None:
        """Keeps what needs no answer until something is sent that does, or until there is much."""
        if data:
            self._unsent.append(data)
            self._unsent_bytes += len(data)

    def _send(self, data: bytes) -> None:
        """Switches: yes (write)."""
        assert self._nfd is not None
        self._unsent.append(data)
        data, self._unsent, self._unsent_bytes = b"".join(self._unsent), [], 0
        st_write(self._nfd, data, self.settings.send_timeout_us)

    def _answer(self, data: bytes, until_us: int, on_change: Callable[[FilterChange], None] | None) -> FilterVerdict:
        """Sends, and takes frames until the filter has decided.  Switches: yes (network)."""
        machine, settings = self.machine, self.settings
        at_end = machine.waits_for is Smfic.BODYEOB
        step_us = settings.end_timeout_us if at_end else settings.reply_timeout_us
        self._send(data)
        begun_us = st_utime()
        last_us = until_us or begun_us + step_us * FILTER_TIMES
        until_us = until_us or begun_us + step_us
        while True:
            result = machine.take(self._frame(until_us))
            if isinstance(result, FilterVerdict):
                self.tally.answered(st_utime() - begun_us)
                return result
            if result is None:
                until_us = min(st_utime() + step_us, last_us)
            elif on_change is not None:
                on_change(result)

    def _frame(self, until_us: int) -> Frame:
        """Reads up to the end of a frame.  Switches: yes (read), unless it is there."""
        nfd = self._nfd
        assert nfd is not None
        while (frame := self._reader.take()) is None:
            left_us = until_us - st_utime()
            if left_us <= 0:
                raise StError(errno.ETIME, "no answer in time")
            if not isinstance(self.settings.address, str) and nfd.sock is not None:
                nfd.sock.setsockopt(socket.IPPROTO_TCP, _QUICKACK, 1)
            data = st_read(nfd, FILTER_READ_BYTES, left_us)
            if not data:
                raise FilterFailedError(FilterFault.CLOSED, "it closed the connection")
            self._reader.feed(data)
        return frame

    def _guard(self, doing: str, function: Callable[[], "FilterVerdict | None"]) -> FilterVerdict:
        """Runs a function and turns what goes wrong into one error.  Switches: yes (network)."""
        try:
            return function() or CONTINUE
        except (OSError, MilterProtocolError, FilterFailedError, BugError) as error:
            self.fail()
            if isinstance(error, BugError) or (isinstance(error, StError) and error.errno == errno.EINTR):
                raise
            self.tally.became(FilterPresence.DOWN)
            raise FilterFailedError(_fault(error), f"{doing}: {_reason(error)}") from error

    def fail(self) -> None:
        """Gives the filter up."""
        self.machine.fail()
        self._close()

    def close(self) -> None:
        """Says goodbye, without patience.  Switches: yes (write)."""
        if self._nfd is None:
            return
        try:
            if self.machine.state is not State.FAILED:
                self.later(self.machine.quit())
                with suppress(OSError):  # it has gone already, or sees the end of the connection
                    st_write(self._nfd, b"".join(self._unsent), GOODBYE_TIMEOUT_US)
        finally:
            self._close()

    def _close(self) -> None:
        nfd, self._nfd = self._nfd, None
        if nfd is not None:
            st_netfd_close(nfd)


def _fault(error: Exception) -> FilterFault:
    if isinstance(error, FilterFailedError):
        return error.fault
    if isinstance(error, MilterProtocolError):
        return FilterFault.PROTOCOL
    number = error.errno if isinstance(error, OSError) else 0
    return {errno.ETIME: FilterFault.TIMEOUT, errno.ECONNRESET: FilterFault.CLOSED, errno.EPIPE: FilterFault.CLOSED}.get(
        number or 0, FilterFault.AWAY
    )


def _reason(error: Exception) -> str:
    if isinstance(error, MilterProtocolError):
        return error.cause
    if isinstance(error, StError) and error.errno == errno.ETIME:
        return "no answer in time"
    return str(error)
