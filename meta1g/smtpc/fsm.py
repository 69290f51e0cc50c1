"""The SMTP and LMTP client session: which reply is waited for, or what may be said.

    CONNECTING -> BANNER -> GREETED <-> HELLO -> READY -> MAIL -> RCPT -> DATA -> CONTENT -> DOT -> READY
                     |                    |       ^ ^               |       |
                     +------> LEAVING <---+       | +- RSET <- DIRTY <------+
                                 |  ^-------------|-- RSET refused
                                 +----------------+--> QUIT -> CLOSED <-- LOST -- every state
                       RCPT -> CONTENT by BDAT, which no reply allows; if its reply is a refusal: DOT -> DIRTY

    READY -> STARTTLS -> SECURING -> GREETED: the handshake, and EHLO again; STARTTLS refused: READY
    READY -> XFORWARD -> READY, whatever the answer
    READY -> AUTH <-> CHALLENGED; AUTH -> READY: we are who we say; refused: LEAVING

In DIRTY a transaction has failed half way: the server needs RSET before the next MAIL.  In LEAVING the server has refused to
talk: QUIT is all that is left.  A transaction whose MAIL was refused goes on in RCPT without an accepted recipient: with
PIPELINING its RCPT and DATA are on their way, and their replies come (RFC 2920 3.1).

What a reply means depends on the command that it answers: event_of().  It is read by its first digit (RFC 5321 4.2.1), since
servers answer with codes that no list has; codes that mean something else than their digit says have names here.

Invariants: nothing leaves CLOSED; content is sent in CONTENT only.
Pure: no I/O, no clock; talk.py feeds every event.
Ref: RFC 5321 3.3, 4.1.4, 4.3.2; RFC 3030 2; MeTA1 design, "Functional Specification: SMTPC" (states are ours).
"""

from collections.abc import Mapping
from enum import IntEnum, StrEnum, auto
from typing import Final

from meta1g.base.errors import Module
from meta1g.base.statetable import follower


class State(IntEnum):
    """States of a client session."""

    CONNECTING = auto()
    BANNER = auto()
    GREETED = auto()
    HELLO = auto()
    READY = auto()
    STARTTLS = auto()
    SECURING = auto()  # the handshake
    AUTH = auto()
    CHALLENGED = auto()  # the server waits for a response
    XFORWARD = auto()
    MAIL = auto()
    RCPT = auto()
    DATA = auto()
    CONTENT = auto()
    DOT = auto()
    DIRTY = auto()
    RSET = auto()
    LEAVING = auto()
    QUIT = auto()
    CLOSED = auto()


class Event(IntEnum):
    """What happens to a client session."""

    CONNECTED = auto()
    OK = auto()
    GO_ON = auto()  # the server waits for content, or for a response to its challenge
    REFUSED = auto()
    UNKNOWN = auto()  # EHLO is refused, HELO may do
    ONE_RCPT = auto()  # LMTP: the message is accepted or refused for one recipient, replies for others follow
    SEND_HELLO = auto()
    SEND_STARTTLS = auto()
    SECURED = auto()  # what the server said in clear is forgotten
    SEND_AUTH = auto()
    SEND_RESPONSE = auto()
    SEND_XFORWARD = auto()
    SEND_MAIL = auto()
    SEND_DATA = auto()  # DATA goes, or went with the group whose other replies have come
    SEND_CHUNK = auto()  # BDAT goes, and content follows at once
    SENT_DOT = auto()  # the last octet of content has gone, be it that of the dot or of BDAT
    CHUNK_REFUSED = auto()  # the answer to BDAT: the server needs RSET
    NO_RCPT = auto()  # there is nobody to send content for, and DATA was not sent
    SEND_RSET = auto()
    SEND_QUIT = auto()
    LOST = auto()  # closed by either side, time-out, 421, nonsense


class Verb(StrEnum):
    """What a reply answers; the value names it in texts."""

    BANNER = "greeting"
    EHLO = "EHLO"
    HELO = "HELO"
    LHLO = "LHLO"
    STARTTLS = "STARTTLS"
    AUTH = "AUTH"
    XFORWARD = "XFORWARD"
    MAIL = "MAIL"
    RCPT = "RCPT"
    DATA = "DATA"
    CONTENT = "content"  # no command: what the server says while it gets it
    DOT = "final dot"
    LAST = "BDAT"  # the end of content that went by BDAT
    EMPTY = "empty message"
    RSET = "RSET"
    QUIT = "QUIT"


