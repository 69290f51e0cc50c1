import pytest
from hypothesis import given
from hypothesis import strategies as st

from meta1g.base.shares import Pool, TurnOrder, client_key, room


@pytest.mark.parametrize(
    ("addr", "key"),
    [("192.0.2.1", "192.0.2.1"), ("2001:db8::1", "2001:db8::/64"), ("2001:DB8:0:0:ffff::9", "2001:db8::/64"),
     ("2001:db8:0:1::1", "2001:db8:0:1::/64"), ("::ffff:192.0.2.1", "192.0.2.1"), ("fe80::1%eth0", "fe80::/64"),
     ("::1", "::/64"), ("local:", "local:"), ("", "")],
)  # fmt: skip
def test_a_client_is_an_address_or_an_ipv6_prefix(addr, key):
    assert client_key(addr) == key


def test_one_key_cannot_use_a_pool_up():
    pool = Pool(100, greed=3)
    while pool.take("hog"):
        pass
    assert (pool.held("hog"), pool.free) == (75, 25)
    assert pool.take("other")


def test_a_cap_holds_in_an_empty_pool_too():
    pool = Pool(80, cap=10)
    assert [pool.take("a") for _ in range(11)] == [True] * 10 + [False]
    assert pool.room("b") == 10


def test_what_is_given_back_can_be_taken_again():
    pool = Pool(4)
    assert [pool.take("a") for _ in range(3)] == [True, True, False]
    pool.give("a")
    assert (pool.take("a"), pool.keys) == (True, 1)
    pool.give("a", 2)
    assert (pool.used, pool.keys) == (0, 0)


def test_a_place_moves_to_another_key():
    pool = Pool(4)
    pool.take("a")
    pool.move("a", "b")
    assert (pool.held("a"), pool.held("b"), pool.used) == (0, 1, 1)


def test_several_fit_only_together():
    pool = Pool(10, greed=2)
    assert pool.fits({"a": 6})
    assert not pool.fits({"a": 7})
    assert not pool.fits({"a": 6}, halved={"a"})
    assert pool.fits({"b": 6}, halved={"a"})
    assert pool.fits({"a": 4, "b": 3})
    assert not pool.fits({"a": 5, "b": 5})
    assert pool.fits(dict.fromkeys("abcdefghij", 1))
    assert not pool.fits(dict.fromkeys("abcdefghijk", 1))


def test_too_much_is_noticed():
    pool = Pool(10, greed=1)
    for _ in range(5):
        pool.hold("a")
    assert not pool.over("a")
    pool.hold("b")
    assert pool.over("a")


@pytest.mark.parametrize("greed", [1, 2, 3, 7])
@pytest.mark.parametrize("limit", [1, 2, 3, 16, 8192])
def test_the_room_that_is_told_is_the_room_there_is(limit, greed):
    pool = Pool(limit, greed=greed)
    told, taken = pool.room("a"), 0
    assert pool.fits({"a": told})
    while pool.take("a"):
        taken += 1
    assert taken == told == room(0, limit, greed) >= 1


@given(st.integers(1, 200), st.integers(1, 4), st.lists(st.integers(0, 30), max_size=300))
def test_whoever_holds_nothing_gets_a_place_while_few_are_greedy(limit, greed, keys):
    """With n keys that take all they can, 1 / (n greed + 1) of the pool is free."""
    pool = Pool(limit, greed=greed)
    for key in keys:
        pool.take(key)
        assert pool.used <= limit
        assert sum(pool.held(one) for one in set(keys)) == pool.used
    if limit > len(set(keys)) * (greed + 1):
        assert pool.take("new")


def test_keys_take_turns_and_one_that_had_its_turn_comes_last():
    order = TurnOrder()
    for key, item in (("a", 1), ("a", 2), ("a", 3), ("b", 4), ("c", 5)):
        order.add(key, item)
    assert [order.take(lambda _key: True) for _ in range(6)] == [("a", 1), ("b", 4), ("c", 5), ("a", 2), ("a", 3), None]


def test_a_key_without_room_is_passed_over_and_keeps_its_turn():
    order = TurnOrder()
    for key in ("a", "b", "b", "c"):
        order.add(key, key)
    assert order.take(lambda key: key != "a") == ("b", "b")
    assert order.take(lambda _key: False) is None
    assert order.take(lambda _key: True) == ("a", "a")
    order.remove("c", "c")
    assert ("c" in order, order.take(lambda _key: True)) == (False, ("b", "b"))


@given(st.lists(st.sampled_from("abcde"), max_size=60), st.sampled_from("abcde"))
def test_who_is_new_waits_for_one_turn_of_each_other_at_most(waiting, new):
    order = TurnOrder()
    for key in waiting:
        if key != new:
            order.add(key, key)
    order.add(new, new)
    before = []
    while (found := order.take(lambda _key: True)) != (new, new):
        before.append(found)
    assert len(before) == len(set(before)) == len({*waiting} - {new})
