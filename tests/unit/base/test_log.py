import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from meta1g.base.log import FileSink, Log, sanitize
from meta1g.base.logkeys import Sev
from tests.fakes.lines import Lines


def test_a_line_has_ids_first_and_the_outcome_last():
    sink = Lines()
    Log("smtps", sink=sink).info("session.rcpt", "ok", rcpt="<a@b>", ss_ta="S1", reply=250)
    assert sink.lines == ["sevr=INFO, func=session.rcpt, ss_ta=S1, rcpt=<a@b>, reply=250, stat=ok"]


def test_bytes_of_the_network_cannot_forge_a_line_or_a_key():
    assert sanitize("a\r\nsevr=FATAL, x=1\\") == "a\\x0D\\x0Asevr=FATAL\\x2C x=1\\x5C"
    assert sanitize(b"\xff\x00") == "\\x5Cxff\\x00"
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
    assert json.loads(sink.lines[0]) == {"sevr": "INFO", "func": "a.b", "mail": "<\\xC3\\xBC>", "size": 5, "stat": "o\\x2Ck"}


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
