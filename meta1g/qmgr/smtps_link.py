"""The SMTPS processes: one connection each; messages go to Intake, load control goes back.

Locking: own lock LEAF for the list of connections.
Ref: MeTA1 design, "Functional Specification: QMGR, interface to SMTPS" (modelled on).
"""

from collections.abc import Callable
from dataclasses import field
from typing import Any, Final

from meta1g.base.dataclass import dataclass
from meta1g.base.errors import ProtocolError
from meta1g.base.log import Log
from meta1g.base.reply import Reply
from meta1g.pt.lock import Lock, LockRank
from meta1g.pt.rcbconn import RcbCom
from meta1g.qmgr.filterstatus import filter_rows
from meta1g.qmgr.intake import Intake
from meta1g.qmgr.limits import FILTERS_MAX
from meta1g.qmgr.status import Contained
from meta1g.qmgr.verify import AddressVerifier
from meta1g.rcb.schema import Message
from meta1g.rcb.smtps_qmgr import (
    ClientEvent,
    CloseSession,
    CloseTransaction,
    CountEvent,
    DiscardTransaction,
    FilterReport,
    NewRecipient,
    NewSession,
    NewTransaction,
    QmgrHello,
    SmtpsContained,
    SmtpsHello,
    SmtpsTrouble,
    Stat,
    Throttle,
    VerifyAddress,
)


@dataclass(slots=True)
class Smtps:
    """One SMTPS.  Locking: lock of SmtpsLinks."""

    conn: RcbCom
    hello: SmtpsHello
    allowed: int
    trouble: str = ""
    filters: dict[tuple[str, str], FilterReport] = field(default_factory=dict)


