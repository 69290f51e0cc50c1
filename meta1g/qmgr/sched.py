"""The scheduler: which destination is served next, over which session, with which recipients.

Destinations have their turns one after the other, so that a small one is not held up by a big one.  A turn is one
delivery: recipients of one transaction for the destination, over an idle session if there is one, else over a new one
if slow start and the destination's share of all sessions allow it.  AQ is free for others after a slice of recipients.

Invariants: a destination never has more sessions than OCC allows, nor does it take more than its share (I11); an agent
never has more than it can serve.

Locking: AQ.
Ref: MeTA1 design, "Implementation: QMGR, scheduler" (slow start and turns modelled on); docs/message.md, 6.
"""

from collections.abc import Callable
from itertools import islice
from time import monotonic
from typing import Final

from meta1g.base import failure, shares
from meta1g.base.errors import Module, TempError
from meta1g.base.reply import Reply
from meta1g.db.aq_types import AqRcpt, DestKey, RcptState
from meta1g.db.aqrdq import DestQueue
from meta1g.db.dadb import Agent, Dadb, DaSession
from meta1g.db.occ import Destination, Occ
from meta1g.pt.limits import TURN_S
from meta1g.pt.task import Ev, Result, Task
from meta1g.qmgr import da_fsm, retry
from meta1g.qmgr.active import Active
from meta1g.qmgr.da_fsm import Event, State
from meta1g.qmgr.deliver import Builder, addresses_of
from meta1g.qmgr.destinations import DestinationLimits
from meta1g.qmgr.env import Env
from meta1g.qmgr.limits import (
    IDLE_LOOKS,
    RESULT_BYTES_PER_S,
    RESULT_TIMEOUT_S,
    SESSION_DELIVERIES_MAX,
    SESSION_IDLE_S,
    SESSIONS_GREED,
    SLICE,
)
from meta1g.qmgr.outcome import CONFUSED, Outcome, outcomes, session_failure
from meta1g.qmgr.rcpt_fsm import Event as RcptEvent
from meta1g.qmgr.rcpt_fsm import step
from meta1g.qmgr.update import Update
from meta1g.rcb.common import ServerAddr
from meta1g.rcb.schema import Message
from meta1g.rcb.smtpc_qmgr import CloseDelivery, DeliveryResult, Retry

#: What happens to a recipient.
_Verdict = tuple[AqRcpt, Callable[[AqRcpt], object]]

_NOT_SENT: Final = TempError(Module.QMGR, "the delivery could not be prepared")
_OTHER: Final = Outcome(Reply(451, "4.3.0", "delivery agent gave the result of another delivery"))
_WRONG_CONF: Final = Outcome(Reply(451, "4.3.5", "Configuration of this destination is wrong"))
_TOO_LATE: Final = Outcome(Reply(451, "4.4.7", "time for delivery is over"))
_LATE: Final = Outcome(Reply(451, "4.4.7", "delivery agent gave no result in time"))


