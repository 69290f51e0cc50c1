"""The SMTP server session.

    CONNECTED -DENY-> DENIED
    CONNECTED -GREET-> GREETED -HELLO-> HELLO -MAIL-> MAIL -RCPT_OK-> RCPT -DATA-> CONTENT -DOT-> WAIT_COMMIT
                                          ^            |                |             |                |
                                          +-- RESET, MAIL_REFUSED ------+-- DROPPED --+--- ANSWERED ---+
                                                                        RCPT -CHUNK-> CHUNKS -LAST-> CONTENT
                      HELLO -AUTH-> AUTH -AUTH_END-> HELLO
                      GREETED, HELLO, MAIL, RCPT, CHUNKS -- TLS --> GREETED
                      GREETED, HELLO -- CLIENT --> CONNECTED
                     any state -- CLOSE --> CLOSING

MAIL holds from the moment the command is taken, before smar has answered, so that a pipelined RCPT finds it;
MAIL_REFUSED takes it back.  RCPT holds when a recipient has been accepted.  CHUNKS holds from the first BDAT to the last.

Invariant: content is read in CONTENT and CHUNKS only, and nothing leaves CLOSING.
Pure: no I/O, no clock; the session acts and feeds the events.
Ref: RFC 5321 3.3, 4.1.4; MeTA1 design, "Functional Specification: SMTPS" (states are ours).
"""

from collections.abc import Mapping
from enum import Enum, auto
from typing import Final

from meta1g.base.errors import Module
from meta1g.base.reply import Reply
from meta1g.base.statetable import follower
from meta1g.smtp import replies


class State(Enum):
    """States of a server session."""

    CONNECTED = auto()
    DENIED = auto()  # 554 was the greeting: only QUIT is left
    GREETED = auto()
    HELLO = auto()
    MAIL = auto()
    RCPT = auto()
    AUTH = auto()  # the next line is a response of SASL
    CHUNKS = auto()
    CONTENT = auto()
    WAIT_COMMIT = auto()
    CLOSING = auto()


class Event(Enum):
    """What happens to a server session."""

    GREET = auto()  # 220 is sent
    DENY = auto()  # 554 is sent instead
    CLIENT = auto()  # it speaks for another client from now on: the session begins anew
    HELLO = auto()  # EHLO or HELO, which also forgets a transaction
    MAIL = auto()
    MAIL_REFUSED = auto()
    RCPT = auto()  # smar is asked
    RCPT_OK = auto()  # and has agreed
    DATA = auto()
    CHUNK = auto()  # BDAT
    LAST = auto()  # its last octet has come, or the first reason against the message
    DOT = auto()  # the content is complete and safe
    DROPPED = auto()  # the content is refused
    ANSWERED = auto()  # qmgr has answered, or never will
    RESET = auto()
    TLS = auto()  # the handshake is done, and all that came before is forgotten
    AUTH = auto()  # an exchange begins
    AUTH_END = auto()  # it succeeded, failed, or was cancelled
    CLOSE = auto()  # QUIT, 421, lost connection


_S, _E = State, Event
TRANSITIONS: Final[Mapping[tuple[State, Event], State]] = {
    (_S.CONNECTED, _E.GREET): _S.GREETED,
    (_S.CONNECTED, _E.DENY): _S.DENIED,
    **{(state, _E.CLIENT): _S.CONNECTED for state in (_S.GREETED, _S.HELLO)},
    (_S.GREETED, _E.HELLO): _S.HELLO,
    (_S.GREETED, _E.RESET): _S.GREETED,
    (_S.HELLO, _E.HELLO): _S.HELLO,
    **{(state, _E.TLS): _S.GREETED for state in (_S.GREETED, _S.HELLO, _S.MAIL, _S.RCPT, _S.CHUNKS)},
    (_S.HELLO, _E.RESET): _S.HELLO,
    (_S.HELLO, _E.AUTH): _S.AUTH,
    (_S.AUTH, _E.AUTH_END): _S.HELLO,
    (_S.HELLO, _E.MAIL): _S.MAIL,
    (_S.MAIL, _E.HELLO): _S.HELLO,
    (_S.MAIL, _E.RESET): _S.HELLO,
    (_S.MAIL, _E.MAIL_REFUSED): _S.HELLO,
    (_S.MAIL, _E.RCPT): _S.MAIL,
    (_S.MAIL, _E.RCPT_OK): _S.RCPT,
    (_S.RCPT, _E.HELLO): _S.HELLO,
    (_S.RCPT, _E.RESET): _S.HELLO,
    (_S.RCPT, _E.RCPT): _S.RCPT,
    (_S.RCPT, _E.RCPT_OK): _S.RCPT,
    (_S.RCPT, _E.DATA): _S.CONTENT,
    (_S.RCPT, _E.CHUNK): _S.CHUNKS,
    (_S.CHUNKS, _E.CHUNK): _S.CHUNKS,
    (_S.CHUNKS, _E.LAST): _S.CONTENT,
    (_S.CHUNKS, _E.HELLO): _S.HELLO,
    (_S.CHUNKS, _E.RESET): _S.HELLO,
    (_S.CONTENT, _E.DOT): _S.WAIT_COMMIT,
    (_S.CONTENT, _E.DROPPED): _S.HELLO,
    (_S.WAIT_COMMIT, _E.ANSWERED): _S.HELLO,
    **{(state, _E.CLOSE): _S.CLOSING for state in State},
}

#: What a client is told whose command does not fit the state.
REFUSALS: Final[Mapping[tuple[State, Event], Reply]] = {
    (_S.GREETED, _E.MAIL): replies.HELO_FIRST,
    (_S.GREETED, _E.RCPT): replies.HELO_FIRST,
    (_S.GREETED, _E.DATA): replies.HELO_FIRST,
    (_S.GREETED, _E.AUTH): replies.EHLO_FIRST,
    **{(state, _E.AUTH): replies.AUTH_IN_MAIL for state in (_S.MAIL, _S.RCPT, _S.CHUNKS)},
    (_S.GREETED, _E.CHUNK): replies.HELO_FIRST,
    (_S.HELLO, _E.RCPT): replies.MAIL_FIRST,
    (_S.HELLO, _E.DATA): replies.MAIL_FIRST,
    (_S.HELLO, _E.CHUNK): replies.MAIL_FIRST,
    (_S.MAIL, _E.MAIL): replies.NESTED_MAIL,
    (_S.MAIL, _E.DATA): replies.RCPT_FIRST,
    (_S.MAIL, _E.CHUNK): replies.RCPT_FIRST,
    (_S.CHUNKS, _E.MAIL): replies.NESTED_MAIL,
    (_S.RCPT, _E.MAIL): replies.NESTED_MAIL,
}

#: States in which a stopping server waits for the client to finish.
IN_TRANSACTION: Final = frozenset((State.MAIL, State.RCPT, State.CHUNKS, State.CONTENT, State.WAIT_COMMIT))

#: Gives the state after an event; see statetable.follow().
next_state: Final = follower(TRANSITIONS, Module.SMTPS)
