import os

import pytest

from meta1g.base.log import Log
from meta1g.db.cdb import Cdb
from meta1g.db.defedb import DefeDb
from meta1g.db.ibdb import Ibdb
from meta1g.db.ibdb_reader import IbdbReader, ibdb_files
from meta1g.db.ibdb_records import LAST_NAME, TaNew
from meta1g.db.recovery import recover
from meta1g.rcb.envelope import HELD_UNTIL, RcptFlags
from tests.fakes.envelopes import NOW, cdb_directories, rcpt, rcpts, ta, ta_id
from tests.fakes.lines import Lines

LATER = NOW + 1000


class Stores:
    def __init__(self, root):
        self.root = root
        for name in ("ibdb", "defedb", "lost+found"):
            (root / name).mkdir()
        self.cdb = Cdb(cdb_directories(root / "cdb"))
        self.defedb = DefeDb(root / "defedb", 1 << 20)
        self.defedb.open()
        self.sink = Lines()
        self.log = Log("qmgr", level=20, sink=self.sink)
        self.ibdb = Ibdb(root / "ibdb", 4096)

    def content(self, *numbers):
        for number in numbers:
            self.cdb.write_whole(ta_id(number), [b"x"])

    def commit(self):
        batch = self.ibdb.take()
        self.ibdb.write(batch)
        self.ibdb.finished(batch)

    def recover(self):
        self.ibdb.close()
        report = recover(self.root / "ibdb", self.defedb, self.cdb, self.root / "lost+found", LATER, self.log)
        self.defedb.check()
        assert ibdb_files(self.root / "ibdb") == []
        return report

    def deferred(self):
        return {(r.ta_id, r.rcpt_idx): r.next_try for r in self.defedb.scan(None, 1000)}

    def lost(self):
        return sorted(p.name for p in (self.root / "lost+found").iterdir())


@pytest.fixture
def stores(tmp_path):
    made = Stores(tmp_path)
    yield made
    made.ibdb.close()
    made.defedb.close()


def test_nothing_to_recover(stores):
    report = stores.recover()
    assert (report.files, report.transactions, report.stored, report.known, report.set_aside, report.damage) == (0,) * 5 + ((),)


def test_what_is_open_is_stored_and_due_now(stores):
    stores.content(1, 2, 3, 4)
    stores.ibdb.new(ta(1, 2), [rcpt(1, 0, next_try=0.0), rcpt(1, 1, next_try=0.0)])
    for number in (2, 3, 4):
        stores.ibdb.new(ta(number), rcpts(number, 1))
    stores.commit()
    stores.ibdb.rcpt_new(rcpt(1, 2, flags=1))
    stores.ibdb.rcpt_done(ta_id(1), 0)
    stores.ibdb.ta_done(ta_id(2))
    stores.ibdb.cancel(ta_id(3))
    stores.ibdb.rcpt_done(ta_id(4), 0)
    stores.commit()
    report = stores.recover()
    assert stores.deferred() == {(ta_id(1), 1): LATER, (ta_id(1), 2): LATER}
    assert stores.defedb.get_ta(ta_id(1)) == ta(1, 3)
    assert stores.defedb.get_rcpt(ta_id(1), 2).flags == 1
    assert (report.transactions, report.stored, stores.lost()) == (2, 2, [])


def test_what_was_held_when_it_came_stays_held(stores):
    stores.content(1)
    stores.ibdb.new(ta(1, 1), [rcpt(1, 0, flags=RcptFlags.HOLD, next_try=HELD_UNTIL)])
    stores.commit()
    stores.recover()
    assert stores.deferred() == {(ta_id(1), 0): HELD_UNTIL}


def test_what_defedb_has_wins(stores):
    """State S5: the recipient went to DEFEDB, its DONE record was not flushed."""
    stores.content(1)
    stores.ibdb.new(ta(1, 2), rcpts(1, 2))
    stores.commit()
    stores.defedb.store([ta(1, 2)], [rcpt(1, 0, tries=3, next_try=NOW + 50)])
    report = stores.recover()
    assert stores.deferred() == {(ta_id(1), 0): NOW + 50, (ta_id(1), 1): LATER}
    assert (stores.defedb.get_rcpt(ta_id(1), 0).tries, report.known, report.stored) == (3, 1, 1)


