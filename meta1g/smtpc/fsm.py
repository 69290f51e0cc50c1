"""The SMTP and LMTP client session.

    CONNECTING -> BANNER -> HELLO -> READY -> MAIL -> RCPT -> DATA -> CONTENT -> DOT -> READY
                                       ^        |       |       |                 |
                                       |        +-------+-------+--> DIRTY        |
                                       +--------------- RSET <---------+          |
                     any state but CLOSED -- LOST --> CLOSED <-- QUIT <-----------+

In DIRTY a transaction has failed half way: the server needs RSET before the next MAIL.

Invariant: nothing leaves CLOSED, and content is sent in CONTENT only.
Pure: no I/O, no clock; the session acts and feeds the events.
Ref: RFC 5321 3.3, 4.1.4; MeTA1 design, "Functional Specification: SMTPC" (states are ours).
"""

from collections.abc import Mapping
from enum import Enum, auto
from typing import Final

from meta1g.base.errors import BugError, Module


class State(Enum):
    """States of a client session.  Immutable."""

    CONNECTING = auto()
    BANNER = auto()
    HELLO = auto()
    READY = auto()
    MAIL = auto()
    RCPT = auto()
    DATA = auto()
    CONTENT = auto()
    DOT = auto()
    DIRTY = auto()
    RSET = auto()
    QUIT = auto()
    CLOSED = auto()


class Event(Enum):
    """What happens to a client session.  Immutable."""

    CONNECTED = auto()
    OK = auto()  # 2xx
    GO_ON = auto()  # 3xx
    REFUSED = auto()  # 4xx, 5xx
    SEND_MAIL = auto()
    SEND_DATA = auto()
    SEND_RSET = auto()
    SEND_QUIT = auto()
    SENT_DOT = auto()
    NO_RCPT = auto()  # no recipient was accepted
    LOST = auto()  # connection closed, time-out, 421, nonsense


_S, _E = State, Event
TRANSITIONS: Final[Mapping[tuple[State, Event], State]] = {
    (_S.CONNECTING, _E.CONNECTED): _S.BANNER,
    (_S.BANNER, _E.OK): _S.HELLO,
    (_S.BANNER, _E.REFUSED): _S.DIRTY,
    (_S.HELLO, _E.OK): _S.READY,
    (_S.HELLO, _E.REFUSED): _S.HELLO,  # HELO after EHLO
    (_S.HELLO, _E.SEND_QUIT): _S.QUIT,
    (_S.READY, _E.SEND_MAIL): _S.MAIL,
    (_S.READY, _E.SEND_RSET): _S.RSET,
    (_S.READY, _E.SEND_QUIT): _S.QUIT,
    (_S.MAIL, _E.OK): _S.RCPT,
    (_S.MAIL, _E.REFUSED): _S.DIRTY,
    (_S.RCPT, _E.OK): _S.RCPT,
    (_S.RCPT, _E.REFUSED): _S.RCPT,
    (_S.RCPT, _E.NO_RCPT): _S.DIRTY,
    (_S.RCPT, _E.SEND_DATA): _S.DATA,
    (_S.DATA, _E.GO_ON): _S.CONTENT,
    (_S.DATA, _E.REFUSED): _S.DIRTY,
    (_S.CONTENT, _E.SENT_DOT): _S.DOT,
    (_S.DOT, _E.OK): _S.READY,
    (_S.DOT, _E.REFUSED): _S.READY,
    (_S.DIRTY, _E.SEND_RSET): _S.RSET,
    (_S.DIRTY, _E.SEND_QUIT): _S.QUIT,
    (_S.RSET, _E.OK): _S.READY,
    (_S.RSET, _E.REFUSED): _S.DIRTY,
    (_S.QUIT, _E.OK): _S.CLOSED,
    (_S.QUIT, _E.REFUSED): _S.CLOSED,
    **{(state, _E.LOST): _S.CLOSED for state in State},
}


def next_state(state: State, event: Event) -> State:
    """Gives the state after an event.

    Raises:
        BugError: the table does not know this event in this state.
    """
    after = TRANSITIONS.get((state, event))
    if after is None:
        raise BugError(Module.SMTPC, f"event {event.name} in state {state.name}")
    return after
