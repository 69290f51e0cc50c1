"""The filters of one session around one table: each step is told to all in order, and the first refusal counts.

What a filter refuses, the next ones do not hear of.  What a session without one of them comes to, says its default action.

Ref: docs/filter-pmult.md; meta1g/smtps/filters.py is the same for the filters that SMTPS asks itself.
"""

from collections import ChainMap
from collections.abc import Callable
from typing import Final

from meta1g.base.reply import Reply
from meta1g.milter.changes import FilterChange
from meta1g.milter.machine import CONTINUE, FilterOutcome, FilterVerdict
from meta1g.milter.settings import WITHOUT_FILTER, DefaultAction
from meta1g_filters.pmult.seat import MilterLostError, MilterSeat
from meta1g_filters.pmult.settings import PmultSettings

SeatTell = Callable[[MilterSeat], bytes]
DISCARD: Final = FilterVerdict(FilterOutcome.DISCARD)


class MilterTable:
    """All filters of one session.

    Args:
        settings: the configuration when it began.
        macros: of the session.
        on_lost: is told which filter is lost, and why.

    Attributes:
        macros: the same.
        hold: why messages of the session are held; empty if they are not.
        rule: the filter that the last decision comes from.

    Owner: the session.
    """

    __slots__ = ("_denial", "_on_lost", "_seats", "hold", "macros", "rule")

    def __init__(self, settings: PmultSettings, macros: dict[str, str], on_lost: Callable[[MilterSeat, str], None]) -> None:
        self.macros = macros
        self._seats = [MilterSeat(one, ChainMap(dict(one.macros), macros)) for one in settings.milters]
        self._on_lost = on_lost
        self._denial: Reply | None = None
        self.hold = ""
        self.rule = ""

    def open(self) -> FilterVerdict:
        """Connects to all filters.  Blocks: yes (network)."""
        for one in self._seats:
            try:
                one.open()
            except MilterLostError as error:
                verdict = self._lost(one, error)
                if verdict.reply is not None:
                    return verdict
        return CONTINUE

    def session(self, tell: SeatTell) -> FilterVerdict:
        """Tells a step of the session; a refusal holds for all of it.  Blocks: yes (network)."""
        verdict = self.each(tell)
        self._denial = verdict.reply
        return verdict

    def each(self, tell: SeatTell) -> FilterVerdict:
        """Tells something to all that listen, up to the first that refuses or discards.  Blocks: yes (network)."""
        if self._denial is not None:
            return FilterVerdict(FilterOutcome.REFUSE, self._denial)
        for one in self.listening():
            verdict = self.ask(one, tell)
            if verdict.outcome is not FilterOutcome.CONTINUE:
                return verdict
        return CONTINUE

    def listening(self) -> list[MilterSeat]:
        """Gives those that have not decided yet."""
        return [one for one in self._seats if one.machine.listens]

    def ask(self, one: MilterSeat, tell: SeatTell, on_change: Callable[[FilterChange], None] | None = None) -> FilterVerdict:
        """Tells something to one filter; gives its answer, or what its absence comes to.  Blocks: yes (network)."""
        try:
            verdict = one.ask(tell, on_change)
        except MilterLostError as error:
            return self._lost(one, error)
        if verdict.outcome is not FilterOutcome.CONTINUE:
            self.rule = one.rule
        return verdict

    def _lost(self, one: MilterSeat, error: MilterLostError) -> FilterVerdict:
        action = one.settings.default_action
        self._on_lost(one, f"{error}; default action: {action}")
        if action is DefaultAction.QUARANTINE:
            self.hold = f"{one.rule} failed"
        reply = WITHOUT_FILTER.get(action)
        if reply is None:
            return CONTINUE
        self._denial, self.rule = reply, one.rule
        return FilterVerdict(FilterOutcome.REFUSE, reply)

    def abort(self) -> None:
        """Ends a message that is not over."""
        for one in self._seats:
            one.abort()

    def close(self) -> None:
        """Ends all connections.  Blocks: yes (network)."""
        for one in self._seats:
            one.close()
