"""The table of the client session, and that it is the truth: every event has a caller, no state is set past it."""

import ast
from pathlib import Path

import pytest

from meta1g.base.errors import BugError
from meta1g.smtpc import fsm
from meta1g.smtpc.fsm import MEANINGS, TRANSITIONS, Event, State, Verb, event_of, next_state
from tests.fsmwalk import check_table

SOURCES = {path.name: ast.parse(path.read_text()) for path in Path(fsm.__file__).parent.glob("*.py")}


def test_every_state_is_reached_and_has_a_way_on():
    check_table(TRANSITIONS, State.CONNECTING, {State.CLOSED})


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


def test_every_event_has_a_caller():
    fed = {one.attr for one in ast.walk(SOURCES["talk.py"]) if isinstance(one, ast.Attribute) and named(one.value) == "Event"}
    meant = {event.name for row in MEANINGS.values() for event in row.values()}
    assert {event.name for event in Event} <= fed | meant


def named(node: ast.expr) -> str:
    return node.id if isinstance(node, ast.Name) else ""


def test_nothing_sets_a_state_past_the_table():
    """A state is set where the session begins and where the table says so: nowhere else in the package."""
    found = []
    for name, tree in SOURCES.items():
        for node in ast.walk(tree):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
            flat = [one for target in targets for one in (target.elts if isinstance(target, ast.Tuple) else [target])]
            if any(isinstance(one, ast.Attribute) and one.attr.endswith("state") for one in flat):
                found.append((name, ast.unparse(node)))
    assert found == [
        ("talk.py", "self.state = State.CONNECTING"),
        ("talk.py", "self.state = next_state(self.state, event)"),
    ]


@pytest.mark.parametrize("verb", [verb for verb in Verb if verb is not Verb.CONTENT])
def test_every_code_means_something_to_every_command(verb):
    for code in range(200, 600):
        assert isinstance(event_of(verb, code), Event)
    assert event_of(verb, 421) is Event.LOST
