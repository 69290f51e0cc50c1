import os
import shutil
import subprocess
from pathlib import Path

import pytest

from meta1g.base.cli import CliError
from meta1g.base.clock import SystemClock
from meta1g.base.log import Log
from meta1g.mcp import control, leftovers, spawn
from tests.fakes.qmgr_system import Sink


@pytest.fixture
def queue(tmp_path):
    (tmp_path / "mcp").mkdir()
    return tmp_path


@pytest.fixture
def sleeper(queue):
    """A child of the mcp of the queue directory."""
    process = subprocess.Popen(["sleep", "1000"], env={spawn.QUEUE_ID: spawn.queue_id(queue), "PATH": os.environ["PATH"]})
    while not Path(f"/proc/{process.pid}/environ").read_bytes():  # its program is being put in place
        os.sched_yield()
    yield process
    process.kill()
    process.wait()


def test_the_lock_is_held_until_it_is_released(queue):
    lock = leftovers.QueueLock(queue)
    with pytest.raises(CliError, match=f"mcp with process id {os.getpid()} serves it already"):
        leftovers.QueueLock(queue)
    lock.release()
    leftovers.QueueLock(queue).release()


def test_children_that_run_are_found_again_and_those_that_ended_are_not(queue, sleeper):
    leftovers.remember(queue, [sleeper.pid, 2**22 + 1])
    assert [process.pid for process in leftovers.left_over(queue)] == [sleeper.pid]
    sleeper.kill()
    sleeper.wait()
    assert leftovers.left_over(queue) == []


def test_a_later_process_with_the_same_id_is_somebody_else(queue, sleeper):
    (queue / "mcp" / "children").write_text(f"{sleeper.pid} 1\nnonsense\n")
    assert leftovers.left_over(queue) == []


def test_no_file_means_nobody(queue):
    assert leftovers.left_over(queue) == []


def test_the_end_is_waited_for(queue, sleeper):
    leftovers.remember(queue, [sleeper.pid])
    found = leftovers.left_over(queue)
    sleeper.terminate()
    assert leftovers.wait_for_end(found, SystemClock()) == []


def test_who_does_not_end_is_killed(queue, sleeper, monkeypatch):
    monkeypatch.setattr(leftovers, "LEFTOVERS_GRACE_S", 0.05)
    leftovers.remember(queue, [sleeper.pid])
    found = leftovers.left_over(queue)
    assert leftovers.wait_for_end(found, SystemClock()) == found
    assert sleeper.wait(10) == -9


def test_a_start_tells_whom_it_has_waited_for_and_killed(queue, sleeper, monkeypatch):
    monkeypatch.setattr(leftovers, "LEFTOVERS_GRACE_S", 0.05)
    leftovers.remember(queue, [sleeper.pid])
    sink = Sink()
    control._wait_for_leftovers(queue, SystemClock(), Log("mcp", sink=sink))
    assert sink.find("sevr=NOTICE, func=mcp.leftovers, .*count=1")
    assert sink.find(f"sevr=WARN, func=mcp.leftover_killed, pid={sleeper.pid}")


def test_a_copy_of_the_queue_directory_has_no_children(queue, sleeper, tmp_path_factory):
    leftovers.remember(queue, [sleeper.pid])
    copy = tmp_path_factory.mktemp("copy") / "queue"
    shutil.copytree(queue, copy)
    assert leftovers.left_over(copy) == []
    assert [process.pid for process in leftovers.left_over(queue)] == [sleeper.pid]


def test_the_children_are_found_again_in_a_queue_directory_that_was_renamed(queue, sleeper):
    leftovers.remember(queue, [sleeper.pid])
    moved = queue.rename(queue.with_name("moved"))
    assert [process.pid for process in leftovers.left_over(moved)] == [sleeper.pid]


def test_a_process_that_says_nothing_of_the_queue_directory_is_never_touched(queue):
    with subprocess.Popen(["sleep", "1000"], env={"PATH": os.environ["PATH"]}) as other:
        leftovers.remember(queue, [other.pid, os.getpid(), 1])
        assert leftovers.left_over(queue) == []
        other.kill()


@pytest.mark.parametrize(
    "text", ["-1 5\n", "0 0\n", "99999999999999999999999 1\n", "1\n", "\0 \0\n", "\xff\xfe 1\n", "1 2 3\n"]
)
def test_nonsense_in_the_file_is_passed_over(queue, text):
    (queue / "mcp" / "children").write_bytes(text.encode("latin-1"))
    assert leftovers.left_over(queue) == []
