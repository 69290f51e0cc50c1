"""Reading content: what is not a plain file of the writer, as it was accepted, is never read to its end."""

import errno
import os
import socket
from pathlib import Path
from zlib import crc32

import pytest

from meta1g.db.cdb import Cdb, ContentError
from tests.fakes.envelopes import cdb_directories, ta_id

BODY = b"Received: x\r\nSubject: x\r\n\r\n" + b"line of text\r\n" * 1000
ID = ta_id(1)
SIZE, CHECKSUM = len(BODY), crc32(BODY)
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")


@pytest.fixture
def cdb(tmp_path):
    made = Cdb(cdb_directories(tmp_path / "cdb"))
    made.write_whole(ID, [BODY])
    return made


def read_all(cdb, size_bytes=SIZE, checksum=CHECKSUM, piece_bytes=1000):
    """Reads as the client does: from the cache first, then from the disk."""
    reader = cdb.open(ID, size_bytes, checksum)
    pieces = []
    try:
        while not reader.at_end:
            pieces.append(reader.cached(piece_bytes) or reader.read(piece_bytes))
    finally:
        reader.close()
        reader.close()
    return b"".join(pieces)


def test_a_file_as_it_was_accepted_is_read_whole(cdb):
    assert read_all(cdb) == BODY
    assert read_all(cdb, None, None) == BODY
    cdb.check(ID, len(BODY))


@pytest.mark.parametrize("answer", [0, OSError(errno.EAGAIN, "no"), OSError(errno.EOPNOTSUPP, "no"), NotImplementedError()])
def test_a_cache_that_gives_nothing_is_no_end_of_the_file(cdb, monkeypatch, answer):
    def preadv(*args):
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(os, "preadv", preadv)
    assert read_all(cdb) == BODY


def test_short_reads_go_on_where_they_stopped(cdb, monkeypatch):
    real = os.preadv
    monkeypatch.setattr(os, "preadv", lambda fd, buffers, offset, flags: real(fd, [memoryview(buffers[0])[:7]], offset, flags))
    assert read_all(cdb) == BODY


@pytest.mark.parametrize("bit", [0, 7, 8 * len(BODY) // 2, 8 * len(BODY) - 1])
@pytest.mark.parametrize("piece_bytes", [1000, 1 << 20])
def test_one_changed_bit_is_noticed_before_the_last_piece_is_given(cdb, bit, piece_bytes):
    data = bytearray(BODY)
    data[bit // 8] ^= 1 << bit % 8
    cdb.path(ID).write_bytes(data)
    with pytest.raises(ContentError, match=f"cdb/./{ID}: its checksum is {crc32(data):08X}, not {crc32(BODY):08X}"):
        read_all(cdb, piece_bytes=piece_bytes)
    assert read_all(cdb, checksum=None) == bytes(data)


@pytest.mark.parametrize("size", [0, 1, len(BODY) - 1, len(BODY) + 1, 2 * len(BODY)])
def test_another_size_is_noticed_at_once(cdb, size):
    os.truncate(cdb.path(ID), size)
    with pytest.raises(ContentError, match=f"{ID}: has {size} bytes, not {len(BODY)}"):
        cdb.open(ID, len(BODY))


def test_an_empty_file_is_damage_even_if_nobody_knows_the_size(cdb):
    os.truncate(cdb.path(ID), 0)
    with pytest.raises(ContentError, match="has 0 bytes, not at least 1"):
        cdb.check(ID)


def test_a_file_that_shrinks_while_it_is_read_is_noticed(cdb):
    reader = cdb.open(ID)
    assert reader.read(100) == BODY[:100]
    os.truncate(cdb.path(ID), 100)
    assert reader.cached(100) == b""
    with pytest.raises(ContentError, match=f"ends after 100 of {len(BODY)} bytes"):
        reader.read(100)
    reader.close()


def test_a_file_that_grows_while_it_is_read_gives_what_was_accepted(cdb):
    reader = cdb.open(ID, len(BODY), crc32(BODY))
    with cdb.path(ID).open("ab") as file:
        file.write(b"more")
    assert reader.read(1 << 20) == BODY
    assert reader.at_end
    reader.close()


def symlink(path, target):
    path.symlink_to(target)


def link_to_nowhere(path, target):
    path.symlink_to(path.parent / "nowhere")


def fifo(path, target):
    os.mkfifo(path)


def directory(path, target):
    path.mkdir()


def unix_socket(path, target):
    here = os.open(path.parent, os.O_RDONLY)  # the whole name may be too long for an address
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(f"/proc/self/fd/{here}/{path.name}")
    os.close(here)


@pytest.mark.parametrize("make", [symlink, link_to_nowhere, fifo, directory, unix_socket])
def test_what_is_no_plain_file_is_damage_and_never_waited_for(cdb, make, tmp_path):
    path = cdb.path(ID)
    target = path.rename(tmp_path / "kept")
    make(path, target)
    with pytest.raises(ContentError, match=f"{ID}: is no plain file"):
        cdb.open(ID)


def test_a_missing_file_is_damage_but_a_missing_directory_is_not(cdb):
    path = cdb.path(ID)
    path.unlink()
    with pytest.raises(ContentError, match="is missing"):
        cdb.open(ID)
    path.parent.rmdir()
    with pytest.raises(FileNotFoundError):
        cdb.open(ID)


def test_a_name_that_is_no_id_is_damage(cdb):
    with pytest.raises(ContentError, match="no content id"):
        cdb.open("../../etc/passwd")


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO, errno.EACCES])
def test_a_shortage_is_an_error_of_the_system(cdb, monkeypatch, number):
    def fail(*args):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "open", fail)
    with pytest.raises(OSError, match=os.strerror(number)):
        cdb.open(ID)


@pytest.mark.root
@root_only
def test_only_files_of_the_directory_s_owner_or_of_the_named_accounts_are_read(cdb):
    os.chown(cdb.path(ID), 65534, -1)
    with pytest.raises(ContentError, match="belongs to user id 65534, not to 0"):
        cdb.open(ID)
    Cdb(cdb.directory, owners=frozenset((65534,))).check(ID)
    os.chown(cdb.path(ID).parent, 65534, -1)
    cdb.check(ID)


def open_descriptors():
    return sorted(path.name for path in Path("/proc/self/fd").iterdir())


def test_no_descriptor_is_left_of_a_file_that_is_refused(cdb):
    before = open_descriptors()
    os.truncate(cdb.path(ID), 3)
    for _ in range(5):
        with pytest.raises(ContentError):
            cdb.open(ID, len(BODY))
    assert open_descriptors() == before
