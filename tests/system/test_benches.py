"""The benchmarks run, on a small scale and without judging the time; what they find is added to the results."""

import re

import pytest

from bench import evthr_stress, idle_connections, queue_tools, slow_fsync, st_switch
from bench.results import percentile, record

pytestmark = pytest.mark.system


def test_an_idle_connection_is_cheap(capfd):
    assert idle_connections.main(["--connections", "300", "--rate", "300"]) == 0
    assert "each after EHLO" in capfd.readouterr().out


def test_idle_connections_that_cost_too_much_are_an_error(capfd):
    assert idle_connections.main(["--connections", "50", "--rate", "300", "--limit-kib", "0.01"]) == 1


def test_noop_is_measured_while_flushes_are_slow(capfd):
    few = ["--sessions", "10", "--senders", "4", "--seconds", "1", "--flush-ms", "30", "--limit-ms", "10000"]
    assert slow_fsync.main(few) == 0
    assert "messages/s" in capfd.readouterr().out


def test_state_threads_and_event_threads_are_measured(capfd):
    assert st_switch.main(["--rounds", "1"]) == 0
    report = evthr_stress.Stress(5000, 4, timers=50, seed=3).run()
    assert evthr_stress.figures_of(report)["timers lost or doubled"] == "0 of 50"


def test_a_row_goes_to_its_section_and_leaves_the_others_alone(tmp_path):
    path = tmp_path / "RESULTS.md"
    path.write_text("# Results\n\n## Relay\n\n| a |\n| --- |\n| 1 |\n\nA last word.\n")
    record("Own", "What it is.", "bench/own", {"x": "1"}, path)
    record("Other", "Another.", "bench/other", {"y": "2"}, path)
    record("Own", "What it is.", "bench/own", {"x": "3"}, path)
    text = path.read_text()
    assert text.startswith("# Results\n\n## Relay\n\n| a |\n| --- |\n| 1 |\n\nA last word.\n\n## Own\n")
    assert [line.split(" | ")[-1] for line in text.splitlines() if "`bench/" in line] == ["1 |", "3 |", "2 |"]
    with pytest.raises(ValueError, match="other columns"):
        record("Own", "What it is.", "bench/own", {"z": "1"}, path)


def test_a_percentile_is_a_value_that_occurred():
    assert percentile([5.0, 1.0, 3.0], 50) == 3.0
    assert percentile([1.0], 99) == 1.0
    assert percentile([float(n) for n in range(100)], 99) == 99.0


def test_a_queue_is_filled_and_what_its_operator_needs_is_measured(capfd):
    assert queue_tools.main(["--count", "1500", "--short", "300", "--seconds", "0.5"]) == 0
    out = capfd.readouterr().out
    assert re.search(r"removed +[1-9]\d* in", out)
    assert re.search(r"qmgr +\d+ MB", out)
