"""One transaction while it is being received.

    OPEN -- final dot --> COMMITTING -- flushed --> ACCEPTED -- entered --> HANDED_OVER
      |                        |
      |  refused               +-- flush failed --> ABORTED
      +----> REFUSED -- final dot, RSET, end --> ABORTED

Invariant: 250 is answered in ACCEPTED only (I1); nothing is forgotten between COMMITTING and HANDED_OVER.

Pure.  Ref: MeTA1 design, "Functional Specification: QMGR, interface to SMTPS" (states are ours).
"""

from collections.abc import Mapping
from enum import IntEnum, auto
from typing import Final


class State(IntEnum):
    """States.  Immutable."""

    OPEN = auto()
    REFUSED = auto()
    COMMITTING = auto()
    ACCEPTED = auto()
    HANDED_OVER = auto()
    ABORTED = auto()


class Event(IntEnum):
    """Events.  Immutable."""

    RCPT = auto()
    REFUSE = auto()
    DOT = auto()
    FLUSHED = auto()
    FLUSH_FAILED = auto()
    ENTERED = auto()
    DISCARD = auto()


TRANSITIONS: Final[Mapping[tuple[State, Event], State]] = {
    (State.OPEN, Event.RCPT): State.OPEN,
    (State.OPEN, Event.REFUSE): State.REFUSED,
    (State.OPEN, Event.DOT): State.COMMITTING,
    (State.OPEN, Event.DISCARD): State.ABORTED,
    (State.REFUSED, Event.RCPT): State.REFUSED,
    (State.REFUSED, Event.REFUSE): State.REFUSED,
    (State.REFUSED, Event.DOT): State.ABORTED,
    (State.REFUSED, Event.DISCARD): State.ABORTED,
    (State.COMMITTING, Event.FLUSHED): State.ACCEPTED,
    (State.COMMITTING, Event.FLUSH_FAILED): State.ABORTED,
    (State.ACCEPTED, Event.ENTERED): State.HANDED_OVER,
}

FINAL: Final = frozenset((State.HANDED_OVER, State.ABORTED))