class SmtpsLinks:
    """All SMTPS processes.

    Args:
        intake: takes their messages.
        verifier: knows which addresses are taken.
        on_up: called when one has connected.
        on_gone: called when one is gone.
        log: the log.
        contained: hears of their contained failures.

    Attributes:
        percent: how many of its sessions each may serve now, 0 to 100; with the reason if it is less than 100.

    Locking: own lock LEAF.
    """

    def __init__(
        self,
        intake: Intake,
        verifier: AddressVerifier,
        on_up: Callable[[], None],
        on_gone: Callable[[], None],
        log: Log,
        contained: Contained,
    ) -> None:
        self._on_up = on_up
        self._contained = contained
        self.percent = 100
        self.reason = ""
        self._intake = intake
        self._verifier = verifier
        self._on_gone = on_gone
        self._log = log
        self._lock = Lock(LockRank.LEAF, "smtps links")
        self._links: dict[RcbCom, Smtps] = {}
        self._handlers: Final[dict[type[Message], Callable[[RcbCom, int, Message], None]]] = {
            SmtpsHello: self._on_hello,
            NewSession: self._on_session,
            CloseSession: lambda conn, _, msg: intake.close_session(msg.session_id),  # type: ignore[attr-defined]
            NewTransaction: lambda conn, _, msg: intake.new_transaction(conn, msg),  # type: ignore[arg-type]
            NewRecipient: lambda conn, _, msg: intake.new_recipient(conn, msg),  # type: ignore[arg-type]
            CountEvent: self._on_count,
            VerifyAddress: self._on_verify,
            CloseTransaction: intake.close_transaction,  # type: ignore[dict-item]
            SmtpsContained: self._on_contained,
            SmtpsTrouble: self._on_trouble,
            FilterReport: self._on_filter,
            DiscardTransaction: lambda conn, _, msg: intake.discard(msg.ta_id),  # type: ignore[attr-defined]
        }

    def __len__(self) -> int:
        """Gives the number of processes."""
        return len(self._links)

    def on_connect(self, conn: RcbCom) -> None:
        """Takes a new connection (RcbListener)."""
        conn.on_message = self._on_message
        conn.on_failure = self._on_failure
        conn.on_close = self._on_close

    def _on_message(self, conn: RcbCom, request_id: int, msg: Message) -> None:
        self._handlers[type(msg)](conn, request_id, msg)

    def _on_failure(self, conn: RcbCom, request_id: int, msg: Message) -> bool:
        """Answers a request whose handling failed: the client is to try again."""
        if not isinstance(msg, NewSession | CloseTransaction | CountEvent | VerifyAddress):
            return False
        code = 421 if isinstance(msg, NewSession) else 451
        conn.reply(request_id, Stat(reply=Reply(code, "4.3.0", "Internal error, try again later")))
        return True

    def _on_hello(self, conn: RcbCom, request_id: int, msg: Message) -> None:
        if not isinstance(msg, SmtpsHello) or conn in self._links:
            raise ProtocolError("smtps-qmgr: a second hello")
        with self._lock:
            allowed = self._share(msg.max_threads)
            self._links[conn] = Smtps(conn, msg, allowed)
        conn.reply(request_id, QmgrHello(max_threads=allowed, counts=self._intake.icc.counted))
        if self.reason:
            conn.post(Throttle(max_threads=allowed, text=self.reason))
        self._log.info("qmgr.smtps", "connected", pid=msg.pid, name=msg.name or None, limit=allowed)
        self._on_up()

    def _on_contained(self, conn: RcbCom, request_id: int, msg: Message) -> None:
        link = self._links.get(conn)
        if isinstance(msg, SmtpsContained) and link is not None:
            self._contained.note(_name(link.hello), msg.count, msg.last)

    def _on_trouble(self, conn: RcbCom, request_id: int, msg: Message) -> None:
        link = self._links.get(conn)
        if isinstance(msg, SmtpsTrouble) and link is not None:
            link.trouble = msg.text

    def _on_filter(self, conn: RcbCom, request_id: int, msg: Message) -> None:
        link = self._links.get(conn)
        if isinstance(msg, FilterReport) and link is not None:
            with self._lock:
                if len(link.filters) >= FILTERS_MAX and (msg.kind, msg.name) not in link.filters:
                    raise ProtocolError(f"smtps-qmgr: more than {FILTERS_MAX} filters")
                link.filters[msg.kind, msg.name] = msg

    def filters(self) -> list[dict[str, Any]]:
        """Gives the figures of all filters; see filterstatus.filter_rows()."""
        with self._lock:
            found = [(one.hello.name, report) for one in self._links.values() for report in one.filters.values()]
        return filter_rows(found)

    def troubles(self) -> list[str]:
        """Gives what the processes want status to say; what several say alike, once."""
        with self._lock:
            links = list(self._links.values())
        return list(dict.fromkeys(f"{f'smtps {one.hello.name}'.strip()}: {one.trouble}" for one in links if one.trouble))

    def _share(self, max_threads: int) -> int:
        return max_threads * self.percent // 100

    def _on_session(self, conn: RcbCom, request_id: int, msg: Message) -> None:
        if isinstance(msg, NewSession):
            link = self._links.get(conn)
            sessions = 0 if link is None else link.hello.max_threads
            conn.reply(request_id, Stat(reply=self._intake.new_session(conn, msg, sessions)))

    def _on_count(self, conn: RcbCom, request_id: int, msg: Message) -> None:
        if isinstance(msg, CountEvent):
            if msg.event not in (ClientEvent.MESSAGE, ClientEvent.RECIPIENT):
                raise ProtocolError(f"smtps-qmgr: there is no event {msg.event}")
            conn.reply(request_id, Stat(reply=self._intake.count(msg)))

    def _on_verify(self, conn: RcbCom, request_id: int, msg: Message) -> None:
        def answer(reply: Reply) -> None:
            if not conn.closed:
                conn.reply(request_id, Stat(reply=reply))

        if isinstance(msg, VerifyAddress):
            self._verifier.ask(msg.address, self._intake.client_of(msg.session_id), answer)

    def _on_close(self, conn: RcbCom) -> None:
        with self._lock:
            link = self._links.pop(conn, None)
        self._intake.drop_owner(conn)
        if link is not None:
            self._contained.gone(_name(link.hello))
            self._on_gone()
            self._log.notice("qmgr.smtps_gone", f"gone: {conn.close_reason}", pid=link.hello.pid)

    def throttle(self, percent: int, reason: str) -> None:
        """Tells all SMTPS how many sessions they may serve from now on.

        Args:
            percent: 0 to 100 of what each can.
            reason: for the reply to clients that are sent away.
        """
        with self._lock:
            if (percent, reason) == (self.percent, self.reason):
                return
            self.percent, self.reason = percent, reason
            links = list(self._links.values())
            for link in links:
                link.allowed = self._share(link.hello.max_threads)
        self._log.notice("qmgr.throttle", reason or "ok", usage=percent)
        for link in links:
            link.conn.post(Throttle(max_threads=link.allowed, text=reason))


def _name(hello: SmtpsHello) -> str:
    """Gives the name of a process for people."""
    return f"smtps {hello.name or hello.smtps_id}"
