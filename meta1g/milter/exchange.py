"""What is said on one connection to a filter, with an end to every wait: bytes and time limits around the machine.

Every answer has the time of its step, whatever trickles in, and at the end of a message there is a total.  How bytes are sent
and read, and what a wait is, say those who have the connection: state threads of SMTPS, system threads of pmult.

Ref: sendmail 8, libmilter/docs; sendmail 8, doc/op, "X- Mail Filter (Milter) Definitions" (time-outs).
"""

import errno
from collections.abc import Callable
from typing import Protocol

from meta1g.milter.changes import FilterChange
from meta1g.milter.codec import FrameReader
from meta1g.milter.errors import FilterFault, MilterProtocolError
from meta1g.milter.frames import ANSWERS_BY_CODE, Frame, Smfic
from meta1g.milter.fsm import State
from meta1g.milter.limits import FILTER_TIMES, FILTER_UNSENT_BYTES
from meta1g.milter.machine import CONTINUE, FilterMachine, FilterVerdict
from meta1g.milter.settings import MilterSettings

_FAULTS = {errno.ETIME: FilterFault.TIMEOUT, errno.ECONNRESET: FilterFault.CLOSED, errno.EPIPE: FilterFault.CLOSED}


def fault_of(error: Exception) -> FilterFault:
    """Says how a filter failed, by what was raised."""
    if isinstance(error, OSError):
        return _FAULTS.get(error.errno or 0, FilterFault.AWAY)
    return FilterFault.PROTOCOL


def reason_of(error: Exception) -> str:
    """Says for the log what a filter did."""
    if isinstance(error, MilterProtocolError):
        return error.cause
    if isinstance(error, OSError):
        return "no answer in time" if error.errno == errno.ETIME else error.strerror or str(error)
    return str(error)


class MilterTransport(Protocol):
    """A connection to a filter; an OSError with ETIME is the end of a time."""

    def now_us(self) -> int:
        """Gives a clock that never goes back."""
        ...

    def send(self, data: bytes, timeout_us: int) -> None:
        """Sends all of it.  Switches: yes (write)."""

    def receive(self, timeout_us: int) -> bytes:
        """Gives what has come, nothing at the end of the connection.  Switches: yes (read)."""
        ...

    def checkpoint(self) -> None:
        """Lets others run, if the turn is used up, before the next of many frames that have come.  Switches: perhaps."""


class MilterExchange:
    """One connection to a filter, for one SMTP session.

    Args:
        settings: of the filter.
        transport: the connection.
        on_answer: is told how long each answer took, us.

    Attributes:
        machine: what the filter was told.

    Owner: the session.
    """

    __slots__ = ("_on_answer", "_reader", "_settings", "_transport", "_unsent", "_unsent_bytes", "machine")

    def __init__(self, settings: MilterSettings, transport: MilterTransport, on_answer: Callable[[int], None]) -> None:
        self.machine = FilterMachine()
        self._settings = settings
        self._transport = transport
        self._on_answer = on_answer
        self._reader = FrameReader(ANSWERS_BY_CODE)
        self._unsent: list[bytes] = []
        self._unsent_bytes = 0

    def negotiate(self, until_us: int) -> None:
        """Agrees on what is said, up to a time.  Switches: yes (network).

        Raises:
            OSError: the filter is lost.
            MilterProtocolError: it does not agree.
        """
        self._answer(self.machine.negotiate(), until_us, None)
        self._reader.max_bytes = self.machine.frame_max_bytes

    def ask(
        self, tell: Callable[[FilterMachine], bytes], on_change: Callable[[FilterChange], None] | None = None
    ) -> FilterVerdict:
        """Tells the filter something and waits for its answer, if it gives one.  Switches: yes (network), if it listens.

        Args:
            tell: gives what is to be sent, by the machine.
            on_change: takes the changes of a message.

        Raises:
            OSError: the filter is lost.
            MilterProtocolError: it said what it may not.
        """
        data, machine = tell(self.machine), self.machine
        if machine.waits_for is None:
            self.later(data)
            if self._unsent_bytes > FILTER_UNSENT_BYTES:
                self._send(b"")
            return CONTINUE
        begun_us = self._transport.now_us()
        verdict = self._answer(data, 0, on_change)
        self._on_answer(self._transport.now_us() - begun_us)
        return verdict

    def later(self, data: bytes) -> None:
        """Keeps what needs no answer until something is sent that does, or until there is much."""
        if data:
            self._unsent.append(data)
            self._unsent_bytes += len(data)

    def goodbye(self, timeout_us: int) -> None:
        """Says that the session is over, unless the filter is lost.  Switches: yes (write).

        Raises:
            OSError: it does not take that any more.
        """
        if self.machine.state is not State.FAILED:
            self.later(self.machine.quit())
            self._transport.send(b"".join(self._unsent), timeout_us)

    def _send(self, data: bytes) -> None:
        """Switches: yes (write)."""
        self._unsent.append(data)
        data, self._unsent, self._unsent_bytes = b"".join(self._unsent), [], 0
        self._transport.send(data, self._settings.send_timeout_us)

    def _answer(self, data: bytes, until_us: int, on_change: Callable[[FilterChange], None] | None) -> FilterVerdict:
        """Sends, and takes frames until the filter has decided.  Switches: yes (network)."""
        machine, settings, now_us = self.machine, self._settings, self._transport.now_us
        at_end = machine.waits_for is Smfic.BODYEOB
        step_us = settings.end_timeout_us if at_end else settings.reply_timeout_us
        self._send(data)
        sent_us = now_us()
        last_us = until_us or sent_us + step_us * FILTER_TIMES
        until_us = until_us or sent_us + step_us
        while True:
            result = machine.take(self._frame(until_us))
            if isinstance(result, FilterVerdict):
                return result
            if result is None:
                until_us = min(now_us() + step_us, last_us)
            elif on_change is not None:
                on_change(result)
            self._transport.checkpoint()

    def _frame(self, until_us: int) -> Frame:
        """Reads up to the end of a frame.  Switches: yes (read), unless it is there."""
        while (frame := self._reader.take()) is None:
            left_us = until_us - self._transport.now_us()
            if left_us <= 0:
                raise OSError(errno.ETIME, "no answer in time")
            data = self._transport.receive(left_us)
            if not data:
                raise OSError(errno.ECONNRESET, "it closed the connection")
            self._reader.feed(data)
        return frame
