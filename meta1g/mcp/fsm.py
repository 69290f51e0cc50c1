"""One process under mcp.

                +--------------- START (delay over) -------------+
                v                                                |
    STOPPED -> STARTING -- READY --> RUNNING -- FAILED_RUN --> BACKOFF
       ^          |                     |                        |
       |          +------ STOP ---------+--> STOPPING            |
       |          |                     |       |                |
       +--- ENDED_WELL ------------- (any end) -+------ STOP ----+
                  |                     |
                  +------ REFUSED ------+--> FAILED -- START (a minute later, or a reload) --> STARTING

Invariant: there is a process if and only if the state is STARTING, RUNNING or STOPPING.
Pure: no I/O, no clock; the supervisor acts on the new state.
Ref: MeTA1 design, "Functional Specification: Supervisor" (modelled on; the states are ours).
"""

from collections.abc import Mapping
from enum import Enum, auto
from typing import Final

from meta1g.base.errors import Module
from meta1g.base.statetable import follower
from meta1g.base.sysexits import EX_OK, NO_RESTART


class State(Enum):
    """States of a process."""

    STOPPED = auto()
    STARTING = auto()
    RUNNING = auto()
    STOPPING = auto()
    BACKOFF = auto()
    FAILED = auto()


class Event(Enum):
    """What happens to a process."""

    START = auto()  # it is started
    READY = auto()  # it is ready for work, or the time to wait for that is over
    STOP = auto()  # it is told to stop
    ENDED_WELL = auto()  # exit 0: it was meant to stop
    REFUSED = auto()  # exit 64, 77, 78: somebody has to change something first
    FAILED_RUN = auto()  # any other exit code or a signal


ALIVE: Final = frozenset({State.STARTING, State.RUNNING, State.STOPPING})
#: States in which a process serves or is about to.
UP: Final = frozenset({State.STARTING, State.RUNNING})

_S, _E = State, Event
TRANSITIONS: Final[Mapping[tuple[State, Event], State]] = {
    (_S.STOPPED, _E.START): _S.STARTING,
    (_S.STARTING, _E.READY): _S.RUNNING,
    (_S.STARTING, _E.STOP): _S.STOPPING,
    (_S.STARTING, _E.ENDED_WELL): _S.STOPPED,
    (_S.STARTING, _E.REFUSED): _S.FAILED,
    (_S.STARTING, _E.FAILED_RUN): _S.BACKOFF,
    (_S.RUNNING, _E.STOP): _S.STOPPING,
    (_S.RUNNING, _E.ENDED_WELL): _S.STOPPED,
    (_S.RUNNING, _E.REFUSED): _S.FAILED,
    (_S.RUNNING, _E.FAILED_RUN): _S.BACKOFF,
    (_S.STOPPING, _E.ENDED_WELL): _S.STOPPED,
    (_S.STOPPING, _E.REFUSED): _S.STOPPED,
    (_S.STOPPING, _E.FAILED_RUN): _S.STOPPED,
    (_S.BACKOFF, _E.START): _S.STARTING,
    (_S.BACKOFF, _E.STOP): _S.STOPPED,
    (_S.FAILED, _E.START): _S.STARTING,
    (_S.FAILED, _E.STOP): _S.STOPPED,
}

#: Gives the state after an event; see statetable.follow().
next_state: Final = follower(TRANSITIONS, Module.MCP)


def exit_event(code: int) -> Event:
    """Tells what an exit code means.

    Args:
        code: 0 to 255, or the negative number of the signal that ended the process.
    """
    if code == EX_OK:
        return Event.ENDED_WELL
    return Event.REFUSED if code in NO_RESTART else Event.FAILED_RUN
