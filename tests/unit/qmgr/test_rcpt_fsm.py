import pytest

from meta1g.base.errors import BugError
from meta1g.db.aq_types import AqRcpt, AqTa, Home, RcptState
from meta1g.qmgr.rcpt_fsm import ROWS, SETTLED, TRANSITIONS, Event, step
from tests.fakes.envelopes import rcpt, ta


def one() -> AqRcpt:
    return AqRcpt(AqTa(ta(1), in_ibdb=True, in_defedb=False), rcpt(1, 5), Home.IBDB)


def test_every_state_has_a_row():
    assert set(ROWS) == set(RcptState)


def test_done_is_reached_only_from_a_store():
    assert [key for key, after in TRANSITIONS.items() if after is RcptState.DONE] == [(RcptState.WAIT_UPDATE, Event.STORED)]


def test_only_a_ready_recipient_is_taken():
    assert [before for before, event in TRANSITIONS if event is Event.TAKE] == [RcptState.READY]


def test_a_settled_recipient_never_becomes_ready_again():
    assert not [key for key, after in TRANSITIONS.items() if key[0] in SETTLED and after not in SETTLED]


def test_the_way_of_a_delivered_recipient():
    it = one()
    for event in (Event.ASK_AR, Event.AR_LOST, Event.ASK_AR, Event.RESOLVED, Event.TAKE, Event.NEXT, Event.TAKE, Event.STORE):
        step(it, event)
    assert it.state is RcptState.WAIT_UPDATE
    step(it, Event.STORED)
    assert it.state is RcptState.DONE


def test_an_event_the_table_does_not_know_is_a_bug_that_names_the_recipient():
    it = one()
    with pytest.raises(BugError, match=r"S0000000000000001..-0005: TAKE in state NEW"):
        step(it, Event.TAKE)
    assert it.state is RcptState.NEW
