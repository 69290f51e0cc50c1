import pytest

from meta1g.pt.task import ROWS, RUN_STATES, TRANSITIONS, Ev, Event, Result, State

OUTSIDE = (Event.READY, Event.DUE, Event.WAKE, Event.DELETE, Event.CLEAN)
BACK = (Event.BACK_WAIT, Event.BACK_SLEEP, Event.BACK_RUN, Event.BACK_DEL, Event.BACK_CLEAN)


@pytest.mark.parametrize("state", [state for state in State if state is not State.DELETED])
def test_every_state_but_deleted_has_a_way_to_deleted(state):
    seen, todo = set(), [state]
    while todo:
        here = todo.pop()
        if here not in seen:
            seen.add(here)
            todo += [new for (old, _), new in TRANSITIONS.items() if old is here]
    assert State.DELETED in seen


@pytest.mark.parametrize("state", list(State))
def test_events_from_outside_are_allowed_in_every_state(state):
    assert all((state, event) in TRANSITIONS for event in OUTSIDE)


@pytest.mark.parametrize("state", list(State))
def test_only_a_running_task_comes_back(state):
    comes_back = [event for event in BACK if (state, event) in TRANSITIONS]
    assert bool(comes_back) == (state in RUN_STATES)


@pytest.mark.parametrize("state", list(State))
def test_only_queued_tasks_are_taken(state):
    assert ((state, Event.TAKE) in TRANSITIONS) == (state in (State.RUNQ, State.CLEANQ))


@pytest.mark.parametrize("state", sorted(RUN_STATES))
def test_no_event_from_outside_lets_a_running_task_out(state):
    assert all(ROWS[state][event] in RUN_STATES for event in OUTSIDE)


def test_wakeup_during_a_run_always_leads_back_to_the_run_queue():
    again = TRANSITIONS[State.RUNNING, Event.WAKE]
    assert {TRANSITIONS[again, event] for event in BACK[:3]} == {State.RUNQ}


def test_deletion_during_a_run_is_not_undone_by_a_wakeup():
    assert TRANSITIONS[State.DOOMED, Event.WAKE] is State.DOOMED
    assert not any((State.DOOMED, event) in TRANSITIONS for event in BACK[:3])


def test_event_and_result_flags_can_be_combined():
    assert Ev.RD in Ev.RD | Ev.WR
    assert Result.OK | Result.WAITQ == Result.WAITQ
