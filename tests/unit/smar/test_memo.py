from meta1g.smar.memo import Memo


def test_an_entry_is_given_for_its_version_only():
    memo = Memo(10)
    memo.put("k", 1, "v")
    assert memo.get("k", 1) == "v"
    assert memo.get("k", 2) is None
    assert memo.get("x", 1) is None


def test_a_new_version_makes_old_entries_void_and_old_ones_do_not_come_back():
    memo = Memo(10)
    memo.put("a", 1, "old")
    memo.put("b", 2, "new")
    memo.put("a", 1, "late")
    assert (memo.get("a", 2), memo.get("a", 1), memo.get("b", 2)) == (None, None, "new")


def test_it_never_grows_beyond_its_limit():
    memo = Memo(3)
    for number in range(100):
        memo.put(number, 0, number)
    assert sum(memo.get(number, 0) is not None for number in range(100)) == 3
