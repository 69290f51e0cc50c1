import json
import os
import re
import socket
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meta1g.base.log import FileSink, Log
from meta1g.base.logkeys import Sev
from meta1g.base.logtext import FORMATS, sanitize
from meta1g.base.reply import printable
from tests.fakes.lines import Lines


def test_a_line_has_ids_first_and_the_outcome_last():
    sink = Lines()
    Log("smtps", sink=sink).info("session.rcpt", "ok", rcpt="<a@b>", ss_ta="S1", reply=250)
    assert sink.lines == ["sevr=INFO, func=session.rcpt, ss_ta=S1, rcpt=<a@b>, reply=250, stat=ok"]


def test_bytes_of_the_network_cannot_forge_a_line_or_a_key():
    assert sanitize("a\r\nsevr=FATAL, x=1\\") == "a\\x0D\\x0Asevr=FATAL\\x2C x=1\\x5C"
    assert sanitize(b"\xff\x00") == "\\xFF\\x00"
    assert sanitize("ü") == "\\xC3\\xBC"
    assert sanitize("\ud800 \udcff") == "\\xED\\xA0\\x80 \\xFF"


def test_a_value_is_cut_at_its_limit():
    assert len(sanitize("x" * 5000)) == 1027


def test_lines_above_the_level_are_not_written():
    sink = Lines()
    log = Log("qmgr", level=Sev.WARN, sink=sink)
    log.info("a.b", "ok")
    log.warn("a.b", "careful")
    assert sink.lines == ["sevr=WARN, func=a.b, stat=careful"]


def test_an_unknown_key_is_refused():
    with pytest.raises(KeyError):
        Log("qmgr", sink=Lines()).info("a.b", "ok", colour="red")


def test_json_gives_the_same_facts():
    sink = Lines()
    Log("qmgr", sink=sink, format_name="json").info("a.b", "o,k", size=5, mail="<ü>")
    found = json.loads(sink.lines[0])
    assert datetime.fromisoformat(found.pop("time")).utcoffset() == timedelta(0)
    assert (found.pop("host"), found.pop("process_id")) == (socket.gethostname(), os.getpid())
    assert found == {"process": "qmgr", "event": "a.b", "sevr": "INFO", "mail": "<ü>", "size": 5, "stat": "o,k"}


VALUES = st.text() | st.binary() | st.binary().map(lambda data: data.decode("utf-8", "surrogateescape")) | st.floats(0, 1e9)


@given(VALUES, st.text())
def test_a_line_of_json_is_one_object_whatever_the_network_sends(value, stat):
    sink = Lines()
    Log("qmgr", sink=sink, format_name="json").info("a.b", stat, mail=value, pid=1, rcpt=value)
    (line,) = sink.lines
    assert line.isascii()
    assert line.isprintable()
    found = json.loads(line, object_pairs_hook=list)
    assert len(found) == len(dict(found)) == 10
    json.dumps(dict(found), ensure_ascii=False).encode()  # every text is Unicode


def test_what_was_made_printable_before_is_not_escaped_again():
    for format_name in FORMATS:
        sink = Lines()
        Log("smtpc", sink=sink, format_name=format_name).info("a.b", printable("550 grü\xdfe\n"), rcpt="a\\x2Cb")
        (line,) = sink.lines
        stat = json.loads(line)["stat"] if format_name == "json" else line.rpartition("stat=")[2]
        assert stat == "550 gr\\xC3\\xBC\\xC3\\x9Fe\\x0A"
        shown = json.loads(line)["rcpt"] if format_name == "json" else re.search("rcpt=([^,]*)", line)[1]
        assert shown == ("a\\x2Cb" if format_name == "json" else "a\\x5Cx2Cb")  # of a key it is known that it was not


@pytest.mark.parametrize("format_name", FORMATS)
def test_durations_have_three_digits(format_name):
    sink = Lines()
    log = Log("qmgr", sink=sink, format_name=format_name)
    for value in (0.0, 1.5, 12345.67891):
        log.info("a.b", "ok", delay_ms=value)
    assert [re.search(r"delay_ms\W+([\d.]+)", line)[1] for line in sink.lines] == ["0.000", "1.500", "12345.679"]


def test_a_renamed_log_file_is_opened_anew(tmp_path):
    path = tmp_path / "x.log"
    log = Log("smar", sink=FileSink(path))
    log.info("a.b", "one")
    path.rename(tmp_path / "x.log.1")
    log.reopen()
    log.info("a.b", "two")
    assert path.read_text().endswith("stat=two\n")
    assert (tmp_path / "x.log.1").read_text().endswith("stat=one\n")


def test_a_log_that_cannot_be_written_ends_nothing():
    reader, writer = os.pipe()
    os.close(reader)
    code = "from meta1g.base.log import Log; Log('test').error('test.line', 'lost'); print('alive', flush=True)"
    with os.fdopen(writer, "wb") as broken:
        result = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=broken, timeout=60, check=False)
    assert result.stdout == b"alive\n"


def test_a_log_that_cannot_be_opened_anew_goes_on_in_the_old_file_and_says_so(tmp_path):
    logs = tmp_path / "logs"
    logs.mkdir()
    log = Log("qmgr", sink=FileSink(logs / "x.log"))
    logs.rename(tmp_path / "rotated")
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(5):
        log.reopen()
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    log.info("a.b", "still here")
    lines = (tmp_path / "rotated" / "x.log").read_text().splitlines()
    assert len(lines) == 6
    assert f"func=log.reopen, path={logs}/x.log" in lines[0]
    assert lines[-1].endswith("stat=still here")
    (tmp_path / "rotated").rename(logs)
    log.reopen()
    log.close()


def test_a_closed_log_gives_its_descriptor_back(tmp_path):
    before = len(list(Path("/proc/self/fd").iterdir()))
    log = Log("mcp", sink=FileSink(tmp_path / "x.log"))
    log.close()
    assert len(list(Path("/proc/self/fd").iterdir())) == before
