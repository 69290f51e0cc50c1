"""One transaction while it is being received.

    OPEN -- final dot --> COMMITTING -- flushed --> ACCEPTED -- entered --> HANDED_OVER
      |                        |
      |  refused               +-- not stored --> ABORTED
      +----> REFUSED -- final dot --> ABORTED

A transaction that its client gives up (RSET, end of the session or of its SMTPS) leaves IQDB as it is: nobody is owed anything.

Invariant: 250 is answered in ACCEPTED only (I1); nothing is forgotten between COMMITTING and HANDED_OVER.

Pure.  Locking: caller holds IQDB before the final dot; then the commit thread, and then the hand-over, is its only user.
Ref: MeTA1 design, "Functional Specification: QMGR, interface to SMTPS" (states are ours).
"""

from collections.abc import Mapping
from enum import IntEnum, auto
from typing import Final, Protocol

from meta1g.base.errors import Module
from meta1g.base.statetable import follow


class State(IntEnum):
    """States."""

    OPEN = auto()
    REFUSED = auto()
    COMMITTING = auto()
    ACCEPTED = auto()
    HANDED_OVER = auto()
    ABORTED = auto()


class Event(IntEnum):
    """Events."""

    REFUSE = auto()  # there is no room
    DOT = auto()  # the client has sent everything
    FLUSHED = auto()  # the envelope is on stable storage
    NOT_STORED = auto()  # it is not, and will not be
    ENTERED = auto()  # AQ or DEFEDB has it


TRANSITIONS: Final[Mapping[tuple[State, Event], State]] = {
    (State.OPEN, Event.REFUSE): State.REFUSED,
    (State.OPEN, Event.DOT): State.COMMITTING,
    (State.REFUSED, Event.DOT): State.ABORTED,
    (State.COMMITTING, Event.FLUSHED): State.ACCEPTED,
    (State.COMMITTING, Event.NOT_STORED): State.ABORTED,
    (State.ACCEPTED, Event.ENTERED): State.HANDED_OVER,
}


class Subject(Protocol):
    """Whatever stands for a transaction at the time."""

    state: int


def step(ta: Subject, event: Event) -> None:
    """Moves a transaction.

    Raises:
        BugError: the event must not happen in its state.
    """
    ta.state = follow(TRANSITIONS, Module.QMGR, State(ta.state), event, lambda: "transaction")
