from meta1g.qmgr.da_fsm import TRANSITIONS, Event, State


def test_nothing_leaves_gone():
    assert not [key for key in TRANSITIONS if key[0] is State.GONE]


def test_only_an_idle_session_gets_a_delivery():
    assert [before for before, event in TRANSITIONS if event is Event.DELIVER] == [State.IDLE]


def test_every_session_can_end_at_any_time():
    assert {before for before, event in TRANSITIONS if event is Event.CLOSE} == set(State) - {State.GONE}
