"""What a negative reply says of the client: each 4xx and 5xx counts as one of three things, each with a limit of its own.

    ERROR       a wrong command: the client does not know the protocol, or tries things
    REFUSAL     a right command that policy, the address or our own state does not let through: recipients come and go
    OVERSHOOT   a right command beyond a limit that was told: it need not try again now

A list with many dead addresses is no error (RFC 5321 4.5.3.1.8 wants at least 100 recipients heard).  What QMGR and SMAR say is
a refusal.  All three counts begin anew with each accepted message.

Pure.  Ref: RFC 5321 4.5.3.1; our choice which is which.
"""

from collections.abc import Mapping
from enum import Enum, auto
from typing import Final

from meta1g.base.reply import Reply
from meta1g.smtp import replies


class Count(Enum):
    """What a negative reply counts as."""

    ERROR = auto()
    REFUSAL = auto()
    OVERSHOOT = auto()


_ERRORS: Final = (
    replies.LINE_TOO_LONG,
    replies.UNKNOWN_COMMAND,
    replies.BAD_CHARACTERS,
    replies.NO_ARGUMENT_WANTED,
    replies.ARGUMENT_WANTED,
    replies.BAD_HELO,
    replies.BAD_MAIL_SYNTAX,
    replies.BAD_RCPT_SYNTAX,
    replies.BAD_CHUNK,
    replies.BAD_PARAMETER,
    replies.BAD_ATTRIBUTE,
    replies.UNKNOWN_PARAMETER,
    replies.VERP_WITHOUT_SENDER,
    replies.NOT_IMPLEMENTED,
    replies.TLS_ALREADY,
    replies.BAD_SEQUENCE,
    replies.HELO_FIRST,
    replies.LHLO_FIRST,
    replies.NESTED_MAIL,
    replies.MAIL_FIRST,
    replies.RCPT_FIRST,
    replies.CHUNKS_WANTED,
    replies.EARLY_TALKER,
    replies.EHLO_FIRST,
    replies.AUTH_ALREADY,
    replies.AUTH_IN_MAIL,
    replies.AUTH_NOT_OFFERED,
    replies.AUTH_NEEDS_TLS,
    replies.AUTH_NO_BASE64,
    replies.AUTH_MALFORMED,
    replies.AUTH_CANCELLED,
    replies.AUTH_SERVER_FIRST,
    replies.TOO_MANY_ERRORS,
)
_REFUSALS: Final = (
    replies.SENDER_REFUSED,  # what a pipelining client sends behind a MAIL that was refused is no mistake of its own
    replies.CHUNK_DROPPED,
    replies.NO_VALID_RCPTS,
    replies.SMTPUTF8_WANTED,
    replies.BAD_SENDER_ADDRESS,
    replies.BAD_RCPT_ADDRESS,
    replies.ACCESS_DENIED,
    replies.BARE_LINE_END,
    replies.TEXT_LINE_TOO_LONG,
    replies.TOO_MANY_HOPS,
    replies.QUEUE_AWAY,
    replies.QUEUE_FAILED,
    replies.RESOLVER_AWAY,
    replies.RESOLVER_FAILED,
    replies.NOT_VERIFIED,
    replies.STORE_FAILED,
    replies.DISK_FULL,
    replies.SHUTTING_DOWN,
    replies.INTERNAL_ERROR,
    replies.TLS_FIRST,
    replies.TLS_FIRST_FOR_NOW,
    replies.TLS_BUSY,
    replies.AUTH_REQUIRED,
    replies.AUTH_FAILED,
    replies.AUTH_TRANSITION,
    replies.AUTH_AWAY,
    replies.AUTH_LATER,
    replies.TOO_MANY_AUTH_FAILURES,
    replies.TOO_MANY_REFUSALS,
)
_OVERSHOOTS: Final = (
    replies.TOO_MANY_RCPTS,
    replies.BY_TOO_SHORT,
    replies.TOO_BIG,
    replies.HEADER_TOO_BIG,
    replies.HEADER_TOO_LONG,
    replies.BODY_TOO_BIG,
    replies.TOO_BUSY,
    replies.TIMED_OUT,
    replies.TOTAL_TIME,
    replies.TOO_MANY_NOOPS,
    replies.TOO_MANY_TRANSACTIONS,
    replies.TOO_MANY_OVERSHOOTS,
)

#: What each negative reply of ours counts as.
COUNTS: Final[Mapping[Reply, Count]] = {
    **dict.fromkeys(_ERRORS, Count.ERROR),
    **dict.fromkeys(_REFUSALS, Count.REFUSAL),
    **dict.fromkeys(_OVERSHOOTS, Count.OVERSHOOT),
}
#: What ends a session that has too many of them.
LAST_WORDS: Final[Mapping[Count, Reply]] = {
    Count.ERROR: replies.TOO_MANY_ERRORS,
    Count.REFUSAL: replies.TOO_MANY_REFUSALS,
    Count.OVERSHOOT: replies.TOO_MANY_OVERSHOOTS,
}


def count_of(reply: Reply) -> Count:
    """Gives what a negative reply counts as; words of QMGR and SMAR are refusals."""
    return COUNTS.get(reply, Count.REFUSAL)


class Counter:
    """How many negative replies of each kind a session has had.

    Args:
        limits: how many of each kind are allowed.

    Owner: the session.
    """

    __slots__ = ("_counts", "_limits")

    def __init__(self, limits: Mapping[Count, int]) -> None:
        self._limits = limits
        self._counts: dict[Count, int] = {}

    def add(self, reply: Reply) -> Reply | None:
        """Counts a negative reply; gives the last words if there are too many of its kind now, else None."""
        count = count_of(reply)
        number = self._counts[count] = self._counts.get(count, 0) + 1
        return LAST_WORDS[count] if number > self._limits[count] else None

    def limit_of(self, reply: Reply) -> int:
        """Gives how many replies like this one are allowed."""
        return self._limits[count_of(reply)]

    def forget(self) -> None:
        """Begins anew."""
        self._counts.clear()
