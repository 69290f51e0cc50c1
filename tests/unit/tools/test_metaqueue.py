import fcntl
import io
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from zlib import crc32

import pytest

from meta1g.base import sysexits
from meta1g.base.cli import CliError
from meta1g.base.log import FdSink, Log
from meta1g.base.paths import CDB_FILE_MODE, CDB_SUBDIRECTORIES, QMGR_LOCK_FILE
from meta1g.base.reply import Reply
from meta1g.db.cdb import Cdb
from meta1g.db.defedb import DefeDb
from meta1g.db.defedb_records import encode_record
from meta1g.db.ibdb import Ibdb
from meta1g.db.lostfound import LostFound
from meta1g.rcb.envelope import HELD_UNTIL, Attempt, DsnRcpt
from meta1g.tools.transfer import Import, export
from tests.called import call_program
from tests.fakes.envelopes import NOW, rcpt, rcpts, ta, ta_id


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
    return call_program("metaqueue", *arguments)


def test_it_is_a_program(queue):
    command = [sys.executable, "-c", "from meta1g.tools.metaqueue import run; run()", str(queue)]
    made, called = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False), metaqueue(queue)
    assert (made.returncode, made.stdout, made.stderr) == (called.returncode, called.stdout, called.stderr)
    assert called.stdout


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


DSN = {"reply": Reply(550, "", "no")}


# -- check and repair --------------------------------------------------------------------------------------------------


@pytest.fixture
def whole(tmp_path):
    """A queue with a transaction of three recipients in DEFEDB and one in IBDB, each with its content."""
    return make_whole(tmp_path / "from")


def make_whole(path, numbers=(3, 4), *, empty=False):
    for name in ("ibdb", "defedb", "qmgr", "lost+found", *(f"cdb/{digit}" for digit in CDB_SUBDIRECTORIES)):
        (path / name).mkdir(parents=True)
    if empty:
        return path
    first, second = numbers
    contents = {number: b"Subject: %d\r\n\r\n\xff\x00" % number * 20_000 for number in numbers}
    records = {number: ta(number, 3, size_bytes=len(data), checksum=crc32(data)) for number, data in contents.items()}
    for number, data in contents.items():
        Cdb(path / "cdb").write_whole(ta_id(number), [data])
    ibdb = Ibdb(path / "ibdb", 1 << 20)
    ibdb.new(records[second], rcpts(second, 1))
    ibdb.write(ibdb.take())
    ibdb.close()
    said = Reply(450, "4.2.1", "b\u00fcsy", "mx.example")
    defedb = DefeDb(path / "defedb", 1 << 20)
    defedb.open()
    defedb.store(
        [records[first]],
        [
            rcpt(first, 0, tries=2, next_try=1_700_000_000.123456, attempts=(Attempt(reply=said, first=1.5, last=2.5),)),
            rcpt(first, 1, flags=32, next_try=32_503_680_000.0),
            rcpt(first, 70_000, sender="", failed=(DsnRcpt(rcpt="x@y", **DSN),)),
        ],
    )
    defedb.close()
    return path


def spoil(queue, number):
    defedb = DefeDb(queue / "defedb", 1 << 20)
    defedb.open()
    key = f"{ta_id(number)}-0001".encode()
    with defedb._env.transaction() as txn:
        defedb._main.put(key, defedb._main.get(key)[:-1] + b"x", txn=txn)
    defedb.close()


def test_a_queue_that_is_whole_is_said_to_be(whole):
    result = metaqueue("check", "--content", whole)
    assert (result.returncode, result.stdout, result.stderr) == (0, "nothing is wrong\n", "")


def test_check_names_what_is_wrong_and_changes_nothing(whole):
    cdb = Cdb(whole / "cdb")
    cdb.path(ta_id(3)).unlink()
    cdb.write_whole(ta_id(9), [b"x"])
    spoil(whole, 3)
    for _ in range(2):
        result = metaqueue("check", whole)
        assert result.returncode == sysexits.EX_DATAERR
        lines = result.stdout.splitlines()
        for text in (f"{ta_id(3)}: is missing", f"{ta_id(9)}: no envelope refers to it", f"record {ta_id(3)}-0001 is damaged"):
            assert any(text in line for line in lines), (text, lines)


