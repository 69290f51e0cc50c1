"""The filter's side of the protocol: connections of servers, their sessions, and callbacks in order.

    connection task --> queue of the session --> a task of the event-thread system runs the callbacks, one at a time,
                                                 when it is the turn of the client (meta1g.pmilter.lanes)

Invariants: every request gets exactly one reply, whatever a callback does, unless its connection is gone; close() is called
once for every session whose connect message came, and after that message nothing is asked any more.

Ref: MeTA1 pmilter API (contexts and threads modelled on).
"""

from collections import deque
from collections.abc import Callable
from typing import Final

from meta1g.base import failure
from meta1g.base.errors import ProtocolError, UnsendableError
from meta1g.base.log import Log
from meta1g.base.reply import NO_REPLY, Reply
from meta1g.pmilter.callbacks import Pmilter
from meta1g.pmilter.lanes import CallbackLanes
from meta1g.pmilter.modify import Modifications
from meta1g.pmilter.session import PmServer, PmSession, PmTransaction
from meta1g.pmilter.stages import Status, code_of, is_allowed
from meta1g.pt.evthr import Evthr
from meta1g.pt.lock import Lock, LockRank
from meta1g.pt.rcbconn import RcbCom
from meta1g.rcb.schema import Message, Role
from meta1g.rcb.smtps_pmilter import (
    PM_VERSION,
    Capability,
    Function,
    MessageChunk,
    PmAbort,
    PmClose,
    PmConnect,
    PmData,
    PmDot,
    PmDotVerdict,
    PmHello,
    PmHelo,
    PmMail,
    PmPull,
    PmPullStatus,
    PmRcpt,
    PmUnknown,
    PmVerdict,
    PmWanted,
    Replacement,
    Stage,
    WantedMacro,
)

#: Messages of a session that may wait for its callbacks: a server that sends more does not wait for answers.
QUEUE_MAX: Final = 64
#: Sessions of a server.  Ref: invariant I4; our choice: more than a server serves.
SESSIONS_MAX: Final = 20_000
_FAILED: Final = Reply(451, "4.3.0", "Filter failed, try again later")


class _Line:
    """A session and the messages that wait for its callbacks; once it is given up nobody wants to have their answers.

    Locking: caller holds the lock of the connection.
    """

    __slots__ = ("busy", "given_up", "session", "waiting")

    def __init__(self, session: PmSession) -> None:
        self.session = session
        self.waiting: deque[tuple[int, Message]] = deque()
        self.busy = False
        self.given_up = False


