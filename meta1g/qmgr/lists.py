"""Lists: aliases on their way to their members, a bounded number at a time.

    parts from SMAR ──> all here ──> slices to AQ or DEFEDB, each when the one before is durable ──> the alias is closed

A list is taken whole before its first member is stored, so that a change of it between two parts harms nobody.  Nothing is
lost if the process ends in between: the alias is still in its store, and is expanded again.

Locking: caller holds AQ.
Ref: invariants I2, I4, I10.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import field

from meta1g.base.dataclass import dataclass
from meta1g.db.aq_types import AqRcpt, RcptState
from meta1g.qmgr.limits import EXPANSIONS_MAX, LISTS_MAX, MEMBERS_MAX, SLICE, SMALL_LISTS_MAX
from meta1g.rcb.qmgr_smar import Members


@dataclass(slots=True)
class Parts:
    """What is here of a list that comes in parts.  Locking: caller holds AQ."""

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
        return fits and len(self.members) <= MEMBERS_MAX


class Expansion:
    """A list that is being stored.

    Args:
        rcpt: the alias.
        members: all of them.
        owner: envelope sender for them, None to keep it.

    Locking: caller holds AQ.
    """

    __slots__ = ("_members", "_next", "owner", "rcpt")

    def __init__(self, rcpt: AqRcpt, members: list[str], owner: str | None) -> None:
        self.rcpt = rcpt
        self.owner = owner
        self._members = members
        self._next = 0

    def slice(self) -> list[str]:
        """Gives the next members, SLICE at most."""
        first = self._next
        self._next += SLICE
        return self._members[first : self._next]

    @property
    def single(self) -> bool:
        """Whether the list has one member."""
        return len(self._members) == 1

    @property
    def more(self) -> bool:
        """Whether there are members that slice() has not given."""
        return self._next < len(self._members)


class _Places:
    """A bounded number of aliases at work, and those that wait.  Locking: caller holds AQ."""

    __slots__ = ("limit", "used", "waiting")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used: set[AqRcpt] = set()
        self.waiting: deque[AqRcpt] = deque()

    def call(self, ask: Callable[[AqRcpt], object]) -> None:
        """Gives free places to those who wait, and lets them be asked for."""
        while self.waiting and len(self.used) < self.limit:
            rcpt = self.waiting.popleft()
            if rcpt.state is RcptState.NEW:
                self.used.add(rcpt)
                ask(rcpt)


class Lists:
    """Who is being expanded, who waits for it, and whose next slice may be stored.

    Large lists do not take the places of small ones.

    Attributes:
        ready: expansions whose last slice is durable.

    Locking: caller holds AQ.
    """

    __slots__ = ("_large", "_small", "ready")

    def __init__(self) -> None:
        self.ready: deque[Expansion] = deque()
        self._large = _Places(LISTS_MAX)
        self._small = _Places(SMALL_LISTS_MAX)

    def begin(self, rcpt: AqRcpt, *, large: bool) -> bool:
        """Gives an alias its place, if there is one; otherwise it has to wait().  Tells whether there is one."""
        places = self._large if large else self._small
        if rcpt not in self._large.used and rcpt not in places.used:
            if len(places.used) >= places.limit:
                return False
            places.used.add(rcpt)
        rcpt.expanding = True
        return True

    def end(self, rcpt: AqRcpt) -> None:
        """Takes the place of an alias back."""
        rcpt.expanding = False
        self._large.used.discard(rcpt)
        self._small.used.discard(rcpt)

    def wait(self, rcpt: AqRcpt, *, large: bool) -> None:
        """Lets an alias without a place (state NEW) wait; it is asked for again when there is one."""
        self.end(rcpt)
        (self._large if large else self._small).waiting.append(rcpt)

    @property
    def waiting(self) -> int:
        """How many aliases wait."""
        return len(self._large.waiting) + len(self._small.waiting)

    def call(self, ask: Callable[[AqRcpt], object]) -> None:
        """Calls ask() for as many of those who wait as there are places, and keeps these for them."""
        self._large.call(ask)
        self._small.call(ask)
