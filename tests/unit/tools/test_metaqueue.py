import fcntl
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from meta1g.base.paths import QMGR_LOCK_FILE
from meta1g.db.defedb import DefeDb
from meta1g.db.ibdb import Ibdb
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
        [rcpt(3, flags=1 | 32, tries=2, code=451, ecode="4.4.1", text="no, really\r\nfake")],
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
