"""Lines to a socket as syslog and journald take them, and what becomes of them while nobody does."""

import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from datetime import datetime

import pytest

from meta1g.base import logkept
from meta1g.base.log import FdSink, FileSink, Log
from meta1g.base.logkept import kept_in, trouble
from meta1g.base.logsyslog import ENCODERS, SyslogSink

WAIT_S = 30
MAIL = 2 << 3


class Service:
    """Somebody who takes the log."""

    def __init__(self, path):
        self.path = path
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path))
        self.socket.settimeout(WAIT_S)

    def take(self) -> bytes:
        return self.socket.recv(1 << 20)

    def take_until(self, last: bytes) -> list[bytes]:
        taken = [self.take()]
        while last not in taken[-1]:
            taken.append(self.take())
        return taken

    def end(self):
        self.socket.close()
        self.path.unlink()


@pytest.fixture
def place(tmp_path):
    (tmp_path / "smtps").mkdir()
    return tmp_path


@contextmanager
def sending(place, protocol="rfc3164", format_name="classic"):
    sink = SyslogSink("mail", MAIL, path=place / "log", protocol=protocol, directory=place / "smtps")
    log = Log("smtps", sink=sink, format_name=format_name)
    try:
        yield log
    finally:
        log.close()


@pytest.fixture
def service(place):
    service = Service(place / "log")
    yield service
    service.end()


def test_syslog_of_old(place, service):
    with sending(place) as log:
        log.notice("smtps.mail_refused", "550 no", mail="a@b", ss_sess="S1")
    stamp = r"[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d"
    text = re.escape("sevr=NOTICE, func=smtps.mail_refused, ss_sess=S1, mail=a@b, stat=550 no")
    assert re.fullmatch(rf"<21>{stamp} mail\[{os.getpid()}\]: {text}", service.take().decode())


def test_rfc_5424_has_time_host_process_and_event(place, service):
    with sending(place, "rfc5424") as log:
        log.error("qmgr.ibdb", "disk full")
    head, _, text = service.take().decode().partition(" - ")
    pri, stamp, host, ident, pid, event = head.split(" ")
    assert (pri, host, ident, int(pid), event) == ("<19>1", socket.gethostname(), "mail", os.getpid(), "qmgr.ibdb")
    assert datetime.fromisoformat(stamp).tzinfo is not None
    assert text == "sevr=ERROR, func=qmgr.ibdb, stat=disk full"


def fields_of(datagram: bytes) -> dict[str, str]:
    """Reads a datagram as journald does: NAME=value lines, or NAME, a length of eight bytes and the value."""
    found, rest = {}, datagram
    while rest:
        name, sign, rest = re.fullmatch(rb"([A-Z][A-Z0-9_]*)([=\n])(.*)", rest, re.DOTALL).groups()
        if sign == b"=":
            value, _, rest = rest.partition(b"\n")
        else:
            size = int.from_bytes(rest[:8], "little")
            value, rest = rest[8 : 8 + size], rest[9 + size :]
        assert name.decode() not in found
        found[name.decode()] = value.decode()
    return found


@pytest.mark.parametrize("format_name", ["classic", "json"])
def test_journald_gets_a_field_for_each_key(place, service, format_name):
    with sending(place, "journal", format_name) as log:
        log.warn("smtps.full", "no\nroom", count=7, client="x\r\nPRIORITY=0", client_name=None)
    found = fields_of(service.take())
    message = found.pop("MESSAGE")
    assert found == {
        "PRIORITY": "4", "SYSLOG_FACILITY": "2", "SYSLOG_IDENTIFIER": "mail", "SYSLOG_PID": str(os.getpid()),
        "META1G_EVENT": "smtps.full", "META1G_STAT": "no\\x0Aroom", "META1G_COUNT": "7",
        "META1G_CLIENT": "x\\x0D\\x0APRIORITY=0",
    }  # fmt: skip
    text = json.loads(message)["stat"] if format_name == "json" else message.rpartition("stat=")[2]
    assert text == ("no\nroom" if format_name == "json" else "no\\x0Aroom")


@pytest.mark.parametrize("protocol", ENCODERS)
def test_lines_of_a_time_without_service_are_kept_said_and_delivered_in_order(place, capfd, protocol):
    with sending(place, protocol) as log:
        for number in range(300):
            log.info("smtps.listen", f"line {number}.", listen="x")
        assert f"the log {place}/log cannot be written" in capfd.readouterr().err
        (kept,) = kept_in(place / "smtps")
        assert str(kept.path) in trouble(place)[0]
        service = Service(place / "log")
        lines = service.take_until(b"log.back")
        log.info("smtps.listen", "directly", listen="x")
        assert b"directly" in service.take()
    assert b"log.away" in lines[0]
    assert [re.search(rb"line (\d+)\.", line)[1] for line in lines[1:-1]] == [b"%d" % number for number in range(300)]
    assert re.search(rb"count=301\b|META1G_COUNT=301\n", lines[-1], re.IGNORECASE)
    assert kept_in(place / "smtps") == trouble(place) == []
    service.end()


def test_a_service_that_starts_again_gets_the_next_line(place, service):
    with sending(place) as log:
        log.info("smtps.listen", "one", listen="x")
        assert b"one" in service.take()
        service.end()
        service.__init__(place / "log")
        log.info("smtps.listen", "two", listen="x")
        assert b"two" in service.take()
    assert kept_in(place / "smtps") == []