_S, _E, _V = State, Event, Verb
TRANSITIONS: Final[Mapping[tuple[State, Event], State]] = {
    (_S.CONNECTING, _E.CONNECTED): _S.BANNER,
    (_S.BANNER, _E.OK): _S.GREETED,
    (_S.BANNER, _E.REFUSED): _S.LEAVING,
    (_S.GREETED, _E.SEND_HELLO): _S.HELLO,
    (_S.HELLO, _E.OK): _S.READY,
    (_S.HELLO, _E.UNKNOWN): _S.GREETED,
    (_S.HELLO, _E.REFUSED): _S.LEAVING,
    (_S.READY, _E.SEND_STARTTLS): _S.STARTTLS,
    (_S.STARTTLS, _E.OK): _S.SECURING,
    (_S.STARTTLS, _E.REFUSED): _S.READY,
    (_S.SECURING, _E.SECURED): _S.GREETED,
    (_S.READY, _E.SEND_AUTH): _S.AUTH,
    (_S.AUTH, _E.GO_ON): _S.CHALLENGED,
    (_S.CHALLENGED, _E.SEND_RESPONSE): _S.AUTH,
    (_S.AUTH, _E.OK): _S.READY,
    (_S.AUTH, _E.REFUSED): _S.LEAVING,
    (_S.READY, _E.SEND_XFORWARD): _S.XFORWARD,
    (_S.XFORWARD, _E.OK): _S.READY,
    (_S.XFORWARD, _E.REFUSED): _S.READY,
    (_S.READY, _E.SEND_MAIL): _S.MAIL,
    (_S.READY, _E.SEND_RSET): _S.RSET,
    (_S.READY, _E.SEND_QUIT): _S.QUIT,
    (_S.MAIL, _E.OK): _S.RCPT,
    (_S.MAIL, _E.REFUSED): _S.RCPT,
    (_S.RCPT, _E.OK): _S.RCPT,
    (_S.RCPT, _E.REFUSED): _S.RCPT,
    (_S.RCPT, _E.NO_RCPT): _S.DIRTY,
    (_S.RCPT, _E.SEND_DATA): _S.DATA,
    (_S.RCPT, _E.SEND_CHUNK): _S.CONTENT,
    (_S.DATA, _E.GO_ON): _S.CONTENT,
    (_S.DATA, _E.OK): _S.DIRTY,
    (_S.DATA, _E.REFUSED): _S.DIRTY,
    (_S.CONTENT, _E.SENT_DOT): _S.DOT,
    (_S.DOT, _E.ONE_RCPT): _S.DOT,
    (_S.DOT, _E.GO_ON): _S.DOT,  # no answer: the answer may follow
    (_S.DOT, _E.OK): _S.READY,
    (_S.DOT, _E.REFUSED): _S.READY,
    (_S.DOT, _E.CHUNK_REFUSED): _S.DIRTY,
    (_S.DIRTY, _E.SEND_RSET): _S.RSET,
    (_S.DIRTY, _E.SEND_QUIT): _S.QUIT,
    (_S.RSET, _E.OK): _S.READY,
    (_S.RSET, _E.REFUSED): _S.LEAVING,
    (_S.LEAVING, _E.SEND_QUIT): _S.QUIT,
    (_S.QUIT, _E.OK): _S.CLOSED,
    (_S.QUIT, _E.REFUSED): _S.CLOSED,
    **{(state, _E.LOST): _S.CLOSED for state in State},
}

_COMMAND: Final[Mapping[int, Event]] = {2: _E.OK, 3: _E.LOST, 4: _E.REFUSED, 5: _E.REFUSED}
#: What replies mean by their first digit; LOST: the two sides are out of step.
MEANINGS: Final[Mapping[Verb, Mapping[int, Event]]] = {
    **dict.fromkeys((_V.BANNER, _V.HELO, _V.LHLO, _V.STARTTLS, _V.XFORWARD, _V.MAIL, _V.RCPT, _V.RSET, _V.QUIT), _COMMAND),
    _V.EHLO: {**_COMMAND, 5: _E.UNKNOWN},
    _V.AUTH: {**_COMMAND, 3: _E.GO_ON},
    _V.DATA: {**_COMMAND, 3: _E.GO_ON},
    _V.DOT: {**_COMMAND, 3: _E.GO_ON},
    _V.LAST: {2: _E.OK, 3: _E.GO_ON, 4: _E.CHUNK_REFUSED, 5: _E.CHUNK_REFUSED},
    _V.EMPTY: {**_COMMAND, 3: _E.GO_ON},
}
SHUTTING_DOWN: Final = 421  # RFC 5321 3.8: an answer to any command, and the server closes
BAD_SEQUENCE: Final = 503
#: RFC 4954 6, RFC 3207 4: AUTH or STARTTLS has to come first; nothing is said about sender or recipient.
AUTH_REQUIRED: Final = 530
TOO_MANY_RCPTS: Final = 452
#: RFC 5321 4.5.3.1.10: at RCPT this is said where 452 is meant.
TOO_MANY_RCPTS_RFC821: Final = 552
#: Codes that mean trouble with the command, not with us: when the connection breaks behind them, nothing has been refused.
NOT_UNDERSTOOD: Final = frozenset((500, 501, 502, 503, 504))


def event_of(verb: Verb, code: int) -> Event:
    """Gives what a reply means.

    Args:
        verb: what it answers.
        code: 200 to 599.
    """
    return Event.LOST if code == SHUTTING_DOWN else MEANINGS[verb][code // 100]


#: Gives the state after an event; see statetable.follow().
next_state: Final = follower(TRANSITIONS, Module.SMTPC)
