"""One delivery session as QMGR sees it.

    OPENING --+--> IDLE <--> BUSY          OPENING is BUSY with the first delivery
              |      |         |
              +------+---------+--> GONE   failed, closed by the server, told to close, or its agent is gone

Invariant: a session has recipients if and only if it is OPENING or BUSY.

Pure.  Locking: caller holds AQ.  Ref: MeTA1 design, "Implementation: DADB" (states are ours).
"""

from collections.abc import Mapping
from enum import IntEnum, auto
from typing import Final

from meta1g.base.errors import Module
from meta1g.base.statetable import follow
from meta1g.db.dadb import DaSession


class State(IntEnum):
    """States."""

    OPENING = auto()
    BUSY = auto()
    IDLE = auto()
    GONE = auto()


class Event(IntEnum):
    """Events."""

    RESULT_OPEN = auto()  # the delivery is over, the session can be used again
    RESULT_CLOSED = auto()  # the delivery is over, the session too
    DELIVER = auto()
    CLOSE = auto()  # told to close, closed by the server, or the agent is gone


TRANSITIONS: Final[Mapping[tuple[State, Event], State]] = {
    (State.OPENING, Event.RESULT_OPEN): State.IDLE,
    (State.OPENING, Event.RESULT_CLOSED): State.GONE,
    (State.OPENING, Event.CLOSE): State.GONE,
    (State.BUSY, Event.RESULT_OPEN): State.IDLE,
    (State.BUSY, Event.RESULT_CLOSED): State.GONE,
    (State.BUSY, Event.CLOSE): State.GONE,
    (State.IDLE, Event.DELIVER): State.BUSY,
    (State.IDLE, Event.CLOSE): State.GONE,
}


def step(session: DaSession, event: Event) -> None:
    """Moves a session.

    Raises:
        BugError: the event must not happen in its state.
    """
    session.state = follow(TRANSITIONS, Module.QMGR, State(session.state), event, lambda: f"session {session.session_id}")
