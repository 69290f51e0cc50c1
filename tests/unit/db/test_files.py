import os
import time

import pytest

from meta1g.db.files import FAULT_FLUSH_MS, FILES, Files, files_for


def test_an_existing_file_is_not_created_again(tmp_path):
    FILES.close(FILES.create(tmp_path / "a"))
    with pytest.raises(FileExistsError):
        FILES.create(tmp_path / "a")


def test_all_pieces_are_written_however_many_there_are(tmp_path):
    pieces = [bytes([i % 251]) * (i % 7) for i in range(5000)]
    fd = FILES.create(tmp_path / "a")
    FILES.write(fd, pieces)
    FILES.write(fd, [b"end"])
    FILES.sync(fd)
    FILES.close(fd)
    assert (tmp_path / "a").read_bytes() == b"".join(pieces) + b"end"


def test_short_writes_go_on_where_they_stopped(tmp_path, monkeypatch):
    real_writev, real_write, real_pwrite = os.writev, os.write, os.pwrite
    monkeypatch.setattr(os, "writev", lambda fd, pieces: real_writev(fd, [b"".join(pieces)[:3]]))
    monkeypatch.setattr(os, "write", lambda fd, data: real_write(fd, bytes(data)[:2]))
    monkeypatch.setattr(os, "pwrite", lambda fd, data, offset: real_pwrite(fd, bytes(data)[:2], offset))
    fd = FILES.create(tmp_path / "a")
    FILES.write(fd, [b"abcd", b"efgh"])
    FILES.write_at(fd, b"ABCDE", 2)
    FILES.close(fd)
    assert (tmp_path / "a").read_bytes() == b"abABCDEh"


def test_write_durable_replaces_the_whole_file_and_an_older_attempt(tmp_path):
    (tmp_path / "a").write_bytes(b"old and long")
    (tmp_path / "a.new").write_bytes(b"left by a crash")
    FILES.write_durable(tmp_path / "a", b"new")
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == {"a": b"new"}


def test_reserved_room_is_zeros_behind_the_content(tmp_path):
    fd = FILES.create(tmp_path / "a")
    FILES.write_at(fd, b"x", 0)
    FILES.reserve(fd, 0, 4096)
    FILES.close(fd)
    assert (tmp_path / "a").read_bytes() == b"x" + bytes(4095)
    assert FILES.list(tmp_path) == ["a"]


def test_the_fault_switch_is_inert_unless_it_is_set():
    assert type(files_for({})) is Files
    assert type(files_for({FAULT_FLUSH_MS: ""})) is Files


def test_the_fault_switch_makes_every_flush_wait_and_then_flush(tmp_path, monkeypatch):
    done = []
    monkeypatch.setattr(time, "sleep", done.append)
    for name in ("fsync", "fdatasync"):
        monkeypatch.setattr(os, name, lambda fd, name=name: done.append(name))
    files = files_for({FAULT_FLUSH_MS: "100"})
    fd = files.create(tmp_path / "a")
    files.write(fd, [b"x"])
    files.datasync(fd)
    files.sync(fd)
    files.close(fd)
    files.sync_directory(tmp_path)
    assert done == [0.1, "fdatasync", 0.1, "fsync", 0.1, "fsync"]
    assert (tmp_path / "a").read_bytes() == b"x"


def test_a_fault_switch_that_is_no_number_is_an_error():
    with pytest.raises(ValueError, match="soon"):
        files_for({FAULT_FLUSH_MS: "soon"})