class FilterConnection:
    """The sessions of one connection.

    Args:
        service: what serves it.
        conn: the connection.

    Locking: own lock LEAF for the sessions and their queues.
    """

    def __init__(self, service: "FilterService", conn: RcbCom) -> None:
        self._service = service
        self._conn = conn
        self._lock = Lock(LockRank.LEAF, "filter sessions")
        self._lines: dict[str, _Line] = {}
        self._server: PmServer | None = None

    def take(self, request_id: int, msg: Message) -> None:
        """Takes a message of the server.

        Raises:
            ProtocolError: it does not fit.
        """
        if isinstance(msg, PmHello):
            self._negotiate(request_id, msg)
            return
        if self._server is None:
            raise ProtocolError(f"{type(msg).__name__} before the negotiation")
        session_id: str = getattr(msg, "session_id", "")
        with self._lock:
            line = self._line(session_id, msg)
            if len(line.waiting) >= QUEUE_MAX:
                raise ProtocolError(f"session {session_id}: more than {QUEUE_MAX} messages without waiting for an answer")
            line.waiting.append((request_id, msg))
            start, line.busy = not line.busy, True
        if start:
            self._service.lanes.begin(line.session.client_addr, lambda: self._run(line))

    def _line(self, session_id: str, msg: Message) -> _Line:
        """Gives the queue of a session; one begins with its connect message.  Caller holds the lock."""
        line = self._lines.get(session_id)
        if isinstance(msg, PmConnect) == (line is not None):
            raise ProtocolError(f"session {session_id}: {type(msg).__name__} does not fit")
        if line is None and isinstance(msg, PmConnect) and self._server is not None:
            if len(self._lines) >= SESSIONS_MAX:
                raise ProtocolError(f"more than {SESSIONS_MAX} sessions")
            line = _Line(PmSession(self._server, session_id, msg.client_addr, msg.client_name))
            self._lines[session_id] = line
        assert line is not None
        if isinstance(msg, PmClose):
            line.given_up = True
            del self._lines[session_id]
        return line

    def _negotiate(self, request_id: int, msg: PmHello) -> None:
        service, conn = self._service, self._conn
        if self._server is not None:
            raise ProtocolError("a second negotiation")
        if service.servers > service.pmilter.fdmax:
            raise ProtocolError(f"{service.servers} servers are connected; fdmax of the filter is {service.pmilter.fdmax}")
        if msg.version >> 8 != PM_VERSION >> 8:
            raise ProtocolError(f"the server speaks version {msg.version >> 8}, this filter {PM_VERSION >> 8}")
        server = PmServer(
            msg.hostname,
            Capability(msg.capabilities & int(~Capability(0))),
            Function(msg.functions & int(~Function(0))),
            service.pmilter.wants(),
            service.pmilter.functions,
        )
        if not service.pmilter.negotiate(server):
            raise ProtocolError("the filter does not want to work with this server")
        lacks = server.lacks()
        if lacks:
            service.log.error("pmilter.refused", f"it does not offer {lacks}", name=msg.hostname or None)
            raise ProtocolError(f"the server does not offer {lacks}")
        self._server = server
        macros = tuple(
            WantedMacro(stage=int(stage), macro=int(macro)) for stage, macros in server.macros.items() for macro in macros
        )
        service.log.info("pmilter.server", "connected", name=msg.hostname or None)
        conn.reply(
            request_id,
            PmWanted(
                name=service.pmilter.name,
                version=PM_VERSION,
                capabilities=int(server.capabilities & server.offered),
                functions=int(server.functions),
                macros=macros,
            ),
        )

    def _run(self, line: _Line) -> None:
        """Runs the callbacks of a session until none waits.  Blocks: yes (callbacks)."""
        while True:
            with self._lock:
                if not line.waiting:
                    line.busy = False
                    return
                request_id, msg = line.waiting.popleft()
                skip = line.given_up and msg.PLAN.role is Role.REQUEST
            answer = _failed(msg) if skip else self._service.answer(line.session, msg)
            if answer is not None:
                self._reply(request_id, msg, answer)

    def _reply(self, request_id: int, msg: Message, answer: Message) -> None:
        """Replies; by a refusal if the answer does not fit a message.  It leaves before a callback that may block."""
        try:
            self._conn.reply(request_id, answer)
        except UnsendableError as error:
            failure.contained(self._service.log, "pmilter.callback", error, ss_sess=getattr(msg, "session_id", None))
            self._conn.reply(request_id, _failed(msg))
        self._conn.flush()

    def end(self) -> None:
        """Ends all sessions: the connection is gone."""
        with self._lock:
            lines = list(self._lines.items())
            self._lines.clear()
            idle = []
            for session_id, line in lines:
                line.waiting.append((0, PmClose(session_id=session_id)))
                line.given_up = True
                if not line.busy:
                    line.busy = True
                    idle.append(line)
        for line in idle:
            self._run(line)


class FilterService:
    """Asks a filter what servers want to know.

    Args:
        pmilter: the filter.
        evthr: runs its callbacks.
        log: failures are logged here.

    Attributes:
        servers: connections that are open.
        lanes: whose callbacks run.

    Locking: own lock LEAF for the number of connections.
    """

    def __init__(self, pmilter: Pmilter, evthr: Evthr, log: Log) -> None:
        self.pmilter = pmilter
        self.evthr = evthr
        self.log = log
        self.servers = 0
        self.lanes = CallbackLanes(pmilter.thrmax_h, lambda work: evthr.call_soon(work, name="filter session"))
        self._lock = Lock(LockRank.LEAF, "servers of a filter")

    def on_connect(self, conn: RcbCom) -> None:
        """Takes a new connection."""
        state = FilterConnection(self, conn)
        self._count(1)
        conn.on_message = lambda _conn, request_id, msg: state.take(request_id, msg)
        conn.on_failure = lambda _conn, _request_id, _msg: False

        def gone(_conn: RcbCom) -> None:
            self._count(-1)
            state.end()

        conn.on_close = gone

    def _count(self, change: int) -> None:
        with self._lock:
            self.servers += change

    def answer(self, session: PmSession, msg: Message) -> Message | None:
        """Runs the callback of a message; gives the reply if one is owed.  Blocks: yes (the callback)."""
        session.reply = NO_REPLY
        answer = _failed(msg) if msg.PLAN.role is Role.REQUEST else None
        with failure.item(self.log, "pmilter.callback", ss_sess=session.id):
            answer = self._call(session, msg)
        return answer  # noqa: RET504  item() contains what is raised

    def _call(self, session: PmSession, msg: Message) -> Message | None:
        if isinstance(msg, PmPull):
            return _pull(session)
        if isinstance(msg, PmDot):
            return self._dot(session, msg)
        status = _CALLS[type(msg)](self.pmilter, session, msg)
        if msg.PLAN.role is not Role.REQUEST:
            return None
        if status is None:
            raise ValueError(f"{type(msg).__name__}: the callback returns nothing; it has to return a Status")
        return self._verdict(session, msg, status)

    def _verdict(self, session: PmSession, msg: Message, status: int) -> PmVerdict:
        code = code_of(status)
        self._check(_STAGES[type(msg)], code, session.reply)
        return PmVerdict(code=code, reply=session.reply)

    def _dot(self, session: PmSession, msg: PmDot) -> PmDotVerdict:
        session.note_macros(msg.macros)
        changes = session.changes = Modifications(session.server.functions)
        try:
            code = code_of(self.pmilter.eom(session))
        except BaseException:
            session.end_transaction()
            raise
        session.changes = None  # the time for changes is over
        self._check(Stage.DOT, code, session.reply)
        if not changes.replaced:
            session.end_transaction()
        return PmDotVerdict(
            code=code,
            reply=session.reply,
            header=tuple(changes.header),
            rcpts_added=tuple(changes.added),
            rcpts_removed=tuple(changes.removed),
            mail=changes.mail,
            replace=changes.replaced,
            quarantine=changes.quarantine,
        )

    def _check(self, stage: Stage, code: int, reply: Reply) -> None:
        if not is_allowed(stage, code, reply):
            said = f" with the reply {reply}" if reply.code else ""
            raise ValueError(f"{stage.name}: a callback may not return {code}{said}")


