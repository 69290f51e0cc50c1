import random

import pytest

from meta1g.db.lanes import Lanes
from tests.fakes.envelopes import ta_id


def entry(when, number=1, idx=0):
    return (float(when), ta_id(number), idx)


def plenty(place):
    return 99


def test_entries_wait_in_the_order_of_their_lanes_and_come_when_there_is_room():
    lanes = Lanes(100)
    for number in range(6):
        lanes.park("ab"[number % 2], entry(number))
    assert ("a" in lanes, "c" in lanes, len(lanes)) == (True, False, 6)
    assert lanes.take(lambda place: 0, 9) == []
    assert lanes.take(lambda place: 2 if place == "b" else 0, 9) == [entry(1), entry(3)]
    assert lanes.take(plenty, 2) == [entry(0), entry(2)]
    assert sorted(lanes.take(plenty, 9)) == [entry(4), entry(5)]
    assert (len(lanes), "a" in lanes, "b" in lanes) == (0, False, False)


def test_lanes_take_turns():
    lanes = Lanes(1000)
    for number in range(30):
        lanes.park("abc"[number % 3], entry(number))
    seen = [one[0] % 3 for _ in range(6) for one in lanes.take(lambda place: 1, 1)]
    assert seen == [0, 1, 2, 0, 1, 2]


def test_an_entry_stands_once():
    lanes = Lanes(100)
    for _ in range(3):
        lanes.park("a", entry(1))
    assert len(lanes) == 1
    assert lanes.take(plenty, 9) == [entry(1)]


def test_one_destination_leaves_room_for_the_lanes_of_others():
    lanes = Lanes(100)
    for number in range(1000):
        lanes.park("hung", entry(number))
    assert len(lanes) <= 51
    assert not lanes.crowded
    lanes.park("other", entry(2000))
    assert lanes.take(lambda place: 9 if place == "other" else 0, 9) == [entry(2000)]


def test_what_a_lane_has_no_room_for_is_read_when_it_is_empty():
    disk = [entry(number) for number in range(100)]
    lanes, seen = Lanes(10), []
    for one in disk:
        lanes.park("hung", one)
    assert lanes.to_read() is None
    for _ in range(100):
        seen += lanes.take(plenty, 7)
        if (lane := lanes.to_read()) is not None:
            place, after = lane
            found = [one for one in disk if one > after][:8]
            lanes.was_read(place, [(place, one) for one in found], found[-1] if len(found) == 8 else None)
    assert seen == disk
    assert "hung" not in lanes


def test_what_comes_while_the_disk_is_read_is_not_forgotten():
    lanes = Lanes(2)
    for number in range(5):
        lanes.park("hung", entry(number))
    while len(lanes):
        lanes.take(plenty, 9)
    place, after = lanes.to_read()
    found = [entry(number) for number in range(5) if entry(number) > after]
    lanes.park("hung", entry(3.5))
    lanes.was_read(place, [(place, one) for one in found], None)
    seen = lanes.take(plenty, 99)
    assert entry(3.5) in seen
    assert lanes.to_read() == (place, entry(3.5)), "what came behind it is looked for, too"


def test_what_goes_elsewhere_now_is_found_all_the_same():
    """Another server of the domain is its destination by the time at which the disk is read."""
    lanes = Lanes(2)
    for number in range(9):
        lanes.park("first", entry(number))
    while len(lanes):
        lanes.take(plenty, 9)
    place, after = lanes.to_read()
    found = [entry(number) for number in range(9) if entry(number) > after]
    lanes.was_read(place, [("second", one) for one in found], None)
    assert "first" not in lanes
    assert "second" in lanes


def test_a_read_that_comes_after_all_was_forgotten_is_ignored():
    lanes = Lanes(2)
    for number in range(5):
        lanes.park("hung", entry(number))
    lanes.clear()
    lanes.was_read("hung", [("hung", entry(4))], None)
    assert (len(lanes), lanes.to_read()) == (0, None)


class World:
    """Destinations change at random; the disk is a set of entries, some of which are in AQ."""

    def __init__(self, seed):
        self.rng = random.Random(seed)
        self.lanes = Lanes(self.rng.choice((1, 4, 16)))
        self.disk, self.here, self.where, self.number = set(), set(), {}, 0

    def come(self):
        self.number += 1
        one = entry(self.number / self.rng.choice((1, 2, 3)), self.number)
        self.disk.add(one)
        self.where[one] = self.rng.choice("aaab")
        self.lanes.park(self.where[one], one)

    def leave(self):
        if self.here:
            one = min(self.here)
            self.here.discard(one)
            self.disk.discard(one)

    def go_elsewhere(self):
        if self.where:
            self.where[self.rng.choice(list(self.where))] = self.rng.choice("ab")

    def feed(self, most):
        self.here.update(one for one in self.lanes.take(lambda place: self.rng.randint(0, most), 5) if one in self.disk)

    def read(self, meanwhile):
        lane = self.lanes.to_read()
        if lane is not None:
            found = sorted(one for one in self.disk if one > lane[1])[:5]
            for _ in range(meanwhile):
                self.come()
            fresh = [(self.where[one], one) for one in found if one not in self.here]
            self.lanes.was_read(lane[0], fresh, found[-1] if len(found) == 5 else None)
        return lane


@pytest.mark.parametrize("seed", range(30))
def test_nothing_is_forgotten_whatever_happens(seed):
    world = World(seed)
    for _ in range(2000):
        step = world.rng.choice("ccccleffrr")
        {"c": world.come, "l": world.leave, "e": world.go_elsewhere}.get(step, lambda: None)()
        if step == "f":
            world.feed(2)
        elif step == "r":
            world.read(world.rng.randint(0, 2))
    for _ in range(10_000):
        world.feed(99)
        if world.read(0) is None and not len(world.lanes):
            break
    assert world.here == world.disk
