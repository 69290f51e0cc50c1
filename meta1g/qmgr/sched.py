"""The scheduler: which destination is served next, over which session, with which recipients.

Destinations have their turns one after the other, so that a small one is not held up by a big one.  A turn is one
delivery: recipients of one transaction for the destination, over an idle session if there is one, else over a new one
if slow start allows it.

Invariant: a destination never has more sessions than OCC allows, an agent never more than it can serve.

Locking: AQ.
Ref: MeTA1 design, "Implementation: QMGR, scheduler", "slow start" (modelled on); architecture step 8.
"""

from meta1g.base.clock import Clock
from meta1g.base.ids import IdGenerator
from meta1g.base.log import Log
from meta1g.db.aq_types import AqRcpt, DestKey
from meta1g.db.aqrdq import DestQueue
from meta1g.db.dadb import Agent, Dadb, DaSession
from meta1g.db.occ import Destination, Occ
from meta1g.pt.evthr import Evthr
from meta1g.pt.task import Ev, Result, Task
from meta1g.qmgr import da_fsm
from meta1g.qmgr.active import Active
from meta1g.qmgr.da_fsm import Event, State
from meta1g.qmgr.deliver import Builder
from meta1g.qmgr.limits import RESULT_TIMEOUT_S, SESSION_DELIVERIES_MAX, SESSION_IDLE_S
from meta1g.qmgr.outcome import Outcome, outcomes, session_failure
from meta1g.qmgr.rcpt_fsm import Event as RcptEvent
from meta1g.qmgr.rcpt_fsm import step
from meta1g.qmgr.settings import Settings
from meta1g.rcb.schema import Message
from meta1g.rcb.smtpc_qmgr import CloseDelivery
from meta1g.rcb.smtpc_qmgr import Result as DeliveryResult


