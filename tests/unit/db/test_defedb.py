import shutil
import tempfile
import threading
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from meta1g.base.errors import BugError, PermError
from meta1g.base.ids import rcpt_id
from meta1g.db import defedb_records as records
from meta1g.db.damage import DamageError
from meta1g.db.defedb import DefeDb
from meta1g.rcb.envelope import RcptRecord, TaRecord
from tests.fakes.envelopes import NOW, rcpt, rcpts, ta, ta_id
from tests.unit.rcb.samples import full, sparse

CACHE = 1 << 20


@pytest.fixture
def db(tmp_path):
    store = DefeDb(tmp_path, CACHE)
    store.open()
    yield store
    store.check()
    store.close()


def test_what_was_stored_is_there_after_opening_again(tmp_path):
    store = DefeDb(tmp_path, CACHE)
    store.open()
    assert store.store([ta(1, 2), ta(2)], [*rcpts(1, 2), rcpt(2, next_try=NOW - 5)]) == set()
    store.close()
    store.open()
    assert (store.count(), store.get_ta(ta_id(1)), store.get_rcpt(ta_id(2), 0)) == (3, ta(1, 2), rcpt(2, next_try=NOW - 5))
    assert store.get_rcpts(ta_id(1)) == rcpts(1, 2)
    assert [store.get_ta(ta_id(3)), store.get_rcpt(ta_id(1), 2), store.get_rcpts(ta_id(3))] == [None, None, []]
    store.check()
    store.close()


@pytest.mark.parametrize(("cache_size", "fits"), [(1 << 20, False), (32 << 20, True)])
def test_pages_beyond_cache_size_go_to_disk(tmp_path, cache_size, fits):
    store = DefeDb(tmp_path, cache_size)
    store.open()
    for first in range(0, 400, 40):
        numbers = range(first, first + 40)
        store.store([ta(number, 10) for number in numbers], [one for number in numbers for one in rcpts(number, 10)])
    pool, _files = store._environment._env.memp_stat()
    assert (pool["rw_evict"] == 0) == fits
    assert store.count() == 4000
    store.close()


def test_an_empty_store_has_nothing(db):
    assert (db.count(), db.next_time(), db.due(9e9, 10), db.scan(None, 10), list(db.ta_ids())) == (0, None, [], [], [])


def test_a_changed_recipient_has_one_time_only(db):
    db.store([ta(1)], [rcpt(1)])
    db.store([], [rcpt(1, next_try=NOW + 300, tries=1)])
    assert (db.count(), db.due(9e9, 10)) == (1, [(NOW + 300, ta_id(1), 0)])
    assert db.get_rcpt(ta_id(1), 0).tries == 1


def test_a_recipient_needs_a_transaction_and_nothing_is_changed_without(db):
    with pytest.raises(BugError, match="has no transaction"):
        db.store([ta(1)], [rcpt(1), rcpt(2)])
    assert (db.count(), db.has_ta(ta_id(1)), db.has_rcpt(ta_id(1), 0)) == (0, False, False)


def test_the_last_recipient_takes_its_transaction_with_it(db):
    db.store([ta(1, 2), ta(2)], [*rcpts(1, 2), rcpt(2)])
    assert db.store([], [], [(ta_id(1), 0)]) == set()
    assert db.store([], [], [(ta_id(1), 1), (ta_id(1), 0), (ta_id(9), 0)]) == {ta_id(1)}
    assert (db.get_ta(ta_id(1)), db.count(), list(db.ta_ids())) == (None, 1, [ta_id(2)])


def test_a_bounce_in_the_same_change_keeps_the_transaction(db):
    db.store([ta(1)], [rcpt(1)])
    assert db.store([], [rcpt(1, 1, flags=1)], [(ta_id(1), 0)]) == set()
    assert db.get_rcpts(ta_id(1)) == [rcpt(1, 1, flags=1)]


def test_a_transaction_stored_without_recipients_is_gone_at_once(db):
    assert db.store([ta(1)], []) == {ta_id(1)}


def test_due_gives_the_earliest_first_and_goes_on_behind_the_last(db):
    numbers = list(range(1, 101))
    db.store([ta(n) for n in numbers], [rcpt(n, next_try=NOW + (n * 37) % 50) for n in numbers])
    expected = sorted((NOW + (n * 37) % 50, ta_id(n), 0) for n in numbers)
    assert db.next_time() == NOW
    assert db.due(NOW + 100, 1000) == expected
    assert db.due(NOW + 10, 1000) == [item for item in expected if item[0] <= NOW + 10]
    assert db.due(NOW - 1, 1000) == []
    pages, last = [], None
    while page := db.due(NOW + 100, 7, last):
        pages += page
        last = page[-1]
    assert pages == expected


