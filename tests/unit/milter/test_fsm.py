import pytest

from meta1g.base.errors import BugError
from meta1g.milter.frames import Smfic, Smfir
from meta1g.milter.fsm import IN_MESSAGE, TRANSITIONS, Event, State, next_state
from meta1g.milter.steps import ANSWERS, STEPS


def test_nothing_but_the_end_leaves_a_filter_that_failed():
    assert {event for (state, event) in TRANSITIONS if state is State.FAILED} == {Event.FAIL, Event.QUIT}


def test_a_message_begins_in_one_state_only_and_every_message_can_be_aborted():
    assert [state for (state, event) in TRANSITIONS if event is Event.MAIL] == [State.HELLO]
    assert {state for (state, event) in TRANSITIONS if event is Event.ABORT} == {*IN_MESSAGE, State.PASSED}


def test_an_event_out_of_place_is_a_bug():
    with pytest.raises(BugError, match="EOM in state RCPT"):
        next_state(State.RCPT, Event.EOM)


def test_each_command_that_is_answered_is_a_step_and_each_answer_has_a_row():
    assert set(Smfic) - set(STEPS) == {Smfic.ABORT, Smfic.MACRO, Smfic.OPTNEG, Smfic.QUIT, Smfic.QUIT_NC}
    assert set(ANSWERS) == set(Smfir)


def test_changes_are_made_at_the_end_of_a_message_only_and_need_to_be_agreed_on():
    assert {kind for kind, row in ANSWERS.items() if row.action} == {
        kind for kind, row in ANSWERS.items() if row.to == {Smfic.BODYEOB}
    }
