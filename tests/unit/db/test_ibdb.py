import errno
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from meta1g.base.errors import BugError, ProtocolError
from meta1g.db.ibdb import Ibdb
from meta1g.db.ibdb_reader import IbdbReader, ibdb_files
from meta1g.db.ibdb_records import TaNew
from meta1g.db.recovery import Envelopes
from meta1g.rcb.envelope import RcptDone, TaCancel, TaDone
from tests.fakes.envelopes import rcpt, rcpts, ta, ta_id
from tests.fakes.lossy_files import LossyFiles


@pytest.fixture
def ibdb(tmp_path):
    store = Ibdb(tmp_path, 4096)
    yield store
    store.check()
    store.close()


def commit(store):
    batch = store.take()
    if batch is not None:
        store.write(batch)
        return store.finished(batch)
    return []


def on_disk(directory):
    """What the files say: ids of the open transactions, each with the indexes of its open recipients."""
    envelopes = Envelopes()
    for path in ibdb_files(directory):
        reader = IbdbReader(path)
        for found in reader.entries():
            envelopes.add(found.entry, trusted=found.trusted)
        assert reader.damage == []
    return {found: set(left) for found, (_, left) in envelopes.open.items()}


def test_nothing_is_taken_when_nothing_was_noted(ibdb, tmp_path):
    assert ibdb.take() is None
    assert (ibdb.open_count, ibdb.file_count, ibdb.size_bytes, list(tmp_path.iterdir())) == (0, 0, 0, [])


def test_a_batch_is_one_write_and_one_flush(tmp_path):
    files = LossyFiles(tmp_path)
    store = Ibdb(tmp_path, 1 << 20, files)
    for number in range(100):
        store.new(ta(number), rcpts(number, 2))
    commit(store)
    del files.log[:]
    for number in range(100):
        store.new(ta(1000 + number), rcpts(1000 + number, 2))
        store.rcpt_done(ta_id(number), 0)
    commit(store)
    assert [line.split()[0] for line in files.log] == ["write_at", "datasync"]
    store.close()


def test_everything_written_is_read_in_order(ibdb, tmp_path):
    ibdb.new(ta(1, 2), rcpts(1, 2))
    ibdb.rcpt_new(rcpt(1, 2))
    ibdb.rcpt_done(ta_id(1), 0)
    ibdb.new(ta(2), rcpts(2, 1))
    ibdb.cancel(ta_id(2))
    ibdb.ta_done(ta_id(1))
    commit(ibdb)
    (path,) = ibdb_files(tmp_path)
    assert [found.entry for found in IbdbReader(path).entries()] == [
        TaNew(ta(1, 2), tuple(rcpts(1, 2))),
        rcpt(1, 2),
        RcptDone(ta_id=ta_id(1), rcpt_idx=0),
        TaNew(ta(2), tuple(rcpts(2, 1))),
        TaCancel(ta_id=ta_id(2)),
        TaDone(ta_id=ta_id(1)),
    ]


def test_records_of_transactions_that_are_not_open_are_ignored(ibdb):
    ibdb.rcpt_done(ta_id(1), 0)
    ibdb.ta_done(ta_id(1))
    ibdb.cancel(ta_id(1))
    assert (ibdb.pending_count, ibdb.take()) == (0, None)


def test_a_transaction_is_new_once(ibdb):
    ibdb.new(ta(1), rcpts(1, 1))
    with pytest.raises(BugError):
        ibdb.new(ta(1), rcpts(1, 1))
    with pytest.raises(BugError):
        ibdb.rcpt_new(rcpt(2))
    assert (ibdb.open_count, ibdb.pending_count) == (1, 1)


def test_a_value_that_does_not_fit_leaves_nothing(ibdb):
    with pytest.raises(ProtocolError):
        ibdb.new(ta(1), [rcpt(1, -1)])
    assert (ibdb.open_count, ibdb.take()) == (0, None)


