import pytest

from meta1g.base.errors import BugError
from meta1g.smtpc.fsm import TRANSITIONS, Event, State, next_state
from tests.fsmwalk import check_table


def test_every_state_is_reached_and_has_a_way_on():
    check_table(TRANSITIONS, State.CONNECTING, {State.CLOSED})


def test_nothing_leaves_closed():
    assert {after for (before, _), after in TRANSITIONS.items() if before is State.CLOSED} == {State.CLOSED}


def test_content_follows_only_a_354():
    assert [key for key, after in TRANSITIONS.items() if after is State.CONTENT] == [(State.DATA, Event.GO_ON)]


def test_an_event_the_table_does_not_know_is_a_bug():
    with pytest.raises(BugError, match="SEND_MAIL in state CONNECTING"):
        next_state(State.CONNECTING, Event.SEND_MAIL)


def test_a_whole_transaction_returns_to_ready():
    state = State.CONNECTING
    for event in (Event.CONNECTED, Event.OK, Event.OK, Event.SEND_MAIL, Event.OK, Event.OK, Event.REFUSED,
                  Event.SEND_DATA, Event.GO_ON, Event.SENT_DOT, Event.OK):  # fmt: skip
        state = next_state(state, event)
    assert state is State.READY