def test_the_next_free_index_comes_behind_recipients_that_were_made_later(stores):
    """Members of an alias and bounces have their own records in IBDB; that of the transaction does not count them."""
    stores.content(1)
    stores.ibdb.new(ta(1, 1), rcpts(1, 1))
    stores.ibdb.rcpt_new(rcpt(1, 1, flags=16))
    stores.ibdb.rcpt_new(rcpt(1, 7, flags=16))
    stores.ibdb.rcpt_done(ta_id(1), 0)
    stores.commit()
    stores.recover()
    assert stores.defedb.get_ta(ta_id(1)).rcpts == 8


def test_the_next_free_index_grows_if_defedb_has_a_smaller_one(stores):
    stores.content(1)
    stores.ibdb.new(ta(1, 2), rcpts(1, 2))
    stores.ibdb.rcpt_new(rcpt(1, 4, flags=16))
    stores.ibdb.rcpt_done(ta_id(1), 1)
    stores.commit()
    stores.defedb.store([ta(1, 2)], [rcpt(1, 0, tries=1, next_try=NOW + 50)])
    stores.recover()
    assert stores.defedb.get_ta(ta_id(1)).rcpts == 5
    assert stores.deferred() == {(ta_id(1), 0): NOW + 50, (ta_id(1), 4): LATER}


def test_the_next_free_index_does_not_shrink_if_defedb_has_a_greater_one(stores):
    stores.content(1)
    stores.ibdb.new(ta(1, 2), rcpts(1, 2))
    stores.commit()
    stores.defedb.store([ta(1, 9)], [rcpt(1, 8, next_try=NOW + 50)])
    stores.recover()
    assert stores.defedb.get_ta(ta_id(1)).rcpts == 9


def test_many_files_and_transactions_are_recovered(stores):
    stores.content(*range(1200))
    for number in range(1200):
        stores.ibdb.new(ta(number), rcpts(number, 1))
        if number % 10 == 9:
            stores.commit()
    assert stores.ibdb.file_count > 10
    assert stores.recover().stored == 1200
    assert stores.defedb.count() == 1200


def test_recovery_twice_is_the_same_as_once(stores):
    stores.content(1)
    stores.ibdb.new(ta(1), rcpts(1, 1))
    stores.commit()
    stores.recover()
    before = stores.deferred()
    stores.recover()
    assert stores.deferred() == before


def test_an_envelope_without_content_is_set_aside_and_named(stores):
    stores.content(2)
    stores.ibdb.new(ta(1, 2), rcpts(1, 2))
    stores.ibdb.new(ta(2), rcpts(2, 1))
    stores.commit()
    stores.ibdb.rcpt_done(ta_id(1), 0)
    stores.commit()
    report = stores.recover()
    assert (report.set_aside, list(stores.deferred())) == (1, [(ta_id(2), 0)])
    assert stores.lost() == [f"{ta_id(1)}.envelope"]
    (found,) = IbdbReader(stores.root / "lost+found" / stores.lost()[0]).entries()
    assert found.entry == TaNew(ta(1, 2), (rcpt(1, 1, next_try=LATER),))
    (line,) = [line for line in stores.sink.lines if "sevr=FATAL" in line]
    assert f"ss_ta={ta_id(1)}" in line
    assert "the content file is missing" in line


@pytest.mark.parametrize("bad", ["../../../etc/passwd", "S1"])
def test_an_id_that_is_none_does_not_become_a_file_name(stores, bad):
    stores.ibdb.new(ta(1, cdb_id=bad), rcpts(1, 1))
    stores.commit()
    assert stores.recover().set_aside == 1
    assert stores.lost() == [f"{ta_id(1)}.envelope"]


def test_a_transaction_id_that_is_none_is_set_aside(stores):
    stores.ibdb.new(ta(1, ta_id="../x"), [rcpt(1, ta_id="../x")])
    stores.content(2)
    stores.ibdb.new(ta(2), rcpts(2, 1))
    stores.commit()
    assert (stores.recover().set_aside, len(stores.lost()), list(stores.deferred())) == (1, 1, [(ta_id(2), 0)])


