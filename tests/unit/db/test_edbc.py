from hypothesis import given, settings
from hypothesis import strategies as st

from meta1g.db.edbc import FOREVER, Edbc
from tests.fakes.envelopes import ta_id


def entry(when, number=1, idx=0):
    return (float(when), ta_id(number), idx)


def full(*entries, limit=10):
    edbc = Edbc(limit)
    assert edbc.refill(sorted(entries), limit, None)
    return edbc


def test_a_new_window_needs_a_refill_and_asks_from_the_beginning():
    edbc = Edbc(10)
    assert (edbc.needs_refill, edbc.after, edbc.next_time(), edbc.complete, len(edbc)) == (True, None, 0.0, False, 0)


def test_fewer_entries_than_asked_for_make_it_complete():
    edbc = full(entry(5))
    assert (edbc.complete, edbc.needs_refill, edbc.next_time()) == (True, False, 5.0)
    assert edbc.pop_due(5.0) == entry(5)
    assert (edbc.needs_refill, edbc.next_time()) == (False, FOREVER)


def test_nothing_is_due_before_its_time():
    edbc = full(entry(5), entry(3))
    assert edbc.pop_due(2.9) is None
    assert [edbc.pop_due(9.0), edbc.pop_due(9.0), edbc.pop_due(9.0)] == [entry(3), entry(5), None]


def test_what_comes_behind_the_horizon_is_left_to_the_refill():
    edbc = Edbc(2)
    edbc.refill([entry(1), entry(2)], 2, None)
    edbc.add(entry(3))
    assert len(edbc) == 2
    edbc.pop_due(9.0)
    edbc.pop_due(9.0)
    assert (edbc.needs_refill, edbc.after) == (True, entry(2))


def test_too_many_entries_bring_the_horizon_nearer():
    edbc = full(limit=4)
    for when in (5, 4, 3, 2, 1):
        edbc.add(entry(when))
    assert (len(edbc), edbc.horizon, edbc.complete) == (2, entry(2), False)
    edbc.add(entry(2.5))
    assert len(edbc) == 2


def test_a_refill_that_was_asked_for_before_the_window_was_reset_is_not_taken():
    """Between the horizon of then and the beginning there would be a gap."""
    edbc = Edbc(2)
    edbc.refill([entry(1), entry(2)], 2, None)
    edbc.pop_due(9.0)
    edbc.pop_due(9.0)
    asked_after = edbc.after
    edbc.reset()
    assert not edbc.refill([entry(3)], 2, asked_after)
    assert (edbc.needs_refill, edbc.after, len(edbc)) == (True, None, 0)
    assert edbc.refill([entry(0), entry(3)], 3, None)


def test_a_refill_beside_what_came_meanwhile_stays_within_the_limit():
    edbc = Edbc(2)
    edbc.refill([entry(5), entry(6)], 2, None)
    edbc.pop_due(9.0)
    edbc.pop_due(9.0)
    after = edbc.after
    edbc.add(entry(1))
    edbc.refill([entry(7), entry(8)], 2, after)
    assert len(edbc) <= 2
    assert edbc.pop_due(9.0) == entry(1)


class Model:
    """DEFEDB as a set, and the window that is kept beside it the way QMGR does."""

    def __init__(self, limit):
        self.stored, self.edbc, self.limit = set(), Edbc(limit), limit

    def store(self, one):
        self.stored.add(one)
        self.edbc.add(one)

    def refill(self):
        if self.edbc.needs_refill:
            after = self.edbc.after
            found = sorted(one for one in self.stored if after is None or one > after)[: self.limit]
            self.edbc.refill(found, self.limit, after)

    def pop(self, now):
        self.refill()
        one = self.edbc.pop_due(now)
        if one is not None:
            self.stored.discard(one)
        return one


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 5), st.lists(st.one_of(st.integers(0, 30), st.sampled_from(["pop", "reset"])), max_size=60))
def test_nothing_is_forgotten_and_the_limit_holds(limit, steps):
    model = Model(limit)
    for number, step in enumerate(steps):
        if step == "pop":
            model.pop(15.0)
        elif step == "reset":
            model.edbc.reset()
        else:
            model.store(entry(step, number))
        assert len(model.edbc) <= limit
    seen = []
    while model.stored:
        one = model.pop(99.0)
        if one is not None:
            seen.append(one)
        assert one is not None or model.edbc.needs_refill, f"forgotten: {model.stored}"
    assert seen == sorted(seen)
