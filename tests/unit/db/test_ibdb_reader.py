import errno
import os
from zlib import crc32

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from meta1g.db import ibdb_reader
from meta1g.db.ibdb_reader import IbdbReader, ibdb_files, misplaced
from meta1g.db.ibdb_records import FILE_HEADER, LONE_NUMBER, MAGIC, PAGE_BYTES, VERSION, TaNew, entry, file_header, ta_entry
from meta1g.rcb.envelope import RcptDone, TaDone
from tests.fakes.envelopes import rcpt, rcpts, ta, ta_id

ENTRIES = [
    ta_entry(ta(1, 2), rcpts(1, 2)),
    entry(RcptDone(ta_id=ta_id(1), rcpt_idx=0)),
    ta_entry(ta(2), rcpts(2, 1)),
    entry(TaDone(ta_id=ta_id(1))),
    entry(rcpt(2, 1)),
]
RECORDS = [
    TaNew(ta(1, 2), tuple(rcpts(1, 2))),
    RcptDone(ta_id=ta_id(1), rcpt_idx=0),
    TaNew(ta(2), tuple(rcpts(2, 1))),
    TaDone(ta_id=ta_id(1)),
    rcpt(2, 1),
]
WHOLE = file_header(1) + b"".join(ENTRIES)
STARTS = [FILE_HEADER.size + sum(map(len, ENTRIES[:i])) for i in range(len(ENTRIES) + 1)]


def read(tmp_path, data):
    path = tmp_path / "ibdb00000001"
    path.write_bytes(data + bytes(-len(data) % PAGE_BYTES))
    reader = IbdbReader(path)
    return list(reader.entries()), reader.damage


@pytest.mark.parametrize("zeros", [0, 4096])
def test_a_good_file_gives_its_entries_in_order(tmp_path, zeros):
    found, damage = read(tmp_path, WHOLE + bytes(zeros))
    assert [f.entry for f in found] == RECORDS
    assert [f.offset for f in found] == STARTS[:-1]
    assert all(f.trusted for f in found)
    assert damage == []


def test_every_torn_tail_is_found_and_everything_before_it_used(tmp_path):
    for cut in range(len(WHOLE)):
        found, damage = read(tmp_path, WHOLE[:cut])
        begin = max((start for start in STARTS if start <= cut), default=0)
        torn = WHOLE[begin:cut].rstrip(b"\0")
        if found and found[-1].offset == begin:  # only zeros were cut off
            assert WHOLE[cut : STARTS[len(found)]].strip(b"\0") == b""
            torn = b""
        else:
            assert [f.entry for f in found] == RECORDS[: sum(end <= cut for end in STARTS[1:])]
        assert [(d.offset, d.data, d.tail) for d in damage] == ([(begin, torn, True)] if torn or cut < STARTS[0] else [])


def test_damage_in_the_middle_costs_the_damaged_entry_only(tmp_path):
    for place in range(STARTS[1], STARTS[2]):
        data = bytearray(WHOLE)
        data[place] ^= 0xFF
        found, damage = read(tmp_path, bytes(data))
        assert [f.entry for f in found] == RECORDS[:1] + RECORDS[2:]
        assert [f.trusted for f in found] == [True, False, False, False]
        assert [(d.offset, d.data, d.tail) for d in damage] == [(STARTS[1], bytes(data[STARTS[1] : STARTS[2]]), False)]


def test_a_damaged_header_does_not_hide_the_entries(tmp_path):
    found, damage = read(tmp_path, b"X" + WHOLE[1:])
    assert [f.entry for f in found] == RECORDS
    assert [(d.offset, len(d.data), d.tail) for d in damage] == [(0, FILE_HEADER.size, False)]
    assert not any(f.trusted for f in found)


@pytest.mark.parametrize("data", [b"", bytes(4096), WHOLE[:7]])
def test_a_file_without_a_whole_header_is_a_torn_tail(tmp_path, data):
    found, damage = read(tmp_path, data)
    assert found == []
    assert [(d.offset, d.data, d.tail) for d in damage] == [(0, data.rstrip(b"\0"), True)]


def test_two_damaged_places_are_reported_apart(tmp_path):
    data = bytearray(WHOLE)
    for start in (STARTS[0], STARTS[3]):
        data[start + 9] ^= 1
    found, damage = read(tmp_path, bytes(data))
    assert [f.entry for f in found] == [RECORDS[1], RECORDS[2], RECORDS[4]]
    assert [d.offset for d in damage] == [STARTS[0], STARTS[3]]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(data=st.binary(max_size=300), cut=st.integers(0, len(WHOLE)))
def test_any_bytes_are_read_to_their_end(tmp_path, data, cut):
    found, damage = read(tmp_path, WHOLE[:cut] + data)
    assert [f.entry for f in found][: sum(end <= cut for end in STARTS[1:])] == RECORDS[: sum(end <= cut for end in STARTS[1:])]
    covered = sum(len(d.data) for d in damage)
    assert covered <= len(WHOLE) + 300


