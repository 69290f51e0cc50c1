"""The connection of the process to a policy milter, and one session on it.

One connection serves all sessions; it is made again for ever.  A session that began on one connection ends with it.

Ref: MeTA1 pmilter API; MeTA1 README, "policy_milter" (one connection a server, time-out and flags modelled on).
"""

import errno
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Final, cast

from meta1g.base.errors import Module, TempError, UnsendableError
from meta1g.base.ids import SessId
from meta1g.base.log import Log
from meta1g.base.reply import Reply
from meta1g.milter.changes import FilterChange, NewMessage
from meta1g.milter.errors import FilterFault, MilterProtocolError
from meta1g.milter.machine import CONTINUE, FilterOutcome, FilterVerdict
from meta1g.pmilter.machine import NOTHING, Agreement, Messages, PolicyMachine, agree
from meta1g.rcb.schema import Message, Role
from meta1g.rcb.smtps_pmilter import (
    PM_VERSION,
    PMILTER_CHUNK_SIZE,
    PROTOCOL,
    Capability,
    Function,
    PmClose,
    PmDotVerdict,
    PmHello,
    PmPull,
    PmPullStatus,
    PmWanted,
    Replacement,
)
from meta1g.smtps.filterconn import FilterFailedError
from meta1g.smtps.filterstats import FilterPresence, FilterTally
from meta1g.smtps.milters import PolicySettings
from meta1g.st import StError, st_utime
from meta1g.st.rcbconn import RcbConn
from meta1g.st.rcblink import RcbLink

#: A whole message that takes the place of another one has so many times the time of an answer.  Our choice.
_PULL_TIMES: Final = 10
_PULLED: Final = Reply(250, "2.0.0", "ok")
_TOO_BIG: Final = Reply(552, "5.3.4", "Message too big")


class FilterLink(RcbLink):
    """The connection to a filter, on a Unix socket or on a port.

    Attributes:
        address: where it listens.

    Owner: the process.
    """

    address: str | tuple[str, int] = ""

    def _open(self) -> RcbConn | None:
        if isinstance(self.address, str):
            return super()._open()
        sock = socket.socket(socket.AF_INET6 if ":" in self.address[0] else socket.AF_INET, socket.SOCK_STREAM)
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            number = sock.connect_ex(self.address)  # what becomes of it is seen when the hello is answered, or not
            if number not in (0, errno.EINPROGRESS):
                raise OSError(number, os.strerror(number))
        except OSError as error:
            sock.close()
            self._failed(error)
            return None
        return RcbConn(sock, self._protocol, self._on_message, self._log)


class PolicyLink:
    """One policy milter as the process knows it.

    Args:
        settings: of the filter.
        hostname: our name.
        log: for what goes wrong.
        tally: its figures.

    Attributes:
        tally: the same.
        agreement: what it wants; None while it is not there, or does not fit.

    Owner: the process.
    """

    def __init__(self, settings: PolicySettings, hostname: str, log: Log, tally: FilterTally) -> None:
        self._settings = settings
        self.tally = tally
        self._log = log
        self.agreement: Agreement | None = None
        hello = PmHello(version=PM_VERSION, capabilities=int(~Capability(0)), functions=int(~Function(0)), hostname=hostname)
        path = Path(settings.address if isinstance(settings.address, str) else "{}:{}".format(*settings.address))
        self._link = FilterLink(path, PROTOCOL, hello, self._on_up, self._on_down, _unasked, log)
        self._link.address = settings.address

    def start(self) -> None:
        """Starts connecting."""
        self.tally.became(FilterPresence.DOWN)
        self._link.start()

    def close(self) -> None:
        """Closes the connection for good."""
        self._link.close()

    def _on_up(self, reply: Message) -> None:
        try:
            self.agreement = agree(cast("PmWanted", reply))
        except MilterProtocolError as error:
            self._log.error("smtps.policy_refused", error.cause, key=self._settings.name)
            return
        self.tally.became(FilterPresence.UP)
        self._log.info("smtps.policy", "connected", key=self._settings.name, name=self.agreement.name)

    def _on_down(self) -> None:
        self.agreement = None
        self.tally.became(FilterPresence.DOWN)

    def session(self, session_id: SessId) -> "PolicyConnection":
        """Gives what a session tells this filter by."""
        return PolicyConnection(self, self._settings, session_id)

    def now(self) -> tuple[RcbConn, Agreement]:
        """Gives the connection and what was agreed on.

        Raises:
            FilterFailedError: there is none now.
        """
        try:
            conn = self._link.now()
        except TempError as error:
            raise FilterFailedError(FilterFault.AWAY, f"it is not there: {self._link.why or 'not yet asked'}") from error
        if self.agreement is None:
            raise FilterFailedError(FilterFault.PROTOCOL, "it wants what there is not")
        return conn, self.agreement


def _unasked(conn: RcbConn, request_id: int, msg: Message) -> None:
    """A filter never asks."""
    conn.close(f"{type(msg).__name__}, and nothing was asked")


