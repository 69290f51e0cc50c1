"""Checks that hold for every state machine table (state, event) -> state."""

from collections.abc import Mapping
from enum import Enum


def check_table(table: Mapping[tuple[Enum, Enum], Enum], start: Enum, final: set[Enum]) -> None:
    """Every state is reached from the start, every state that is not final has a way on, every event is used."""
    states, events = set(type(start)), {event for _, event in table}
    reached, todo = set(), [start]
    while todo:
        state = todo.pop()
        if state not in reached:
            reached.add(state)
            todo += [after for (before, _), after in table.items() if before is state]
    assert reached == states, f"never reached: {states - reached}"
    stuck = {s for s in states - final if all(after is s for (before, _), after in table.items() if before is s)}
    assert not stuck, f"no way on from {stuck}"
    assert events == set(type(next(iter(events)))), f"unused events: {set(type(next(iter(events)))) - events}"