def test_due_goes_on_when_the_last_one_is_gone(db):
    db.store([ta(n) for n in (1, 2, 3)], [rcpt(n) for n in (1, 2, 3)])
    (last,) = db.due(NOW, 1)
    db.store([], [], [(last[1], last[2])])
    assert [item[1] for item in db.due(NOW, 10, last)] == [ta_id(2), ta_id(3)]


@pytest.mark.parametrize("when", [0.0, 1_699_999_999.999999, 1_700_000_000.123456])
def test_times_are_kept_to_the_microsecond(db, when):
    db.store([ta(1)], [rcpt(1, next_try=when)])
    assert db.due(when, 1) == [(when, ta_id(1), 0)]
    assert db.due(when, 1, (when, ta_id(1), 0)) == []


def test_scan_gives_pages_in_the_order_of_ids(db):
    db.store([ta(n, 3) for n in range(10)], [r for n in range(10) for r in rcpts(n, 3)])
    found, after = [], None
    while page := db.scan(after, 4):
        found += page
        after = rcpt_id(page[-1].ta_id, page[-1].rcpt_idx)
    assert found == [r for n in range(10) for r in rcpts(n, 3)]


def test_scan_envelopes_gives_the_same_pages_with_their_transactions(db):
    """A page that begins inside a transaction has it, too."""
    db.store([ta(1, 3), ta(2, 3)], [*rcpts(1, 3), *rcpts(2, 3)])
    found, last = [], None
    while page := db.scan_envelopes(last, 2):
        found += page
        last = rcpt_id(page[-1][1].ta_id, page[-1][1].rcpt_idx)
    assert found == [(ta(number, 3), rcpt(number, idx)) for number in (1, 2) for idx in range(3)]


def test_scan_envelopes_goes_on_where_a_transaction_is_damaged(tmp_path):
    store = DefeDb(tmp_path, CACHE)
    store.keeper = lambda *facts: False
    store.open()
    store.store([ta(1), ta(2)], [rcpt(1), rcpt(2)])
    key = records.ta_key(ta_id(1))
    with store._env.transaction() as txn:
        store._main.put(key, store._main.get(key)[:-1] + b"x", txn=txn)
    assert store.scan_envelopes(None, 9) == [(None, rcpt(1)), (ta(2), rcpt(2))]
    store.close()


def test_ta_ids_gives_all_of_many(db):
    db.store([ta(n) for n in range(2500)], [rcpt(n) for n in range(2500)])
    assert list(db.ta_ids()) == [ta_id(n) for n in range(2500)]


def test_only_ids_are_keys(db):
    for bad in ("", "#count", ta_id(1)[:-1], ta_id(1) + "-0000"):
        with pytest.raises(PermError):
            db.get_ta(bad)
        with pytest.raises(PermError):
            db.store([ta(1, ta_id=bad)], [])


@pytest.mark.parametrize("make", [full, sparse])
@pytest.mark.parametrize("cls", [TaRecord, RcptRecord])
def test_every_field_comes_back_and_every_changed_byte_is_found(cls, make):
    data = records.encode_record(make(cls))
    assert records.decode_record(cls, b"", data) == make(cls)
    for place in range(len(data)):
        damaged = bytearray(data)
        damaged[place] ^= 0x55
        with pytest.raises(PermError, match=r"record .* is damaged"):
            records.decode_record(cls, b"", bytes(damaged))


def test_a_record_of_the_other_kind_is_damage():
    with pytest.raises(PermError):
        records.decode_record(TaRecord, b"", records.encode_record(rcpt(1)))


def test_checkpoints_remove_log_files(db, tmp_path):
    for first in range(0, 40_000, 2000):
        db.store([ta(n) for n in range(first, first + 2000)], [rcpt(n) for n in range(first, first + 2000)])
    before = len(list(tmp_path.glob("log.*")))
    db.checkpoint()
    assert before > 2
    assert len(list(tmp_path.glob("log.*"))) == 1


def test_log_files_go_where_they_are_wanted(tmp_path):
    home, logs = tmp_path / "home", tmp_path / "logs"
    home.mkdir()
    logs.mkdir()
    store = DefeDb(home, CACHE, logs)
    for number in (1, 2):
        store.open()
        store.store([ta(number)], [rcpt(number)])
        store.close()
    assert list(home.glob("log.*")) == []
    assert len(list(logs.glob("log.*"))) == 1
    unaware = DefeDb(home, CACHE)
    unaware.open()
    assert unaware.count() == 2
    unaware.close()
    assert list(home.glob("log.*")) == []


