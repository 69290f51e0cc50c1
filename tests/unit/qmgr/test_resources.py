import os
from types import SimpleNamespace

import pytest

from meta1g.base.log import Log
from meta1g.qmgr.resources import Allowance, DiskWatch, Resources, decide
from tests.fakes.qmgr_system import Sink


@pytest.fixture
def disk(monkeypatch, tmp_path):
    """A disk whose free bytes the test sets."""
    state = SimpleNamespace(free=1000, path=tmp_path)
    monkeypatch.setattr(os, "statvfs", lambda path: SimpleNamespace(f_bavail=state.free, f_frsize=1))
    return state


def test_a_full_resource_stops_new_mail_and_is_named():
    assert decide({"iqdb": 100, "aq": 20}) == Allowance(0, "Insufficient resources (iqdb), try again later")
    assert decide({"iqdb": 99, "aq": 99}) == Allowance(100)
    assert decide({}) == Allowance(100)


def test_the_use_of_a_disk_grows_as_its_free_space_shrinks(disk):
    watch = DiskWatch(disk.path, 100, 200)
    used = []
    for free in (10_000, 1000, 200, 101, 99):
        disk.free = free
        used.append(watch.usage_percent())
    assert used == [1, 10, 50, 99, 100]
    assert watch.free_bytes == 99


def test_a_full_disk_is_full_until_the_upper_threshold(disk):
    watch = DiskWatch(disk.path, 100, 200)
    used = []
    for free in (99, 150, 199, 200, 150):
        disk.free = free
        used.append(watch.usage_percent() == 100)
    assert used == [True, True, True, False, False]


def test_an_upper_threshold_below_the_lower_one_is_raised(disk):
    watch = DiskWatch(disk.path, 100, 50)
    disk.free = 99
    assert watch.usage_percent() == 100
    disk.free = 100
    assert watch.usage_percent() < 100


def test_no_threshold_never_fills(disk):
    disk.free = 0
    assert DiskWatch(disk.path, 0, 0).usage_percent() == 0


def test_everything_is_measured_and_told(disk):
    told = []
    resources = Resources(
        {"disk": DiskWatch(disk.path, 100, 200)}, {"iqdb": lambda: 7}, lambda *args: told.append(args), Log("t")
    )
    assert resources.look() == Allowance(100)
    disk.free = 5
    assert resources.look().percent == 0
    assert told == [(100, ""), (0, "Insufficient resources (disk), try again later")]
    assert resources.usage == {"disk": 100, "iqdb": 7}
    assert resources.free_bytes() == {"disk": 5}
    assert resources.names() == ("disk", "iqdb")


def test_a_disk_that_cannot_be_looked_at_counts_as_full(tmp_path):
    sink = Sink()
    watch = DiskWatch(tmp_path / "gone", 1, 1)
    resources = Resources({"disk": watch}, {}, lambda *args: None, Log("t", sink=sink))
    assert resources.look().percent == 0
    assert sink.find("sevr=ERROR, func=qmgr.disk, path=.*gone, resource=disk")
