import pytest

from meta1g.base.errors import BugError
from meta1g.smtps.fsm import IN_TRANSACTION, REFUSALS, TRANSITIONS, Event, State, next_state


def test_every_command_is_allowed_or_refused_where_commands_are_read():
    for state in (State.GREETED, State.HELLO, State.MAIL, State.RCPT):
        for event in (Event.HELLO, Event.MAIL, Event.RCPT, Event.DATA, Event.RESET):
            assert ((state, event) in TRANSITIONS) != ((state, event) in REFUSALS), (state, event)


def test_content_is_entered_by_data_or_chunks_after_a_recipient_only():
    assert {key for key, after in TRANSITIONS.items() if after is State.CONTENT} == {
        (State.RCPT, Event.DATA),
        (State.CHUNKS, Event.LAST),
    }
    assert {key[0] for key, after in TRANSITIONS.items() if after is State.CHUNKS} == {State.RCPT, State.CHUNKS}


def test_transactions_are_open_between_mail_and_the_answer_of_the_queue_manager():
    assert {State.MAIL, State.RCPT, State.CHUNKS, State.CONTENT, State.WAIT_COMMIT} == IN_TRANSACTION


def test_an_event_that_the_table_does_not_know_is_a_bug():
    with pytest.raises(BugError, match="DATA in state HELLO"):
        next_state(State.HELLO, Event.DATA)