def test_a_batch_has_to_be_written_before_the_next_is_taken(ibdb):
    ibdb.new(ta(1), rcpts(1, 1))
    batch = ibdb.take()
    assert batch.count == 1
    with pytest.raises(BugError):
        ibdb.take()
    ibdb.write(batch)
    with pytest.raises(BugError):
        ibdb.write(batch)


def test_files_of_the_last_run_have_to_be_recovered_first(tmp_path):
    (tmp_path / "ibdb00000001").touch()
    with pytest.raises(BugError, match="recovery has to come first"):
        Ibdb(tmp_path, 4096)


def fill(store, first, count=20):
    """One file full, and the next begun."""
    for number in range(first, first + count):
        store.new(ta(number), rcpts(number, 1))
    commit(store)


def test_a_full_file_is_followed_by_the_next(ibdb, tmp_path):
    fill(ibdb, 0)
    fill(ibdb, 100)
    assert [p.name for p in ibdb_files(tmp_path)] == ["ibdb00000001", "ibdb00000002"]
    assert ibdb.file_count == 2
    assert 2 * 4096 < ibdb.size_bytes < 16384


def test_a_file_stays_while_anything_in_it_is_open(ibdb, tmp_path):
    fill(ibdb, 0)
    fill(ibdb, 100)
    for number in range(1, 20):
        ibdb.ta_done(ta_id(number))
    assert commit(ibdb) == []
    assert ibdb.open_in_oldest() == [ta_id(0)]
    ibdb.ta_done(ta_id(0))
    assert commit(ibdb) == [tmp_path / "ibdb00000001"]
    assert [p.name for p in ibdb_files(tmp_path)] == ["ibdb00000002", "ibdb00000003"]


def test_the_current_file_stays(ibdb, tmp_path):
    ibdb.new(ta(1), rcpts(1, 1))
    commit(ibdb)
    assert ibdb.open_in_oldest() == []
    ibdb.ta_done(ta_id(1))
    assert commit(ibdb) == []
    assert len(ibdb_files(tmp_path)) == 1


def test_a_drained_file_waits_for_older_ones(ibdb, tmp_path):
    """The younger file has the DONE records of the older one."""
    fill(ibdb, 0)
    fill(ibdb, 100)
    for number in (*range(1, 20), *range(100, 120)):
        ibdb.ta_done(ta_id(number))
    commit(ibdb)
    fill(ibdb, 200)
    assert len(ibdb_files(tmp_path)) == ibdb.file_count == 3
    ibdb.ta_done(ta_id(0))
    gone = commit(ibdb)
    while len(gone) < 2:
        ibdb.new(ta(300 + len(gone)), rcpts(300 + len(gone), 1))
        gone += commit(ibdb)
    assert [p.name for p in gone] == ["ibdb00000001", "ibdb00000002"]


def test_a_removal_is_durable_before_the_next_one(tmp_path):
    files = LossyFiles(tmp_path)
    store = Ibdb(tmp_path, 4096, files)
    for first in (0, 100, 200):
        fill(store, first)
    for number in (*range(20), *range(100, 120)):
        store.ta_done(ta_id(number))
    del files.log[:]
    commit(store)
    for number in range(300, 303):
        store.new(ta(number), rcpts(number, 1))
        commit(store)
    names = [line for line in files.log if line.startswith(("unlink", "sync_directory"))]
    unlinks = [place for place, line in enumerate(names) if line.startswith("unlink")]
    assert len(unlinks) == 2
    assert any(line.startswith("sync_directory") for line in names[unlinks[0] : unlinks[1]])
    store.close()


def test_finished_removes_one_file_until_the_next_write(ibdb, tmp_path):
    for first in (0, 100, 200):
        fill(ibdb, first)
    for number in (*range(20), *range(100, 120)):
        ibdb.ta_done(ta_id(number))
    batch = ibdb.take()
    ibdb.write(batch)
    assert ibdb.finished(batch) == [tmp_path / "ibdb00000001"]
    assert ibdb.finished(batch) == []