def test_log_files_have_to_be_moved_when_their_place_changes(tmp_path):
    home, logs = tmp_path / "home", tmp_path / "logs"
    home.mkdir()
    logs.mkdir()
    store = DefeDb(home, CACHE)
    store.open()
    store.store([ta(1)], [rcpt(1)])
    store.close()
    moved = DefeDb(home, CACHE, logs)
    with pytest.raises(PermError, match=f"move {home}/log\\.\\* to {logs}"):
        moved.open()
    for path in home.glob("log.*"):
        path.rename(logs / path.name)
    moved.open()
    assert moved.count() == 1
    moved.close()


def test_a_checkpoint_may_run_beside_other_calls(db):
    done = threading.Event()
    failures = []

    def checkpoints():
        while not done.is_set():
            try:
                db.checkpoint()
            except Exception as error:  # noqa: BLE001
                failures.append(error)
                return

    thread = threading.Thread(target=checkpoints)
    thread.start()
    for first in range(0, 3000, 30):
        db.store([ta(n) for n in range(first, first + 30)], [rcpt(n) for n in range(first, first + 30)])
        db.due(9e9, 100)
        db.store([], [], [(ta_id(n), 0) for n in range(first, first + 15)])
    done.set()
    thread.join()
    assert failures == []
    assert db.count() == 1500


def test_a_copy_taken_at_any_moment_opens_with_what_was_stored(tmp_path):
    """A killed process leaves such a copy: nothing was closed, no checkpoint made."""
    home = tmp_path / "home"
    home.mkdir()
    store = DefeDb(home, CACHE)
    store.open()
    for number in range(20):
        store.store([ta(number, 2)], rcpts(number, 2), [(ta_id(number - 1), 0)] if number else [])
        shutil.copytree(home, tmp_path / str(number))
    store.close()
    for number in range(20):
        copy = DefeDb(tmp_path / str(number), CACHE)
        copy.open()
        copy.check()
        assert copy.count() == 2 * (number + 1) - number
        copy.close()


def test_errors_at_opening_say_what_is_wrong(tmp_path):
    with pytest.raises(PermError, match=r"none: directory is missing; make it with sm\.setup"):
        DefeDb(tmp_path / "none", CACHE).open()
    store = DefeDb(tmp_path, CACHE)
    store.open()
    store.checkpoint()
    store.close()
    (tmp_path / "defedb.db").write_bytes(b"\x55" * 8192)
    with pytest.raises(DamageError, match="damaged, cannot be recovered"):
        store.open()


def test_another_version_is_refused(tmp_path, monkeypatch):
    store = DefeDb(tmp_path, CACHE)
    store.open()
    store.close()
    monkeypatch.setattr(records, "VERSION", 3)
    with pytest.raises(PermError, match="version 2 is not 3"):
        store.open()


def test_a_store_that_is_not_open_says_so(tmp_path):
    with pytest.raises(BugError, match="not open"):
        DefeDb(tmp_path, CACHE).next_time()


class Model(RuleBasedStateMachine):
    """Any sequence of changes against a dictionary."""

    def __init__(self):
        super().__init__()
        self.directory = Path(tempfile.mkdtemp())
        self.db = DefeDb(self.directory, CACHE)
        self.db.open()
        self.rcpts = {}

    def teardown(self):
        self.db.close()
        shutil.rmtree(self.directory)

    keys = st.lists(st.tuples(st.integers(1, 6), st.integers(0, 3)), max_size=6)
    times = st.integers(0, 20)

    @rule(put=keys, removed=keys, time=times)
    def store(self, put, removed, time):
        new = {key: rcpt(*key, next_try=float(time + place)) for place, key in enumerate(put)}
        before = {number for number, _ in self.rcpts}
        tas = {number for number, _ in put} - before
        gone = self.db.store([ta(n) for n in tas], new.values(), [(ta_id(n), idx) for n, idx in removed])
        self.rcpts.update(new)
        for key in removed:
            self.rcpts.pop(key, None)
        assert gone == {ta_id(n) for n in (before | tas) - {number for number, _ in self.rcpts}}

    @rule(put=keys)
    def refused(self, put):
        with pytest.raises(BugError):
            self.db.store([ta(n) for n, _ in put], [*(rcpt(*key) for key in put), rcpt(99)])

    @rule()
    def reopen(self):
        self.db.close()
        self.db.open()

    @rule()
    def checkpoint(self):
        self.db.checkpoint()

    @rule(until=times, limit=st.integers(1, 5))
    def due(self, until, limit):
        expected = sorted((r.next_try, r.ta_id, r.rcpt_idx) for r in self.rcpts.values() if r.next_try <= until)
        assert self.db.due(float(until), limit) == expected[:limit]

    @invariant()
    def agrees(self):
        self.db.check()
        assert self.db.count() == len(self.rcpts)
        assert self.db.scan(None, 1000) == [self.rcpts[key] for key in sorted(self.rcpts)]
        assert self.db.next_time() == min((r.next_try for r in self.rcpts.values()), default=None)


TestModel = Model.TestCase
TestModel.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)