class PolicyConnection:
    """One session on the connection to a policy milter; the same as filterconn.MilterConnection for the other kind.

    Args:
        link: the filter.
        settings: of the filter.
        session_id: of the session.

    Attributes:
        settings: the same.
        tally: the figures of the filter.
        machine: what it was told.

    Owner: the state thread of the session.
    """

    __slots__ = ("_conn", "_link", "_session_id", "machine", "settings", "tally")

    def __init__(self, link: PolicyLink, settings: PolicySettings, session_id: SessId) -> None:
        self.settings = settings
        self.tally = link.tally
        self.machine = PolicyMachine(session_id, NOTHING)
        self._link = link
        self._session_id = session_id
        self._conn: RcbConn | None = None

    def open(self) -> None:
        """Takes the connection of the process.

        Raises:
            FilterFailedError: there is none.
        """
        try:
            self._conn, agreement = self._link.now()
        except FilterFailedError:
            self.machine.fail()
            raise
        self.machine = PolicyMachine(self._session_id, agreement)

    def ask(
        self, tell: Callable[[PolicyMachine], Messages], on_change: Callable[[FilterChange], None] | None = None
    ) -> FilterVerdict:
        """Tells the filter something and waits for its answer, if it gives one.  Switches: yes (network), if it listens.

        Args:
            tell: gives what is to be sent, by the machine.
            on_change: takes the changes of a message.

        Raises:
            FilterFailedError: the filter is lost for this session.
            StError: EINTR.
        """
        try:
            return self._ask(tell(self.machine), on_change)
        except (TempError, UnsendableError, StError, MilterProtocolError) as error:
            self.fail()
            if isinstance(error, StError) and error.errno == errno.EINTR:
                raise
            raise FilterFailedError(_fault(error), f"answering: {_reason(error)}") from error

    def _ask(self, messages: Messages, on_change: Callable[[FilterChange], None] | None) -> FilterVerdict:
        """Switches: yes (network), if there is a message."""
        verdict = CONTINUE
        for msg in messages:
            if msg.PLAN.role is Role.POST:
                self.later((msg,))
                continue
            answer = self._answer(msg)
            verdict = self.machine.take(msg, answer)
            if isinstance(answer, PmDotVerdict) and verdict.outcome is FilterOutcome.CONTINUE and on_change is not None:
                for change in self.machine.changes(answer):
                    on_change(change)
                if answer.replace:
                    verdict = self._pull(on_change)
            if verdict.outcome is not FilterOutcome.CONTINUE:
                break
        self.machine.over()
        return verdict

    def _answer(self, msg: Message) -> Message:
        """Asks.  A message that stays unfinished for the whole time ends the connection: no other can follow it.

        Switches: yes (network).
        """
        conn = self._conn
        if conn is None:
            raise TempError(Module.PMILTER, "it was lost")
        unfinished, begun_us = conn.unfinished, st_utime()
        try:
            answer = conn.ask(msg).wait(self.settings.reply_timeout_us)
        except StError as error:
            if error.errno == errno.ETIME and unfinished and conn.unfinished == unfinished:
                conn.close("half a message, and no more of it in time")
            raise
        self.tally.answered(st_utime() - begun_us)
        return answer

    def _pull(self, on_change: Callable[[FilterChange], None]) -> FilterVerdict:
        """Takes the message that the filter sends instead of the one that came.  Switches: yes (network)."""
        pulled, until_us = 0, st_utime() + _PULL_TIMES * self.settings.reply_timeout_us
        while True:
            piece = self._answer(PmPull(session_id=self._session_id, pulled=pulled))
            if not isinstance(piece, Replacement) or len(piece.data) > PMILTER_CHUNK_SIZE or not (piece.data or piece.end):
                raise MilterProtocolError("what it sends is no piece of a message")
            if piece.code:
                raise MilterProtocolError(f"it does not go on with the message: {piece.code}")
            if st_utime() > until_us:
                raise StError(errno.ETIME, "no answer in time")
            pulled += len(piece.data)
            too_big = 0 < self.settings.max_message_bytes < pulled
            if piece.data:
                on_change(NewMessage(piece.data))
            if piece.end or too_big:
                self.later((PmPullStatus(session_id=self._session_id, reply=_TOO_BIG if too_big else _PULLED),))
                return CONTINUE

    def later(self, messages: Messages) -> None:
        """Sends what needs no answer."""
        conn = self._conn
        if conn is None or conn.closed:
            return
        for msg in messages:
            conn.post(msg)

    def fail(self) -> None:
        """Gives the filter up for this session; it hears that the session is over."""
        if self._conn is not None:
            self.later((PmClose(session_id=self._session_id),))
        self.machine.fail()
        self._conn = None

    def close(self) -> None:
        """Ends the session."""
        self.later(self.machine.quit())
        self._conn = None


def _fault(error: TempError | UnsendableError | StError | MilterProtocolError) -> FilterFault:
    if isinstance(error, StError):
        return FilterFault.TIMEOUT if error.errno == errno.ETIME else FilterFault.CLOSED
    return FilterFault.PROTOCOL if isinstance(error, MilterProtocolError | UnsendableError) else FilterFault.CLOSED


def _reason(error: TempError | UnsendableError | StError | MilterProtocolError) -> str:
    if isinstance(error, StError):
        return "no answer in time" if error.errno == errno.ETIME else str(error)
    return error.cause