def test_a_block_that_the_disk_cannot_read_is_damage(tmp_path, monkeypatch):
    block = 64
    monkeypatch.setattr(ibdb_reader, "_BLOCK_BYTES", block)
    bad = STARTS[1] // block * block
    real = os.pread

    def pread(fd, size, offset):
        if offset == bad:
            raise OSError(errno.EIO, "bad sector")
        return real(fd, size, offset)

    monkeypatch.setattr(os, "pread", pread)
    found, damage = read(tmp_path, WHOLE)
    lost = [i for i in range(len(ENTRIES)) if STARTS[i] < bad + block and STARTS[i + 1] > bad]
    assert [f.entry for f in found] == [r for i, r in enumerate(RECORDS) if i not in lost]
    assert [d.offset for d in damage] == [STARTS[lost[0]]]


def test_a_block_behind_the_end_that_cannot_be_read_is_reported(tmp_path, monkeypatch):
    monkeypatch.setattr(ibdb_reader, "_BLOCK_BYTES", 4096)
    real = os.pread

    def pread(fd, size, offset):
        if offset:
            raise OSError(errno.EIO, "bad sector")
        return real(fd, size, offset)

    monkeypatch.setattr(os, "pread", pread)
    found, damage = read(tmp_path, WHOLE + bytes(8192 - len(WHOLE)))
    assert len(found) == len(RECORDS)
    assert [(d.offset, d.data) for d in damage] == [(4096, b"")]


def test_strangers_in_the_directory_stop_nobody(tmp_path):
    (tmp_path / "ibdb00000001").write_bytes(file_header(1))
    (tmp_path / "lost+found").mkdir()
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    (tmp_path / "notes").write_text("nothing of ours")
    checked = FILE_HEADER.pack(MAGIC, VERSION + 1, 1, 0)[:16]
    (tmp_path / "other-version").write_bytes(checked + crc32(checked).to_bytes(4, "big"))
    assert [path.name for path in ibdb_files(tmp_path)] == ["ibdb00000001"]


def test_every_cut_is_noticed_also_between_two_entries(tmp_path):
    path = tmp_path / "ibdb00000001"
    for cut in range(1, len(WHOLE) + 1):
        path.write_bytes(WHOLE[:cut])
        reader = IbdbReader(path)
        found = [f.entry for f in reader.entries()]
        assert found == RECORDS[: sum(end <= cut for end in STARTS[1:])]
        assert (reader.damage[-1].offset, reader.damage[-1].tail) == (cut, False)


def test_one_envelope_in_a_file_of_its_own_needs_no_reserved_room(tmp_path):
    path = tmp_path / "S000000000000000100.envelope"
    path.write_bytes(file_header(LONE_NUMBER) + ENTRIES[0])
    reader = IbdbReader(path)
    assert [f.entry for f in reader.entries()] == RECORDS[:1]
    assert reader.damage == []


def test_other_errors_are_not_hidden(tmp_path):
    with pytest.raises(FileNotFoundError):
        list(IbdbReader(tmp_path / "ibdb00000001").entries())


def test_files_come_in_the_order_of_their_numbers(tmp_path):
    for name in ("ibdb0000000B", "ibdb00000002", "ibdb0000000A", "README", "ibdb00000003.new"):
        (tmp_path / name).touch()
    assert [p.name for p in ibdb_files(tmp_path)] == ["ibdb00000002", "ibdb0000000A", "ibdb0000000B"]


def numbered(directory, *numbers):
    for name, inside in numbers:
        (directory / f"ibdb{name:08X}").write_bytes(file_header(inside) + ta_entry(ta(inside), rcpts(inside, 1)))


def test_files_that_have_each_others_names_are_read_in_their_own_order(tmp_path):
    numbered(tmp_path, (1, 2), (2, 1), (3, 3))
    paths = ibdb_files(tmp_path)
    assert [path.name[-1] for path in paths] == ["2", "1", "3"]
    assert len(misplaced(tmp_path, paths)) == 2


@pytest.mark.parametrize(("last", "text"), [("", "files 3 to 4 are missing"), ("7", "files up to 7 are missing")])
def test_missing_files_are_named(tmp_path, last, text):
    numbered(tmp_path, (2, 2), (5, 5))
    (tmp_path / "LAST").write_text(last)
    assert any(text in one for one in misplaced(tmp_path, ibdb_files(tmp_path)))


def test_files_that_are_as_they_should_be_are_no_damage(tmp_path):
    numbered(tmp_path, (4, 4), (5, 5))
    (tmp_path / "LAST").write_text("5")
    assert misplaced(tmp_path, ibdb_files(tmp_path)) == []
    assert misplaced(tmp_path / "no", []) == []
