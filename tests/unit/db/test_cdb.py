import errno
import os
from collections import Counter

import pytest

from meta1g.base.errors import PermError
from meta1g.db.cdb import Cdb
from meta1g.db.files import Files
from tests.fakes.envelopes import cdb_directories, ta_id


@pytest.fixture
def cdb(tmp_path):
    return Cdb(cdb_directories(tmp_path / "cdb"))


class BrokenFiles(Files):
    """Fails in one operation."""

    __slots__ = ("broken",)

    def __init__(self, broken):
        self.broken = broken

    def sync(self, fd):
        if self.broken == "sync":
            raise OSError(errno.EIO, "broken")
        super().sync(fd)

    def write(self, fd, pieces):
        if self.broken == "write":
            super().write(fd, [pieces[0][:1]])
            raise OSError(errno.ENOSPC, "full")
        super().write(fd, pieces)

    def set_group(self, fd, gid, mode):
        if self.broken == "group":
            raise PermissionError(errno.EPERM, "no")
        super().set_group(fd, gid, mode)


def test_content_written_at_once_is_there_with_its_mode(cdb):
    cdb.write_whole(ta_id(1), [b"Received: x\r\n", b"body"])
    path = cdb.path(ta_id(1))
    assert path.read_bytes() == b"Received: x\r\nbody"
    assert path.stat().st_mode & 0o7777 == 0o640 & ~current_umask()


def current_umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_the_group_may_read_whatever_the_umask_is(cdb):
    mask = os.umask(0o077)
    try:
        cdb.write_whole(ta_id(1), [b"a"], os.getgid())
        writer = cdb.create(ta_id(2), os.getgid())
        writer.commit()
    finally:
        os.umask(mask)
    for number in (1, 2):
        status = cdb.path(ta_id(number)).stat()
        assert (status.st_mode & 0o7777, status.st_gid) == (0o640, os.getgid())


def test_content_written_in_pieces_is_whole_after_commit(cdb):
    writer = cdb.create(ta_id(1))
    for piece in (b"a", b"", b"bc"):
        writer.write(piece)
    writer.commit()
    writer.abort()
    assert cdb.path(ta_id(1)).read_bytes() == b"abc"


def test_an_aborted_file_is_gone(cdb):
    writer = cdb.create(ta_id(1))
    writer.write(b"a")
    writer.abort()
    writer.abort()
    assert list(cdb.ids()) == []


def test_an_id_is_used_once(cdb):
    cdb.write_whole(ta_id(1), [b"first"])
    with pytest.raises(FileExistsError):
        cdb.write_whole(ta_id(1), [b"second"])
    with pytest.raises(FileExistsError):
        cdb.create(ta_id(1))
    assert cdb.path(ta_id(1)).read_bytes() == b"first"


@pytest.mark.parametrize("broken", ["sync", "write", "group"])
def test_a_failure_leaves_no_file(cdb, broken):
    failing = Cdb(cdb.directory, BrokenFiles(broken))
    with pytest.raises(OSError, match=r"broken|full|no"):
        failing.write_whole(ta_id(1), [b"abc"], os.getgid())
    with pytest.raises(OSError, match=r"broken|full|no"):  # noqa: PT012
        writer = failing.create(ta_id(1), os.getgid())
        try:
            writer.write(b"abc")
        except OSError:
            writer.abort()
            raise
        writer.commit()
    assert list(cdb.ids()) == []


@pytest.mark.parametrize("name", ["", "../../etc/passwd", "S" * 19, ta_id(1) + "\n", "s" + ta_id(1)[1:], ta_id(1) + "-0000"])
def test_only_ids_become_file_names(cdb, name):
    for use in (cdb.path, cdb.create, cdb.unlink, cdb.exists, lambda n: cdb.write_whole(n, [b"x"])):
        with pytest.raises(PermError):
            use(name)


@pytest.mark.parametrize("step", [1, 2, 16, 1000])
def test_ids_of_one_process_spread_over_all_directories(cdb, step):
    counts = Counter(cdb.path(ta_id(0x5F00000000000 + step * i)).parent.name for i in range(3200))
    assert len(counts) == 16
    assert max(counts.values()) < 2 * min(counts.values())


def test_unlink_tells_whether_there_was_a_file(cdb):
    cdb.write_whole(ta_id(1), [b"a"])
    assert cdb.exists(ta_id(1))
    assert [cdb.unlink(ta_id(1)), cdb.unlink(ta_id(1)), cdb.exists(ta_id(1))] == [True, False, False]


def test_ids_lists_all_content_files_and_nothing_else(cdb):
    expected = {ta_id(i) for i in range(100)}
    for cdb_id in expected:
        cdb.write_whole(cdb_id, [b"a"])
    os.utime(cdb.path(ta_id(7)), (5, 5))
    (cdb.directory / "0" / "README").write_text("x")
    found = dict(cdb.ids())
    assert set(found) == expected
    assert found[ta_id(7)] == 5


def test_a_missing_sub_directory_is_named_on_write(tmp_path):
    with pytest.raises(FileNotFoundError):
        Cdb(tmp_path).write_whole(ta_id(1), [b"a"])
    assert list(Cdb(tmp_path).ids()) == []