@pytest.mark.parametrize("command", ["check", "list", "export", "import"])
def test_a_page_that_cannot_be_read_is_named_and_repair_saves_the_rest(whole, command):
    path = whole / "defedb" / "defedb.db"
    data = bytearray(path.read_bytes())
    data[4096 : 4096 + 600] = b"\xa5" * 600
    path.write_bytes(data)
    result = call_program("metaqueue", command, whole, stdin='{"meta1g_queue": 1}\n{"total": 0}\n')
    assert result.returncode == sysexits.EX_DATAERR, result.stderr
    said = result.stdout if command == "check" else result.stderr
    assert f"{path.parent}" in said
    assert "metaqueue repair" in said
    assert "no envelope refers to it" not in said
    assert metaqueue("repair", whole).returncode == 0
    assert metaqueue("check", "--content", whole).stdout == "nothing is wrong\n"


def test_check_compares_contents_if_it_is_told_to(whole):
    path = Cdb(whole / "cdb").path(ta_id(4))
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    assert metaqueue("check", whole).returncode == 0
    result = metaqueue("check", "--content", whole)
    assert (result.returncode, "its checksum is" in result.stdout) == (sysexits.EX_DATAERR, True)


def test_repair_sets_aside_what_is_damaged_and_what_is_left_is_whole(whole):
    spoil(whole, 3)
    result = metaqueue("repair", whole)
    assert (result.returncode, result.stdout.startswith("mended: ")) == (0, True), result.stderr
    assert (whole / "lost+found" / f"{ta_id(3)}-0001.record").exists()
    assert metaqueue("check", "--content", whole).stdout == "nothing is wrong\n"
    assert metaqueue("repair", whole).stdout == "nothing was to be mended\n"


# -- export and import -------------------------------------------------------------------------------------------------


def imported(queue, lines):
    return call_program("metaqueue", "import", queue, stdin=lines)


def test_an_import_of_an_export_gives_the_same_queue(whole, tmp_path):
    lines = metaqueue("export", whole).stdout
    other = make_whole(tmp_path / "to", empty=True)
    result = imported(other, lines)
    assert (result.returncode, result.stdout) == (0, "imported 4 recipients in 2 transactions\n"), result.stderr
    assert metaqueue("export", other).stdout == lines
    assert metaqueue("check", "--content", other).stdout == "nothing is wrong\n"
    for number in (3, 4):
        path = Cdb(other / "cdb").path(ta_id(number))
        assert path.read_bytes() == Cdb(whole / "cdb").path(ta_id(number)).read_bytes()
        assert path.stat().st_mode & 0o777 == CDB_FILE_MODE


