import threading

import berkeleydb.db as bdb
import pytest

from meta1g.base.errors import PermError
from meta1g.db.mapfile import MapFile

ENTRIES = [(b"key%d" % i, b"value %d" % i) for i in range(2000)]


@pytest.mark.parametrize("kind", ["hash", "btree"])
def test_what_was_built_is_found(tmp_path, kind):
    path = tmp_path / "a.db"
    assert MapFile.build(path, [*ENTRIES, (b"empty", b"")], kind) == 2001
    with_map(path, lambda m: [m.get(b"key7"), m.get(b"empty"), m.get(b"none")], [b"value 7", b"", None])
    assert [p.name for p in tmp_path.iterdir()] == ["a.db"]


def with_map(path, use, expected):
    opened = MapFile.open(path)
    try:
        assert use(opened) == expected
    finally:
        opened.close()


def test_a_replaced_file_stays_readable_for_those_who_have_it_open(tmp_path):
    path = tmp_path / "a.db"
    MapFile.build(path, ENTRIES)
    old = MapFile.open(path)
    MapFile.build(path, [(b"key7", b"new")], "btree")
    assert [old.get(b"key7"), old.get(b"key1999")] == [b"value 7", b"value 1999"]
    old.close()
    with_map(path, lambda m: m.get(b"key7"), b"new")


def test_mode_is_handed_on(tmp_path):
    path = tmp_path / "a.db"
    MapFile.build(path, ENTRIES)
    path.chmod(0o640)
    MapFile.build(path, ENTRIES)
    assert path.stat().st_mode & 0o7777 == 0o640


def test_a_key_that_comes_twice_replaces_nothing(tmp_path):
    path = tmp_path / "a.db"
    MapFile.build(path, [(b"a", b"1")])
    with pytest.raises(PermError, match="'a' comes twice"):
        MapFile.build(path, [(b"a", b"2"), (b"a", b"3")])
    with_map(path, lambda m: m.get(b"a"), b"1")
    assert [p.name for p in tmp_path.iterdir()] == ["a.db"]


def test_errors_say_what_to_do(tmp_path):
    text = tmp_path / "text.db"
    text.write_text("key value\n" * 1000)
    with pytest.raises(PermError, match="is missing; make it with createmap"):
        MapFile.open(tmp_path / "none.db")
    with pytest.raises(PermError, match="no map file"):
        MapFile.open(text)
    with pytest.raises(PermError, match="cannot write map"):
        MapFile.build(tmp_path / "no" / "a.db", ENTRIES)


def test_threads_with_handles_of_their_own_do_not_disturb_each_other(tmp_path):
    path = tmp_path / "a.db"
    MapFile.build(path, ENTRIES)
    wrong: list[bytes] = []

    def look():
        opened = MapFile.open(path)
        wrong.extend(key for key, value in ENTRIES if opened.get(key) != value)
        opened.close()

    threads = [threading.Thread(target=look) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def by_another_program(path, kind, entries):
    handle = bdb.DB()
    handle.open(str(path), dbtype=kind, flags=bdb.DB_CREATE)
    for key, value in entries:
        handle.put(key, value)
    handle.close()


@pytest.mark.parametrize("kind", [bdb.DB_HASH, bdb.DB_BTREE])
def test_a_file_of_another_program_is_read(tmp_path, kind):
    by_another_program(tmp_path / "m.db", kind, [(b"key", b"value")])
    opened = MapFile.open_checked(tmp_path / "m.db")
    assert opened.get(b"key") == b"value"
    opened.close()


@pytest.mark.parametrize("kind", [bdb.DB_HASH, bdb.DB_BTREE])
def test_a_file_whose_keys_nobody_would_ever_find_is_refused(tmp_path, kind):
    by_another_program(tmp_path / "m.db", kind, [(b"@", b"@"), (b"key\0", b"value\0")])  # postmap, newaliases
    with pytest.raises(PermError, match=r"m\.db: keys end in NUL, .*make it again with createmap"):
        MapFile.open_checked(tmp_path / "m.db")
