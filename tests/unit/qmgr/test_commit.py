import errno

import pytest

from meta1g.base.errors import Module, TempError
from meta1g.db.ibdb_reader import IbdbReader, ibdb_files
from meta1g.qmgr import commit
from meta1g.qmgr.defer import Change
from meta1g.qmgr.limits import DONE_FLUSH_S, IBDB_RETRY_S
from meta1g.rcb.envelope import RcptDone, RcptRecord, TaDone
from tests.fakes.envelopes import rcpt, rcpts, ta, ta_id
from tests.fakes.qmgr_system import wait_until
from tests.fakes.shortage import no_threads


class Waiter:
    def __init__(self, qmgr):
        self.qmgr, self.told = qmgr, []

    def committed(self):
        self.told.append(("committed", len(entries(self.qmgr))))

    def commit_failed(self, error):
        self.told.append(("failed", error.errno))

    def round_over(self):
        assert self.told, "the round is over before its waiter has heard"


def entries(qmgr):
    return [one.entry for path in ibdb_files(qmgr.queue / "ibdb") for one in IbdbReader(path).entries()]


def accept(qmgr, number, count=1):
    waiter = Waiter(qmgr)
    if not qmgr.cdb.exists(ta_id(number)):
        qmgr.cdb.write_whole(ta_id(number), [b"x"])
    qmgr.context.commit.accept(ta(number, count), rcpts(number, count), waiter)
    wait_until(lambda: waiter.told, "told")
    return waiter.told


def test_a_waiter_hears_after_its_record_is_in_the_file(qmgr):
    assert accept(qmgr, 1) == [("committed", 1)]
    assert accept(qmgr, 2) == [("committed", 2)]
    assert (qmgr.context.commit.open_count, qmgr.context.commit.file_count) == (2, 1)


def test_a_failure_is_told_and_the_transaction_is_not_open(qmgr):
    qmgr.files.error = OSError(errno.ENOSPC, "full")
    assert accept(qmgr, 1) == [("failed", errno.ENOSPC)]
    qmgr.files.error = None
    wait_until(lambda: qmgr.context.commit.open_count == 0, "forgotten")
    assert accept(qmgr, 2) == [("committed", 1)]


def test_missing_content_is_an_error_before_anything_is_written(qmgr):
    with pytest.raises(TempError, match=r"content file .* is missing"):
        qmgr.context.commit.accept(ta(1), rcpts(1, 1), Waiter(qmgr))
    assert qmgr.context.commit.open_count == 0


def test_done_records_are_flushed_after_a_while_without_new_mail(qmgr):
    accept(qmgr, 1, 2)
    qmgr.context.commit.rcpts_replaced((), ta_id(1), [0])
    qmgr.advance(DONE_FLUSH_S)
    wait_until(lambda: RcptDone(ta_id=ta_id(1), rcpt_idx=0) in entries(qmgr), "written")


def test_what_no_thread_could_write_is_written_soon_without_new_mail(qmgr):
    commit = qmgr.context.commit
    for number in (1, 2):
        qmgr.cdb.write_whole(ta_id(number), [b"x"])
    with no_threads("ibdb"):
        commit.unlink(ta_id(1))
        qmgr.advance(DONE_FLUSH_S)
        qmgr.sink.wait("name=ibdb, where=workers.thread")
        commit.unlink(ta_id(2))
    qmgr.advance(IBDB_RETRY_S)
    wait_until(lambda: not qmgr.cdb.exists(ta_id(1)) and not qmgr.cdb.exists(ta_id(2)), "both are gone")


def test_new_recipients_come_before_the_end_of_the_old_ones(qmgr):
    accept(qmgr, 1)
    qmgr.context.commit.rcpts_replaced([rcpt(1, 1), rcpt(1, 2)], ta_id(1), [0])
    qmgr.context.commit.flush()
    wait_until(lambda: len(entries(qmgr)) == 4, "written")
    assert [type(one) for one in entries(qmgr)[1:]] == [RcptRecord, RcptRecord, RcptDone]


def test_content_goes_after_the_flush(qmgr):
    accept(qmgr, 1)
    qmgr.context.commit.ta_done(ta_id(1), ta_id(1))
    assert qmgr.cdb.exists(ta_id(1))
    qmgr.context.commit.flush()
    wait_until(lambda: not qmgr.cdb.exists(ta_id(1)), "removed")
    assert entries(qmgr)[-1] == TaDone(ta_id=ta_id(1))


def test_content_that_is_in_no_store_goes_without_a_record(qmgr):
    qmgr.cdb.write_whole(ta_id(1), [b"x"])
    qmgr.context.commit.unlink(ta_id(1))
    qmgr.advance(DONE_FLUSH_S)
    wait_until(lambda: not qmgr.cdb.exists(ta_id(1)), "removed")


def test_content_that_cannot_be_removed_is_logged(qmgr, monkeypatch):
    def refuse(path):
        raise OSError(errno.EACCES, "not allowed")

    with monkeypatch.context() as patch:
        patch.setattr(type(qmgr.files), "unlink", lambda self, path: refuse(path))
        qmgr.context.commit.unlink(ta_id(1))
        qmgr.context.commit.flush()
        qmgr.sink.wait("func=qmgr.cdb.*not allowed")


def test_an_orphan_is_removed_only_if_its_transaction_is_not_open(qmgr):
    accept(qmgr, 1)
    qmgr.cdb.write_whole(ta_id(2), [b"x"])
    store = qmgr.context.commit
    assert [store.remove_orphan(ta_id(number)) for number in (1, 2, 3)] == [False, True, False]
    assert qmgr.content() == [ta_id(1)]


