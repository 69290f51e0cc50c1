"""The file of verified addresses: what was written is read, whatever became of its end."""

import os
from pathlib import Path

import pytest

from meta1g.base.log import Log
from meta1g.base.reply import Reply
from meta1g.db.verifydb import VerifyDb, entry
from meta1g.rcb.verified import Verified
from tests.fakes.qmgr_system import Sink

YES, NO = Reply(250, "2.1.5", "ok", "mx[192.0.2.1]"), Reply(550, "5.1.1", ("no", "such user"), "mx[192.0.2.1]")


def record(name, reply=YES, at=1000.25):
    return Verified(address=name, reply=reply, at=at)


@pytest.fixture
def sink():
    return Sink()


@pytest.fixture
def opened(tmp_path, sink):
    return lambda: VerifyDb(tmp_path / "verified", Log("qmgr", level=20, sink=sink))


def write(db, *records, everything=(), limit=100):
    db.append(records, lambda: everything or records, limit)


def test_the_last_record_of_an_address_counts(opened):
    db = opened()
    assert db.load() == {}
    write(db, record("a"), record("b", NO))
    write(db, record("a", NO, 2000.0), record("k\u00e4se"))
    found = opened().load()
    assert list(found) == ["b", "a", "k\u00e4se"]
    assert (found["a"], found["b"]) == (record("a", NO, 2000.0), record("b", NO))


def test_too_many_old_entries_are_dropped(opened, tmp_path):
    db = opened()
    write(db, record("a"))
    for number in range(20):
        write(db, record("a", at=float(number)), everything=[record("a", at=float(number))], limit=4)
        assert db.written <= 4
    assert opened().load()["a"].at == 19.0
    assert (tmp_path / "verified").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("cut", range(1, 60, 7))
def test_what_stands_before_a_torn_end_is_used_and_the_file_is_written_anew(opened, tmp_path, sink, cut):
    path = tmp_path / "verified"
    write(opened(), record("a"), record("b"))
    path.write_bytes(path.read_bytes()[:-cut])
    db = opened()
    assert list(db.load()) == ["a"]
    assert sink.find(rf"func=qmgr.verify_file.*path={path}.*damaged at offset")
    write(db, record("c"), everything=[record("a"), record("c")])
    assert list(opened().load()) == ["a", "c"]


def test_a_changed_byte_is_noticed(opened, tmp_path):
    path = tmp_path / "verified"
    write(opened(), record("a"), record("b"), record("c"))
    data = bytearray(path.read_bytes())
    data[len(data) - len(entry(record("c"))) - 3] ^= 1
    path.write_bytes(data)
    assert list(opened().load()) == ["a"]


@pytest.mark.parametrize("data", [b"", b"something else", b"m1g-vrfy\0\0\0\2"])
def test_another_file_is_none_of_ours(opened, tmp_path, sink, data):
    (tmp_path / "verified").write_bytes(data)
    db = opened()
    assert db.load() == {}
    assert sink.find("no file of verified addresses")
    write(db, record("a"))
    assert list(opened().load()) == ["a"]


def test_a_file_that_cannot_be_read_or_written_is_told(opened, tmp_path, sink):
    (tmp_path / "verified").mkdir()
    db = opened()
    assert db.load() == {}
    assert sink.find("cannot read: is no plain file")
    with pytest.raises(OSError, match="directory"):
        write(db, record("a"))


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo, lambda path: path.symlink_to("/dev/zero")])
def test_what_is_no_file_costs_the_start_nothing(opened, tmp_path, sink, make):
    make(tmp_path / "verified")
    assert opened().load() == {}
    assert sink.find("func=qmgr.verify_file.*cannot read: ")
