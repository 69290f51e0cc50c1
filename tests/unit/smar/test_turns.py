import threading
import time

import pytest

from meta1g.base.errors import FullError
from meta1g.smar.turns import Turns, advance
from tests.unit.pt.conftest import DEADLINE_S


@pytest.fixture
def turns(system):
    return Turns(system.evthr, system.log)


def busy(seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


class Ledger:
    """Notes what was done, and lets a test wait for it.  Owner: the test."""

    def __init__(self):
        self.done = []
        self._changed = threading.Condition()

    def note(self, what):
        with self._changed:
            self.done.append(what)
            self._changed.notify_all()

    def wait_for(self, what):
        with self._changed:
            assert self._changed.wait_for(lambda: what in self.done, DEADLINE_S), f"{what} is missing in {self.done[-9:]}"


def fail(error):
    raise AssertionError(error)


@pytest.fixture
def no_time(monkeypatch):
    """However long the machine takes: work is short."""
    monkeypatch.setattr("meta1g.smar.turns._monotonic", lambda: 0.0)


def test_short_work_is_done_at_once(turns, no_time):
    ledger = Ledger()
    for number in range(20):
        turns.run("a", lambda number=number: ledger.note(number), fail)
    assert ledger.done == list(range(20))
    assert turns.waiting() == 0


def test_a_source_that_asks_much_waits_and_others_have_their_turn_in_between(turns):
    ledger = Ledger()

    def work(what):
        busy(0.002)
        ledger.note(what)

    for number in range(200):
        turns.run("greedy", lambda number=number: work(number), fail)
    turns.run("modest", lambda: work("modest"), fail)
    ledger.wait_for("modest")
    assert 199 not in ledger.done
    ledger.wait_for(199)
    assert [one for one in ledger.done if one != "modest"] == list(range(200))


def test_long_work_goes_on_in_steps_and_holds_up_nobody(turns, system):
    ledger = Ledger()

    def steps():
        for _ in range(2000):
            busy(0.0005)
            yield None
        ledger.note("long")

    turns.run("a", steps, fail)
    assert ledger.done == []
    system.evthr.call_soon(lambda: ledger.note("task"))
    turns.run("a", lambda: ledger.note("short"), fail)
    ledger.wait_for("short")
    ledger.wait_for("task")
    assert "long" not in ledger.done
    ledger.wait_for("long")


def test_what_fails_costs_itself(turns, system, no_time):
    ledger = Ledger()

    def steps():
        yield None
        raise ValueError("of the test")

    turns.run("a", steps, lambda error: ledger.note(str(error)))
    turns.run("a", lambda: 1 / 0, lambda error: ledger.note(type(error).__name__))
    turns.run("a", lambda: ledger.note("next"), fail)
    assert ledger.done == ["of the test", "ZeroDivisionError", "next"]
    assert "smar.turn" in "\n".join(system.sink.lines)


def test_long_work_that_fails_later_tells_too(turns):
    ledger = Ledger()

    def steps():
        for _ in range(100):
            busy(0.0005)
            yield None
        raise ValueError("late")

    turns.run("a", steps, lambda error: ledger.note(str(error)))
    ledger.wait_for("late")


def test_no_more_waits_than_the_limit(turns, monkeypatch):
    monkeypatch.setattr("meta1g.smar.turns.TURNS_MAX", 3)
    held = threading.Event()
    refused = 0
    for _ in range(6):  # one of them is taken out and waits
        try:
            turns.later(iter_steps(held), fail)
        except FullError:
            refused += 1
    held.set()
    assert refused in (2, 3)


def iter_steps(held):
    held.wait(DEADLINE_S)
    yield None


def test_steps_end_at_a_time():
    taken = []

    def steps():
        while True:
            taken.append(1)
            yield None

    assert advance(steps(), time.monotonic() + 0.01) is True
    assert taken
    assert advance(iter(()), 0.0) is False
