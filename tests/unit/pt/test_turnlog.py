"""Log lines of event threads."""

import os
import threading

import pytest

from meta1g.base import logturn
from meta1g.base.log import FdSink, Log
from meta1g.pt import batch
from meta1g.pt.turnlog import collect_lines
from tests.fakes.counting_sink import collecting
from tests.unit.pt.conftest import DEADLINE_S


@pytest.fixture
def log():
    with collecting("qmgr", collect_lines) as log:
        yield log


def test_lines_of_one_batch_are_one_write(log):
    with batch.batch():
        for number in range(3):
            log.info("a.b", str(number))
        assert log.sink.writes == []
    assert [write.count("\n") for write in log.sink.writes] == [3]


def test_a_thread_without_a_batch_writes_at_once(log):
    log.info("a.b", "ok")
    assert len(log.sink.writes) == 1


def test_lines_of_tasks_are_written_before_the_system_waits(log, system):
    written = threading.Event()
    put = log.sink._turn._put
    log.sink._turn._put = lambda data: put(data) or written.set()
    system.evthr.call_soon(lambda: (log.info("a.b", "one"), log.info("a.b", "two")))
    assert written.wait(DEADLINE_S)
    assert "one" in log.sink.writes[0]
    assert "two" in log.sink.writes[0]


def test_lines_of_many_threads_come_each_once_and_those_of_a_thread_in_order():
    reader, writer = os.pipe()
    log = Log("qmgr", sink=FdSink(writer))
    before = list(logturn._sinks)
    collect_lines(log)

    def write(name):
        for number in range(100):
            with batch.batch():
                log.info("a.b", f"{name}{number}")
                log.info("a.b", f"{name}{number}b")

    threads = [threading.Thread(target=write, args=(name,)) for name in "xyz"]
    chunks = []
    collector = threading.Thread(target=lambda: chunks.extend(iter(lambda: os.read(reader, 65536), b"")))
    collector.start()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    os.close(writer)
    collector.join()
    os.close(reader)
    logturn._sinks[:] = before
    stats = [line.rpartition("stat=")[2] for line in b"".join(chunks).decode().splitlines()]
    for name in "xyz":
        expected = [text for number in range(100) for text in (f"{name}{number}", f"{name}{number}b")]
        assert [stat for stat in stats if stat.startswith(name)] == expected
