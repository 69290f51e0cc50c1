import os
import subprocess
import sys
from pathlib import Path

import pytest

from meta1g.db.files import FILES

ROOT = Path(__file__).parents[3]


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


def test_a_slow_disk_makes_every_flush_of_a_process_wait():
    slow = {"SLOW_DISK_MS": "150", "PYTHONPATH": os.pathsep.join([str(ROOT / "tests/fakes/slow_disk"), str(ROOT)])}
    code = (
        "import os, time; from meta1g.db.files import FILES; slept = []; time.sleep = slept.append\n"
        "FILES.sync_directory('.'); fd = os.open('.', os.O_RDONLY); FILES.sync(fd); FILES.datasync(fd); print(slept)"
    )
    for environment, slept in ((slow, [0.15] * 3), ({**slow, "SLOW_DISK_MS": ""}, [])):
        run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
        assert run.stdout == f"{slept}\n"