def test_a_closing_record_noted_during_a_write_does_not_free_the_file(ibdb, tmp_path):
    fill(ibdb, 0)
    fill(ibdb, 100)
    ibdb.new(ta(200), rcpts(200, 1))
    batch = ibdb.take()
    for number in range(20):
        ibdb.ta_done(ta_id(number))
    ibdb.write(batch)
    assert ibdb.finished(batch) == []
    assert commit(ibdb) == [tmp_path / "ibdb00000001"]


def test_a_file_that_cannot_be_removed_is_tried_again(tmp_path):
    class Stubborn(LossyFiles):
        __slots__ = ()

        def unlink(self, path):
            if self.operations < limit:
                self._step("refused")
                raise PermissionError(errno.EPERM, "immutable")
            super().unlink(path)

    limit = 10_000
    store = Ibdb(tmp_path, 4096, Stubborn(tmp_path))
    fill(store, 0)
    fill(store, 100)
    for number in range(20):
        store.ta_done(ta_id(number))
    assert commit(store) == []
    assert "immutable" in store.trouble
    limit = 0
    store.new(ta(300), rcpts(300, 1))
    assert [p.name for p in commit(store)] == ["ibdb00000001"]
    assert store.trouble is None
    store.close()


def damages(path):
    reader = IbdbReader(path)
    list(reader.entries())
    return reader.damage


def failing(tmp_path, operations, max_size_bytes=1 << 20):
    """A store whose files fail at the named operations, counted from here on."""
    files = LossyFiles(tmp_path, fail={n: OSError(errno.ENOSPC, "full") for n in operations})
    return Ibdb(tmp_path, max_size_bytes, files), files


FIRST = ["create", "reserve", "write_at", "datasync", "sync_directory"]


@pytest.mark.parametrize("place", range(1, 6))
def test_a_first_file_that_cannot_be_made_leaves_nothing(tmp_path, place):
    store, files = failing(tmp_path, [place])
    store.new(ta(1), rcpts(1, 1))
    batch = store.take()
    with pytest.raises(OSError, match="full"):
        store.write(batch)
    assert [line.split()[0] for line in files.log[:place]] == FIRST[:place]
    assert store.finished(batch) == []
    assert (store.open_count, store.pending_count, store.size_bytes, list(tmp_path.iterdir())) == (0, 0, 0, [])
    store.check()
    store.new(ta(2), rcpts(2, 1))
    commit(store)
    assert on_disk(tmp_path) == {ta_id(2): {0}}
    assert [p.name for p in ibdb_files(tmp_path)] == ["ibdb00000001"]
    store.close()


@pytest.mark.parametrize("place", [6, 7])
def test_after_a_failed_flush_the_refused_are_void_and_the_rest_is_repeated(tmp_path, place):
    store, files = failing(tmp_path, [place])
    store.new(ta(1, 2), rcpts(1, 2))
    commit(store)
    store.new(ta(2), rcpts(2, 1))
    store.rcpt_new(rcpt(1, 2))
    store.rcpt_done(ta_id(1), 0)
    batch = store.take()
    store.new(ta(3), rcpts(3, 1))
    store.rcpt_done(ta_id(1), 1)
    with pytest.raises(OSError, match="full"):
        store.write(batch)
    assert files.log[place - 1].split()[0] == FIRST[place - 4]
    assert store.finished(batch) == []
    store.check()
    assert store.open_count == 2
    commit(store)
    assert [p.name for p in ibdb_files(tmp_path)] == ["ibdb00000001", "ibdb00000002"]
    assert on_disk(tmp_path) == {ta_id(1): {2}, ta_id(3): {0}}
    store.close()


def test_the_owner_may_cancel_what_was_refused(tmp_path):
    store, _ = failing(tmp_path, [6])
    store.new(ta(1), rcpts(1, 1))
    commit(store)
    store.new(ta(2), rcpts(2, 1))
    batch = store.take()
    with pytest.raises(OSError, match="full"):
        store.write(batch)
    store.cancel(ta_id(2))
    store.check()
    commit(store)
    assert on_disk(tmp_path) == {ta_id(1): {0}}
    assert [one for path in ibdb_files(tmp_path) for one in damages(path)] == []
    assert store.open_count == 1
    store.close()


