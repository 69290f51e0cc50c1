import os
import shutil
from pathlib import Path

import pytest

from meta1g.base.errors import BugError
from meta1g.base.log import Log
from meta1g.base.reply import NO_REPLY, Reply
from meta1g.db import defedb_records as records
from meta1g.db import defedb_salvage
from meta1g.db.damage import Note, Step, read_note, suspect, write_note
from meta1g.db.defedb import DefeDb
from meta1g.db.defedb_salvage import open_or_salvage
from meta1g.db.files import Files
from meta1g.db.lostfound import LostFound
from tests.fakes.envelopes import NOW, rcpt, rcpts, ta, ta_id
from tests.unit.db.test_recovery import Lines

PAGE = 4096
TAS = 300


class Queue:
    def __init__(self, root, copies):
        self.copies = copies
        self.home, self.lost = root / "defedb", root / "lost+found"
        self.home.mkdir()
        self.lost.mkdir()
        self.sink = Lines()
        self.log = Log("qmgr", level=20, sink=self.sink)
        self.db = self.keeping(DefeDb(self.home, 1 << 20))

    def keeping(self, db):
        db.keeper = LostFound(self.lost, self.log).keep_record
        return db

    def fill(self, tas=TAS):
        """Puts records into the empty store: once for each number of transactions, later it copies the files."""
        copy = self.copies / str(tas)
        if not copy.exists():
            self.fill_anew(tas)
            shutil.copytree(self.home, copy)
        shutil.copytree(copy, self.home, dirs_exist_ok=True)
        return self.everything

    def fill_anew(self, tas=TAS):
        self.db.open()
        long = Reply(451, text="x" * 6000)  # on pages of its own
        self.db.store(
            [ta(n, 3) for n in range(tas)],
            [rcpt(n, idx, reply=long if n % 50 == 0 else NO_REPLY, next_try=NOW + n) for n in range(tas) for idx in range(3)],
        )
        self.db.checkpoint()
        self.db.close()

    everything = frozenset((ta_id(n), idx) for n in range(TAS) for idx in range(3))

    def spoil(self, name, *pages):
        with (self.home / name).open("r+b") as file:
            for page in pages:
                file.seek(page * PAGE)
                file.write(b"\x55" * 200)

    def erase(self, name, page):
        with (self.home / name).open("r+b") as file:
            file.seek(page * PAGE)
            file.write(bytes(PAGE))

    def keys(self):
        return {(r.ta_id, r.rcpt_idx) for r in self.db.scan(None, 10_000)}

    def open(self):
        damaged = open_or_salvage(self.db, self.lost, self.log)
        self.db.check()
        note = read_note(self.home)
        assert note is None or note.step is Step.SOUND
        return damaged

    def drop_logs(self):
        """What is in the log cannot help any more, as after weeks of checkpoints."""
        for path in self.home.glob("log.*"):
            path.unlink()


@pytest.fixture(scope="session")
def copies(tmp_path_factory):
    """Where filled stores are kept."""
    return tmp_path_factory.mktemp("filled")


@pytest.fixture
def queue(tmp_path, copies):
    made = Queue(tmp_path, copies)
    yield made
    made.db.close()


def test_a_sound_store_is_just_opened(queue):
    queue.fill()
    assert not queue.open()
    assert queue.keys() == queue.everything
    assert (queue.sink.lines, list(queue.lost.iterdir())) == ([], [])


@pytest.mark.parametrize("lost", [("due.db",), ("defedb.db",), ("due.db", "defedb.db"), ("defedb.db", "log.0000000001")])
@pytest.mark.parametrize("damage", [os.unlink, lambda path: os.truncate(path, 0)])
def test_a_file_that_is_missing_after_a_clean_stop_is_noticed(queue, lost, damage):
    """Recovery reads the log from the last checkpoint on, and the library makes an empty file where there is none."""
    everything = queue.fill()
    for name in lost:
        damage(queue.home / name)
    assert queue.open()
    if "log.0000000001" not in lost:
        assert queue.keys() == everything
        assert len(queue.db.due(NOW + TAS, 5 * TAS)) == len(everything)
    assert "func=qmgr.defedb" in "".join(queue.sink.lines)


