"""What QMGR says of the whole system: counters, contained failures of all processes, and what is not well.

Locking: AQ for what is in AQ; the counts of the processes are replaced by single operations.
Ref: MeTA1 design, "Functional Specification: QMGR, control" (modelled on); invariant I12.
"""

from collections.abc import Iterator, Mapping

from meta1g.base import failure
from meta1g.base.clock import Clock
from meta1g.base.dataclass import dataclass
from meta1g.qmgr.limits import TROUBLE_S


@dataclass(frozen=True, slots=True)
class _Count:
    """Contained failures of one process."""

    count: int
    last: str
    when: float


class Contained:
    """The contained failures that the processes told of.

    Args:
        clock: the clock.

    Owner: the process; each process is entered by its own connection.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._processes: dict[str, _Count] = {}
        self._gone = 0
        failure.on_contained(lambda count, last: self.note("qmgr", count, last))

    def note(self, who: str, count: int, last: str) -> None:
        """Takes the total of a process and its last failure."""
        old = self._processes.get(who)
        if old is not None and count < old.count:  # a new process
            self._gone += old.count
        self._processes[who] = _Count(count, last, self._clock.now())

    def gone(self, who: str) -> None:
        """Notes that a process is gone: the next one begins at 0."""
        found = self._processes.get(who)
        if found is not None:
            self._gone += found.count
            self._processes[who] = _Count(0, found.last, found.when)

    def total(self) -> int:
        """Gives the number of contained failures since the start of this process."""
        return self._gone + sum(one.count for one in self._processes.copy().values())

    def recent(self) -> Iterator[str]:
        """Gives a text for each process with a failure not long ago."""
        since = self._clock.now() - TROUBLE_S
        for who, one in sorted(self._processes.copy().items()):
            if one.when >= since:
                yield f"{who} contained failures, see its log; the last: {one.last}"


@dataclass(frozen=True, slots=True)
class Facts:
    """What decides whether all is well.

    Args:
        peers: component to the number of its processes that are connected.
        mode: what the operator has stopped, empty if nothing.
        percent: how much new mail is taken, 0 to 100.
        reason: why it is less than 100.
        failing: store to the reason why it cannot be written now; empty if it can.
        lost_found: how many things are in lost+found.
        held: recipients that are held.
        failures: texts of contained failures.
    """

    peers: Mapping[str, int]
    mode: str
    percent: int
    reason: str
    failing: Mapping[str, str]
    lost_found: int
    held: int
    failures: tuple[str, ...]


def trouble(facts: Facts) -> list[str]:
    """Gives one text for everything that is not well; none means that all is well."""
    texts = [f"no {component} is connected" for component, count in facts.peers.items() if not count]
    if facts.mode:
        texts.append(facts.mode)
    elif facts.percent < 100:
        texts.append(f"new mail is limited to {facts.percent} %: {facts.reason}")
    texts += [f"{store} cannot be written: {why}" for store, why in facts.failing.items() if why]
    if facts.held:
        texts.append(f"{facts.held} recipients are held; see mailq, then qmgrctl release or remove")
    if facts.lost_found:
        texts.append(
            f"{facts.lost_found} damaged things are kept in lost+found; see the log, remove them when they are dealt with"
        )
    return texts + list(facts.failures)