class Scheduler:
    """The scheduler and what its deliveries bring back.

    Args:
        settings: configuration.
        active: the recipients.
        occ: destinations.
        dadb: delivery agents.
        builder: makes the messages.
        ids: session ids.
        evthr: runs the task.
        clock: the clock.
        log: the log.

    Locking: AQ.
    """

    def __init__(
        self,
        settings: Settings,
        active: Active,
        occ: Occ,
        dadb: Dadb,
        builder: Builder,
        ids: IdGenerator,
        evthr: Evthr,
        clock: Clock,
        log: Log,
    ) -> None:
        self.occ = occ
        self.dadb = dadb
        self.stopping = False
        self._max_rcpts = settings.max_rcpts_per_transaction
        self._active = active
        self._builder = builder
        self._ids = ids
        self._clock = clock
        self._log = log
        self._starved: dict[DestKey, None] = {}  # destinations that wait for a free agent, in the order of their turns
        self._idle: dict[str, DaSession] = {}  # idle sessions, the one that has been idle longest first
        self._task = evthr.task_new(self._run, events=Ev.NONE, name="scheduler")
        active.on_ready = self._task.wakeup

    def wake(self) -> None:
        """Lets the scheduler run soon.  Blocks: no."""
        self._task.wakeup()

    # -- turns ---------------------------------------------------------------------------------------------------------

    def _run(self, task: Task) -> Result:
        with self._active.lock:
            while not self.stopping and (queue := self._next()) is not None:
                self._turn(queue)
        return Result.SLPQ

    def _next(self) -> DestQueue | None:
        """Gives the destination whose turn it is; those that wait for an agent come first once there is room."""
        while self._starved and (self._idle or self.dadb.pick() is not None):
            key = next(iter(self._starved))
            del self._starved[key]
            queue = self._active.queues.call(key)
            if queue is not None:
                return queue
        return self._active.queues.turn()

    def _turn(self, queue: DestQueue) -> None:
        queues, key = self._active.queues, queue.key
        closed = self.occ.is_closed(key, self._clock.monotonic())
        if closed is not None:
            self._unreachable(key, Outcome(*closed.failure))
            return
        dest = self.occ.get(key)
        session = self._session(dest)
        if session is None:
            queues.block(queue)
            return
        self._deliver(session, queues.take(queue, self._max_rcpts))
        queues.again(queue)

    def _unreachable(self, key: DestKey, failure: Outcome) -> None:
        """Lets everybody who waits for a closed destination try the next server, or wait."""
        for rcpt in self._active.queues.take_all(key):
            self._active.temp_failed(rcpt, failure)

    def _session(self, dest: Destination) -> DaSession | None:
        """Gives an idle session, or a new one if that is allowed now."""
        if dest.idle:
            session = dest.idle.pop()
            del self._idle[session.session_id]
            session.state = da_fsm.TRANSITIONS[State(session.state), Event.DELIVER]
            return session
        if not self.occ.may_open(dest):
            return None
        agent = self.dadb.pick() or self._make_room()
        if agent is None:
            self._starved[dest.key] = None
            return None
        session = DaSession(self._ids.session(), agent, dest.key, State.OPENING)
        agent.sessions[session.session_id] = session
        self.occ.opened(dest)
        return session

    def _make_room(self) -> Agent | None:
        """Closes the session that has been idle longest; gives its agent, or None."""
        oldest = next(iter(self._idle.values()), None)
        if oldest is None:
            return None
        self._close(oldest)
        return oldest.agent

    def _close(self, session: DaSession) -> None:
        """Closes an idle session."""
        self._gone(session, Event.CLOSE)
        session.agent.conn.post(CloseDelivery(session_id=session.session_id))

    def _gone(self, session: DaSession, event: Event) -> None:
        session.state = da_fsm.TRANSITIONS[State(session.state), event]
        session.agent.sessions.pop(session.session_id, None)
        self._idle.pop(session.session_id, None)
        self.occ.gone(session)
        self._active.queues.unblock(session.key)

    def _deliver(self, session: DaSession, rcpts: list[AqRcpt]) -> None:
        for rcpt in rcpts:
            step(rcpt, RcptEvent.TAKE)
        session.rcpts = rcpts
        session.deliveries += 1
        keep_open = session.deliveries < SESSION_DELIVERIES_MAX
        msg = self._builder.build(session, rcpts, new_session=session.state is State.OPENING, keep_open=keep_open)
        self._log.debug(
            "qmgr.deliver",
            "ok",
            ss_ta=msg.ta_id,
            da_sess=msg.session_id,
            da_ta=msg.da_ta_id,
            server=session.key.addr,
            port=session.key.port,
            rcpts=len(rcpts),
        )
        session.agent.conn.request(msg, lambda answer: self.on_result(session, answer), timeout_s=RESULT_TIMEOUT_S)

    # -- results -------------------------------------------------------------------------------------------------------

    def on_result(self, session: DaSession, answer: Message | None) -> None:
        """Takes the result of a delivery, or None if the agent is gone: then its work is tried again at once."""
        with self._active.lock:
            rcpts, session.rcpts = session.rcpts, []
            if isinstance(answer, DeliveryResult):
                self._result(session, answer, rcpts)
            else:
                self._gone(session, Event.RESULT_CLOSED)
                for rcpt in rcpts:
                    self._active.lost(rcpt)
        self._task.wakeup()

    def _result(self, session: DaSession, result: DeliveryResult, rcpts: list[AqRcpt]) -> None:
        session.idle_since = self._clock.monotonic()
        opening = session.state is State.OPENING
        failure = session_failure(result)
        dest = self.occ.get(session.key)
        if result.session_open and failure is None:
            session.state = da_fsm.TRANSITIONS[State(session.state), Event.RESULT_OPEN]
            dest.idle.append(session)
            self._idle[session.session_id] = session
        else:
            self._gone(session, Event.RESULT_CLOSED)
        if failure is not None:
            self._session_failed(dest, rcpts, failure, opening=opening)
            return
        self.occ.success(dest)
        self._active.queues.unblock(session.key)
        by_idx = {rcpt.record.rcpt_idx: rcpt for rcpt in rcpts}
        for rcpt_idx, outcome in outcomes(result, by_idx):
            self._active.finish(by_idx[rcpt_idx], outcome)

    def _session_failed(self, dest: Destination, rcpts: list[AqRcpt], failure: Outcome, *, opening: bool) -> None:
        """Lets the recipients of a session that failed try the next server; closes the destination if none is left."""
        reason = (failure.code, failure.ecode, failure.text)
        if self.occ.failure(dest, self._clock.monotonic(), reason, opening=opening):
            self._log.notice("qmgr.dest", failure.text, server=dest.key.addr, port=dest.key.port, count=dest.failures)
        for rcpt in rcpts:
            if not self._active.next_server(rcpt):
                self._active.finish(rcpt, failure)

    # -- agents and sessions -------------------------------------------------------------------------------------------

    def agent_up(self, agent: Agent) -> None:
        """Takes a new delivery agent."""
        with self._active.lock:
            self.dadb.add(agent)
            self._active.queues.unblock_all()
        self._task.wakeup()

    def agent_down(self, agent: Agent) -> None:
        """Forgets a delivery agent; its open deliveries have come back as lost before."""
        with self._active.lock:
            for session in self.dadb.remove(agent):
                if session.state is State.IDLE:
                    self._gone(session, Event.CLOSE)
        self._task.wakeup()

    def session_closed(self, agent: Agent, session_id: str) -> None:
        """Forgets an idle session that its server closed."""
        with self._active.lock:
            session = agent.sessions.get(session_id)
            if session is not None and session.state is State.IDLE:
                self._gone(session, Event.CLOSE)
        self._task.wakeup()

    def close_idle(self) -> None:
        """Closes sessions that have been idle for long."""
        with self._active.lock:
            limit_s = self._clock.monotonic() - SESSION_IDLE_S
            while (oldest := next(iter(self._idle.values()), None)) is not None and oldest.idle_since <= limit_s:
                self._close(oldest)
        self._task.wakeup()

    def retry_dests(self, key: DestKey | None = None) -> None:
        """Lets closed destinations be tried at once."""
        with self._active.lock:
            self.occ.reopen(key)
            self._active.queues.unblock_all()
        self._task.wakeup()
