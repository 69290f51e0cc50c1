"""Figures of filters: those of several processes are added, and who is not there is trouble."""

import pytest

from meta1g.qmgr.filterstatus import filter_rows, filter_troubles
from meta1g.qmgr.limits import FILTERS_MAX
from meta1g.rcb.smtps_qmgr import FilterFaults, FilterReport
from tests.fakes.qmgr_system import QmgrSystem, wait_until


@pytest.fixture
def system(tmp_path):
    made = QmgrSystem(tmp_path)
    yield made
    made.stop()


ZERO = dict.fromkeys(("sessions", "messages", "refused", "discarded", "changed", "answers", "answers_us", "worst_us"), 0)


def report(state="up", since=1000.0, name="a", faults=(), **figures):
    counted = tuple(FilterFaults(fault=fault, count=count) for fault, count in faults)
    return FilterReport(kind="milter", name=name, state=state, since=since, faults=counted, **{**ZERO, **figures})


def test_processes_of_a_section_are_added_and_sections_stand_apart():
    first = report(sessions=3, answers=2, answers_us=4000, worst_us=3000, faults=[("timeout", 1)])
    second = report(since=900.0, sessions=1, answers=2, answers_us=2000, worst_us=1500, faults=[("timeout", 2), ("away", 1)])
    rows = filter_rows([("MX", first), ("MX", second), ("MSA", report())])
    assert [(row["smtps"], row["filter"]) for row in rows] == [("MSA", "milter a"), ("MX", "milter a")]
    row = rows[1]
    assert (row["sessions"], row["answers"], row["mean_ms"], row["worst_ms"]) == (4, 4, 1.5, 3.0)
    assert (row["failures"], row["since"]) == ({"timeout": 3, "away": 1}, 900.0)


def test_one_process_that_misses_it_is_enough_to_be_down():
    rows = filter_rows([("", report(since=10.0)), ("", report(state="down", since=20.0)), ("", report("unknown", name="b"))])
    assert [(row["state"], row["since"]) for row in rows] == [("down", 20.0), ("unknown", 1000.0)]
    assert filter_troubles(rows) == ["smtps: milter a is down; see smtps.milter_failed in the log"]


def test_no_answers_have_no_mean():
    assert filter_rows([("", report())])[0]["mean_ms"] == 0.0


def test_status_has_them_until_the_process_is_gone(system):
    system.start()
    smtps = system.smtps()
    smtps.peer.send(report(sessions=1))
    smtps.peer.send(report(state="down", sessions=2))
    wait_until(lambda: [row["sessions"] for row in system.context.status()["filters"]] == [2], "told")
    assert any("milter a is down" in text for text in system.context.status()["trouble"])
    smtps.stop()
    system.peers.remove(smtps)
    wait_until(lambda: not system.context.status()["filters"], "gone")


def test_a_process_that_has_filters_without_end_is_cut_off(system):
    system.start()
    smtps = system.smtps()
    for number in range(FILTERS_MAX + 1):
        smtps.peer.send(report(name=str(number)))
    wait_until(lambda: str(system.sink.find("more than 1000 filters")), "told")
    wait_until(lambda: len(system.context.smtps) == 0, "cut off")
