"""The connection to QMGR: sessions and envelopes go there, throttling and refusals come back.

A transaction lives only as long as the connection that it was announced on: QMGR forgets all open ones of a
connection that breaks.  The generation number tells connections apart (invariant I8).

Ref: MeTA1 design, "Functional Specification: QMGR, interface to SMTPS" (modelled on).
"""

import contextlib
import errno
from pathlib import Path
from typing import cast

from meta1g.base.errors import Module, TempError
from meta1g.base.ids import TaId
from meta1g.base.log import Log
from meta1g.base.reply import Reply, printable
from meta1g.rcb.schema import Message
from meta1g.rcb.smtps_qmgr import (
    PROTOCOL,
    ClientEvent,
    CloseTransaction,
    CountEvent,
    FilterReport,
    NewRecipient,
    NewSession,
    QmgrHello,
    Refused,
    SmtpsContained,
    SmtpsHello,
    SmtpsTrouble,
    Stat,
    Throttle,
    VerifyAddress,
)
from meta1g.smtps.gate import Gate
from meta1g.smtps.limits import (
    CONTAINED_TEXT_MAX_CHARS,
    QMGR_ANSWER_TIMEOUT_US,
    QMGR_COMMIT_TIMEOUT_US,
    QMGR_SESSION_TIMEOUT_US,
    TROUBLE_TEXT_MAX_CHARS,
)
from meta1g.smtps.link import PeerLink, told
from meta1g.smtps.transaction import Transaction
from meta1g.st import StError
from meta1g.st.rcbconn import RcbConn
from meta1g.st.rcbpending import Pending


