"""Resolution of a recipient (FSM 8).

    ALIAS -> ROUTE -+-> MX ------> ADDRESS -> DONE
      |        |    +-> ADDRESS       |
      |        +-> DONE (addresses are known)
      +-> DONE (members)              +-> ERROR, from every state

A recipient has one walk through ALIAS and ROUTE; from there each host of its route walks on by itself.

Invariant: an answer leaves when every walk is in DONE or ERROR, and not before.
Pure: no I/O; meta1g.smar.request acts on the states.
Ref: MeTA1 design, "Functional Specification: SMAR, resolving a recipient" (modelled on).
"""

from collections.abc import Mapping
from enum import Enum, auto
from typing import Final


class State(Enum):
    """States of a walk."""

    ALIAS = auto()  # is it an alias?
    ROUTE = auto()  # what does the mailertable say?
    MX = auto()  # waits for MX records
    ADDRESS = auto()  # waits for addresses
    DONE = auto()
    ERROR = auto()


class Event(Enum):
    """What can happen to a walk."""

    NO_ALIAS = auto()
    MEMBERS = auto()
    KNOWN = auto()  # the mailertable gives addresses
    HOST = auto()  # the mailertable gives a host without MX look-up
    DOMAIN = auto()  # MX records decide
    HOSTS = auto()  # MX records name hosts
    NO_MX = auto()  # the domain itself is the host (RFC 5321 5.1)
    ADDRESSES = auto()
    FAILED = auto()


_S: Final = State
_E: Final = Event

TRANSITIONS: Final[Mapping[tuple[State, Event], State]] = {
    (_S.ALIAS, _E.NO_ALIAS): _S.ROUTE,
    (_S.ALIAS, _E.MEMBERS): _S.DONE,
    (_S.ALIAS, _E.FAILED): _S.ERROR,
    (_S.ROUTE, _E.KNOWN): _S.DONE,
    (_S.ROUTE, _E.HOST): _S.ADDRESS,
    (_S.ROUTE, _E.DOMAIN): _S.MX,
    (_S.ROUTE, _E.FAILED): _S.ERROR,
    (_S.MX, _E.HOSTS): _S.ADDRESS,
    (_S.MX, _E.NO_MX): _S.ADDRESS,
    (_S.MX, _E.FAILED): _S.ERROR,
    (_S.ADDRESS, _E.ADDRESSES): _S.DONE,
    (_S.ADDRESS, _E.FAILED): _S.ERROR,
}

FINAL: Final = frozenset((State.DONE, State.ERROR))
