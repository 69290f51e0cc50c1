import pytest
from hypothesis import given
from hypothesis import strategies as st

from meta1g.mcp.order import by_dependence, closure, restart_order, start_first, start_order, stop_first

NAMES = ["qmgr", "smtps", "smtpc", "smar"]
#: meta1.conf(5)
SAMPLE = {"qmgr": frozenset({"smtps", "smtpc", "smar"}), "smar": frozenset({"smtps", "qmgr"})}


def test_the_start_is_from_the_last_section_to_the_first():
    assert start_order(NAMES) == ["smar", "smtpc", "smtps", "qmgr"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [("qmgr", {"smtps", "smtpc", "smar"}), ("smar", {"smtps", "qmgr", "smtpc"}), ("smtps", set()), ("smtpc", set())],
)
def test_dependents_of_dependents_restart_too(name, expected):
    assert closure(name, SAMPLE) == expected


def test_the_component_starts_first_and_the_others_as_in_the_file():
    assert restart_order("smar", NAMES, SAMPLE) == ["smar", "qmgr", "smtps", "smtpc"]


def test_dependents_stop_first_and_in_a_circle_the_file_decides():
    assert stop_first("qmgr", NAMES, SAMPLE) == {"smtps", "smtpc"}
    assert stop_first("smar", NAMES, SAMPLE) == {"smtps", "smtpc", "qmgr"}
    assert stop_first("smtps", NAMES, SAMPLE) == set()


def test_only_those_earlier_in_the_plan_are_waited_for():
    assert start_first("smtps", ["smar", "smtpc"], SAMPLE) == ["smar"]
    assert start_first("smar", [], SAMPLE) == []


dependencies = st.dictionaries(st.sampled_from("abcde"), st.frozensets(st.sampled_from("abcde")))


@given(dependencies)
def test_whatever_the_dependencies_everybody_can_stop(dependents):
    left = set("abcde")
    while left:
        free = {name for name in left if not stop_first(name, "abcde", dependents) & left}
        assert free
        left -= free


@given(dependencies, st.sets(st.sampled_from("abcde")))
def test_whatever_the_dependencies_everybody_can_start_once(dependents, wanted):
    order = by_dependence(wanted, "abcde", dependents)
    assert sorted(order) == sorted(wanted)
    for number, name in enumerate(order):
        for later in order[number + 1 :]:
            assert name not in closure(later, dependents) or later in closure(name, dependents)