def _failed(msg: Message) -> Message:
    """Gives the reply that is owed for a callback that failed."""
    if isinstance(msg, PmPull):
        return Replacement(code=int(Status.TEMP), end=True)
    if isinstance(msg, PmDot):
        return PmDotVerdict(code=_FAILED.code, reply=_FAILED)
    return PmVerdict(code=_FAILED.code, reply=_FAILED)


def _pull(session: PmSession) -> Replacement:
    """Gives the next piece of a message that takes the place of another one."""
    if session.pieces is None:
        raise ValueError("no message takes the place of this one")
    piece = next(session.pieces, b"")
    return Replacement(data=piece, end=not piece)


def _connect(pmilter: Pmilter, session: PmSession, msg: PmConnect) -> int:
    session.note_macros(msg.macros)
    return pmilter.connect(session)


def _helo(pmilter: Pmilter, session: PmSession, msg: PmHelo) -> int:
    session.note_macros(msg.macros)
    session.helo, session.ehlo = msg.helo, msg.ehlo
    return pmilter.helo(session, msg.helo, msg.ehlo)


def _mail(pmilter: Pmilter, session: PmSession, msg: PmMail) -> int:
    session.note_macros(msg.macros)
    session.transaction = PmTransaction(msg.ta_id, msg.mail, [])
    return pmilter.mail(session, msg.mail, msg.args)


def _rcpt(pmilter: Pmilter, session: PmSession, msg: PmRcpt) -> int:
    session.note_macros(msg.macros)
    if msg.status.code:
        pmilter.rcpt_refused(session, msg.rcpt, msg.status)
        return Status.CONT
    status = pmilter.rcpt(session, msg.rcpt, msg.args)
    if session.transaction is not None and status < Status.SSD:
        session.transaction.rcpts.append(msg.rcpt)
    return status


def _data(pmilter: Pmilter, session: PmSession, msg: PmData) -> int:
    session.note_macros(msg.macros)
    return pmilter.data(session)


def _msg(pmilter: Pmilter, session: PmSession, msg: MessageChunk) -> int:
    return pmilter.msg(session, msg.data)


def _unknown(pmilter: Pmilter, session: PmSession, msg: PmUnknown) -> int:
    return pmilter.unknown(session, msg.command)


def _pull_status(pmilter: Pmilter, session: PmSession, msg: PmPullStatus) -> None:
    try:
        pmilter.msg_rplc_stat(session, msg.reply)
    finally:
        session.end_transaction()


def _abort(pmilter: Pmilter, session: PmSession, msg: PmAbort) -> None:
    if session.transaction is None:
        return
    try:
        pmilter.abort(session)
    finally:
        session.end_transaction()


def _close(pmilter: Pmilter, session: PmSession, msg: PmClose) -> None:
    try:
        _abort(pmilter, session, PmAbort(session_id=session.id))
    finally:
        pmilter.close(session)


_CALLS: Final[dict[type[Message], Callable[..., int | None]]] = {
    PmConnect: _connect,
    PmHelo: _helo,
    PmMail: _mail,
    PmRcpt: _rcpt,
    PmData: _data,
    MessageChunk: _msg,
    PmUnknown: _unknown,
    PmPullStatus: _pull_status,
    PmAbort: _abort,
    PmClose: _close,
}

_STAGES: Final[dict[type[Message], Stage]] = {
    PmConnect: Stage.CONNECT,
    PmHelo: Stage.HELO,
    PmMail: Stage.MAIL,
    PmRcpt: Stage.RCPT,
    PmData: Stage.DATA,
    MessageChunk: Stage.MSG,
    PmUnknown: Stage.UNKNOWN,
}