def test_an_import_that_is_repeated_changes_nothing_and_one_that_was_interrupted_goes_on(whole, tmp_path):
    lines = metaqueue("export", whole).stdout
    other = make_whole(tmp_path / "to", empty=True)
    for end in (len(lines) // 2, len(lines) - 10):
        result = imported(other, lines[:end])
        assert result.returncode == sysexits.EX_DATAERR
        assert "imported " in result.stderr
    assert imported(other, lines).returncode == 0
    assert "4 were there already" in imported(other, lines).stdout
    assert metaqueue("export", other).stdout == lines


def test_two_queues_are_put_together(whole, tmp_path):
    other = make_whole(tmp_path / "to", numbers=(7, 8))
    imported(other, metaqueue("export", whole).stdout)
    found = [json.loads(line) for line in metaqueue("--json", other).stdout.splitlines()]
    assert sorted(one["ta_id"] for one in found) == [ta_id(number) for number in (3, 4, 7, 8)]


def test_a_missing_content_is_named_and_the_envelope_goes_on(whole, tmp_path):
    Cdb(whole / "cdb").path(ta_id(3)).unlink()
    exported = metaqueue("export", whole)
    assert f"{ta_id(3)}: is missing" in exported.stderr
    result = imported(make_whole(tmp_path / "to", empty=True), exported.stdout)
    assert (result.returncode, f"{ta_id(3)}: no content" in result.stderr) == (0, True)


def test_an_envelope_without_content_finds_the_one_that_the_queue_has(whole, tmp_path):
    lines = [line for line in metaqueue("export", whole).stdout.splitlines() if not line.startswith('{"content"')]
    envelopes = re.sub('"bytes": [0-9]+', '"bytes": null', "".join(f"{line}\n" for line in lines))
    for path in (whole / "defedb").iterdir():
        path.unlink()
    for path in (whole / "ibdb").iterdir():
        path.unlink()
    result = imported(whole, envelopes)
    assert (result.returncode, result.stderr) == (0, "")
    assert metaqueue("check", "--content", whole).returncode == 0


def swapped(lines, old, new):
    assert old in lines
    return lines.replace(old, new, 1)


@pytest.mark.parametrize(
    ("change", "told"),
    [(lambda t: "", "the input ends before its last line"), (lambda t: "x\n", "line 1: "),
     (lambda t: swapped(t, '"meta1g_queue": 1', '"meta1g_queue": 2'), "not a queue of format 1"),
     (lambda t: swapped(t, '"recipients": 3', '"recipients": 4'), "is not whole"),
     (lambda t: swapped(t, '"content": "', '"content": "*'), "not base64"),
     (lambda t: swapped(t, f'"ta_id": "{ta_id(3)}"', '"ta_id": "../../etc/passwd"'), "wrong ids"),
     (lambda t: swapped(t, f'"cdb_id": "{ta_id(3)}"', '"cdb_id": "../x"'), "wrong ids"),
     (lambda t: swapped(t, '"rcpt_idx": 0', '"rcpt_idx": "0"'), "rcpt_idx: not a number"),
     (lambda t: swapped(t, '{"transaction"', '{"total": 1}\n{"transaction"') + "{}\n", "not an object with one field"),
     (lambda t: swapped(t, '{"recipients"', '{"end": {"recipients": 0, "bytes": 0}}\n{"recipients"'),
      "'recipients' is not expected")],
)  # fmt: skip
def test_wrong_input_is_named_with_its_line_and_leaves_no_half_transaction(whole, tmp_path, change, told):
    other = make_whole(tmp_path / "to", empty=True)
    result = imported(other, change(metaqueue("export", whole).stdout))
    assert (result.returncode, told in result.stderr) == (sysexits.EX_DATAERR, True), result.stderr
    assert metaqueue("check", "--content", other).stdout in ("nothing is wrong\n",) or told.startswith("'recipients'")


def facts():
    """A transaction and a recipient with every fact, each another one than by default."""
    reply = Reply(450, "4.7.1", "held by milter f: \x1b[1m odd, \u00fc", "")
    said = Reply(550, "5.1.1", ("no", "such user"), "mx.example[192.0.2.1]")
    about = DsnRcpt(rcpt="x@y", orcpt="rfc822;x@y", reply=said, last_try=5.25, expired=True, orig_rcpt="list@y")
    attempt = Attempt(server="mx[192.0.2.1]", reply=said, count=3, first=1.5, last=2.5)
    message = ta(
        5,
        3,
        mail="j\u00f6e@b\u00fccher.example",
        size_bytes=5,
        checksum=crc32(b"a\r\n\0\xff"),
        body="BINARYMIME",
        smtputf8=True,
        ret="HDRS",
        envid="e+2B1",
        requiretls=True,
        automatic=True,
        tls_optional=True,
        by=NOW + 60.5,
        by_mode="RT",
        priority=-9,
    )
    one = rcpt(
        5,
        2,
        rcpt="\u00fc\u200d@to.example",
        notify="SUCCESS,DELAY",
        orcpt="utf-8;\\x{FC}@to.example",
        orig_rcpt="all@to.example",
        sender="l+x=y@from.example",
        flags=32 | 16 | 8,
        tries=7,
        last_try=NOW + 1,
        next_try=HELD_UNTIL,
        reply=reply,
        failed=(about,),
        attempts=(attempt,),
    )
    return message, one


def all_facts(path):
    """A queue whose message has every fact that an envelope can have, each of them another one than by default."""
    make_whole(path, empty=True)
    message, one = facts()
    attempt, about = one.attempts[0], one.failed[0]
    for record in (message, one, about, attempt):
        same = [plan.name for plan in record.PLAN.fields if plan.optional and getattr(record, plan.name) == plan.default]
        assert same == [], "a fact that the test does not know"
    Cdb(path / "cdb").write_whole(ta_id(5), [b"a\r\n\0\xff"])
    defedb = DefeDb(path / "defedb", 1 << 20)
    defedb.open()
    defedb.store([message], [one])
    defedb.close()
    return path, message, one


def test_every_fact_of_an_envelope_outlasts_export_and_import(tmp_path):
    path, message, one = all_facts(tmp_path / "from")
    lines = metaqueue("export", path).stdout
    other = make_whole(tmp_path / "to", empty=True)
    assert imported(other, lines).returncode == 0
    assert metaqueue("export", other).stdout == lines
    defedb = DefeDb(other / "defedb", 1 << 20)
    defedb.open()
    assert (defedb.get_ta(ta_id(5)), defedb.get_rcpts(ta_id(5), -1, 10)) == (message, [one])
    defedb.close()


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('"mail": "j', '"mail": "x>\\r\\nRCPT TO:<', "mail: "),
        ('"rcpt": "', '"rcpt": "\\u0000', "rcpt: "),
        ('"HDRS"', '"H D"', "ret: "),
        ('"sender": "l', '"sender": "\\u0085', "sender: "),
        ('"orig_rcpt": "all', '"orig_rcpt": "\\u007f', "orig_rcpt: "),
        ('"BINARYMIME"', '"8BIT\\r\\n"', "body: "),
        ('"e+2B1"', '"e 1"', "envid: "),
        ('"SUCCESS,DELAY"', '"NEVER\\r\\nDATA"', "notify: "),
        ('"orcpt": "utf-8;', '"orcpt": "utf-8; ', "orcpt: "),
        ('"RT"', '"Q"', "by_mode 'Q'"),
        ('"priority": -9', '"priority": -10', "priority -10"),
        ('"by": ', '"by": 1e999, "x": ', "x"),
        ('"by": ', '"by": -', "TaRecord.by"),
    ],
)
def test_an_import_takes_nothing_that_would_be_more_than_one_word_of_smtp(tmp_path, old, new, told):
    path, _, _ = all_facts(tmp_path / "from")
    other = make_whole(tmp_path / "to", empty=True)
    lines = io.StringIO(swapped("".join(f"{line}\n" for line in exported(path)), old, new))
    defedb = DefeDb(other / "defedb", 1 << 20)
    defedb.open()
    with pytest.raises(CliError, match=f"^line [0-9]+: .*{re.escape(told)}"):
        Import(other, defedb, None).run(lines)
    assert defedb.get_ta(ta_id(5)) is None
    defedb.close()


def exported(path):
    defedb = DefeDb(path / "defedb", 1 << 20)
    defedb.open()
    lines = list(export(path, defedb))
    defedb.close()
    return lines


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_root_imports_as_the_owners_of_the_directories():
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        Path(name).chmod(0o755)
        whole, other = make_whole(Path(name, "from")), make_whole(Path(name, "to"), empty=True)
        for path in other.rglob("*"):
            os.chown(path, 65534, 65534)
        for path in (other / "cdb").iterdir():
            os.chown(path, 65533, 65534)
        result = imported(other, metaqueue("export", whole).stdout)
        assert (result.returncode, result.stderr) == (0, "")
        assert {path.stat().st_uid for path in other.glob("cdb/*/*")} == {65533}
        assert {path.stat().st_uid for path in (other / "defedb").iterdir()} == {65534}


@pytest.mark.parametrize("words", [["check", "repair", "x"], ["--content"], ["check", "--json"], ["export", "--gid", "1"]])
def test_a_wrong_command_line_is_refused(words):
    assert metaqueue(*words).returncode == sysexits.EX_USAGE
