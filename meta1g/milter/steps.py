"""The steps of a session that a filter can be told, and what it may answer to each: two tables.

STEPS says for each command of the MTA which event of the machine it is, by which bits the filter declines it or its answer,
which list of macros goes before it, and what a refusal is about.  ANSWERS says for each answer to which commands it is one,
and what has to have been agreed on.

Pure.  Ref: sendmail 8, libmilter/docs (xxfi_* and "smfi_*: called from"), libmilter/mfdef.h.
"""

from collections.abc import Mapping
from enum import Enum, auto
from typing import Final

from meta1g.base.dataclass import dataclass
from meta1g.milter.flags import FilterActions, FilterSteps, MacroStage
from meta1g.milter.frames import Smfic, Smfir
from meta1g.milter.fsm import Event


class Scope(Enum):
    """What an answer is about."""

    SESSION = auto()
    MESSAGE = auto()
    RCPT = auto()
    COMMAND = auto()


@dataclass(frozen=True, slots=True)
class FilterStep:
    """One command of the MTA.

    Args:
        event: of the machine.
        scope: what an answer is about.
        declined: the bit by which a filter does not want to hear it, 0 if it has to.
        silent: the bit by which it does not answer it, 0 if it has to.
        macros: the list of macros that goes before it.
    """

    event: Event
    scope: Scope
    declined: FilterSteps = FilterSteps(0)
    silent: FilterSteps = FilterSteps(0)
    macros: MacroStage | None = None


_C, _R, _P, _A, _M = Smfic, Smfir, FilterSteps, FilterActions, MacroStage
STEPS: Final[Mapping[Smfic, FilterStep]] = {
    _C.CONNECT: FilterStep(Event.CONNECT, Scope.SESSION, _P.NOCONNECT, _P.NR_CONN, _M.CONNECT),
    _C.HELO: FilterStep(Event.HELO, Scope.SESSION, _P.NOHELO, _P.NR_HELO, _M.HELO),
    _C.MAIL: FilterStep(Event.MAIL, Scope.MESSAGE, _P.NOMAIL, _P.NR_MAIL, _M.ENVFROM),
    _C.RCPT: FilterStep(Event.RCPT, Scope.RCPT, _P.NORCPT, _P.NR_RCPT, _M.ENVRCPT),
    _C.DATA: FilterStep(Event.DATA, Scope.MESSAGE, _P.NODATA, _P.NR_DATA, _M.DATA),
    _C.HEADER: FilterStep(Event.HEADER, Scope.MESSAGE, _P.NOHDRS, _P.NR_HDR),
    _C.EOH: FilterStep(Event.EOH, Scope.MESSAGE, _P.NOEOH, _P.NR_EOH, _M.EOH),
    _C.BODY: FilterStep(Event.BODY, Scope.MESSAGE, _P.NOBODY, _P.NR_BODY),
    _C.BODYEOB: FilterStep(Event.EOM, Scope.MESSAGE, macros=_M.EOM),
    _C.UNKNOWN: FilterStep(Event.UNKNOWN, Scope.COMMAND, _P.NOUNKNOWN, _P.NR_UNKN),
}


@dataclass(frozen=True, slots=True)
class FilterAnswer:
    """One answer.

    Args:
        to: commands that it answers.
        action: what the filter has to have asked for, 0 for nothing.
        step: what the version that was agreed on has to know, 0 for nothing.
    """

    to: frozenset[Smfic]
    action: FilterActions = FilterActions(0)
    step: FilterSteps = FilterSteps(0)


_ALL: Final = frozenset(STEPS)
_END: Final = frozenset((_C.BODYEOB,))
ANSWERS: Final[Mapping[Smfir, FilterAnswer]] = {
    _R.OPTNEG: FilterAnswer(frozenset((_C.OPTNEG,))),
    _R.CONTINUE: FilterAnswer(_ALL),
    _R.PROGRESS: FilterAnswer(_ALL),
    _R.ACCEPT: FilterAnswer(_ALL),
    _R.REJECT: FilterAnswer(_ALL),
    _R.TEMPFAIL: FilterAnswer(_ALL),
    _R.DISCARD: FilterAnswer(_ALL),
    _R.REPLYCODE: FilterAnswer(_ALL),
    _R.SHUTDOWN: FilterAnswer(_ALL),
    _R.CONN_FAIL: FilterAnswer(_ALL),
    _R.SKIP: FilterAnswer(frozenset((_C.HEADER, _C.BODY)), step=_P.SKIP),
    _R.ADDHEADER: FilterAnswer(_END, _A.ADDHDRS),
    _R.INSHEADER: FilterAnswer(_END, _A.ADDHDRS),
    _R.CHGHEADER: FilterAnswer(_END, _A.CHGHDRS),
    _R.REPLBODY: FilterAnswer(_END, _A.CHGBODY),
    _R.ADDRCPT: FilterAnswer(_END, _A.ADDRCPT),
    _R.ADDRCPT_PAR: FilterAnswer(_END, _A.ADDRCPT_PAR),
    _R.DELRCPT: FilterAnswer(_END, _A.DELRCPT),
    _R.CHGFROM: FilterAnswer(_END, _A.CHGFROM),
    _R.QUARANTINE: FilterAnswer(_END, _A.QUARANTINE),
}
