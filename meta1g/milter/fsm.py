"""One filter in one SMTP session, from the MTA's side: what it may be told when.

    NEW -NEGOTIATE-> NEGOTIATING -AGREED-> READY -CONNECT-> CONNECTED -HELO-> HELLO

    HELLO -MAIL-> MAIL -RCPT-> RCPT -DATA-> DATA -HEADER-> HEADER -EOH-> EOH -BODY-> BODY -EOM-> EOM -OVER-> HELLO
                   |             (several)          (several)          (several)
                   +-- any of these -ABORT-> HELLO
                   +-- any of these -SETTLED-> PASSED -ABORT-> HELLO

    CONNECTED, HELLO -SETTLED_ALL-> DISMISSED
    any state -FAIL-> FAILED -QUIT-> CLOSED

In PASSED the filter has decided about the message, in DISMISSED about the session: it hears nothing more of it.  A step that
the filter does not want to hear is fed all the same, and nothing is sent.

Invariants: nothing but QUIT leaves FAILED; a message that was begun is ended by OVER or ABORT before the next.
Pure: no I/O, no clock; machine.py feeds every event.
Ref: sendmail 8, libmilter/engine.c (the filter's side of the same), libmilter/docs "How libmilter works".
"""

from collections.abc import Mapping
from enum import IntEnum, auto
from typing import Final

from meta1g.base.errors import Module
from meta1g.base.statetable import follower


class State(IntEnum):
    """What a filter has been told."""

    NEW = auto()
    NEGOTIATING = auto()
    READY = auto()
    CONNECTED = auto()
    HELLO = auto()
    MAIL = auto()
    RCPT = auto()
    DATA = auto()
    HEADER = auto()
    EOH = auto()
    BODY = auto()
    EOM = auto()
    PASSED = auto()
    DISMISSED = auto()
    FAILED = auto()
    CLOSED = auto()


class Event(IntEnum):
    """What happens to a filter."""

    NEGOTIATE = auto()
    AGREED = auto()
    CONNECT = auto()
    HELO = auto()
    MAIL = auto()
    RCPT = auto()
    DATA = auto()
    HEADER = auto()
    EOH = auto()
    BODY = auto()
    EOM = auto()
    OVER = auto()  # it has answered the end of the message
    ABORT = auto()
    UNKNOWN = auto()
    SETTLED = auto()  # it has decided about the message before its end
    SETTLED_ALL = auto()  # it has decided about the session
    QUIT = auto()
    FAIL = auto()  # time-out, lost connection, nonsense


_S, _E = State, Event
#: A message has been begun.
IN_MESSAGE: Final = (_S.MAIL, _S.RCPT, _S.DATA, _S.HEADER, _S.EOH, _S.BODY, _S.EOM)
TRANSITIONS: Final[Mapping[tuple[State, Event], State]] = {
    (_S.NEW, _E.NEGOTIATE): _S.NEGOTIATING,
    (_S.NEGOTIATING, _E.AGREED): _S.READY,
    (_S.READY, _E.CONNECT): _S.CONNECTED,
    (_S.CONNECTED, _E.HELO): _S.HELLO,
    (_S.HELLO, _E.HELO): _S.HELLO,
    (_S.HELLO, _E.MAIL): _S.MAIL,
    (_S.MAIL, _E.RCPT): _S.RCPT,
    (_S.RCPT, _E.RCPT): _S.RCPT,
    (_S.RCPT, _E.DATA): _S.DATA,
    (_S.DATA, _E.HEADER): _S.HEADER,
    (_S.DATA, _E.EOH): _S.EOH,
    (_S.HEADER, _E.HEADER): _S.HEADER,
    (_S.HEADER, _E.EOH): _S.EOH,
    (_S.EOH, _E.BODY): _S.BODY,
    (_S.EOH, _E.EOM): _S.EOM,
    (_S.BODY, _E.BODY): _S.BODY,
    (_S.BODY, _E.EOM): _S.EOM,
    (_S.EOM, _E.OVER): _S.HELLO,
    **{(state, _E.ABORT): _S.HELLO for state in (*IN_MESSAGE, _S.PASSED)},
    **{(state, _E.SETTLED): _S.PASSED for state in IN_MESSAGE},
    **{(state, _E.UNKNOWN): state for state in (_S.CONNECTED, _S.HELLO, _S.MAIL, _S.RCPT)},
    (_S.CONNECTED, _E.SETTLED_ALL): _S.DISMISSED,
    (_S.HELLO, _E.SETTLED_ALL): _S.DISMISSED,
    **{(state, _E.QUIT): _S.CLOSED for state in State},
    **{(state, _E.FAIL): _S.FAILED for state in State if state is not _S.CLOSED},
}

#: Gives the state after an event; see statetable.follow().
next_state: Final = follower(TRANSITIONS, Module.MILTER)
