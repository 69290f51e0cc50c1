"""Log lines that are written together at the end of a turn."""

import os
import socket
import subprocess
import sys
from contextlib import nullcontext

import pytest

from meta1g.base import logturn
from meta1g.base.log import FdSink, Log
from meta1g.base.logkeys import Sev
from meta1g.base.logsyslog import SyslogSink
from meta1g.base.logturn import PIECE_BYTES, TurnSink


class Turn:
    """A sink whose writes are kept, and the turn it waits for.  Owner: the test."""

    def __init__(self):
        self.writes: list[bytes] = []
        self.waiting: list[TurnSink] = []
        self.sink = TurnSink(self.writes.append, self.waiting.append, nullcontext())

    def end(self):
        while self.waiting:
            self.waiting.pop().flush()


@pytest.fixture
def turn():
    turn = Turn()
    yield turn
    logturn._sinks.remove(turn.sink)


def test_lines_of_a_turn_are_one_write_in_their_order(turn):
    for line in (b"one\n", b"two\n", b"three\n"):
        turn.sink.add(Sev.INFO, line)
    assert turn.writes == []
    assert len(turn.waiting) == 1
    turn.end()
    assert turn.writes == [b"one\ntwo\nthree\n"]
    turn.sink.add(Sev.INFO, b"four\n")
    turn.end()
    assert turn.writes[1:] == [b"four\n"]


@pytest.mark.parametrize("sevr", [Sev.FATAL, Sev.ERROR])
def test_an_error_is_written_at_once_behind_what_was_kept(turn, sevr):
    turn.sink.add(Sev.INFO, b"one\n")
    turn.sink.add(sevr, b"two\n")
    assert turn.writes == [b"one\ntwo\n"]
    turn.end()
    assert turn.writes == [b"one\ntwo\n"]


def test_no_write_is_longer_than_a_pipe_takes_in_one_piece(turn):
    lines = [b"%04d" % number + b"x" * 300 + b"\n" for number in range(100)]
    for line in lines:
        turn.sink.add(Sev.INFO, line)
    turn.end()
    assert max(map(len, turn.writes)) <= PIECE_BYTES
    assert b"".join(turn.writes) == b"".join(lines)
    assert len(turn.writes) < 10


def test_lines_that_cannot_be_written_go_to_standard_error(turn, capsys):
    def full(data):
        raise OSError(28, "No space left on device")

    turn.sink._put = full
    turn.sink.add(Sev.INFO, b"one\n")
    turn.end()
    assert "No space left on device; one\n" in capsys.readouterr().err


def test_what_was_kept_is_written_before_the_file_is_closed():
    reader, writer = os.pipe()
    log, waiting = Log("smtps", sink=FdSink(writer)), []
    log.collect(waiting.append, nullcontext())
    log.info("a.b", "ok")
    log.close()
    os.close(writer)
    with open(reader, "rb") as file:
        assert file.read().endswith(b"stat=ok\n")
    logturn._sinks.remove(waiting[0])


def test_syslog_gets_each_line_at_once(tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as service:
        service.bind(str(tmp_path / "log"))
        service.settimeout(30)
        log = Log("smtps", sink=SyslogSink("x", 0, path=tmp_path / "log"))
        log.collect(pytest.fail, nullcontext())
        log.info("a.b", "ok")
        assert service.recv(9999).endswith(b"]: sevr=INFO, func=a.b, stat=ok")
        log.close()


PROGRAM = """
import os, sys
from contextlib import nullcontext
from meta1g.base import cli, failure
from meta1g.base.log import FdSink, Log
log = Log("x", sink=FdSink(1))
log.collect(lambda sink: None, nullcontext())
def main(arguments):
    log.info("a.b", "kept")
    {end}
    return 0
{call}
"""


@pytest.mark.parametrize(
    ("end", "call"),
    [
        ("pass", "cli.end_program('x', main)"),
        ("pass", "main([])"),
        ("1 / 0", "main([])"),
        ("sys.exit(3)", "main([])"),
        ("failure.end_process(log, 'a.c', ValueError())", "main([])"),
        ("os.waitpid(os.fork(), 0)", "main([])"),
    ],
)
def test_nothing_is_lost_however_a_process_ends_itself_and_nothing_comes_twice(end, call):
    code = PROGRAM.format(end=end, call=call)
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert result.stdout.count("stat=kept") == 1, result