NO_FILES = {"directory": Path.mkdir, "FIFO": os.mkfifo, "link": lambda path: path.symlink_to("/nowhere")}


@pytest.mark.parametrize("what", NO_FILES)
@pytest.mark.parametrize("name", ["due.db", "defedb.db", "log.0000000001", "DAMAGE", "DB_CONFIG"])
def test_what_is_no_file_stops_no_start_and_is_set_aside(queue, name, what):
    everything = queue.fill()
    (queue.home / name).unlink(missing_ok=True)
    NO_FILES[what](queue.home / name)
    queue.open()
    assert queue.keys() == everything
    assert f"path={queue.home / name}, stat=is no plain file; set aside as {queue.lost}/{name}" in "".join(queue.sink.lines)
    assert name in {path.name.rpartition("-")[0] for path in queue.lost.iterdir()}


def test_a_damaged_first_page_costs_nothing(queue):
    queue.fill()
    queue.spoil("defedb.db", 0)
    before = (queue.home / "defedb.db").read_bytes()
    assert queue.open()
    assert queue.keys() == queue.everything
    assert queue.db.get_rcpt(ta_id(50), 2) == rcpt(50, 2, reply=Reply(451, text="x" * 6000), next_try=NOW + 50)
    assert (queue.lost / "defedb-1" / "defedb.db").read_bytes() == before
    assert any("sevr=FATAL" in line and f"{queue.lost}/defedb-1" in line for line in queue.sink.lines)


def test_a_damaged_page_is_found_when_it_is_read_and_its_records_come_back_from_the_log(queue):
    queue.fill()
    queue.spoil("defedb.db", 5)
    queue.db.open()
    with pytest.raises(BugError, match="the environment needs recovery"):
        queue.db.check()
    queue.db.close()
    assert read_note(queue.home) == Note(Step.SUSPECT)
    assert queue.open()
    assert queue.keys() == queue.everything


def test_without_the_log_an_erased_page_costs_what_was_on_it(queue):
    queue.fill()
    queue.erase("defedb.db", 5)
    queue.drop_logs()
    write_note(queue.home, Note(Step.SUSPECT))
    assert queue.open()
    lost = queue.everything - queue.keys()
    assert 0 < len(lost) < 60
    assert queue.keys() <= queue.everything


def test_a_page_whose_head_is_damaged_still_gives_its_records(queue):
    queue.fill()
    queue.spoil("defedb.db", 5)
    queue.drop_logs()
    suspect(queue.home)
    assert queue.open()
    assert len(queue.everything - queue.keys()) <= 1


def test_any_bit_of_a_page_is_noticed_and_without_the_log_the_other_records_of_the_page_stay(queue):
    queue.fill()
    path = queue.home / "defedb.db"
    data = path.read_bytes()
    place = data.index(b"r1@to", data.index(ta_id(7).encode() + b"-0001"[:5]) - 3000)
    path.write_bytes(data[:place] + b"Q" + data[place + 1 :])
    queue.drop_logs()
    write_note(queue.home, Note(Step.SUSPECT))
    assert queue.open()
    assert len(queue.everything - queue.keys()) == 1


@pytest.mark.parametrize("name", ["due.db", "defedb.db"])
@pytest.mark.parametrize(
    "damage", [lambda path: path.unlink(), lambda path: os.truncate(path, 100), lambda path: os.truncate(path, 0)]
)
def test_after_a_kill_the_log_gives_back_what_a_cut_or_missing_file_had(queue, name, damage):
    pid = os.fork()
    if pid == 0:
        queue.db.open()
        for n in range(20):
            queue.db.store([ta(n, 3)], [rcpt(n, idx, next_try=NOW + n) for idx in range(3)])
        os._exit(0)  # as a kill: no checkpoint, nothing closed
    os.waitpid(pid, 0)
    damage(queue.home / name)
    queue.open()
    assert queue.keys() == {(ta_id(n), idx) for n in range(20) for idx in range(3)}
    assert queue.db.due(NOW + 100, 100)[0] == (NOW, ta_id(0), 0)


