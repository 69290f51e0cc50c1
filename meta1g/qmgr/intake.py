"""SMTPS requests: sessions and envelopes go to IQDB, the final dot to IBDB, accepted envelopes to AQ or DEFEDB.

Locking: own lock IQDB, never held while the other stores are asked.
Ref: MeTA1 design, "Functional Specification: QMGR, interface to SMTPS" (modelled on); docs/message.md, 1 to 4.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from typing import Final, Protocol, cast

from meta1g.base import failure
from meta1g.base.errors import FullError, TempError
from meta1g.base.ids import RCPT_IDX_MAX
from meta1g.base.reply import Reply
from meta1g.db.aq_types import Home
from meta1g.db.icc import Icc
from meta1g.db.iqdb import Iqdb, IqTa
from meta1g.maps.cidrmap import NetworkTable, parse_address
from meta1g.pt.lock import Lock, LockRank
from meta1g.pt.task import Ev, Result, Task
from meta1g.qmgr.active import Active
from meta1g.qmgr.copies import joined, with_copy
from meta1g.qmgr.env import Env
from meta1g.qmgr.limits import IQDB_CROWDED_PERCENT, IQDB_HOLD_S, SLICE
from meta1g.qmgr.orders import held
from meta1g.qmgr.ta_fsm import Event, State, step
from meta1g.rcb.envelope import RcptFlags, RcptRecord, TaRecord
from meta1g.rcb.schema import Message
from meta1g.rcb.smtps_qmgr import (
    ClientEvent,
    CloseTransaction,
    CountEvent,
    NewRecipient,
    NewSession,
    NewTransaction,
    Refused,
    Stat,
)
from meta1g.rcb.talog import ta_facts
from meta1g.smtp import verp

UNKNOWN: Final = Reply(451, "4.3.0", "Transaction is not known, try again")
MISCOUNTED: Final = Reply(451, "4.3.0", "Envelope is not complete, try again")
STOPPING: Final = Reply(421, "4.3.2", "Mail system is stopping, try again later")
NOT_STORED: Final = Reply(451, "4.3.1", "Envelope cannot be stored, try again later")
TOO_MUCH: Final = Reply(452, "4.3.1", "Queue is full, try again later")
TOO_SLOW: Final = Reply(452, "4.3.1", "Queue is nearly full and this envelope took too long, try again later")
WELCOME: Final = Reply(220)
ACCEPTED: Final = Reply(250, "2.0.0")


class Conn(Protocol):
    """The connection of an SMTPS."""

    @property
    def closed(self) -> bool:
        """Whether it is gone."""
        ...

    def post(self, msg: Message) -> None:
        """Sends a message."""
        ...

    def reply(self, request_id: int, msg: Message) -> None:
        """Answers a request."""
        ...


class Dot:
    """A transaction that waits for its commit.

    Args:
        conn: who waits.
        request_id: what is answered.
        ta: the transaction.
        rcpts: its recipients.
        intake: takes it over when it is safe.

    Owner: the commit thread, from accept() on.
    """

    __slots__ = ("_conn", "_intake", "_request_id", "rcpts", "state", "ta")

    def __init__(self, conn: Conn, request_id: int, ta: TaRecord, rcpts: list[RcptRecord], intake: "Intake") -> None:
        self._conn = conn
        self._request_id = request_id
        self._intake = intake
        self.ta = ta
        self.rcpts = rcpts
        self.state: int = State.COMMITTING

    def committed(self) -> None:
        """Answers 250 and hands the envelope over."""
        step(self, Event.FLUSHED)
        self._intake.accepted.append(self)  # first: whatever becomes of the answer, it is our mail now
        self._answer(ACCEPTED)
        self._intake.log.debug("qmgr.commit", "ok", ss_ta=self.ta.ta_id, rcpts=len(self.rcpts))

    def commit_failed(self, error: OSError) -> None:
        """Answers 451; the client tries again."""
        step(self, Event.NOT_STORED)
        self._answer(NOT_STORED)

    def round_over(self) -> None:
        """Lets the hand-over begin, when all of the round have heard."""
        self._intake.wake()

    def _answer(self, reply: Reply) -> None:
        if not self._conn.closed:
            self._conn.reply(self._request_id, Stat(reply=reply))

    def entered(self) -> None:
        """Notes that AQ or DEFEDB has it."""
        step(self, Event.ENTERED)


def _networks(texts: Sequence[str]) -> NetworkTable | None:
    """Makes a table of networks, None if there are none."""
    table = NetworkTable()
    for text in texts:
        table.add(text, "exempt")
    return table if texts else None


class Intake:
    """The way in.

    Args:
        env: surroundings.
        iqdb: incoming queue.
        icc: incoming connections.
        active: takes accepted envelopes; its `commit` writes them first.

    Attributes:
        accepted: envelopes that are safe and not handed over yet; appended by the commit thread, taken by the task.
        stopping: nothing new is taken, nor will be.
        draining: nothing new is taken now, by order of the operator.

    Locking: own lock IQDB.
    """

    def __init__(self, env: Env, iqdb: Iqdb, icc: Icc, active: Active) -> None:
        self.iqdb = iqdb
        self.icc = icc
        self.accepted: deque[Dot] = deque()
        self.stopping = False
        self.draining = False
        self._commit = active.commit
        self._active = active
        self._verp = env.settings.verp
        self._exempt = _networks(env.settings.smtps_exempt)
        self._always_bcc = env.settings.always_bcc
        self._clock = env.clock
        self.log = env.log
        self._lock = Lock(LockRank.IQDB)
        self._task = env.evthr.task_new(self._hand_over, events=Ev.NONE, name="hand over")

    def wake(self) -> None:
        """Lets the accepted envelopes be handed over."""
        if self.accepted:
            self._task.wakeup()

    # -- sessions ------------------------------------------------------------------------------------------------------

    def new_session(self, conn: Conn, msg: NewSession, sessions: int = 0) -> Reply:
        """Enters a session; gives 220 or 421 with the reason.

        Args:
            conn: the SMTPS.
            msg: what it says.
            sessions: how many it serves at most, of which one client has a share; 0 if that is not known.
        """
        if self.stopping or self.draining:
            return STOPPING
        self.close_session(msg.session_id)  # a peer that repeats itself must not be counted twice
        with self._lock:
            exempt = self._is_exempt(msg.client_addr)
            refusal = self.icc.connect(msg.client_addr, self._clock.monotonic(), sessions, exempt=exempt)
            if refusal:
                self.log.debug("qmgr.refused", refusal, ss_sess=msg.session_id, client=msg.client_addr)
                return Reply(421, "4.7.0", f"{refusal}, try again later")
            try:
                self.iqdb.add_session(msg.session_id, conn, msg.client_addr)
            except FullError as error:
                self.icc.disconnect(msg.client_addr)
                self.log.debug("qmgr.refused", error.cause, ss_sess=msg.session_id)
                return Reply(421, "4.3.2", "Too many sessions, try again later")
        return WELCOME

    def _is_exempt(self, client_addr: str) -> bool:
        """Tells whether a client has no limits of its own; who comes by a Unix socket has an address, too."""
        return self._exempt is not None and self._exempt.find(parse_address(client_addr)) is not None

    def count(self, msg: CountEvent) -> Reply:
        """Counts what the client of a session does; gives 250, or 450 with the reason.

        A session that is not known began before QMGR did; its transactions are refused anyway.
        """
        with self._lock:
            client_addr = self.iqdb.client_of(msg.session_id)
            if client_addr is None or self._is_exempt(client_addr):
                return ACCEPTED
            refusal = self.icc.count(client_addr, ClientEvent(msg.event), self._clock.monotonic())
        return Reply(450, "4.7.1", f"{refusal}, try again later") if refusal else ACCEPTED

    def client_of(self, session_id: str) -> str:
        """Gives the address of the client of a session, empty if it is not known."""
        with self._lock:
            return self.iqdb.client_of(session_id) or ""

    def close_session(self, session_id: str) -> None:
        """Forgets a session and its open transaction."""
        with self._lock:
            session = self.iqdb.drop_session(session_id)
            if session is not None:
                self.icc.disconnect(session.client_addr)

    def drop_owner(self, conn: Conn) -> None:
        """Forgets all sessions and open transactions of an SMTPS that is gone, in slices."""
        more = True
        while more:
            with self._lock:
                for client_addr in self.iqdb.drop_owner(conn, SLICE):
                    self.icc.disconnect(client_addr)
                more = self.iqdb.owns(conn)

    def relieve(self) -> None:
        """Refuses envelopes that hold much of a nearly full queue for long (invariant I11); called now and then."""
        refused: list[IqTa] = []
        with self._lock:
            before_s = self._clock.monotonic() - IQDB_HOLD_S
            while len(refused) < SLICE and self.iqdb.usage_percent() >= IQDB_CROWDED_PERCENT:
                ta = self.iqdb.oldest()
                if ta is None or ta.since_s > before_s:
                    break
                self._refused(ta)
                refused.append(ta)
        for ta in refused:
            self.log.debug("qmgr.refused", "it took too long in a crowded queue", ss_ta=ta.msg.ta_id, client=ta.client)
            self._refuse(cast("Conn", ta.owner), ta.msg.ta_id, TOO_SLOW)

    def _refused(self, ta: IqTa) -> None:
        """Notes that a transaction is refused; its recipients hold no room any more.  Caller holds IQDB."""
        step(ta, Event.REFUSE)
        self.iqdb.refused(ta)

    def set_limits(self, entries: int, connections: int, rate: int) -> None:
        """Changes how much may come in: entries of IQDB; sessions of one client, and how many of them in a minute."""
        with self._lock:
            self.iqdb.set_limit(entries)
            self.icc.max_connections, self.icc.rates[ClientEvent.CONNECTION] = connections, rate

    # -- envelopes -----------------------------------------------------------------------------------------------------

    def new_transaction(self, conn: Conn, msg: NewTransaction) -> None:
        """Enters a transaction, or refuses it."""
        refusal = None
        with self._lock:
            try:
                ta = self.iqdb.add_ta(conn, msg, State.OPEN, self._clock.monotonic())
            except FullError as error:
                self.log.debug("qmgr.refused", error.cause, ss_ta=msg.ta_id)
                refusal = TOO_MUCH
            else:
                if self.stopping or self.draining or self._active.overloaded:
                    refusal = STOPPING if self.stopping or self.draining else TOO_MUCH
                    self._refused(ta)
        if refusal is not None:
            self._refuse(conn, msg.ta_id, refusal)

    @staticmethod
    def _refuse(conn: Conn, ta_id: str, reply: Reply) -> None:
        conn.post(Refused(ta_id=ta_id, reply=reply))

    def new_recipient(self, conn: Conn, msg: NewRecipient) -> None:
        """Enters a recipient; the transaction is refused if there is no room."""
        with self._lock:
            ta = self.iqdb.get(msg.ta_id)
            if ta is None or ta.owner is not conn or ta.state is State.REFUSED:
                return  # it was refused, or is counted at the final dot
            try:
                self.iqdb.add_rcpt(ta, msg)
                return
            except FullError as error:
                self.log.debug("qmgr.refused", error.cause, ss_ta=msg.ta_id)
                self._refused(ta)
        self._refuse(conn, msg.ta_id, TOO_MUCH)

    def is_open(self, ta_id: str) -> bool:
        """Tells whether a transaction is being received."""
        with self._lock:
            return self.iqdb.get(ta_id) is not None

    def discard(self, ta_id: str) -> None:
        """Forgets a transaction that is not going to be closed."""
        with self._lock:
            self.iqdb.drop_ta(ta_id)

    def close_transaction(self, conn: Conn, request_id: int, msg: CloseTransaction) -> None:
        """Lets a transaction be committed; the answer comes when it is."""
        with failure.item(self.log, "qmgr.dot", lambda _: conn.reply(request_id, Stat(reply=NOT_STORED)), ss_ta=msg.ta_id):
            with self._lock:
                ta = self.iqdb.drop_ta(msg.ta_id)
                if ta is not None:
                    step(ta, Event.DOT)
            refusal = self._refusal(conn, ta, msg) or self._accept(conn, request_id, cast("IqTa", ta), msg)
            if refusal is not None:
                self.log.debug("qmgr.refused", refusal.one_line, ss_ta=msg.ta_id)
                conn.reply(request_id, Stat(reply=refusal))

    def _accept(self, conn: Conn, request_id: int, ta: IqTa, msg: CloseTransaction) -> Reply | None:
        """Lets a transaction be committed; gives the reason if it cannot be."""
        record, rcpts = self._records(ta, msg)
        dot = Dot(conn, request_id, record, rcpts, self)
        try:
            self._commit.accept(record, rcpts, dot)
        except (FullError, TempError) as error:
            step(dot, Event.NOT_STORED)
            if isinstance(error, FullError):
                return STOPPING
            self.log.error("qmgr.store", error.cause, ss_ta=msg.ta_id)
            return NOT_STORED
        return None

    def _refusal(self, conn: Conn, ta: IqTa | None, msg: CloseTransaction) -> Reply | None:
        if ta is None or ta.owner is not conn:
            return UNKNOWN
        if ta.state is State.ABORTED:
            return TOO_MUCH
        idx_max = RCPT_IDX_MAX - bool(self._always_bcc)
        indexes = {rcpt.rcpt_idx for rcpt in ta.rcpts}
        if len(ta.rcpts) != msg.rcpts or not indexes or len(indexes) != msg.rcpts or max(indexes) > idx_max:
            return MISCOUNTED
        return None

    def _records(self, ta: IqTa, msg: CloseTransaction) -> tuple[TaRecord, list[RcptRecord]]:
        new, entered = ta.msg, self._clock.now()
        rcpts = self._rcpts(ta, msg.ta_id, entered)
        if msg.hold:
            reason = Reply(450, "4.7.1", f"held by {msg.hold}")
            rcpts = [replace(held(one), reply=reason) for one in rcpts]
        record = TaRecord(
            ta_id=msg.ta_id,
            cdb_id=msg.cdb_id,
            mail=new.mail,
            size_bytes=msg.size_bytes,
            entered=entered,
            rcpts=max(rcpts[-1].rcpt_idx, *(rcpt.rcpt_idx for rcpt in ta.rcpts)) + 1,
            body=msg.body or new.body,
            smtputf8=new.smtputf8,
            ret=new.ret,
            envid=new.envid,
            requiretls=new.requiretls,
            checksum=msg.checksum,
            automatic=msg.automatic,
            tls_optional=msg.tls_optional,
            by=new.by,
            by_mode=new.by_mode,
            priority=new.priority,
        )
        return record, rcpts

    def _rcpts(self, ta: IqTa, ta_id: str, entered: float) -> list[RcptRecord]:
        """Gives the recipients of a transaction, each mailbox once, and always_bcc."""
        rcpts = joined(
            [
                RcptRecord(
                    ta_id=ta_id, rcpt_idx=one.rcpt_idx, rcpt=one.rcpt, notify=one.notify, orcpt=one.orcpt, entered=entered
                )
                for one in ta.rcpts
            ]
        )
        mail = ta.msg.mail
        delimiters = ta.msg.verp or self._verp.delimiters_for(mail)
        if delimiters:
            rcpts = [replace(one, sender=verp.sender_for(mail, one.rcpt, delimiters)) for one in rcpts]
        return with_copy(rcpts, self._always_bcc) if self._always_bcc else rcpts

    # -- hand-over -----------------------------------------------------------------------------------------------------

    def _hand_over(self, task: Task) -> Result:
        """Moves envelopes that are safe to AQ, or to DEFEDB if AQ is full."""
        self.hand_over()
        return Result.SLPQ

    def hand_over(self) -> None:
        """Moves all accepted envelopes on; AQ is free for others between two slices."""
        while self.accepted:
            left = SLICE
            with self._active.lock:
                while self.accepted and left > 0:
                    dot = self.accepted.popleft()
                    left -= len(dot.rcpts)
                    self._enter(dot)

    def _enter(self, dot: Dot) -> None:
        """Gives an envelope to AQ, or to DEFEDB if it does not fit.  Caller holds AQ.

        It is in IBDB, and nobody else knows of it: what goes wrong here ends the process, and recovery finds it again.
        """
        try:
            try:
                if dot.rcpts[0].flags & RcptFlags.HOLD:
                    self._hold(dot)
                else:
                    self._active.enter(dot.ta, dot.rcpts, Home.IBDB)
            except FullError:
                self._active.overflow(dot.ta, dot.rcpts)
        except Exception as error:  # noqa: BLE001  see above
            failure.end_process(self.log, "qmgr.accept", error)
        dot.entered()
        ta = dot.ta
        self.log.info(
            "qmgr.accept", "ok", ss_ta=ta.ta_id, mail=ta.mail, size=ta.size_bytes, rcpts=len(dot.rcpts), **ta_facts(ta)
        )

    def _hold(self, dot: Dot) -> None:
        """Gives an envelope that a filter wants held to DEFEDB.  Caller holds AQ."""
        self._active.hold(dot.ta, dot.rcpts)
        for one in dot.rcpts:
            self.log.notice(
                "qmgr.hold", one.reply.one_line.removeprefix("held "), ss_ta=one.ta_id, rcpt_idx=one.rcpt_idx, rcpt=one.rcpt
            )
