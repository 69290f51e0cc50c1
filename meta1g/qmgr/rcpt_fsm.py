"""One recipient while it is in AQ.

    NEW -> SENT_TO_AR -------------> READY -> SCHEDULED -> WAIT_UPDATE -> DONE
     ^         |  |                   ^ ^ |       |           ^
     +- lost --+  +---> GATHERING ----+ | +-------|-----------+      deferred, delivered, expanded
                        others of its   +- next --+-> FAILED -+      waits for its bounce
                        transaction        address

Invariants: a recipient stands in a destination queue (aqrdq) if and only if its state is READY, and in a group (gather) if
and only if it is GATHERING.

Pure.  Locking: caller holds AQ.
Ref: MeTA1 design, "Implementation: AQ" (states modelled on the flags AQR_FL_*).
"""

from collections.abc import Mapping
from enum import IntEnum, auto
from typing import Final

from meta1g.base.errors import Module
from meta1g.base.ids import rcpt_id
from meta1g.base.statetable import follow
from meta1g.db.aq_types import AqRcpt, RcptState


class Event(IntEnum):
    """What can happen to a recipient."""

    ASK_AR = auto()  # the resolver is asked
    AR_LOST = auto()  # the resolver is gone
    GATHER = auto()  # server addresses came, not yet those of others
    RESOLVED = auto()  # server addresses came, all that are worth waiting for
    TAKE = auto()  # a delivery takes it
    NEXT = auto()  # the next address, or the same one again
    STORE = auto()  # a store is asked to keep or forget it
    FAIL = auto()  # it failed for good
    STORED = auto()  # the store has done so


_S: Final = RcptState
_E: Final = Event

ROWS: Final[Mapping[RcptState, Mapping[Event, RcptState]]] = {
    _S.NEW: {_E.ASK_AR: _S.SENT_TO_AR, _E.STORE: _S.WAIT_UPDATE, _E.FAIL: _S.FAILED},
    _S.SENT_TO_AR: {
        _E.AR_LOST: _S.NEW,
        _E.GATHER: _S.GATHERING,
        _E.RESOLVED: _S.READY,
        _E.STORE: _S.WAIT_UPDATE,
        _E.FAIL: _S.FAILED,
    },
    _S.GATHERING: {_E.RESOLVED: _S.READY, _E.STORE: _S.WAIT_UPDATE},
    _S.READY: {_E.TAKE: _S.SCHEDULED, _E.NEXT: _S.READY, _E.STORE: _S.WAIT_UPDATE, _E.FAIL: _S.FAILED},
    _S.SCHEDULED: {_E.NEXT: _S.READY, _E.STORE: _S.WAIT_UPDATE, _E.FAIL: _S.FAILED},
    _S.FAILED: {_E.STORE: _S.WAIT_UPDATE},
    _S.WAIT_UPDATE: {_E.STORED: _S.DONE},
    _S.DONE: {},
}

TRANSITIONS: Final[Mapping[tuple[RcptState, Event], RcptState]] = {
    (state, event): new for state, row in ROWS.items() for event, new in row.items()
}

#: States in which nothing more is going to happen to a recipient by itself.
SETTLED: Final = frozenset((RcptState.FAILED, RcptState.WAIT_UPDATE, RcptState.DONE))

#: States before the resolver has answered; no way leads back there.
UNRESOLVED: Final = frozenset((RcptState.NEW, RcptState.SENT_TO_AR))


def step(rcpt: AqRcpt, event: Event) -> None:
    """Moves a recipient.

    Raises:
        BugError: the event must not happen in its state.
    """
    state = rcpt.state
    new = follow(TRANSITIONS, Module.AQ, state, event, lambda: rcpt_id(rcpt.ta.ta_id, rcpt.record.rcpt_idx))
    if new in SETTLED and state not in SETTLED:
        rcpt.ta.unsettled -= 1
    if state in UNRESOLVED and new not in UNRESOLVED:
        rcpt.ta.unresolved -= 1
    rcpt.state = new
