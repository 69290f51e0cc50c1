import pytest

from meta1g.base.errors import BugError
from meta1g.smtpc.fsm import TRANSITIONS, Event, State, Verb, event_of, next_state


def test_nothing_leaves_closed():
    assert {after for (before, _), after in TRANSITIONS.items() if before is State.CLOSED} == {State.CLOSED}


def test_content_follows_only_a_3yz_or_bdat():
    before = [(State.RCPT, Event.SEND_CHUNK), (State.DATA, Event.GO_ON)]
    assert [key for key, after in TRANSITIONS.items() if after is State.CONTENT] == before


def test_an_event_the_table_does_not_know_is_a_bug():
    with pytest.raises(BugError, match="SEND_MAIL in state CONNECTING"):
        next_state(State.CONNECTING, Event.SEND_MAIL)


def test_a_whole_transaction_returns_to_ready():
    state = State.CONNECTING
    for event in (Event.CONNECTED, Event.OK, Event.SEND_HELLO, Event.OK, Event.SEND_MAIL, Event.OK, Event.OK, Event.REFUSED,
                  Event.SEND_DATA, Event.GO_ON, Event.SENT_DOT, Event.OK):  # fmt: skip
        state = next_state(state, event)
    assert state is State.READY


@pytest.mark.parametrize("verb", [verb for verb in Verb if verb is not Verb.CONTENT])
def test_every_code_means_something_to_every_command(verb):
    for code in range(200, 600):
        assert isinstance(event_of(verb, code), Event)
    assert event_of(verb, 421) is Event.LOST
