import pytest

from meta1g.maps.base import NOMORE, NOTFOUND, MapStatus, ok, perm, temp
from meta1g.maps.sequence import SequenceMap


class One:
    """A map that always gives the same answer."""

    def __init__(self, answer, *, blocking=False, version=0):
        self.name, self.answer, self.blocking, self.number, self.asked = "one", answer, blocking, version, 0

    def lookup(self, key):
        self.asked += 1
        return self.answer

    def version(self):
        return self.number

    def close(self):
        raise AssertionError("closed by the sequence")


@pytest.mark.parametrize("answer", [ok("a"), NOMORE, temp("away"), perm("broken")])
def test_the_second_map_is_not_asked_after_any_answer_but_not_found(answer):
    second = One(ok("b"))
    assert SequenceMap("s", [One(answer), second]).lookup("k") == answer
    assert second.asked == 0


def test_the_second_map_is_asked_after_not_found():
    assert SequenceMap("s", [One(NOTFOUND), One(ok("b"))]).lookup("k").value == "b"
    assert SequenceMap("s", [One(NOTFOUND), One(NOTFOUND)]).lookup("k").status is MapStatus.NOTFOUND


def test_it_blocks_if_any_map_blocks_and_changes_if_any_map_changes():
    quick, slow = One(NOTFOUND, version=3), One(NOTFOUND, blocking=True, version=4)
    assert not SequenceMap("s", [quick]).blocking
    sequence = SequenceMap("s", [quick, slow])
    assert sequence.blocking
    before = sequence.version()
    slow.number += 1
    assert sequence.version() > before
    sequence.close()
