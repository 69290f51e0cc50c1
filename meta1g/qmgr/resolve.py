"""AQ to SMAR and back: where does each recipient go?

Work is done in slices; AQ is free for others between two of them.

Locking: AQ for the recipients and the lists; the link has its own.
Ref: MeTA1 design, "Functional Specification: AR" (modelled on); docs/message.md, 5.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final

from meta1g.base import failure
from meta1g.base.errors import Module, TempError
from meta1g.base.ids import RcptId, rcpt_id
from meta1g.base.reply import Reply
from meta1g.base.rsc import Rsc
from meta1g.base.tlspolicy import policy_of
from meta1g.db.aq_types import AqRcpt, RcptState
from meta1g.pt.rcbconn import RcbCom
from meta1g.pt.rcblink import RcbComLink
from meta1g.pt.task import Ev, Result, Task
from meta1g.qmgr.active import Active
from meta1g.qmgr.env import Env
from meta1g.qmgr.expanding import Expanding
from meta1g.qmgr.limits import ASK_AGAIN_S, DEMANDS_KEPT, RESOLVE_TIMEOUT_S, SLICE
from meta1g.qmgr.lists import Expansion, Lists, Parts
from meta1g.qmgr.orders import Orders
from meta1g.qmgr.outcome import Outcome
from meta1g.qmgr.questions import PACE_S, Window
from meta1g.qmgr.rcpt_fsm import Event, step
from meta1g.qmgr.retry import is_report
from meta1g.qmgr.update import Update
from meta1g.rcb.common import ServerAddr
from meta1g.rcb.envelope import RcptFlags
from meta1g.rcb.qmgr_smar import (
    PROTOCOL,
    Members,
    QmgrHelloA,
    Resolve,
    ResolveFlags,
    Route,
    SmarContained,
    SmarHelloQ,
    Unresolved,
)
from meta1g.rcb.schema import Message
from meta1g.rcb.tlssession import TlsSession

_WRONG_PART: Final = Outcome(Reply(451, "4.3.5", "address resolver gave members that were not asked for, or too many"))
_NOWHERE: Final = Outcome(Reply(451, "4.3.5", "address resolver named no server and no member"))


def relaxed(server: ServerAddr) -> ServerAddr:
    """Gives a server without what its own side demands of TLS; what the configuration demands stays (RFC 8689 4.2.2)."""
    if server.domain:
        server = replace(server, domain="")  # what is sent whatever TLS is like is not counted (RFC 8460 5.3)
    if not server.tls or policy_of(server.tls).fixed:
        return server
    return replace(server, tls="", tls_source=f"TLS-Required: No, not {server.tls_source}")


class Resolving:
    """The questions to SMAR.

    Args:
        env: surroundings.
        path: socket of SMAR.
        active: the recipients in AQ.
        update: told what became of them.
        orders: what the operator wants of them.
        expanding: told what an alias stands for.
        contained: told who contained how many failures, and the last one.

    Locking: AQ for what waits.
    """

    def __init__(
        self,
        env: Env,
        path: Path,
        active: Active,
        update: Update,
        orders: Orders,
        expanding: Expanding,
        contained: Callable[[str, int, str], None] = lambda who, count, last: None,
    ) -> None:
        self._contained = contained
        self._active = active
        self._update = update
        self._orders = orders
        self._expanding = expanding
        self._log = env.log
        self._clock = env.clock
        self._lists = Lists()
        self._window = Window()
        self._demands: Rsc[str, str] = Rsc(DEMANDS_KEPT, Module.AQ)
        self._by_domain = False  # SMAR says the same of all addresses of a domain
        self._timed = False  # a time is set at which those that were lost are asked for again
        self._task = env.evthr.task_new(self._run, events=Ev.NONE, name="resolve")
        active.to_resolve.answer(self._task)
        self._link = RcbComLink(
            env.evthr, path, PROTOCOL, on_up=self._on_up, on_down=self._on_down, on_message=self._on_message, log=env.log
        )

    @property
    def up(self) -> bool:
        """Whether SMAR is connected."""
        return self._link.up

    def counted(self, session: TlsSession) -> None:
        """Passes a session on that is counted for reports; while SMAR is away it is not counted."""
        conn = self._link.conn
        if conn is not None:
            conn.post(session)

    def close(self) -> None:
        """Closes the connection."""
        self._link.close()

    def _on_up(self, conn: RcbCom) -> None:
        with self._active.lock:
            self._active.aq.forget_routes()
        conn.request(QmgrHelloA(pid=os.getpid()), self._greeted)

    def _on_down(self) -> None:
        with self._active.lock:
            self._by_domain = False  # before there is a new connection: its SMAR may have rules of another kind

    def _greeted(self, reply: Message | None) -> None:
        with self._active.lock:
            self._by_domain = isinstance(reply, SmarHelloQ) and reply.by_domain
        self._task.wakeup()

    def _on_message(self, conn: RcbCom, request_id: int, msg: Message) -> None:
        if isinstance(msg, SmarContained):
            self._contained("smar", msg.count, msg.last)

    # -- the task ------------------------------------------------------------------------------------------------------

    def _run(self, task: Task) -> Result:
        """Stores the next slice of each list that is ready, and asks for recipients that are not asked for yet."""
        with self._active.lock:
            self._timed = False
            expansions = len(self._lists.ready)
        for _ in range(expansions):
            self._next_slice()
        with self._active.lock:
            self._lists.call(self._active.unresolved.append)
            more = self._ask_some()
            if more and not self._window.room(self._clock.monotonic()):
                task.sleep_for(PACE_S)
                more = False
        if more or expansions:
            task.wakeup()
        return Result.SLPQ

    def _ask_some(self) -> bool:
        """Asks for a slice of recipients, in their turns; those left over wait for SMAR to come back.  Caller holds AQ.

        Returns:
            Whether there are more to ask for now.
        """
        waiting = self._active.unresolved
        left = min(SLICE, self._window.room(self._clock.monotonic())) if waiting else 0
        while left > 0 and waiting:
            if not self._link.up:
                return False
            rcpt = waiting.take()
            left -= 1
            if rcpt.state is not RcptState.NEW:
                self._lists.end(rcpt)
                continue
            alike = waiting.take_alike(rcpt) if self._by_domain else []
            left -= len(alike)
            with failure.item(self._log, "qmgr.resolve", partial(self._unasked, rcpt, alike), ss_ta=rcpt.record.ta_id):
                if not self._ask(rcpt, alike):
                    self._put_back((rcpt, *alike))
                    return False
        return bool(waiting)

    def _put_back(self, rcpts: Sequence[AqRcpt]) -> None:
        for rcpt in reversed(rcpts):
            self._active.unresolved.put_back(rcpt)

    def _unasked(self, rcpt: AqRcpt, alike: Sequence[AqRcpt], error: Exception) -> None:
        """Defers a recipient that could not be asked for; those that were to go with it go by themselves.  AQ is held."""
        self._put_back([one for one in alike if one.state is RcptState.NEW])
        self._confused(rcpt, error)

    def _ask(self, rcpt: AqRcpt, alike: Sequence[AqRcpt]) -> bool:
        """Asks for a recipient, and by that for those that go where it goes; tells whether SMAR is there."""
        if not self._request(rcpt, Parts(), alike):
            return False
        for one in (rcpt, *alike):
            step(one, Event.ASK_AR)
        return True

    def _request(self, rcpt: AqRcpt, parts: Parts, alike: Sequence[AqRcpt] = ()) -> bool:
        """Asks for a recipient, or for the next part of its members; tells whether SMAR is there."""
        record = rcpt.record
        flags = ResolveFlags.NO_ALIAS if record.flags & RcptFlags.EXPANDED or is_report(record) else 0
        question = Resolve(
            ta_id=record.ta_id,
            rcpt_idx=record.rcpt_idx,
            rcpt=record.rcpt,
            flags=flags,
            offset=len(parts.members),
            expansion=parts.expansion,
        )
        number = self._window.asked()
        try:
            self._link.now().request(
                question, partial(self._on_answer, (rcpt, *alike), parts, number), timeout_s=RESOLVE_TIMEOUT_S
            )
        except TempError:
            self._window.answered(number)
            return False
        return True

    def where(self, address: str, then: Callable[[Message | None], None]) -> None:
        """Asks where an address goes that is no recipient.

        Args:
            address: a mail address.
            then: called with Route, Members or Unresolved, None if no answer comes.

        Raises:
            TempError: SMAR is away.
        """
        self._link.now().request(Resolve(ta_id="", rcpt_idx=0, rcpt=address), then, timeout_s=RESOLVE_TIMEOUT_S)

    # -- answers -------------------------------------------------------------------------------------------------------

    def _on_answer(self, rcpts: Sequence[AqRcpt], parts: Parts, number: int, answer: Message | None) -> None:
        """Takes an answer; what goes wrong with it costs a recipient a deferral."""
        with self._active.lock:
            if self._window.answered(number):
                self._task.wakeup()
            if isinstance(answer, Route) and any(one.tls for one in answer.servers):
                answer = replace(answer, servers=tuple(map(self._shared, answer.servers)))
            for rcpt in rcpts:
                with failure.item(self._log, "qmgr.resolve", partial(self._confused, rcpt), ss_ta=rcpt.ta.ta_id):
                    if rcpt.state is not RcptState.SENT_TO_AR:
                        self._lists.end(rcpt)  # the operator was faster
                    elif isinstance(answer, Members) and rcpt is not rcpts[0]:
                        self._ask_later(rcpt)  # it is no alias of the same name
                    else:
                        self._take(rcpt, parts, answer)

    def _shared(self, server: ServerAddr) -> ServerAddr:
        """Gives a server whose demands are kept once for all who meet them: they have kilobytes of TLSA records (I4)."""
        known = self._demands.get(server.tls)
        if known is None:
            self._demands.put(server.tls, known := server.tls)
        return replace(server, tls=known)

    def _take(self, rcpt: AqRcpt, parts: Parts, answer: Message | None) -> None:
        if rcpt.order and self._orders.came_back(rcpt):
            self._lists.end(rcpt)
            return
        if isinstance(answer, Members) and answer.members:
            self._members(rcpt, parts, answer)
            return
        self._lists.end(rcpt)
        if isinstance(answer, Route) and answer.servers:
            rcpt.conf = answer.rcpt_conf
            servers = answer.servers
            if rcpt.ta.record.tls_optional:
                servers = tuple(map(relaxed, servers))
            self._update.resolved(rcpt, answer.da, servers)
        elif isinstance(answer, Unresolved):
            self._unresolved(rcpt, answer)
        elif answer is not None:
            self._update.finish(rcpt, _NOWHERE)
        else:
            self._ask_later(rcpt)

    def _confused(self, rcpt: AqRcpt, error: Exception) -> None:
        """Defers a recipient after an exception.  AQ is held."""
        self._lists.end(rcpt)
        self._update.doubt("qmgr.resolve", rcpt, error, RcptState.NEW, RcptState.SENT_TO_AR)

    def _members(self, rcpt: AqRcpt, parts: Parts, answer: Members) -> None:
        """Takes members; all of an alias replace it together, so that a change of the alias harms nothing."""
        if not parts.take(answer):
            self._lists.end(rcpt)
            self._update.finish(rcpt, _WRONG_PART)
            return
        large = answer.more or len(parts.members) > SLICE
        if not self._lists.begin(rcpt, large=large):
            step(rcpt, Event.AR_LOST)
            self._lists.wait(rcpt, large=large)
        elif not answer.more:
            self._begin(Expansion(rcpt, parts.members, answer.owner))
        elif not self._request(rcpt, parts):
            self._lists.end(rcpt)
            self._ask_later(rcpt)

    def _begin(self, expansion: Expansion) -> None:
        """Stores the first slice, once it is known whom the transaction has already."""
        if self._active.copies.when_known(expansion.rcpt.ta, lambda: self._ready(expansion)):
            self._store(expansion)

    def _ready(self, expansion: Expansion) -> None:
        """Lets the next slice of a list be stored soon.  AQ is held."""
        self._lists.ready.append(expansion)
        self._task.wakeup()

    def _store(self, expansion: Expansion) -> None:
        """Stores the next slice; the one behind it when it is durable, and the alias is gone after the last one."""
        members = expansion.slice()
        then = partial(self._stored, expansion, last=not expansion.more)
        self._expanding.expanded(
            expansion.rcpt, members, expansion.owner, more=expansion.more, single=expansion.single, then=then
        )

    def _stored(self, expansion: Expansion, *, last: bool) -> None:
        """Notes that a slice is durable.  AQ is held."""
        if last:
            self._lists.end(expansion.rcpt)
        else:
            self._lists.ready.append(expansion)
        if not last or self._lists.waiting:
            self._task.wakeup()

    def _next_slice(self) -> None:
        with self._active.lock:
            expansion = self._lists.ready.popleft()
            rcpt = expansion.rcpt
            with failure.item(self._log, "qmgr.resolve", partial(self._confused, rcpt), ss_ta=rcpt.ta.ta_id):
                self._store(expansion)

    def _ask_later(self, rcpt: AqRcpt) -> None:
        step(rcpt, Event.AR_LOST)
        self._active.unresolved.append(rcpt)
        if not self._window.closed and not self._timed:
            self._timed = True
            self._task.sleep_for(ASK_AGAIN_S)

    def _unresolved(self, rcpt: AqRcpt, answer: Unresolved) -> None:
        who: RcptId = rcpt_id(rcpt.record.ta_id, rcpt.record.rcpt_idx)
        self._log.debug("qmgr.resolve", answer.reply.one_line, ss_ta=rcpt.record.ta_id, key=who, reply=answer.reply.code)
        self._update.finish(rcpt, Outcome(answer.reply))
