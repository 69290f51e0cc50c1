"""An alias in AQ becomes its members, in memory and in its store; those that the transaction has already are left out.

Invariant: the record of an alias is closed with its last members only, when all before are durable (I2).

Locking: caller holds AQ.
Ref: MeTA1 design, "Functional Specification: AR, aliases" (modelled on); where the members come from: resolve.py, lists.py.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from meta1g.base.ids import RCPT_IDX_MAX
from meta1g.base.reply import Reply
from meta1g.db.aq_types import AqRcpt
from meta1g.qmgr import bounce, limits, retry
from meta1g.qmgr.bounces import Bounces
from meta1g.qmgr.copies import Copies
from meta1g.qmgr.env import Env
from meta1g.qmgr.outcome import Outcome, log_report
from meta1g.qmgr.rcpt_fsm import Event, step
from meta1g.qmgr.storing import Storing
from meta1g.rcb.envelope import RcptFlags, RcptRecord

_TOO_MANY: Final = Outcome(Reply(554, "5.3.4", "the list has more members than one message can have recipients"))


class Expanding:
    """Puts members in the place of aliases.

    Args:
        env: surroundings.
        copies: who is there already.
        storing: tells the stores.
        bounces: makes bounces.

    Locking: caller holds AQ.
    """

    def __init__(self, env: Env, copies: Copies, storing: Storing, bounces: Bounces) -> None:
        self._copies = copies
        self._storing = storing
        self._bounces = bounces
        self._settings = env.settings
        self._clock = env.clock
        self._log = env.log

    def expanded(
        self,
        rcpt: AqRcpt,
        members: Sequence[str],
        owner: str | None,
        *,
        more: bool = False,
        single: bool = False,
        then: Callable[[], None] | None = None,
    ) -> None:
        """Replaces an alias by its members; a long list comes in parts.

        Args:
            rcpt: the alias.
            members: the next ones, a slice at most; may be empty for the last part.
            owner: envelope sender for them, None to keep it.
            more: others follow; the alias stays.
            single: the alias has one member.
            then: called when the next part may come, or after the last one when the alias is gone; AQ is held.
        """
        ta, old = rcpt.ta, rcpt.record
        if ta.next_idx + len(members) > RCPT_IDX_MAX - limits.IDX_RESERVED:
            self._bounces.failed(rcpt, _TOO_MANY)
            return
        now = retry.as_stored(self._clock.now())
        template = bounce.member_template(old, owner, single=single, now=now)
        records = [
            self._member(template, self._storing.next_idx(ta), member)
            for member in members
            if self._copies.take(ta, old.rcpt_idx, member)
        ]
        self._log.info(
            "qmgr.alias",
            "ok",
            ss_ta=ta.ta_id,
            rcpt_idx=old.rcpt_idx,
            rcpt=old.rcpt,
            owner=owner,
            members=" ".join(record.rcpt for record in records),
            count=len(records),
        )
        if not more:
            report = None if single and owner is None else self._report(rcpt, owner, now)
            if report is not None:
                log_report(self._log, report, (old.rcpt_idx,), "expansion")
                records.append(report)
            step(rcpt, Event.STORE)
        self._storing.replace(ta, () if more else (rcpt,), records, rcpt.home, then)
        self._bounces.settle(ta)

    def _member(self, template: RcptRecord, rcpt_idx: int, member: str) -> RcptRecord:
        """Gives the record of a member; the sender of a list carries its address if the configuration wants that."""
        record = replace(template, rcpt_idx=rcpt_idx, rcpt=member)
        return bounce.with_verp(record, record.sender or "", self._settings) if record.flags & RcptFlags.LIST else record

    def _report(self, rcpt: AqRcpt, owner: str | None, now: float) -> RcptRecord | None:
        ta = rcpt.ta
        return bounce.expansion_record(rcpt, lambda: self._storing.next_idx(ta), owner, now)
