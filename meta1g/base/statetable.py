"""How a state machine follows its table: from a state and an event to the next state, or to an error that says what was fed.

Pure.  Owner of a state: whoever keeps it.
"""

from collections.abc import Callable, Mapping
from enum import Enum
from typing import TypeVar

from meta1g.base.errors import BugError, Module

_S = TypeVar("_S", bound=Enum)
_E = TypeVar("_E", bound=Enum)


def follow(table: Mapping[tuple[_S, _E], _S], module: Module, state: _S, event: _E, who: Callable[[], str] | None = None) -> _S:
    """Gives the state after an event.

    Args:
        table: state and event, and the state after it.
        module: whose machine it is.
        state: now.
        event: what happened.
        who: names whose state it is, for the error.

    Raises:
        BugError: the table does not know this event in this state.
    """
    after = table.get((state, event))
    if after is None:
        whose = "" if who is None else f"{who()}: "
        raise BugError(module, f"{whose}{event.name} in state {state.name}")
    return after


def follower(table: Mapping[tuple[_S, _E], _S], module: Module) -> Callable[[_S, _E], _S]:
    """Gives follow() for one table."""

    def next_state(state: _S, event: _E) -> _S:
        return follow(table, module, state, event)

    return next_state