class QmgrLink(PeerLink):
    """The connection to QMGR, made again for ever.

    Args:
        path: socket of QMGR.
        hello: who we are.
        gate: told when the connection is up or down.
        log: for what goes wrong on the connection.

    Attributes:
        generation: number of the connection.
        max_threads: sessions QMGR allows, 0 while it takes no mail.
        throttle_text: why it allows so few, empty if it does not.

    Owner: the process (all state threads of it; nothing here switches between a check and its use).
    """

    def __init__(self, path: Path, hello: SmtpsHello, gate: Gate, log: Log) -> None:
        self.generation = 0
        self.max_threads = 0
        self.throttle_text = ""
        self._counts = 0
        self._contained: SmtpsContained | None = None
        self._trouble = SmtpsTrouble(text="")
        self._filters: dict[tuple[str, str], FilterReport] = {}
        self._open: dict[str, Transaction] = {}
        super().__init__("qmgr", path, PROTOCOL, hello, gate, log)

    def _on_up(self, reply: Message) -> None:
        hello = cast("QmgrHello", reply)
        self.max_threads, self._counts = hello.max_threads, hello.counts
        self.throttle_text = ""
        self.generation += 1
        self._log.info("smtps.qmgr", "connected", limit=self.max_threads)
        self._tell_contained()
        if self._trouble.text:
            self._tell_trouble()
        for report in self._filters.values():
            self._link.now().post(report)

    def _on_down(self) -> None:
        self.generation += 1
        self._open.clear()

    def _on_message(self, conn: RcbConn, request_id: int, msg: Message) -> None:
        if isinstance(msg, Refused):
            ta = self._open.get(msg.ta_id)
            if ta is not None:
                ta.refused = told(msg.reply)
        elif isinstance(msg, Throttle):
            self.max_threads, self.throttle_text = msg.max_threads, msg.text
            self._log.notice("smtps.throttle", msg.text or "ok", limit=msg.max_threads)

    def contained(self, count: int, last: str) -> None:
        """Tells QMGR what this process contained so far; once more on each new connection."""
        self._contained = SmtpsContained(count=count, last=printable(last)[:CONTAINED_TEXT_MAX_CHARS])
        self._tell_contained()

    def _tell_contained(self) -> None:
        if self._contained is not None and self.up:
            with contextlib.suppress(TempError):  # the next connection hears of it
                self._link.now().post(self._contained)

    def trouble(self, text: str) -> None:
        """Tells QMGR what status is to say of this process, empty for nothing any more; once more on each new connection."""
        told, self._trouble = self._trouble, SmtpsTrouble(text=printable(text)[:TROUBLE_TEXT_MAX_CHARS])
        if self._trouble != told and self.up:
            self._tell_trouble()

    def _tell_trouble(self) -> None:
        with contextlib.suppress(TempError):  # the next connection hears of it
            self._link.now().post(self._trouble)

    def filter_report(self, report: FilterReport) -> None:
        """Tells QMGR the figures of a filter; once more on each new connection."""
        self._filters[report.kind, report.name] = report
        if self.up:
            with contextlib.suppress(TempError):  # the next connection hears of it
                self._link.now().post_late(report)

    def new_session(self, msg: NewSession) -> "Pending":
        """Asks whether a session may stay.

        Raises:
            TempError: QMGR is away.
        """
        return self._link.now().ask(msg)

    def admitted(self, pending: "Pending") -> Reply:
        """Waits for the answer to new_session.  Switches: yes (waits).

        Raises:
            TempError: the connection broke.
            StError: ETIME after QMGR_SESSION_TIMEOUT_US, EINTR.
        """
        return told(cast("Stat", pending.wait(QMGR_SESSION_TIMEOUT_US)).reply)

    def count(self, session_id: str, event: ClientEvent) -> "Pending | None":
        """Asks whether a client does too much, if QMGR wants to be asked; None if it does not, or is away."""
        return self._ask(CountEvent(session_id=session_id, event=event)) if self._counts & event else None

    def verify(self, session_id: str, address: str) -> "Pending | None":
        """Asks whether the mail server of an address takes it; None if QMGR is away."""
        return self._ask(VerifyAddress(session_id=session_id, address=address))

    def _ask(self, msg: Message) -> "Pending | None":
        try:
            return self._link.now().ask(msg)
        except TempError:
            return None

    def said(self, pending: "Pending") -> Reply | None:
        """Waits for the answer to count or verify; None if there is none.  Switches: yes (waits).

        Raises:
            StError: EINTR.
        """
        try:
            return told(cast("Stat", pending.wait(QMGR_ANSWER_TIMEOUT_US)).reply)
        except TempError:
            return None
        except StError as error:
            if error.errno != errno.ETIME:
                raise
            return None

    def open_transaction(self, ta: Transaction, msg: Message) -> None:
        """Announces a transaction.

        Raises:
            TempError: QMGR is away, or was since MAIL came: it does not know the session.
        """
        self._same(ta)
        self._link.now().post_late(msg)
        self._open[ta.ta_id] = ta

    def add_recipient(self, ta: Transaction, msg: NewRecipient) -> None:
        """Announces a recipient of an announced transaction.

        Raises:
            TempError: QMGR is away, or was since MAIL came.
        """
        self._same(ta)
        self._link.now().post_late(msg)

    def _same(self, ta: Transaction) -> None:
        if ta.generation != self.generation:
            raise TempError(Module.SMTPS, "the queue manager was away meanwhile")

    def post(self, msg: Message) -> None:
        """Sends what needs no answer, with what needs one or a moment later.

        Raises:
            TempError: QMGR is away.
        """
        self._link.now().post_late(msg)

    def announce(self) -> None:
        """Sends what was posted now: the content comes next, and QMGR can take the envelope meanwhile."""
        with contextlib.suppress(TempError):  # the final reply tells
            self._link.now().send_now()

    def ask_commit(self, msg: CloseTransaction) -> "Pending":
        """Sends the final dot to QMGR.

        Raises:
            TempError: QMGR is away, and nothing was sent.
        """
        return self._link.now().ask(msg)

    def committed(self, pending: "Pending") -> Reply:
        """Waits for the answer to ask_commit.  Switches: yes (waits).

        Raises:
            TempError: the connection broke; whether the envelope is safe is not known.
            StError: ETIME after QMGR_COMMIT_TIMEOUT_US, with the same doubt; EINTR.
        """
        return told(cast("Stat", pending.wait(QMGR_COMMIT_TIMEOUT_US)).reply)

    def forget(self, ta_id: TaId) -> None:
        """Drops a transaction that is over."""
        self._open.pop(ta_id, None)
