import os
import threading

from meta1g.base import startup
from meta1g.pt import alive
from meta1g.pt.task import State

from .conftest import DEADLINE_S


def test_end_of_the_supervisor_is_noticed_once(system):
    reader, writer = os.pipe()
    gone = threading.Event()
    task = alive.watch_alive(system.evthr, gone.set, reader)
    os.write(writer, b"still here")
    assert not gone.is_set()
    os.close(writer)
    assert gone.wait(DEADLINE_S)
    system.stop()
    assert task.state >= State.DOOMED
    os.close(reader)


def test_descriptor_is_taken_from_the_environment(system, monkeypatch):
    reader, writer = os.pipe()
    monkeypatch.setenv(startup.ALIVE_FD, str(reader))
    gone = threading.Event()
    alive.watch_alive(system.evthr, gone.set)
    os.close(writer)
    assert gone.wait(DEADLINE_S)
    system.stop()
    os.close(reader)


def test_process_started_by_hand_watches_nothing(system, monkeypatch):
    monkeypatch.delenv(startup.ALIVE_FD, raising=False)
    assert alive.watch_alive(system.evthr, lambda: None) is None


def test_ready_is_told_once(monkeypatch):
    reader, writer = os.pipe()
    monkeypatch.setenv(startup.READY_FD, str(writer))
    alive.tell_ready()
    alive.tell_ready()
    assert os.read(reader, 10) == b"1"
    assert os.read(reader, 10) == b""
    os.close(reader)
