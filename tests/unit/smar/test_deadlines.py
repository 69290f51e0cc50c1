import threading

import pytest

from meta1g.smar.deadlines import Deadlines
from tests.unit.pt.conftest import DEADLINE_S

from .conftest import JumpClock


class Late:
    """Collects what is late.  Owner: the test."""

    def __init__(self):
        self.things = []
        self._changed = threading.Condition()

    def __call__(self, thing):
        with self._changed:
            self.things.append(thing)
            self._changed.notify_all()
        if thing == "bad":
            raise ValueError("of the test")

    def wait_for(self, count):
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.things) >= count, DEADLINE_S), self.things


@pytest.fixture
def clock():
    return JumpClock()


@pytest.fixture
def system(make_system, clock):
    return make_system(clock=clock)


def test_things_are_late_once_in_their_order(system, clock):
    late = Late()
    deadlines = Deadlines(system.evthr, 60, late, log=system.log)
    for number in range(1000):
        deadlines.add(number)
    assert late.things == []
    clock.ahead_s = 61
    system.evthr.wakeup(deadlines._task)
    late.wait_for(1000)
    assert late.things == list(range(1000))
    assert len(deadlines) == 0


def test_what_is_over_is_not_late_and_takes_no_room(system, clock):
    late, over = Late(), set(range(999))
    deadlines = Deadlines(system.evthr, 60, late, log=system.log, is_over=over.__contains__)
    for number in range(1000):
        deadlines.add(number)
    assert len(deadlines) == 1
    clock.ahead_s = 61
    system.evthr.wakeup(deadlines._task)
    late.wait_for(1)
    assert late.things == [999]


def test_one_that_fails_costs_only_itself(system, clock):
    late = Late()
    deadlines = Deadlines(system.evthr, 0.01, late, log=system.log)
    for thing in ("a", "bad", "c"):
        deadlines.add(thing)
    late.wait_for(3)
    assert late.things == ["a", "bad", "c"]
    deadlines.add("later")
    late.wait_for(4)


def test_no_time_is_lost_between_many_threads(system):
    late = Late()
    deadlines = Deadlines(system.evthr, 0.001, late, log=system.log)

    def add(start):
        for number in range(500):
            deadlines.add(start + number)

    threads = [threading.Thread(target=add, args=(start * 500,)) for start in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    late.wait_for(2000)
    assert sorted(late.things) == list(range(2000))


class OneTask:
    """A task whose time is taken back while something new comes.  Owner: the test."""

    at = None
    hook = None

    def sleep_until(self, when):
        if when is None and self.hook is not None:
            hook, self.hook = self.hook, None
            hook()
        self.at = when


class Still:
    """An event system that does nothing by itself.  Owner: the test."""

    def __init__(self, clock):
        self.clock = clock
        self.task = OneTask()

    def task_new(self, function, **options):
        self.function = function
        return self.task


def test_something_that_comes_while_the_last_one_goes_keeps_its_time(clock):
    still, late = Still(clock), Late()
    deadlines = Deadlines(still, 60, late)
    deadlines.add("first")
    clock.ahead_s = 61
    still.task.hook = lambda: deadlines.add("second")
    still.function(still.task)
    assert late.things == ["first"]
    assert still.task.at == pytest.approx(clock.monotonic() + 60, abs=5)
