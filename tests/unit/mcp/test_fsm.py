import pytest

from meta1g.base.errors import BugError
from meta1g.mcp.fsm import ALIVE, TRANSITIONS, Event, State, exit_event, next_state


@pytest.mark.parametrize("state", sorted(ALIVE, key=lambda s: s.name))
def test_a_process_may_end_in_every_state_that_has_one(state):
    assert {TRANSITIONS[state, e] for e in (Event.ENDED_WELL, Event.REFUSED, Event.FAILED_RUN)}.isdisjoint(ALIVE)


def test_what_was_told_to_stop_is_never_repaired():
    assert {TRANSITIONS[State.STOPPING, e] for s, e in TRANSITIONS if s is State.STOPPING} == {State.STOPPED}


def test_an_event_outside_the_table_is_a_bug():
    with pytest.raises(BugError, match="READY in state STOPPED"):
        next_state(State.STOPPED, Event.READY)


@pytest.mark.parametrize(
    ("code", "event"),
    [
        (0, Event.ENDED_WELL),
        (64, Event.REFUSED),
        (77, Event.REFUSED),
        (78, Event.REFUSED),
        (1, Event.FAILED_RUN),
        (70, Event.FAILED_RUN),
        (75, Event.FAILED_RUN),
        (-9, Event.FAILED_RUN),
        (-15, Event.FAILED_RUN),
    ],
)
def test_exit_codes_decide(code, event):
    assert exit_event(code) is event
