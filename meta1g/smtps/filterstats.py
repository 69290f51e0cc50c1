"""What the filters of a process did and how fast: counted here, told to QMGR for status.

Totals count from the start of the process; QMGR adds those of several processes (qmgr/filterstatus.py).

Owner: the process (all state threads of it).
Ref: MeTA1 design, "Functional Specification: SMTPS, policy milter" (place modelled on; the figures are our choice).
"""

from collections import Counter
from collections.abc import Iterator
from enum import StrEnum
from typing import Final

from meta1g.base.clock import Clock
from meta1g.milter.errors import FilterFault
from meta1g.rcb.smtps_qmgr import FilterFaults, FilterReport

_US_MAX: Final = 0xFFFFFFFF


class FilterPresence(StrEnum):
    """What is known of a filter: by its connection, or by what became of the last session with it."""

    UNKNOWN = "unknown"
    UP = "up"
    DOWN = "down"


class FilterTally:
    """The figures of one filter.

    Args:
        kind: `milter` or `policy_milter`.
        name: of its section, may be empty.
        clock: the clock.

    Attributes:
        sessions: that began with it.
        messages: that it was told of.
        refused: commands, recipients and messages that it refused.
        discarded: messages that it discarded.
        changed: messages that it changed.
        faults: how often it failed, by kind.
        presence: up, down, or not known yet.

    Owner: the process.
    """

    __slots__ = (
        "_answers",
        "_answers_us",
        "_clock",
        "_since",
        "_worst_us",
        "changed",
        "discarded",
        "faults",
        "kind",
        "messages",
        "name",
        "presence",
        "refused",
        "sessions",
    )  # fmt: skip

    def __init__(self, kind: str, name: str, clock: Clock) -> None:
        self.kind = kind
        self.name = name
        self._clock = clock
        self.sessions = self.messages = self.refused = self.discarded = self.changed = 0
        self.faults: Counter[FilterFault] = Counter()
        self.presence = FilterPresence.UNKNOWN
        self._since = clock.now()
        self._answers = self._answers_us = self._worst_us = 0

    def became(self, presence: FilterPresence) -> None:
        """Notes whether it is there."""
        if presence is not self.presence:
            self.presence, self._since = presence, self._clock.now()

    def answered(self, duration_us: int) -> None:
        """Notes how long an answer took."""
        self._answers += 1
        self._answers_us += duration_us
        self._worst_us = max(self._worst_us, duration_us)

    def report(self) -> FilterReport:
        """Gives the figures as QMGR is told them."""
        return FilterReport(
            kind=self.kind,
            name=self.name,
            state=self.presence,
            since=self._since,
            sessions=self.sessions,
            messages=self.messages,
            refused=self.refused,
            discarded=self.discarded,
            changed=self.changed,
            answers=self._answers,
            answers_us=self._answers_us,
            worst_us=min(self._worst_us, _US_MAX),
            faults=tuple(FilterFaults(fault=fault, count=self.faults[fault]) for fault in FilterFault if self.faults[fault]),
        )


class FilterStats:
    """The figures of all filters of the process.

    Args:
        clock: the clock.

    Owner: the process.
    """

    __slots__ = ("_clock", "_tallies", "_told")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._tallies: dict[tuple[str, str], FilterTally] = {}
        self._told: dict[tuple[str, str], FilterReport] = {}

    def of(self, kind: str, name: str) -> FilterTally:
        """Gives the figures of one filter."""
        tally = self._tallies.get((kind, name))
        if tally is None:
            tally = self._tallies[kind, name] = FilterTally(kind, name, self._clock)
        return tally

    def news(self) -> Iterator[FilterReport]:
        """Gives the figures of those that differ from what was given before."""
        for key, tally in self._tallies.items():
            report = tally.report()
            if self._told.get(key) != report:
                self._told[key] = report
                yield report
