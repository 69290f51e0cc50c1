"""Asks mail servers whether they take an address: SMAR knows the server, SMTPC says MAIL FROM:<> and RCPT to it.

    ask -> SMAR -> server -> SMTPC -> reply of the server to RCPT
                     ^          |
                     +----------+ session failed: next server

A probe has a session of its own, within the limits that its destination has for mail; while there is none free it waits.  It
never becomes a message, and its sender is empty, which no server verifies in turn: there are no loops.

Locking: AQ for sessions and what waits.
Ref: MeTA1 design, "Functional Specification: QMGR, interface to SMTPC" (the probe is ours); RFC 5321 4.5.5 (null reverse-path).
"""

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Final

from meta1g.base import failure
from meta1g.base.errors import TempError
from meta1g.base.reply import Reply
from meta1g.db.aq_types import DestKey
from meta1g.db.dadb import DaSession
from meta1g.pt.task import Ev, Result, Task
from meta1g.qmgr.active import Active
from meta1g.qmgr.env import Env
from meta1g.qmgr.limits import PROBE_AGAIN_S, PROBE_SERVERS_MAX, PROBE_TIMEOUT_S, PROBE_WAIT_S
from meta1g.qmgr.outcome import session_failure
from meta1g.qmgr.resolve import Resolving
from meta1g.qmgr.sched import Scheduler
from meta1g.rcb.common import ServerAddr
from meta1g.rcb.qmgr_smar import Members, Route, Unresolved
from meta1g.rcb.schema import Message
from meta1g.rcb.smtpc_qmgr import Deliver, DeliverRcpt, DeliveryResult, Retry

_ALIAS: Final = Reply(250, "2.1.5", "alias")
_NO_RESOLVER: Final = Reply(451, "4.3.0", "address resolver is not available")
_NO_ANSWER: Final = Reply(451, "4.3.0", "no answer")
_BUSY: Final = Reply(451, "4.3.2", "no session was free")
_CONFUSED: Final = Reply(451, "4.3.0", "internal error, see the log of qmgr")


class Probe:
    """One probe.  Locking: AQ, once its server is known.

    Args:
        address: who is asked about.
        then: called with the result, once, without locks.

    Attributes:
        da: delivery agent.
        servers: those that were not asked yet, best first.
        failure: why the last one could not be asked.
        until_s: monotonic time until which it waits for SMAR or a free session.
        ended: then was called, or is going to be.
    """

    __slots__ = ("address", "da", "ended", "failure", "servers", "then", "until_s")

    def __init__(self, address: str, then: Callable[[Reply], object], until_s: float) -> None:
        self.address = address
        self.then = then
        self.until_s = until_s
        self.da = 0
        self.servers: deque[ServerAddr] = deque()
        self.failure = _NO_ANSWER
        self.ended = False

    def end(self, reply: Reply) -> None:
        """Gives the result."""
        if not self.ended:
            self.ended = True
            self.then(reply)