def test_a_damaged_index_costs_nothing(queue):
    queue.fill()
    queue.spoil("due.db", 0, 1, 2)
    assert queue.open()
    assert queue.keys() == queue.everything


def test_damaged_records_are_set_aside_by_the_check_and_named(queue):
    queue.fill()
    queue.db.open()
    with queue.db._env.transaction() as txn:
        for key in (records.rcpt_key(ta_id(7), 1), records.ta_key(ta_id(9))):
            queue.db._main.put(key, queue.db._main.get(key)[:-3] + b"xyz", txn=txn)
    queue.db.close()
    write_note(queue.home, Note(Step.SUSPECT))
    assert queue.open()
    assert queue.everything - queue.keys() == {(ta_id(7), 1), *((ta_id(9), idx) for idx in range(3))}
    names = {path.name for path in queue.lost.iterdir()}
    assert names == {f"{ta_id(7)}-0001.record", f"{ta_id(9)}.record", *(f"{ta_id(9)}-000{idx}.record" for idx in range(3))}
    assert LostFound(queue.lost, queue.log).content_ids() == {ta_id(7), ta_id(9)}


def test_a_wrong_index_and_a_wrong_counter_are_made_anew(queue):
    queue.fill()
    queue.db.open()
    with queue.db._env.transaction() as txn:
        queue.db._main.put(records.COUNT_KEY, records.COUNT.pack(5), txn=txn)
        queue.db._due.delete(records.due_key(NOW + 3, records.rcpt_key(ta_id(3), 1)), txn=txn)
        queue.db._due.put(records.due_key(NOW + 4, records.rcpt_key(ta_id(3), 9)), b"", txn=txn)
        queue.db._due.put(b"nonsense", b"", txn=txn)
    queue.db.close()
    write_note(queue.home, Note(Step.SUSPECT))
    assert queue.open()
    assert queue.keys() == queue.everything


def test_a_start_that_did_not_get_through_is_looked_into(queue, monkeypatch):
    queue.fill()
    real = DefeDb.open
    monkeypatch.setattr(DefeDb, "open", lambda self: (_ for _ in ()).throw(Cut()))
    with pytest.raises(Cut):
        queue.open()
    monkeypatch.setattr(DefeDb, "open", real)
    assert read_note(queue.home) == Note(Step.SUSPECT)
    assert not queue.open()
    assert queue.keys() == queue.everything


def test_the_third_suspicion_in_a_row_is_believed_although_nothing_is_found(queue):
    queue.fill()
    for found in (False, False, True):
        suspect(queue.home)
        assert queue.open() == found
        queue.db.close()
    queue.open()
    assert queue.keys() == queue.everything


def test_the_library_may_crash_on_the_files(queue, monkeypatch):
    queue.fill()
    queue.erase("defedb.db", 3)
    suspect(queue.home)
    monkeypatch.setattr(DefeDb, "read_all", lambda self: os.kill(os.getpid(), 11))
    queue.drop_logs()
    assert queue.open()
    assert 0 < len(queue.everything - queue.keys()) < 60
    assert any("does not survive" in line for line in queue.sink.lines)


def test_a_suspicion_that_is_wrong_changes_nothing(queue):
    queue.fill()
    write_note(queue.home, Note(Step.SUSPECT))
    assert not queue.open()
    assert queue.keys() == queue.everything
    assert list(queue.lost.iterdir()) == []


def test_missing_log_files_are_survived(queue):
    queue.fill()
    for path in queue.home.glob("log.*"):
        path.write_bytes(b"\x55" * 8192)
    queue.open()
    assert queue.keys() == queue.everything


