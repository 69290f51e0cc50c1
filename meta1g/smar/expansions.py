"""Expansions under way and those of long lists that are kept: the same question is worked on once.

    ask ─> kept? ─> under way? (join) ─> walk, in steps ─> answers to all who wait; a long list is kept for its parts

Invariants: each asker gets one answer, also if the walk fails; a kept expansion answers a first question only as long as
no map has changed, but further parts of the same expansion in any case: the parts of one list fit together.

Ref: our choice; invariants I4 and I10.
"""

from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from meta1g.base import failure
from meta1g.base.dataclass import dataclass
from meta1g.base.log import Log
from meta1g.base.reply import Reply
from meta1g.maps.base import MapResult
from meta1g.pt.lock import Lock, LockRank
from meta1g.rcb.qmgr_smar import Unresolved
from meta1g.smar.alias import Aliases, AliasResult, Expanded
from meta1g.smar.limits import EXPANSIONS_MAX, KEPT_MEMBERS_MAX, RCPT_CACHE_MEMBERS
from meta1g.smar.turns import Steps
from meta1g.smtp.address import Address

OnOutcome = Callable[[AliasResult], None]

_FAILED: Final = Unresolved(reply=Reply(451, "4.3.0", "Expansion of the alias failed; try again later"))
_BUSY: Final = Unresolved(reply=Reply(451, "4.3.2", "Too many aliases are expanded at the same time; try again later"))


@dataclass(frozen=True, slots=True)
class _Kept:
    """An expansion that is kept, and the version of the maps that it was made from; None if they tell none."""

    version: int | None
    expanded: Expanded


class Expansions:
    """The expansions of a process.

    Args:
        aliases: the aliases.
        log: what fails is logged here.

    Locking: own lock LEAF.
    """

    def __init__(self, aliases: Aliases, log: Log) -> None:
        self._aliases = aliases
        self._log = log
        self._lock = Lock(LockRank.LEAF, "expansions")
        self._waiting: dict[str, list[OnOutcome]] = {}
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._kept_members = 0

    def kept(self, rcpt: str, version: int | None, name: str) -> Expanded | None:
        """Gives a kept expansion.

        Args:
            rcpt: the alias, as it was asked for.
            version: version of the maps; None if they tell none.
            name: the expansion that is wanted, whatever the version; empty for any of this version.
        """
        with self._lock:
            kept = self._kept.get(rcpt)
            if kept is None:
                return None
            self._kept.move_to_end(rcpt)
        fits = kept.expanded.name == name if name else version is not None and kept.version == version
        return kept.expanded if fits else None

    def start(self, rcpt: str, address: Address, found: MapResult, version: int | None, on_outcome: OnOutcome) -> Steps | None:
        """Expands an alias, or waits for the expansion under way.

        Args:
            rcpt: the alias, as it was asked for.
            address: the same, read.
            found: its value.
            version: version of the maps, read before the value was looked up.
            on_outcome: called once with the outcome.

        Returns:
            The steps to take; None if there is nothing to do.
        """
        with self._lock:
            waiting = self._waiting.get(rcpt)
            if waiting is not None:
                waiting.append(on_outcome)
                return None
            busy = len(self._waiting) >= EXPANSIONS_MAX
            if not busy:
                self._waiting[rcpt] = [on_outcome]
        if busy:
            on_outcome(_BUSY)
            return None
        return self._steps(rcpt, address, found, version)

    def _steps(self, rcpt: str, address: Address, found: MapResult, version: int | None) -> Steps:
        outcome: AliasResult = _FAILED
        ended = False
        try:
            with failure.item(self._log, "smar.alias", rcpt=rcpt):
                outcome = yield from self._aliases.walk(address, found)
            ended = True
        finally:
            with self._lock:
                waiting = self._waiting.pop(rcpt)
                if isinstance(outcome, Expanded) and len(outcome.members) > RCPT_CACHE_MEMBERS:
                    self._keep(rcpt, _Kept(version, outcome))
            if not ended:  # given up by whoever took the steps
                for on_outcome in waiting:
                    self._tell(rcpt, on_outcome, _FAILED)
        for on_outcome in waiting:
            self._tell(rcpt, on_outcome, outcome)
            yield None

    def _tell(self, rcpt: str, on_outcome: OnOutcome, outcome: AliasResult) -> None:
        with failure.item(self._log, "smar.alias", lambda error: on_outcome(_FAILED), rcpt=rcpt):
            on_outcome(outcome)

    def _keep(self, rcpt: str, kept: _Kept) -> None:
        """Keeps an expansion; the ones that were not asked for longest go.  Caller holds the lock."""
        old = self._kept.pop(rcpt, None)
        self._kept_members += len(kept.expanded.members) - (0 if old is None else len(old.expanded.members))
        self._kept[rcpt] = kept
        while self._kept_members > KEPT_MEMBERS_MAX and len(self._kept) > 1:
            _, gone = self._kept.popitem(last=False)
            self._kept_members -= len(gone.expanded.members)
