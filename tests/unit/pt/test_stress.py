"""A small run of the stress of the event-thread system (bench/evthr_stress.py), with all of its checks but the time."""

import pytest

from bench.evthr_stress import Stress


@pytest.mark.parametrize("threads", [8, 2])
def test_under_load_no_task_is_concurrent_and_no_wakeup_or_timer_is_lost(threads):
    report = Stress(20_000, threads, timers=500, seed=threads).run()
    assert report.runs >= 20_000
    assert (report.clashes, report.lost, report.timers_wrong) == (0, 0, 0)
    assert report.wakeups
    assert report.threads > 1