def test_a_full_disk_does_not_make_the_store_grow(tmp_path):
    store, _ = failing(tmp_path, range(6, 2000))
    store.new(ta(1), rcpts(1, 1))
    commit(store)
    store.ta_done(ta_id(1))
    for number in range(100, 150):
        store.new(ta(number), rcpts(number, 1))
        batch = store.take()
        with pytest.raises(OSError, match="full"):
            store.write(batch)
        store.finished(batch)
        store.check()
    assert (store.open_count, store.pending_count, store.file_count) == (0, 2, 2)  # DONE of 1, CANCEL of 100
    store.close()


def test_a_foreign_file_in_the_way_is_not_overwritten(tmp_path):
    store = Ibdb(tmp_path, 4096)
    (tmp_path / "ibdb00000001").write_bytes(b"foreign")
    store.new(ta(1), rcpts(1, 1))
    with pytest.raises(FileExistsError):
        store.write(store.take())
    assert (tmp_path / "ibdb00000001").read_bytes() == b"foreign"
    store.new(ta(2), rcpts(2, 1))
    commit(store)
    assert (tmp_path / "ibdb00000002").exists()
    store.close()


class Model(RuleBasedStateMachine):
    """Any sequence of calls, with failures, against a dictionary; the files are read after each commit."""

    def __init__(self):
        super().__init__()
        self.directory = Path(tempfile.mkdtemp())
        self.fail = {}
        self.files = LossyFiles(self.directory, fail=self.fail)
        self.store = Ibdb(self.directory, 600, self.files)
        self.open = {}
        self.number = 0
        self.batch = None

    def teardown(self):
        self.store.close()
        shutil.rmtree(self.directory)

    def known(self, pick):
        return sorted(self.open)[pick % len(self.open)]

    @rule(count=st.integers(1, 3))
    def new(self, count):
        self.number += 1
        self.store.new(ta(self.number, count), rcpts(self.number, count))
        self.open[self.number] = set(range(count))

    @precondition(lambda self: self.open)
    @rule(pick=st.integers(0, 99), bounce=st.booleans())
    def rcpt_done(self, pick, bounce):
        number = self.known(pick)
        idx = min(self.open[number], default=0)
        if bounce:
            self.store.rcpt_new(rcpt(number, 100 + idx))
            self.open[number].add(100 + idx)
        self.store.rcpt_done(ta_id(number), idx)
        self.open[number].discard(idx)

    @precondition(lambda self: self.open)
    @rule(pick=st.integers(0, 99), cancel=st.booleans())
    def close(self, pick, cancel):
        number = self.known(pick)
        (self.store.cancel if cancel else self.store.ta_done)(ta_id(number))
        del self.open[number]

    @precondition(lambda self: self.batch is None)
    @rule()
    def take(self):
        self.batch = self.store.take()

    @precondition(lambda self: self.batch is not None)
    @rule(fail=st.sampled_from([0, 0, 0, 1, 2, 3, 4, 5]))
    def write(self, fail):
        batch, self.batch = self.batch, None
        self.fail.clear()
        if fail:
            self.fail[self.files.operations + fail] = OSError(errno.ENOSPC, "full")
        try:
            self.store.write(batch)
        except OSError:
            for refused in batch.pending.news:
                self.open.pop(int(refused[1:17], 16), None)
        self.fail.clear()
        self.store.finished(batch)

    @precondition(lambda self: self.batch is None)
    @rule()
    def commit(self):
        commit(self.store)
        while self.store.pending_count:  # what a failed batch left
            commit(self.store)
        assert on_disk(self.directory) == {ta_id(number): left for number, left in self.open.items()}

    @invariant()
    def consistent(self):
        self.store.check()
        assert self.store.open_count == len(self.open)
        on_disk_now = {path.name for path in ibdb_files(self.directory)}
        assert on_disk_now <= {life.path.name for life in self.store._lives}


TestModel = Model.TestCase
TestModel.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