class Probes:
    """All probes.

    Args:
        env: surroundings.
        active: has the lock.
        resolver: knows the servers.
        scheduler: has the sessions.

    Locking: AQ.
    """

    def __init__(self, env: Env, active: Active, resolver: Resolving, scheduler: Scheduler) -> None:
        self._log = env.log
        self._clock = env.clock
        self._active = active
        self._resolver = resolver
        self._scheduler = scheduler
        self._waiting: deque[Probe] = deque()
        self._task = env.evthr.task_new(self._on_timer, events=Ev.NONE, name="probes")

    def ask(self, address: str, then: Callable[[Reply], object]) -> None:
        """Finds out whether the server of an address takes it.

        Args:
            address: a mail address.
            then: called with 2xx or 5xx if that is known, 4xx if not; in any thread, without locks, perhaps at once.
        """
        probe = Probe(address, then, self._clock.monotonic() + PROBE_WAIT_S)
        with self._owing(probe):
            self._begin(probe)

    def _begin(self, probe: Probe) -> None:
        """Asks SMAR; waits for it if it is away."""
        try:
            self._resolver.where(probe.address, partial(self._on_route, probe))
        except TempError:
            if self._clock.monotonic() >= probe.until_s:
                probe.end(_NO_RESOLVER)
                return
            with self._active.lock:
                self._wait(probe)

    def _wait(self, probe: Probe) -> None:
        """Lets a probe wait for SMAR, or for a session.  Caller holds AQ."""
        if not self._waiting:  # the others have a time already, which must not be put off
            self._task.sleep_for(PROBE_AGAIN_S)
        self._waiting.append(probe)

    def _owing(self, probe: Probe) -> "failure.item":
        """Contains what is done for a probe: if it fails, the probe ends without a result."""
        return failure.item(self._log, "qmgr.probe", lambda _: probe.end(_CONFUSED), rcpt=probe.address)

    def _on_route(self, probe: Probe, answer: Message | None) -> None:
        with self._owing(probe):
            if isinstance(answer, Route) and answer.servers:
                probe.da = answer.da
                probe.servers.extend(answer.servers[:PROBE_SERVERS_MAX])
                self._next(probe)
            elif isinstance(answer, Members):
                probe.end(_ALIAS)
            else:
                probe.end(answer.reply if isinstance(answer, Unresolved) else _NO_ANSWER)

    # -- servers -------------------------------------------------------------------------------------------------------

    def _next(self, probe: Probe) -> None:
        """Asks the next server, or lets the probe wait for a session, or gives up."""
        with self._active.lock:
            failed = self._try(probe)
        if failed is not None:
            probe.end(failed)

    def _try(self, probe: Probe) -> Reply | None:
        """Asks the next server that can be asked; gives why nobody is.  Caller holds AQ."""
        now_s = self._clock.monotonic()
        while probe.servers:
            server = probe.servers[0]
            key = DestKey(probe.da, server.addr, server.port, server.tls)
            closed = self._scheduler.occ.is_closed(key, now_s)
            if closed is None:
                session = self._scheduler.open_apart(key, server)
                if session is not None:
                    probe.servers.popleft()
                    self._send(session, probe, server)
                    return None
                if now_s >= probe.until_s:
                    return _BUSY
                self._wait(probe)
                return None
            probe.failure = closed.failure
            probe.servers.popleft()
        return probe.failure.softened()  # nothing was said about the recipient

    def _on_timer(self, task: Task) -> Result:
        with self._active.lock:
            waiting, self._waiting = self._waiting, deque()
        for probe in waiting:
            with self._owing(probe):
                (self._next if probe.servers else self._begin)(probe)
        return Result.SLPQ

    def _send(self, session: DaSession, probe: Probe, server: ServerAddr) -> None:
        """Gives a probe to an agent.  Caller holds AQ."""
        msg = self._message(session, probe, server)
        session.da_ta_id = msg.da_ta_id
        on_answer = partial(self._on_result, session, probe)
        try:
            session.agent.conn.request(msg, on_answer, timeout_s=PROBE_TIMEOUT_S)
        except BaseException:
            self._scheduler.close_apart(session, None, worked=False)
            raise

    def _message(self, session: DaSession, probe: Probe, server: ServerAddr) -> Deliver:
        return Deliver(
            session_id=session.session_id,
            new_session=True,
            keep_open=False,
            da=probe.da,
            server=(server,),
            da_ta_id=self._scheduler.new_ta_id(),
            ta_id="",
            cdb_id="",
            mail="",
            size_bytes=0,
            smtputf8=not probe.address.isascii(),
            probe=True,
            rcpts=(DeliverRcpt(rcpt_idx=0, rcpt=probe.address),),
        )

    def _on_result(self, session: DaSession, probe: Probe, answer: Message | None) -> None:
        with self._owing(probe):
            mine = isinstance(answer, DeliveryResult) and answer.ta_id == session.da_ta_id
            result = answer if mine and isinstance(answer, DeliveryResult) else None
            failed = None if result is None else session_failure(result)
            with self._active.lock:
                self._scheduler.close_apart(session, None if failed is None else failed.reply, worked=result is not None)
            reply = None if result is None else _said(result)
            if reply is not None:
                probe.end(reply)
                return
            probe.failure = probe.failure if failed is None else failed.reply
            self._next(probe)


def _said(result: DeliveryResult) -> Reply | None:
    """Gives what is known now: what the server said of the recipient; that it takes no probe; None if it could not be asked."""
    if result.rcpts:
        one = result.rcpts[0]
        return one.reply if one.retry == Retry.BY_CODE else one.reply.softened()
    if result.transaction.code:  # our own words are about the message, those of the server about the empty sender
        return result.transaction.softened() if result.transaction.origin else result.transaction
    return None
