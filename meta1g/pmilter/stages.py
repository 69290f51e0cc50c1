"""What may be said at which stage: one table, for the filter's side and for the server's.

Pure.  Ref: MeTA1 pmilter API (stages and return values modelled on).
"""

from collections.abc import Mapping
from enum import IntEnum
from typing import Final

from meta1g.base.dataclass import dataclass
from meta1g.base.reply import NO_REPLY, Reply
from meta1g.milter.limits import REPLY_LINES_MAX
from meta1g.rcb.smtps_pmilter import Capability, Code, Pmm, Stage


class Status(IntEnum):
    """What a callback returns: these, or any other SMTP code of 4xx or 5xx (SMTP_R_*, sfsistat_T)."""

    CONT = Code.CONT
    ACCEPT = Code.ACCEPT
    DISCARD = Code.DISCARD
    SKIP = Code.SKIP
    OK = 250
    SSD = 421
    TEMP = 451
    PERM = 550
    TAFAIL = 554


@dataclass(frozen=True, slots=True)
class StageRule:
    """One stage.

    Args:
        capability: a filter that did not pick it is not asked.
        codes: Codes it may answer, beside replies of 4xx and 5xx.
    """

    capability: Capability
    codes: frozenset[Code]


STAGES: Final[Mapping[Stage, StageRule]] = {
    Stage.CONNECT: StageRule(Capability.CNNCT, frozenset((Code.CONT, Code.ACCEPT))),
    Stage.HELO: StageRule(Capability.EHLO, frozenset((Code.CONT, Code.ACCEPT))),
    Stage.MAIL: StageRule(Capability.MAIL, frozenset((Code.CONT, Code.ACCEPT, Code.DISCARD))),
    Stage.RCPT: StageRule(Capability.RCPT, frozenset((Code.CONT, Code.ACCEPT))),
    Stage.DATA: StageRule(Capability.DATA, frozenset((Code.CONT, Code.ACCEPT, Code.DISCARD))),
    Stage.MSG: StageRule(Capability.MSG, frozenset((Code.CONT, Code.ACCEPT, Code.DISCARD, Code.SKIP))),
    Stage.DOT: StageRule(Capability.DOT, frozenset((Code.CONT, Code.ACCEPT, Code.DISCARD))),
    Stage.UNKNOWN: StageRule(Capability.UNKN, frozenset((Code.CONT,))),
}

_TA: Final = (Stage.MAIL, Stage.RCPT, Stage.DATA, Stage.DOT)
_LATER: Final = (Stage.HELO, *_TA)
_SESSION: Final = (Stage.CONNECT, *_LATER)

#: Stages at which a macro can have a value: TLS and AUTH come after the client is greeted; MSG and UNKNOWN bring no macros.
MACRO_STAGES: Final[Mapping[Pmm, tuple[Stage, ...]]] = {
    Pmm.SRVHOSTNAME: _SESSION,
    Pmm.CLIENT_RESOLVE: _SESSION,
    Pmm.CLIENT_PORT: _SESSION,
    Pmm.SRVADDR: _SESSION,
    Pmm.SRVPORT: _SESSION,
    **{macro: _LATER for macro in Pmm if Pmm.TLS_VERSION <= macro <= Pmm.AUTH_AUTHOR},
    Pmm.MAIL_TAID: _TA,
    Pmm.DOT_MSGID: (Stage.DOT,),
    Pmm.DOT_HOPS: (Stage.DOT,),
}


def code_of(status: int) -> int:
    """Gives a status as it goes over the wire: 250 means that nothing is against it, as CONT does."""
    return int(Code.CONT) if status == Status.OK else int(status)


def is_allowed(stage: Stage, code: int, reply: Reply = NO_REPLY) -> bool:
    """Tells whether a filter may answer this at a stage.

    Args:
        stage: where it was asked.
        code: a Code or an SMTP code.
        reply: what the client shall be told, NO_REPLY for the usual words; it has to be of the same code, and of at most
            REPLY_LINES_MAX lines.
    """
    if code >= 400:
        return code < 600 and reply.code in (0, code) and len(reply.lines) <= REPLY_LINES_MAX
    return code in STAGES[stage].codes and reply.code == 0