def test_log_files_at_another_place_are_put_aside_there(tmp_path, copies):
    queue = Queue(tmp_path, copies)
    logs = tmp_path / "logs"
    logs.mkdir()
    queue.db = queue.keeping(DefeDb(queue.home, 1 << 20, logs))
    queue.fill_anew()
    queue.spoil("defedb.db", 0)
    assert queue.open()
    assert queue.keys() == queue.everything
    queue.db.close()
    assert [p.name for p in logs.iterdir() if not p.name.startswith("log.")] == ["defedb-1.log.0000000001"]
    assert list(queue.home.glob("log.*")) == []
    assert not queue.open()
    queue.db.close()


class Cut(BaseException):
    """The process is killed."""


class CutFiles(Files):
    """Kills at the n-th rename, write or sync."""

    __slots__ = ("left",)

    def __init__(self, left):
        self.left = left

    def _step(self):
        self.left -= 1
        if self.left == 0:
            raise Cut

    def rename(self, source, target):
        self._step()
        super().rename(source, target)

    def sync_directory(self, directory):
        self._step()
        super().sync_directory(directory)

    def unlink(self, path):
        self._step()
        super().unlink(path)


def test_it_may_be_cut_anywhere_and_run_again(tmp_path, copies, monkeypatch):
    cuts = 0
    for cut in range(1, 60):
        (tmp_path / str(cut)).mkdir()
        queue = Queue(tmp_path / str(cut), copies)
        queue.fill(30)
        queue.spoil("defedb.db", 0)
        files = CutFiles(cut)
        for module in ("meta1g.db.damage", "meta1g.db.defedb_salvage"):
            monkeypatch.setattr(f"{module}.FILES", files)
        try:
            open_or_salvage(queue.db, queue.lost, queue.log)
        except Cut:
            cuts += 1
        queue.db.close()
        files.left = -1
        queue.open()
        assert queue.keys() == {(ta_id(n), idx) for n in range(30) for idx in range(3)}
        queue.db.close()
        assert [p.name for p in queue.lost.iterdir()] == ["defedb-1"]
        if cuts < cut:
            break
    assert cuts > 10


def test_a_cut_while_filling_is_taken_up_again(queue, monkeypatch):
    queue.fill()
    queue.spoil("defedb.db", 0)
    monkeypatch.setattr(defedb_salvage, "_BATCH", 100)
    calls = 0
    real = DefeDb.store

    def store(self, *args):
        nonlocal calls
        calls += 1
        if calls == 4:
            raise Cut
        return real(self, *args)

    monkeypatch.setattr(DefeDb, "store", store)
    with pytest.raises(Cut):
        open_or_salvage(queue.db, queue.lost, queue.log)
    queue.db.close()
    assert read_note(queue.home) == Note(Step.FILL, "defedb-1")
    assert queue.open()
    assert queue.keys() == queue.everything


@pytest.mark.parametrize("text", ["", "nonsense", "move", "fill ../x", "move a/b"])
def test_a_note_that_makes_no_sense_is_a_suspicion(tmp_path, text):
    assert read_note(tmp_path) is None
    (tmp_path / "DAMAGE").write_text(text)
    assert read_note(tmp_path) == Note(Step.SUSPECT)


def test_recipients_without_their_transaction_are_counted(queue):
    queue.db.open()
    queue.db.store([ta(1), ta(2)], [*rcpts(1, 2), *rcpts(2, 1)])
    with queue.db._env.transaction() as txn:
        queue.db._main.delete(ta_id(1).encode(), txn=txn)
    queue.db.checkpoint()
    queue.db.close()
    queue.spoil("defedb.db", 0)
    queue.drop_logs()
    assert queue.open()
    assert queue.keys() == {(ta_id(2), 0)}
    assert "2 recipients without transaction" in queue.sink.lines[-1]
