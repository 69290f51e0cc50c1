"""AQ to SMAR and back: where does each recipient go?

Locking: AQ for the recipients; the link has its own.
Ref: MeTA1 design, "Functional Specification: AR" (modelled on); architecture step 7.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

from meta1g.base.errors import TempError
from meta1g.base.ids import RcptId, rcpt_id
from meta1g.base.log import Log
from meta1g.db.aq_types import AqRcpt, RcptState
from meta1g.pt.evthr import Evthr
from meta1g.pt.rcbcom import RcbCom, RcbLink
from meta1g.pt.task import Ev, Result, Task
from meta1g.qmgr.active import Active
from meta1g.qmgr.limits import EXPANSIONS_MAX, RESOLVE_TIMEOUT_S
from meta1g.qmgr.outcome import Outcome
from meta1g.qmgr.rcpt_fsm import Event, step
from meta1g.qmgr.retry import is_report
from meta1g.rcb.envelope import RcptFlags
from meta1g.rcb.qmgr_smar import PROTOCOL, Members, QmgrHelloA, Resolve, ResolveFlags, Route, SmarContained, Unresolved
from meta1g.rcb.schema import Message

_WRONG_PART: Final = Outcome(451, "4.3.5", "address resolver gave a part of the members that was not asked for")
_NOWHERE: Final = Outcome(451, "4.3.5", "address resolver named no server and no member")


@dataclass(slots=True)
class _Parts:
    """What is here of a list that comes in parts.  Locking: lock AQ."""

    expansion: str = ""
    members: list[str] = field(default_factory=list)
    begun: int = 0

    def take(self, answer: Members) -> bool:
        """Takes a part; one of another expansion begins anew, so many times.  Tells whether it fits."""
        if answer.offset == 0:
            self.expansion, self.members = answer.expansion, []
            self.begun += 1
        fits = self.begun <= EXPANSIONS_MAX and answer.offset == len(self.members) and answer.expansion == self.expansion
        if fits:
            self.members.extend(answer.members)
        return fits


class Resolver:
    """The questions to SMAR.

    Args:
        evthr: runs the task and the link.
        path: socket of SMAR.
        pid: our process id.
        active: the recipients.
        log: the log.
        contained: told who contained how many failures, and the last one.

    Locking: AQ for what waits.
    """

    def __init__(
        self,
        evthr: Evthr,
        path: Path,
        pid: int,
        active: Active,
        log: Log,
        contained: Callable[[str, int, str], None] = lambda who, count, last: None,
    ) -> None:
        self._contained = contained
        self._active = active
        self._log = log
        self._pid = pid
        self._task = evthr.task_new(self._ask_all, events=Ev.NONE, name="resolve")
        active.on_unresolved = self._task.wakeup
        self._link = RcbLink(evthr, path, PROTOCOL, on_up=self._on_up, on_message=self._on_message, log=log)

    @property
    def up(self) -> bool:
        """Whether SMAR is connected."""
        return self._link.up

    def close(self) -> None:
        """Closes the connection."""
        self._link.close()

    def _on_up(self, conn: RcbCom) -> None:
        conn.request(QmgrHelloA(pid=self._pid), lambda reply: self._task.wakeup())

    def _on_message(self, conn: RcbCom, request_id: int, msg: Message) -> None:
        if isinstance(msg, SmarContained):
            self._contained("smar", msg.count, msg.last)

    def _ask_all(self, task: Task) -> Result:
        """Asks for all recipients that are not asked for yet, in their order; those left over wait for SMAR to come back."""
        active = self._active
        with active.lock:
            waiting, active.unresolved = active.unresolved, []
            for number, rcpt in enumerate(waiting):
                if rcpt.state is RcptState.NEW and not (self._link.up and self._ask(rcpt)):
                    active.unresolved.extend(waiting[number:])
                    break
        return Result.SLPQ

    def _ask(self, rcpt: AqRcpt) -> bool:
        if not self._request(rcpt, _Parts()):
            return False
        step(rcpt, Event.ASK_AR)
        return True

    def _request(self, rcpt: AqRcpt, parts: _Parts) -> bool:
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
        try:
            self._link.request(question, partial(self._on_answer, rcpt, parts), timeout_s=RESOLVE_TIMEOUT_S)
        except TempError:
            return False
        return True

    def _on_answer(self, rcpt: AqRcpt, parts: _Parts, answer: Message | None) -> None:
        with self._active.lock:
            if rcpt.state is not RcptState.SENT_TO_AR:
                return  # the operator was faster
            if isinstance(answer, Route) and answer.servers:
                self._active.resolved(rcpt, answer.da, answer.servers)
            elif isinstance(answer, Members) and answer.members:
                self._members(rcpt, parts, answer)
            elif isinstance(answer, Unresolved):
                self._unresolved(rcpt, answer)
            elif answer is not None:
                self._active.finish(rcpt, _NOWHERE)
            else:
                self._ask_later(rcpt)

    def _members(self, rcpt: AqRcpt, parts: _Parts, answer: Members) -> None:
        """Takes members; all of an alias replace it together, so that a change of the alias harms nothing."""
        if not parts.take(answer):
            self._active.finish(rcpt, _WRONG_PART)
        elif not answer.more:
            self._active.expanded(rcpt, parts.members, answer.owner)
        elif not self._request(rcpt, parts):
            self._ask_later(rcpt)

    def _ask_later(self, rcpt: AqRcpt) -> None:
        step(rcpt, Event.AR_LOST)
        self._active.unresolved.append(rcpt)
        self._task.sleep_for(1)

    def _unresolved(self, rcpt: AqRcpt, answer: Unresolved) -> None:
        who: RcptId = rcpt_id(rcpt.record.ta_id, rcpt.record.rcpt_idx)
        self._log.debug("qmgr.resolve", answer.text, ss_ta=rcpt.record.ta_id, key=who, reply=answer.code)
        self._active.finish(rcpt, Outcome(answer.code, answer.ecode, answer.text))
