from pathlib import Path

import pytest

from meta1g.db.ibdb_life import TRANSITIONS, Event, Life, State


def test_a_current_file_never_drains():
    life = Life(1, Path("ibdb00000001"))
    assert not life.drain()
    assert life.state is State.CURRENT


def test_a_full_file_drains_when_the_last_closing_record_is_durable():
    life = Life(1, Path("ibdb00000001"), open={"a": None, "b": None})
    life.step(Event.ROLL)
    assert not life.drain()
    life.close("a")
    life.durable()
    life.close("b")
    assert not life.drain()
    life.durable()
    assert life.drain()
    assert life.state is State.DRAINED
    assert life.drain()


@pytest.mark.parametrize(("state", "event"), [(s, e) for s in State for e in Event if (s, e) not in TRANSITIONS])
def test_steps_outside_the_table_are_errors(state, event):
    with pytest.raises(KeyError):
        Life(1, Path("ibdb00000001"), state).step(event)
