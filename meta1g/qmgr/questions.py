"""Whom the resolver is asked for next, and how many at a time.

    Unasked    transactions have their turns, so that the members of a long list do not stand before everybody's mail
    Window     SMAR has no more questions waiting than it answers in a moment; those that hang are not counted

Pure.  Locking: caller holds AQ.
Ref: our choice; invariant I10.
"""

import re
from collections import OrderedDict, deque
from collections.abc import Iterable
from typing import Final

from meta1g.db.aq_types import AqRcpt, AqTa, RcptState

#: Recipients of one transaction that are asked for in its turn: as many as most messages have, for they travel together.
TURN: Final = 50
#: Questions that are ahead of the next one: some 10 ms of SMAR's work.  Our choice: as many as keep it busy.
AHEAD: Final = 64
#: If SMAR answers none of them in so long, seconds, it waits for name servers, and is asked further.
PACE_S: Final = 0.25


#: An address whose local part cannot be wrong; RFC 5321 4.5.3.1.1.
_PLAIN: Final = re.compile(r"(?=[^@]{1,64}@)[\w+=-]+(?:\.[\w+=-]+)*@([^@]+)", re.ASCII)


def _domain(rcpt: AqRcpt) -> str:
    """Gives the domain of a recipient in lower case, empty if its local part is out of the ordinary."""
    found = _PLAIN.fullmatch(rcpt.record.rcpt)
    return found[1].lower() if found is not None else ""


class Unasked:
    """Recipients (state NEW) that are to be asked for.  Locking: caller holds AQ."""

    __slots__ = ("_count", "_left", "_tas")

    def __init__(self) -> None:
        self._tas: OrderedDict[AqTa, deque[AqRcpt]] = OrderedDict()  # the one whose turn it is comes first
        self._count = 0
        self._left = TURN

    def __len__(self) -> int:
        """Gives how many there are."""
        return self._count

    def append(self, rcpt: AqRcpt) -> None:
        """Adds a recipient behind the others of its transaction."""
        waiting = self._tas.get(rcpt.ta)
        if waiting is None:
            self._tas[rcpt.ta] = deque((rcpt,))
        else:
            waiting.append(rcpt)
        self._count += 1

    def extend(self, rcpts: Iterable[AqRcpt]) -> None:
        """Adds several."""
        for rcpt in rcpts:
            self.append(rcpt)

    def put_back(self, rcpt: AqRcpt) -> None:
        """Lets the one that was taken last be the next one again."""
        waiting = self._tas.setdefault(rcpt.ta, deque())
        waiting.appendleft(rcpt)
        self._tas.move_to_end(rcpt.ta, last=False)
        self._count += 1

    def take(self) -> AqRcpt:
        """Takes the next one; there must be one."""
        ta, waiting = next(iter(self._tas.items()))
        rcpt = waiting.popleft()
        self._count -= 1
        self._left -= 1
        if not waiting:
            del self._tas[ta]
            self._left = TURN
        elif self._left <= 0:
            self._tas.move_to_end(ta)
            self._left = TURN
        return rcpt

    def take_alike(self, rcpt: AqRcpt) -> list[AqRcpt]:
        """Takes those that follow the recipient that was taken last in its transaction and have its domain."""
        waiting, domain = self._tas.get(rcpt.ta), _domain(rcpt)
        if not waiting or not domain:
            return []
        alike: list[AqRcpt] = []
        while waiting and len(alike) < TURN and waiting[0].state is RcptState.NEW and _domain(waiting[0]) == domain:
            alike.append(waiting.popleft())
        self._count -= len(alike)
        if not waiting:
            if next(iter(self._tas)) is rcpt.ta:
                self._left = TURN
            del self._tas[rcpt.ta]
        return alike


class Window:
    """How many questions may be asked now.

    SMAR answers in the order of the questions what it need not ask others for.  So those that were asked before one that is
    answered wait for name servers, and what counts is how many were asked since.

    Locking: caller holds AQ.
    """

    __slots__ = ("_asked", "_before", "_since_s", "_upto")

    def __init__(self) -> None:
        self._asked = 0  # number of the last question
        self._upto = 0  # the latest one that is answered, or up to which all wait for name servers
        self._since_s: float | None = None  # monotonic time since which there is no room
        self._before = 0  # _upto at that time

    @property
    def ahead(self) -> int:
        """How many questions are ahead of the next one."""
        return self._asked - self._upto

    @property
    def closed(self) -> bool:
        """Whether somebody waits for room."""
        return self._since_s is not None

    def asked(self) -> int:
        """Notes a question and gives its number."""
        self._asked += 1
        return self._asked

    def answered(self, number: int) -> bool:
        """Notes an answer, or that there is none; tells whether whoever waits may go on."""
        self._upto = max(self._upto, number)
        return self.closed and self.ahead <= AHEAD // 2

    def room(self, now_s: float) -> int:
        """Gives how many questions may be asked; if there is no room, it is to be asked again after PACE_S.

        Args:
            now_s: monotonic time.
        """
        if self._since_s is not None and now_s >= self._since_s + PACE_S:
            if self._upto == self._before:
                self._upto = self._asked
            self._since_s = None
        room = max(0, AHEAD - self.ahead)
        if room:
            self._since_s = None
        elif self._since_s is None:
            self._since_s, self._before = now_s, self._upto
        return room