def test_content_of_a_transaction_whose_end_is_not_durable_yet_is_no_orphan(qmgr):
    accept(qmgr, 1)
    store = qmgr.context.commit
    store.ta_done(ta_id(1), None)
    assert not store.remove_orphan(ta_id(1))
    store.flush()
    wait_until(lambda: store.remove_orphan(ta_id(1)), "the end is durable")


def test_close_writes_what_waits(qmgr):
    accept(qmgr, 1, 2)
    qmgr.context.commit.rcpts_replaced((), ta_id(1), [1])
    qmgr.stop()
    assert RcptDone(ta_id=ta_id(1), rcpt_idx=1) in entries(qmgr)


def test_one_waiter_whose_answer_fails_costs_nobody_else_his(qmgr):
    class Broken(Waiter):
        def committed(self):
            raise RuntimeError("a mistake")

    qmgr.files.gate.clear()
    waiters = [Broken(qmgr) if number == 2 else Waiter(qmgr) for number in range(5)]
    for number, waiter in enumerate(waiters):
        qmgr.cdb.write_whole(ta_id(number), [b"x"])
        qmgr.context.commit.accept(ta(number), rcpts(number, 1), waiter)
    qmgr.files.gate.set()
    wait_until(lambda: sum(bool(waiter.told) for waiter in waiters) == 4, "the others are told")
    assert qmgr.sink.find("where=qmgr.commit.*contained: RuntimeError: a mistake")
    qmgr.sink.lines.clear()


def test_one_waiter_whose_refusal_fails_costs_nobody_else_his(qmgr):
    class Broken(Waiter):
        def commit_failed(self, error):
            raise RuntimeError("a mistake")

    qmgr.files.gate.clear()
    accept_number = [Waiter(qmgr), Broken(qmgr), Waiter(qmgr)]
    for number, waiter in enumerate(accept_number):
        qmgr.cdb.write_whole(ta_id(number), [b"x"])
        qmgr.context.commit.accept(ta(number), rcpts(number, 1), waiter)
        qmgr.files.error = OSError(errno.ENOSPC, "full")
    qmgr.files.gate.set()
    wait_until(lambda: accept_number[0].told and accept_number[2].told, "told")
    qmgr.files.error = None
    qmgr.sink.lines.clear()


def test_content_of_another_size_is_refused(qmgr):
    qmgr.cdb.write_whole(ta_id(1), [b"x"])
    with pytest.raises(TempError, match="has 1 bytes instead of 2"):
        qmgr.context.commit.accept(ta(1, size_bytes=2, checksum=0), rcpts(1, 1), Waiter(qmgr))
    accept(qmgr, 2)
    assert qmgr.context.commit.open_count == 1


def test_while_nothing_can_be_written_the_list_of_what_waits_is_bounded(qmgr, monkeypatch):
    monkeypatch.setattr(commit, "IBDB_PENDING_MAX", 3)
    accept(qmgr, 0, 10)
    qmgr.files.error = OSError(errno.ENOSPC, "full")
    assert accept(qmgr, 1) == [("failed", errno.ENOSPC)]
    qmgr.context.commit.rcpts_replaced((), ta_id(0), range(10))
    with pytest.raises(TempError, match="cannot be written now: full"):
        accept(qmgr, 2)
    assert qmgr.context.commit.full
    assert any("IBDB cannot be written" in text for text in qmgr.context.status()["trouble"])
    qmgr.files.error = None
    qmgr.advance(IBDB_RETRY_S)
    wait_until(lambda: not qmgr.context.commit.failing, "written again")
    assert accept(qmgr, 40)[-1][0] == "committed"


def test_stores_are_closed_each_whatever_becomes_of_the_others(qmgr):
    accept(qmgr, 1)
    qmgr.defedb.error = TempError(Module.DEFEDB, "no room")
    qmgr.context.defer.add(Change(ta=ta(2), put=(rcpt(2),)))
    qmgr.context.commit.ta_done(ta_id(1), None)
    qmgr.stop(clean=False)
    assert TaDone(ta_id=ta_id(1)) in entries(qmgr)


def test_many_content_files_are_removed_in_slices_and_final_dots_come_between(qmgr, monkeypatch):
    """One command may remove 10,000 messages; nobody's 250 waits for all of their files."""
    monkeypatch.setattr(commit, "UNLINKS_MAX", 3)
    ids = [ta_id(number) for number in range(100, 120)]
    for one in ids:
        qmgr.cdb.write_whole(one, [b"x"])
    for one in ids:
        qmgr.context.commit.unlink(one)
    assert accept(qmgr, 1) == [("committed", 1)]
    wait_until(lambda: qmgr.content() == [ta_id(1)], "all are gone")
    places = [qmgr.journal.index(("cdb", "unlink", one)) for one in ids]
    assert qmgr.journal.index(("ibdb", "flush", 0)) < places[-1]


def test_all_files_that_are_to_go_are_gone_when_it_is_closed(make_qmgr, monkeypatch):
    monkeypatch.setattr(commit, "UNLINKS_MAX", 2)
    monkeypatch.setattr(commit, "DONE_FLUSH_S", 3600)
    qmgr = make_qmgr()
    for number in range(9):
        qmgr.cdb.write_whole(ta_id(number), [b"x"])
        qmgr.context.commit.unlink(ta_id(number))
    qmgr.stop()
    assert qmgr.content() == []


def test_a_file_of_an_open_transaction_stays(qmgr):
    accept(qmgr, 1)
    assert not qmgr.context.commit.unlink_closed(ta_id(1))
    qmgr.cdb.write_whole(ta_id(2), [b"x"])
    assert qmgr.context.commit.unlink_closed(ta_id(2))
    wait_until(lambda: qmgr.content() == [ta_id(1)], "the other one is gone")
