"""An alias in AQ becomes its members, in memory and in its store.

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
from meta1g.qmgr import limits, retry
from meta1g.qmgr.bounces import Bounces
from meta1g.qmgr.env import Env
from meta1g.qmgr.outcome import Outcome
from meta1g.qmgr.rcpt_fsm import Event, step
from meta1g.qmgr.storing import Storing
from meta1g.rcb.envelope import RcptFlags

_TOO_MANY: Final = Outcome(Reply(554, "5.3.4", "the list has more members than one message can have recipients"))


class Expanding:
    """Puts members in the place of aliases.

    Args:
        env: surroundings.
        storing: tells the stores.
        bounces: makes bounces.

    Locking: caller holds AQ.
    """

    def __init__(self, env: Env, storing: Storing, bounces: Bounces) -> None:
        self._storing = storing
        self._bounces = bounces
        self._clock = env.clock
        self._log = env.log

    def expanded(
        self,
        rcpt: AqRcpt,
        members: Sequence[str],
        owner: str | None,
        *,
        more: bool = False,
        then: Callable[[], None] | None = None,
    ) -> None:
        """Replaces an alias by its members; a long list comes in parts.

        Args:
            rcpt: the alias.
            members: the next ones, a slice at most; may be empty for the last part.
            owner: envelope sender for them, None to keep it.
            more: others follow; the alias stays.
            then: called when the next part may come, or after the last one when the alias is gone; AQ is held.
        """
        ta, old = rcpt.ta, rcpt.record
        if ta.next_idx + len(members) > RCPT_IDX_MAX - limits.IDX_RESERVED:
            self._bounces.failed(rcpt, _TOO_MANY)
            return
        template = replace(
            old,
            orig_rcpt=old.orig_rcpt or old.rcpt,
            sender=owner if owner is not None else old.sender,
            flags=old.flags | RcptFlags.EXPANDED,
            next_try=retry.as_stored(self._clock.now()),
        )
        records = [replace(template, rcpt_idx=self._storing.next_idx(ta), rcpt=member) for member in members]
        self._log.info(
            "qmgr.alias", "ok", ss_ta=ta.ta_id, rcpt_idx=old.rcpt_idx, rcpt=old.rcpt, count=len(members), owner=owner
        )
        if not more:
            step(rcpt, Event.STORE)
        self._storing.replace(ta, () if more else (rcpt,), records, rcpt.home, then)
        self._bounces.settle(ta)
