"""The SMTPC processes: one connection each, entered as delivery agents.

Locking: AQ, by the scheduler.
Ref: MeTA1 design, "Functional Specification: QMGR, interface to SMTPC" (modelled on).
"""

from collections.abc import Callable

from meta1g.base.errors import ProtocolError
from meta1g.base.log import Log
from meta1g.db.dadb import Agent
from meta1g.pt.rcbconn import RcbCom
from meta1g.qmgr.sched import Scheduler
from meta1g.qmgr.status import Contained
from meta1g.rcb.schema import Message
from meta1g.rcb.smtpc_qmgr import QmgrHelloC, SessionClosed, SmtpcContained, SmtpcHello
from meta1g.rcb.tlssession import TlsSession


class SmtpcLinks:
    """All SMTPC processes.

    Args:
        scheduler: gives them work.
        log: the log.
        contained: hears of their contained failures.
        counted: hears of sessions that are counted for reports (RFC 8460).

    Locking: none needed; `user` of a connection is its agent, set before work is given.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        log: Log,
        contained: Contained,
        counted: Callable[[TlsSession], None] = lambda session: None,
    ) -> None:
        self._counted = counted
        self._contained = contained
        self._scheduler = scheduler
        self._log = log

    def on_connect(self, conn: RcbCom) -> None:
        """Takes a new connection (RcbListener)."""
        conn.on_message = self._on_message
        conn.on_close = self._on_close

    def _on_message(self, conn: RcbCom, request_id: int, msg: Message) -> None:
        if isinstance(msg, SmtpcHello):
            self._hello(conn, request_id, msg)
        elif isinstance(msg, SessionClosed) and conn.user is not None:
            self._scheduler.session_closed(conn.user, msg.session_id)
        elif isinstance(msg, SmtpcContained) and conn.user is not None:
            self._contained.note(_name(conn.user), msg.count, msg.last)
        elif isinstance(msg, TlsSession) and conn.user is not None:
            self._counted(msg)
        else:
            raise ProtocolError(f"smtpc-qmgr: {type(msg).__name__} is not expected here")

    def _hello(self, conn: RcbCom, request_id: int, msg: SmtpcHello) -> None:
        if conn.user is not None or not msg.max_threads:
            raise ProtocolError("smtpc-qmgr: a second hello, or one without sessions")
        conn.user = Agent(conn, msg.smtpc_id, msg.pid, msg.max_threads)
        conn.reply(request_id, QmgrHelloC())
        self._log.info("qmgr.smtpc", "connected", pid=msg.pid, limit=msg.max_threads)
        self._scheduler.agent_up(conn.user)

    def _on_close(self, conn: RcbCom) -> None:
        if conn.user is not None:
            self._contained.gone(_name(conn.user))
            self._scheduler.agent_down(conn.user)
            self._log.notice("qmgr.smtpc_gone", f"gone: {conn.close_reason}", pid=conn.user.pid)


def _name(agent: Agent) -> str:
    """Gives the name of a process for people."""
    return f"smtpc {agent.index}"