class Scheduler:
    """The scheduler and what its deliveries bring back.

    Args:
        env: surroundings.
        active: the recipients that wait.
        update: told what becomes of them.
        occ: destinations.
        dadb: delivery agents.
        builder: makes the messages; its ids name sessions, too.
        waits: tells whether nothing is delivered yet.

    Attributes:
        stopping, pausing: nothing is delivered.

    Locking: AQ.
    """

    def __init__(
        self,
        env: Env,
        active: Active,
        update: Update,
        occ: Occ,
        dadb: Dadb,
        builder: Builder,
        waits: Callable[[], bool] = lambda: False,
    ) -> None:
        self.occ = occ
        self.dadb = dadb
        self.stopping = self.pausing = False
        self._waits = waits
        self._settings = env.settings
        self._destinations = env.destinations
        self._active = active
        self._update = update
        self._builder = builder
        self._ids = builder.ids
        self._clock = env.clock
        self._log = env.log
        self._starved: dict[DestKey, None] = {}  # destinations that wait for a free agent, in the order of their turns
        self._over: dict[DestKey, None] = {}  # destinations that have used up their share of the sessions
        self._idle: dict[str, DaSession] = {}  # idle sessions, the one that has been idle longest first
        self._task = env.evthr.task_new(self._run, events=Ev.NONE, name="scheduler")
        active.ready.answer(self._task)

    def wake(self) -> None:
        """Lets the scheduler run soon."""
        self._task.wakeup()

    # -- turns ---------------------------------------------------------------------------------------------------------

    def _run(self, task: Task) -> Result:
        left, end_s = SLICE, monotonic() + TURN_S
        with self._active.lock:
            while left > 0 and not (self.stopping or self.pausing or self._waits()) and (queue := self._next()) is not None:
                left -= self._turn(queue)
                if monotonic() >= end_s:
                    left = 0
        if left <= 0:
            task.wakeup()
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

    def _turn(self, queue: DestQueue) -> int:
        """Serves a destination; gives how many recipients that concerned, 1 at least."""
        queues, key = self._active.queues, queue.key
        closed = self.occ.is_closed(key, self._clock.monotonic())
        own = self._destinations.of(queue.server)
        if closed is not None or own is None:
            rcpts = queues.take_some(queue, SLICE)
            self._unreachable(rcpts, _WRONG_CONF if closed is None else Outcome(closed.failure))
        else:
            session = self._session(self._limited(key, own), queue)
            if session is None:
                queues.block(queue)
                return 1
            rcpts = queues.take(queue, own.max_rcpts or self._settings.max_rcpts_per_transaction)
            if retry.returns_late(rcpts[0].ta.record, rcpts[0].record, self._clock.now()):
                self._take_back(session)
                self._too_late(rcpts)
            else:
                self._deliver(session, rcpts)
        queues.again(queue)
        return len(rcpts)

    def _limited(self, key: DestKey, own: DestinationLimits) -> Destination:
        """Gives a destination with the limits it has now."""
        dest = self.occ.get(key)
        self.occ.give_own(dest, own.initial_connections, own.max_connections)
        return dest

    def _too_late(self, rcpts: list[AqRcpt]) -> None:
        """Returns those whose time for delivery is over (RFC 2852)."""
        for rcpt in rcpts:
            self._update.guard("qmgr.dest", rcpt, lambda one: self._update.retry_later(one, _TOO_LATE))

    def return_late(self) -> None:
        """Returns those who stand in line although their time for delivery is over; called now and then."""
        more = len(self._active.queues.timed) > 0
        while more:
            with self._active.lock:
                now = self._clock.now()
                late = self._active.queues.timed.due(now, SLICE)
                more = len(late) == SLICE
                gone = [rcpt for rcpt in late if retry.returns_late(rcpt.ta.record, rcpt.record, now)]
                for rcpt in gone:
                    self._active.queues.remove(rcpt)
                self._too_late(gone)

    def _unreachable(self, rcpts: list[AqRcpt], why: Outcome) -> None:
        """Lets those who waited for a closed destination try the next server, or wait."""
        for rcpt in rcpts:
            self._update.guard("qmgr.dest", rcpt, lambda one: self._update.temp_failed(one, why))

    def _session(self, dest: Destination, queue: DestQueue) -> DaSession | None:
        """Gives an idle session, or a new one if that is allowed now."""
        idle = self._idle_of(dest, queue.server()) if dest.idle else self._idle_elsewhere(dest.key, queue.first())
        if idle is not None:
            self.occ.get(idle.key).idle.remove(idle)
            del self._idle[idle.session_id]
            da_fsm.step(idle, Event.DELIVER)
            return idle
        if not self.occ.may_open(dest):
            return None
        if not self._has_share(dest):
            self._over[dest.key] = None
            return None
        agent = self.dadb.pick() or self._make_room()
        if agent is None:
            self._starved[dest.key] = None
            return None
        return self._open(dest, agent)

    @staticmethod
    def _idle_of(dest: Destination, server: ServerAddr) -> DaSession:
        """Gives an idle session with a destination: one that was used for this server, else the one used last."""
        for session in islice(reversed(dest.idle), IDLE_LOOKS):
            if _is_for(session, server):
                return session
        return dest.idle[-1]

    def _idle_elsewhere(self, key: DestKey, rcpt: AqRcpt) -> DaSession | None:
        """Gives an idle session with the same server at another of its addresses, if nobody waits for that one (I11)."""
        if rcpt.server_idx + 1 == len(rcpt.servers):
            return None
        for server in addresses_of(rcpt.servers, rcpt.server_idx)[1:]:
            other = key._replace(addr=server.addr, port=server.port)
            dest = self.occ.find(other)
            if dest is not None and dest.idle and self._active.queues.get(other) is None:
                session = self._idle_of(dest, server)
                if _is_for(session, server):
                    return session
        return None

    def _open(self, dest: Destination, agent: Agent) -> DaSession:
        session = DaSession(self._ids.session(), agent, dest.key, State.OPENING)
        agent.sessions[session.session_id] = session
        self.occ.opened(dest)
        return session

    def _has_share(self, dest: Destination) -> bool:
        """Tells whether a destination may take one more of the sessions that are free (I11)."""
        return not dest.open or shares.room(dest.open, self.dadb.free + len(self._idle), SESSIONS_GREED) >= 1

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
        da_fsm.step(session, event)
        session.agent.sessions.pop(session.session_id, None)
        self._idle.pop(session.session_id, None)
        self.occ.gone(session)
        self._free(session.key)

    def _free(self, key: DestKey) -> None:
        """Lets a destination whose session has ended or is idle have its turn again, and one that waits for its share."""
        self._active.queues.unblock(key)
        while self._over:
            other = next(iter(self._over))
            del self._over[other]
            if self._active.queues.unblock(other):
                return

    def _idle_again(self, session: DaSession, dest: Destination) -> None:
        da_fsm.step(session, Event.RESULT_OPEN)
        dest.idle.append(session)
        self._idle[session.session_id] = session

    def _deliver(self, session: DaSession, rcpts: list[AqRcpt]) -> None:
        """Gives an agent a delivery; if it cannot even be said what is to be delivered, it is tried again later."""
        with failure.item(self._log, "qmgr.deliver", lambda _: self._not_sent(session, rcpts), ss_ta=rcpts[0].ta.ta_id):
            keep_open = session.deliveries + 1 < SESSION_DELIVERIES_MAX
            msg = self._builder.build(session, rcpts, new_session=session.state is State.OPENING, keep_open=keep_open)
            timeout_s = RESULT_TIMEOUT_S + msg.size_bytes // RESULT_BYTES_PER_S
            session.agent.conn.request(msg, lambda answer: self.on_result(session, answer), timeout_s=timeout_s)
            for rcpt in rcpts:
                step(rcpt, RcptEvent.TAKE)
            session.rcpts, session.da_ta_id, session.server = rcpts, msg.da_ta_id, msg.server[0]
            session.deliveries += 1
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

    def _take_back(self, session: DaSession) -> None:
        """Takes back a session that got no delivery."""
        if session.state is State.OPENING and not session.deliveries:
            self._gone(session, Event.RESULT_CLOSED)
        else:
            self._idle_again(session, self.occ.get(session.key))

    def _not_sent(self, session: DaSession, rcpts: list[AqRcpt]) -> None:
        """Takes back a delivery that could not be built or encoded."""
        self._take_back(session)
        for rcpt in rcpts:
            self._update.doubt("qmgr.deliver", rcpt, _NOT_SENT, RcptState.READY)

    # -- sessions for probes -------------------------------------------------------------------------------------------

    def new_ta_id(self) -> str:
        """Gives the id of a delivery."""
        return self._ids.transaction()

    def open_apart(self, key: DestKey, server: ServerAddr) -> DaSession | None:
        """Gives a session beside the turns, which close_apart() ends; None if none is free now.  Caller holds AQ."""
        own = self._destinations.of(lambda: server)
        if own is None or self.stopping or self.pausing:
            return None
        dest = self._limited(key, own)
        if not self.occ.may_open(dest) or not self._has_share(dest):
            return None
        agent = self.dadb.pick()
        return None if agent is None else self._open(dest, agent)

    def close_apart(self, session: DaSession, failed: Reply | None, *, worked: bool) -> None:
        """Notes that a session beside the turns has ended.  Caller holds AQ.

        Args:
            session: the session.
            failed: why its server could not be asked, None if it could.
            worked: its agent reported; otherwise nothing is known of the server.
        """
        self._gone(session, Event.RESULT_CLOSED)
        dest = self.occ.get(session.key)
        if not worked:
            if not session.agent.conn.closed:
                session.agent.conn.post(CloseDelivery(session_id=session.session_id))
        elif failed is None:
            self.occ.success(dest)
        else:
            self._session_failed(dest, Outcome(failed), opening=True)
        self._task.wakeup()

    # -- results -------------------------------------------------------------------------------------------------------

    def on_result(self, session: DaSession, answer: Message | None) -> None:
        """Takes the result of a delivery; None if the agent is gone, then its work is tried again at once, or if it is late."""
        with self._active.lock:
            rcpts, session.rcpts = session.rcpts, []
            decided: list[list[_Verdict]] = []
            with failure.item(self._log, "qmgr.result", ss_ta=rcpts[0].ta.ta_id if rcpts else None):
                decided.append(self._verdicts(session, answer, rcpts))
            verdicts = decided[0] if decided else self._confused(session, rcpts)
            self._carry_out(verdicts[:SLICE])
        for first in range(SLICE, len(verdicts), SLICE):
            with self._active.lock:
                self._carry_out(verdicts[first : first + SLICE])
        self._task.wakeup()

    def _confused(self, session: DaSession, rcpts: list[AqRcpt]) -> list[_Verdict]:
        """Gives a session up after an unexpected exception: what it did is tried again later."""
        if session.state is State.IDLE:
            self._close(session)
        elif session.session_id in session.agent.sessions:
            self._gone(session, Event.RESULT_CLOSED)
        return [(rcpt, self._retry(CONFUSED)) for rcpt in rcpts]

    def _carry_out(self, verdicts: list[_Verdict]) -> None:
        self._update.together("qmgr.result", verdicts)

    def _retry(self, outcome: Outcome) -> Callable[[AqRcpt], None]:
        return lambda rcpt: self._update.retry_later(rcpt, outcome)

    def _verdicts(self, session: DaSession, answer: Message | None, rcpts: list[AqRcpt]) -> list[_Verdict]:
        """Decides what happens to the session, and to each recipient."""
        if isinstance(answer, DeliveryResult):
            if (answer.session_id, answer.ta_id) == (session.session_id, session.da_ta_id):
                return self._result(session, answer, rcpts)
            self._log.error("qmgr.result", "result of another delivery", da_sess=session.session_id, da_ta=answer.ta_id)
            return self._broken(session, rcpts, _OTHER)
        if answer is None and not session.agent.conn.closed:
            return self._broken(session, rcpts, _LATE)
        self._gone(session, Event.RESULT_CLOSED)
        return [(rcpt, self._update.lost) for rcpt in rcpts]

    def _broken(self, session: DaSession, rcpts: list[AqRcpt], outcome: Outcome) -> list[_Verdict]:
        """Gives a session up whose agent is in doubt: nobody knows what it delivered."""
        self._gone(session, Event.RESULT_CLOSED)
        session.agent.conn.post(CloseDelivery(session_id=session.session_id))
        return [(rcpt, self._retry(outcome)) for rcpt in rcpts]

    def _result(self, session: DaSession, result: DeliveryResult, rcpts: list[AqRcpt]) -> list[_Verdict]:
        session.idle_since = self._clock.monotonic()
        opening = session.state is State.OPENING
        failed = session_failure(result)
        by_idx = {rcpt.record.rcpt_idx: rcpt for rcpt in rcpts}
        found = list(outcomes(result, by_idx))
        dest = self.occ.get(session.key)
        if result.session_open and failed is None:
            self._idle_again(session, dest)
        else:
            self._gone(session, Event.RESULT_CLOSED)
        if failed is not None:  # a server that has decided about somebody is not out of reach
            decided = any(not one.is_temporary and not one.of_session for _, one in found)
            self._session_failed(dest, failed, opening=opening and not decided)
        else:
            self.occ.success(dest)
            self._free(session.key)
        return [(by_idx[rcpt_idx], self._verdict(outcome)) for rcpt_idx, outcome in found]

    def _verdict(self, outcome: Outcome) -> Callable[[AqRcpt], None]:
        if outcome.retry is Retry.OTHER_TRANSACTION:
            return self._update.ready_again
        return lambda rcpt: self._finish(rcpt, outcome)

    def _finish(self, rcpt: AqRcpt, outcome: Outcome) -> None:
        if not (outcome.lets_others_try and self._update.next_server(rcpt, outcome)):
            self._update.finish(rcpt, outcome)

    def _session_failed(self, dest: Destination, failed: Outcome, *, opening: bool) -> None:
        """Closes the destination of a session that failed, if no other one is open."""
        if self.occ.failure(dest, self._clock.monotonic(), failed.reply, opening=opening):
            self._log.notice("qmgr.dest", failed.reply.one_line, server=dest.key.addr, port=dest.key.port, count=dest.failures)

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


def _is_for(session: DaSession, server: ServerAddr) -> bool:
    """Tells whether a session was used for a server by the same name, with the same settings."""
    known = session.server
    return known is not None and (known.host, known.conf) == (server.host, server.conf)