def test_a_service_that_goes_away_later_is_noticed(place, service, capfd):
    with sending(place) as log:
        log.info("smtps.listen", "one", listen="x")
        service.end()
        log.info("smtps.listen", "two", listen="x")
        assert "cannot be written" in capfd.readouterr().err
        service.__init__(place / "log")
        assert b"log.away" in service.take()
        assert b"two" in service.take()


def test_what_a_process_leaves_behind_the_next_one_delivers(place):
    with sending(place) as log:
        log.info("smtps.listen", "of the first", listen="x")
    assert len(kept_in(place / "smtps")) == 1
    service = Service(place / "log")
    with sending(place):
        lines = service.take_until(b"log.back")
    assert b"of the first" in lines[1]
    assert kept_in(place / "smtps") == []
    service.end()


FORKS = """
import os, sys, time
from pathlib import Path
from meta1g.base.log import Log
from meta1g.base.logsyslog import SyslogSink
log = Log("smtps", sink=SyslogSink("x", 16, path=Path(sys.argv[1]), directory=Path(sys.argv[2])))
log.info("smtps.listen", "of the parent", listen="x")
child = os.fork()
if not child:
    log.info("smtps.listen", "of the child", listen="x")
    os._exit(0)
os.waitpid(child, 0)
print(flush=True)
sys.stdin.read()
log.close()
"""


def test_the_lines_of_a_forked_process_come_with_those_of_its_parent(place):
    command = [sys.executable, "-W", "ignore", "-c", FORKS, str(place / "log"), str(place / "smtps")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline()
        service = Service(place / "log")
        lines = b"".join(service.take_until(b"log.back"))
    assert lines.count(b"of the parent") == lines.count(b"of the child") == 1
    assert b"count=3," in lines
    assert process.returncode == 0
    service.end()


def test_processes_of_a_component_keep_their_lines_apart(place):
    with sending(place) as one, sending(place) as two:
        for log in (one, two):
            log.info("smtps.listen", "x", listen="x")
        assert len(kept_in(place / "smtps")) == 2


def test_what_does_not_fit_is_counted_and_said(place, monkeypatch):
    monkeypatch.setattr(logkept, "KEPT_MAX_BYTES", 2000)
    with sending(place) as log:
        for number in range(100):
            log.info("smtps.listen", f"line {number}.", listen="x")
        service = Service(place / "log")
        lines = service.take_until(b"log.dropped")
    kept = sum(b"line " in line for line in lines)
    assert 5 < kept < 30
    assert f"count={100 - kept}," in lines[-1].decode()
    service.end()


def test_a_service_that_takes_nothing_holds_nobody_up_and_gets_everything_later(place, service):
    with sending(place) as log:
        for number in range(500):
            log.info("smtps.listen", f"line {number}.", listen="x")
        assert kept_in(place / "smtps")  # nobody has read anything yet
        taken = service.take_until(b"line 499.")
    numbers = [re.search(rb"line (\d+)\.", line)[1] for line in taken if b"smtps.listen" in line]
    assert numbers == [b"%d" % number for number in range(500)]


def test_a_log_file_on_a_full_disk_is_kept_elsewhere_and_said(place, capfd):
    full = os.open("/dev/full", os.O_WRONLY)
    log = Log("smtps", sink=FdSink(full, where="the file", directory=place / "smtps"))
    log.info("smtps.listen", "one", listen="x")
    assert "the log the file cannot be written: No space left" in capfd.readouterr().err
    (kept,) = kept_in(place / "smtps")
    assert kept.path.read_text().splitlines()[-1].endswith("stat=one")
    target = os.open(place / "out", os.O_WRONLY | os.O_CREAT)
    os.dup2(target, full)
    end = time.monotonic() + WAIT_S
    while "log.back" not in (place / "out").read_text():
        assert time.monotonic() < end
        threading.Event().wait(0.05)
    assert [re.search("func=([a-z.]+)", line)[1] for line in (place / "out").read_text().splitlines()] == [
        "log.away", "smtps.listen", "log.back",
    ]  # fmt: skip
    log.close()
    os.close(full)
    os.close(target)


PROGRAM = """
import sys
from pathlib import Path
from meta1g.base.log import Log
from meta1g.base.logsyslog import SyslogSink
log = Log("smtps", sink=SyslogSink("x", 16, path=Path(sys.argv[1]), directory=Path(sys.argv[2])))
log.info("smtps.listen", "last words", listen="x")
"""


def test_a_process_that_ends_without_closing_its_log_loses_nothing(place):
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(place / "log"), str(place / "smtps")], capture_output=True, timeout=60, check=True
    )
    (kept,) = kept_in(place / "smtps")
    assert "last words" in kept.path.read_text()
    assert str(kept.path) in result.stderr.decode()


def test_the_lines_of_a_file_that_nobody_could_write_are_complete_when_it_is_opened_anew(place):
    log = Log("smtps", sink=FileSink(place / "x.log", directory=place / "smtps"))
    for number in range(50):
        if number % 10 == 5:
            (place / "x.log").rename(place / f"x.log.{number}")
            log.reopen()
        log.info("smtps.listen", f"line {number}.", listen="x")
    log.close()
    lines = [line for path in sorted(place.glob("x.log*")) for line in path.read_text().splitlines()]
    assert sorted(int(re.search(r"line (\d+)\.", line)[1]) for line in lines) == list(range(50))
