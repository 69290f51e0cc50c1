import os

from meta1g.maps.watch import FileWatch


def test_a_file_is_looked_at_once_a_second_at_most(tmp_path, clock, monkeypatch):
    path = tmp_path / "f"
    path.write_text("a")
    watch, looks = FileWatch(path, clock), []
    monkeypatch.setattr("meta1g.maps.watch.signature", looks.append)
    for _ in range(100):
        watch.look()
    assert looks == []
    clock.now_s += 1
    for _ in range(100):
        watch.look()
    assert len(looks) == 1


def test_each_kind_of_change_counts_and_a_look_alone_does_not(tmp_path, clock):
    path = tmp_path / "f"
    path.write_text("a")
    watch, seen = FileWatch(path, clock), []

    def look():
        clock.now_s += 1
        seen.append(watch.look())

    look()
    path.write_text("bb")  # another size
    look()
    os.utime(path, (1, 1))  # another time
    look()
    (tmp_path / "g").write_text("bb")
    os.utime(tmp_path / "g", (1, 1))
    (tmp_path / "g").replace(path)  # another file
    look()
    path.unlink()
    look()
    assert seen == [0, 1, 2, 3, 3]
