import pytest

from meta1g.base.errors import FullError, Module
from meta1g.base.rsc import Rsc


def test_a_full_cache_refuses_new_entries_but_takes_changes():
    cache: Rsc[int, str] = Rsc(2, Module.IQDB)
    cache.add(1, "a")
    cache.add(2, "b")
    cache.add(2, "c")
    with pytest.raises(FullError) as error:
        cache.add(3, "d")
    assert error.value.code == 452
    assert cache.usage_percent() == 100


def test_put_forgets_the_least_recently_used_entry():
    cache: Rsc[int, str] = Rsc(2, Module.IQDB)
    cache.put(1, "a")
    cache.put(2, "b")
    cache.get(1)
    cache.put(3, "c")
    assert list(cache) == [1, 3]


def test_a_removed_entry_makes_room():
    cache: Rsc[int, str] = Rsc(1, Module.IQDB)
    cache.add(1, "a")
    assert cache.pop(1) == "a"
    assert cache.pop(1) is None
    cache.add(2, "b")
    assert 2 in cache
    assert len(cache) == 1


def test_a_limit_below_one_is_refused():
    with pytest.raises(ValueError):
        Rsc(0, Module.IQDB)
