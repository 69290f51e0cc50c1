import fcntl
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from meta1g.base.log import FdSink, Log
from meta1g.base.paths import QMGR_LOCK_FILE
from meta1g.base.reply import Reply
from meta1g.db.defedb import DefeDb
from meta1g.db.defedb_records import encode_record
from meta1g.db.ibdb import Ibdb
from meta1g.db.lostfound import LostFound
from tests.fakes.envelopes import rcpt, rcpts, ta, ta_id


@pytest.fixture
def queue(tmp_path):
    return make(tmp_path)


def make(tmp_path):
    for name in ("ibdb", "defedb", "qmgr", "lost+found"):
        (tmp_path / name).mkdir()
    ibdb = Ibdb(tmp_path / "ibdb", 1 << 20)
    ibdb.new(ta(1, 2), rcpts(1, 2))
    ibdb.new(ta(2), rcpts(2, 1))
    ibdb.rcpt_done(ta_id(1), 0)
    ibdb.ta_done(ta_id(2))
    ibdb.write(ibdb.take())
    ibdb.close()
    defedb = DefeDb(tmp_path / "defedb", 1 << 20)
    defedb.open()
    defedb.store(
        [ta(3, mail="<x@y.example>\n\x1b[2J")],
        [rcpt(3, flags=1 | 32, tries=2, reply=Reply(451, "4.4.1", "no, really\r\nfake"))],
    )
    defedb.close()
    (tmp_path / QMGR_LOCK_FILE).touch()
    return tmp_path


def metaqueue(*arguments):
    return subprocess.run(
        [sys.executable, "-c", "from meta1g.tools.metaqueue import run; run()", *map(str, arguments)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_people_see_every_envelope_and_no_control_characters(queue):
    result = metaqueue(queue)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.splitlines() == [
        f"{ta_id(1)}  IBDB  1000 bytes  2023-11-14T22:13:20Z  from <s1@from.example>",
        "    0001  <r1@to.example>  tries 0  next 2023-11-14T22:13:20Z",
        f"{ta_id(3)}  DEFEDB  1000 bytes  2023-11-14T22:13:20Z  from <x@y.example>\\x0A\\x1B[2J",
        "    0000  <r0@to.example>  tries 2  next 2023-11-14T22:13:20Z  IS_BNC|HOLD  451 4.4.1 no\\x2C really\\x0D\\x0Afake",
    ]


def test_programs_get_one_object_a_line(queue):
    result = metaqueue("--json", queue)
    found = [json.loads(line) for line in result.stdout.splitlines()]
    assert [(e["store"], e["ta_id"], [r["rcpt_idx"] for r in e["rcpts"]]) for e in found] == [
        ("IBDB", ta_id(1), [1]),
        ("DEFEDB", ta_id(3), [0]),
    ]


def test_looking_changes_nothing(queue):
    first, second = metaqueue("--json", queue), metaqueue("--json", queue)
    assert first.stdout == second.stdout
    assert [p.name for p in (queue / "ibdb").iterdir()] == ["ibdb00000001"]


def test_a_running_qmgr_is_left_alone(queue):
    fd = os.open(queue / QMGR_LOCK_FILE, os.O_RDWR)
    fcntl.flock(fd, fcntl.LOCK_EX)
    try:
        result = metaqueue(queue)
    finally:
        os.close(fd)
    assert (result.returncode, result.stdout) == (75, "")
    assert "qmgr is running" in result.stderr


def test_damage_is_named(queue):
    path = queue / "ibdb" / "ibdb00000001"
    data = bytearray(path.read_bytes())
    data[40] ^= 1
    path.write_bytes(data)
    result = metaqueue(queue)
    assert result.returncode == 0
    assert f"metaqueue: {path}: damage of " in result.stderr
    assert "bytes at offset 20" in result.stderr


def test_one_file_can_be_read_alone(queue):
    result = metaqueue("--json", queue / "ibdb" / "ibdb00000001")
    assert [json.loads(line)["ta_id"] for line in result.stdout.splitlines()] == [ta_id(1)]


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_root_leaves_no_files_of_its_own():
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        queue = make(Path(name))
        for path in (queue, *queue.rglob("*")):
            os.chown(path, 65534, 65534)
        result = metaqueue(queue)
        assert (result.returncode, result.stderr) == (0, "")
        assert {p.stat().st_uid for p in queue.rglob("*")} == {65534}


def test_the_queue_directory_comes_from_the_configuration(queue):
    conf = queue / "meta1.conf"
    conf.write_text(f'queue_directory = "{queue}";\n')
    result = metaqueue("-f", conf)
    assert (result.returncode, result.stdout.count("IBDB")) == (0, 1), result.stderr


def test_what_is_no_queue_is_an_error(tmp_path):
    result = metaqueue(tmp_path)
    assert result.returncode == 66
    assert "no queue directory" in result.stderr
    assert metaqueue("--nonsense").returncode == 64
    assert metaqueue("--help").returncode == 0


def test_recover_makes_defedb_anew_from_the_log_and_the_pages(queue):
    main = queue / "defedb" / "defedb.db"
    main.write_bytes(b"\x55" * main.stat().st_size)
    result = metaqueue("recover", queue)
    assert (result.returncode, result.stdout) == (0, "DEFEDB was made anew: 1 recipients; see lost+found\n"), result.stderr
    assert (queue / "lost+found" / "defedb-1" / "defedb.db").read_bytes() == b"\x55" * main.stat().st_size
    assert f"{ta_id(3)}  DEFEDB" in metaqueue(queue).stdout


def test_recover_is_refused_while_qmgr_runs(queue):
    with (queue / QMGR_LOCK_FILE).open("r+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        result = metaqueue("recover", queue)
    assert result.returncode == 75
    assert "qmgr is running" in result.stderr


def test_a_damaged_record_is_named_and_the_others_are_shown(queue):
    defedb = DefeDb(queue / "defedb", 1 << 20)
    defedb.open()
    defedb.store([ta(4)], rcpts(4, 2))
    key = f"{ta_id(4)}-0001".encode()
    with defedb._env.transaction() as txn:
        defedb._main.put(key, defedb._main.get(key)[:-1] + b"x", txn=txn)
    defedb.close()
    for _ in range(2):
        result = metaqueue(queue)
        assert f"record {ta_id(4)}-0001 is damaged" in result.stderr
        assert all(text in result.stdout for text in (f"{ta_id(3)}  DEFEDB", f"{ta_id(4)}  DEFEDB"))


@pytest.mark.parametrize("value", [encode_record(ta(5)), encode_record(rcpt(5)), b"nonsense"])
def test_a_record_that_was_set_aside_is_shown(queue, value):
    key = f"{ta_id(5)}-0000".encode()
    LostFound(queue / "lost+found", Log("test", sink=FdSink(os.open(os.devnull, os.O_WRONLY)))).keep_record(
        queue, key, value, "test"
    )
    result = metaqueue(queue / "lost+found" / f"{ta_id(5)}-0000.record")
    assert ta_id(5) in result.stdout + result.stderr