def damage(path, offset):
    with path.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)
        file.seek(offset)
        file.write(bytes([byte[0] ^ 0xFF]))


def test_damage_in_the_middle_costs_one_envelope_and_is_kept_and_named(stores):
    stores.content(1, 2, 3)
    for number in (1, 2, 3):
        stores.ibdb.new(ta(number), rcpts(number, 1))
        stores.commit()
    (path,) = ibdb_files(stores.root / "ibdb")
    offsets = [found.offset for found in IbdbReader(path).entries()]
    damage(path, offsets[1] + 20)
    bad = path.read_bytes()[offsets[1] : offsets[2]]
    report = stores.recover()
    assert list(stores.deferred()) == [(ta_id(1), 0), (ta_id(3), 0)]
    assert [(d.offset, d.data) for d in report.damage] == [(offsets[1], bad)]
    (name,) = stores.lost()
    assert name.startswith(f"ibdb00000001-{offsets[1]:X}-")
    assert (stores.root / "lost+found" / name).read_bytes() == bad
    (line,) = [line for line in stores.sink.lines if "sevr=ERROR" in line]
    assert f"path={path}, offset={offsets[1]}" in line


def test_behind_damage_a_done_recipient_is_delivered_again(stores):
    """The damage may be the NEW record of its bounce."""
    stores.content(1, 2)
    stores.ibdb.new(ta(1, 2), rcpts(1, 2))
    stores.ibdb.new(ta(2), rcpts(2, 1))
    stores.ibdb.rcpt_done(ta_id(1), 1)
    stores.ibdb.rcpt_new(rcpt(1, 2, flags=1))
    stores.ibdb.rcpt_done(ta_id(1), 0)
    stores.ibdb.ta_done(ta_id(2))
    stores.commit()
    (path,) = ibdb_files(stores.root / "ibdb")
    damage(path, next(f.offset for f in IbdbReader(path).entries() if f.entry == rcpt(1, 2, flags=1)) + 30)
    stores.recover()
    assert list(stores.deferred()) == [(ta_id(1), 0)]


def test_a_file_that_was_cut_between_two_entries_is_an_error_and_its_mail_is_kept(stores):
    stores.content(1, 2)
    for number in (1, 2):
        stores.ibdb.new(ta(number), rcpts(number, 1))
        stores.commit()
    (path,) = ibdb_files(stores.root / "ibdb")
    last = list(IbdbReader(path).entries())[-1].offset
    os.truncate(path, last)
    report = stores.recover()
    assert list(stores.deferred()) == [(ta_id(1), 0)]
    assert [(d.offset, d.data, d.tail) for d in report.damage] == [(last, b"", False)]


def test_a_file_that_changed_names_with_another_one_is_used(stores):
    stores.content(1)
    stores.ibdb.new(ta(1), rcpts(1, 1))
    stores.commit()
    (path,) = ibdb_files(stores.root / "ibdb")
    other = path.with_name(LAST_NAME)
    other.write_text("1\n")
    path.rename(path.with_name("work"))
    other.rename(path)
    path.with_name("work").rename(other)
    report = stores.recover()
    assert list(stores.deferred()) == [(ta_id(1), 0)]
    assert report.damage
    assert list((stores.root / "ibdb").iterdir()) == []


def test_a_torn_tail_is_a_warning(stores):
    stores.content(1, 2)
    stores.ibdb.new(ta(1), rcpts(1, 1))
    stores.commit()
    stores.ibdb.new(ta(2), rcpts(2, 1))
    stores.commit()
    (path,) = ibdb_files(stores.root / "ibdb")
    last = list(IbdbReader(path).entries())[-1].offset
    os.truncate(path, last + 50)
    os.truncate(path, 1 << 20)
    report = stores.recover()
    assert list(stores.deferred()) == [(ta_id(1), 0)]
    assert [(d.offset, d.tail) for d in report.damage] == [(last, True)]
    assert [line for line in stores.sink.lines if "sevr=WARN" in line and f"offset={last}" in line]


def test_other_files_in_the_directory_stay(stores):
    (stores.root / "ibdb" / "README").write_text("x")
    stores.recover()
    assert (stores.root / "ibdb" / "README").exists()
