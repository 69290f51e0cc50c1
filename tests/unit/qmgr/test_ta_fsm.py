from meta1g.qmgr.ta_fsm import TRANSITIONS, Event, State


def test_only_a_flush_leads_to_accepted():
    assert [key for key, after in TRANSITIONS.items() if after is State.ACCEPTED] == [(State.COMMITTING, Event.FLUSHED)]


def test_an_accepted_transaction_can_only_be_handed_over():
    assert [(event, after) for (before, event), after in TRANSITIONS.items() if before is State.ACCEPTED] == [
        (Event.ENTERED, State.HANDED_OVER)
    ]


def test_a_refused_transaction_is_never_committed():
    reached, todo = set(), [State.REFUSED]
    while todo:
        state = todo.pop()
        if state not in reached:
            reached.add(state)
            todo += [after for (before, _), after in TRANSITIONS.items() if before is state]
    assert reached == {State.REFUSED, State.ABORTED}
