import threading

import pytest

from meta1g.base.errors import BugError, Module
from meta1g.maps.base import MapStatus, ok, perm, temp
from meta1g.maps.static import StaticMap
from meta1g.smar.guard import ASKER, GuardedMap, MapBusyError, MapGate
from tests.unit.pt.conftest import DEADLINE_S


class Scripted(StaticMap):
    """A map that does what it is told."""

    def __init__(self, act, *, blocking=False):
        super().__init__("scripted", {})
        self.act, self.blocking = act, blocking

    def lookup(self, key):
        result = self.act(key) if callable(self.act) else self.act
        if isinstance(result, Exception):
            raise result
        return result


@pytest.fixture
def guarded(system):
    return lambda act, **options: GuardedMap(Scripted(act, **options), "meta1.conf:7", system.log)


def test_answers_pass(guarded):
    assert guarded(ok("v")).lookup("k") == ok("v")
    assert guarded(ok("v"), blocking=True).lookup("k") == ok("v")


@pytest.mark.parametrize("error", [ValueError("of the test"), MemoryError(), OSError(5, "I/O"), UnicodeError("x"), KeyError(1)])
def test_an_exception_of_a_map_is_a_temporary_error_of_that_look_up(guarded, system, error):
    table = guarded(lambda key: error if key == "bad" else ok("v"))
    assert table.lookup("bad").status is MapStatus.TEMP
    assert table.lookup("good") == ok("v")
    assert "map=scripted" in "\n".join(system.sink.lines)


def test_a_bug_goes_on(guarded):
    with pytest.raises(BugError):
        guarded(BugError(Module.MAP, "of the test")).lookup("k")


@pytest.mark.parametrize("result", [temp("/etc/x.db: cannot read map"), perm("no")])
def test_a_map_that_does_not_answer_is_logged_once_in_a_while_with_place_and_reason(guarded, system, result):
    table = guarded(result)
    for _ in range(50):
        table.lookup("k")
    lines = [line for line in system.sink.lines if "map.lookup" in line or "scripted" in line]
    assert len(lines) == 1
    assert "meta1.conf:7" in lines[0]
    assert result.value in lines[0]


def test_a_slow_map_holds_no_more_than_its_share(guarded, monkeypatch):
    gate, inside = threading.Event(), threading.Semaphore(0)

    def wait(key):
        inside.release()
        gate.wait(DEADLINE_S)
        return ok("v")

    table = guarded(wait, blocking=True)

    def ask(asker):
        ASKER.set(asker)
        return table.lookup("k")

    threads = [threading.Thread(target=ask, args=(f"192.0.2.{number}",)) for number in range(8)]
    for thread in threads:
        thread.start()
    for _ in threads:
        assert inside.acquire(timeout=DEADLINE_S)
    with pytest.raises(MapBusyError) as busy:
        table.lookup("k")
    resumed = threading.Event()
    assert busy.value.gate.wait(lambda: resumed.set() or True)
    assert not resumed.is_set()
    gate.set()
    assert resumed.wait(DEADLINE_S)
    for thread in threads:
        thread.join()
    assert table.lookup("k") == ok("v")


def as_asker(name, call, *args):
    """Calls it as somebody who asks."""
    token = ASKER.set(name)
    try:
        return call(*args)
    finally:
        ASKER.reset(token)


def test_askers_go_in_by_turns_and_none_takes_all_places():
    gate, woken = MapGate(4, waiting_max=9), []
    for _ in range(3):
        as_asker("greedy", gate.enter)
    with pytest.raises(MapBusyError):
        as_asker("greedy", gate.enter)
    waits = [as_asker("greedy", gate.wait, lambda: woken.append("greedy") or True) for _ in range(9)]
    assert waits.count(True) < 9
    as_asker("other", gate.enter)
    for name in ("other", "third"):
        assert as_asker(name, gate.wait, lambda name=name: woken.append(name) or True)
    for _ in range(3):
        as_asker("greedy", gate.leave)
    assert sorted(woken) == ["greedy", "other", "third"]


def test_one_that_has_gone_is_passed_over():
    gate, woken = MapGate(1), []
    gate.enter()
    assert gate.wait(lambda: woken.append("gone") and False)
    assert gate.wait(lambda: woken.append("here") or True)
    gate.leave()
    assert woken == ["gone", "here"]


def test_a_gate_with_room_lets_in_at_once_and_a_full_waiting_room_refuses():
    gate, woken = MapGate(1, waiting_max=1), []
    assert gate.wait(lambda: woken.append(1) or True)
    assert woken == [1]
    gate.enter()
    assert gate.wait(lambda: True)
    assert not gate.wait(lambda: True)
