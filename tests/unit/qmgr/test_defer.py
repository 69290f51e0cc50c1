import threading
import time

import pytest

from meta1g.base import sysexits
from meta1g.base.errors import BugError, FullError, Module, PermError
from meta1g.qmgr.defer import Change
from meta1g.qmgr.limits import DEFER_BATCH_MAX, SLICE_S
from meta1g.rcb.envelope import HELD_UNTIL, RcptFlags
from tests.fakes.envelopes import rcpt, ta, ta_id
from tests.fakes.qmgr_system import wait_until
from tests.fakes.shortage import no_threads


def change(number, told=None, **facts):
    base = {"ta": ta(number), "put": (rcpt(number),)}
    if told is not None:
        base["stored"] = lambda gone: told.append((number, gone))
    return Change(**{**base, **facts})


@pytest.fixture
def defer(qmgr):
    qmgr.context.feeder.stopping = True
    return qmgr.context.defer


def test_whoever_asked_hears_when_the_change_is_durable(qmgr, defer):
    told = []
    defer.add(Change(ta=ta(1), put=(rcpt(1),), stored=lambda gone: told.append((gone, qmgr.defedb.has_rcpt(ta_id(1), 0)))))
    wait_until(lambda: told, "told")
    assert told == [(False, True)]
    assert defer.count == 1


def test_the_last_removal_says_that_nothing_is_left(defer):
    told = []
    defer.add(change(1, put=(rcpt(1, 0), rcpt(1, 1))))
    for idx in (0, 1):
        defer.add(change(1, told, put=(), removed=(idx,)))
        wait_until(lambda idx=idx: len(told) == idx + 1, "told")
    assert told == [(1, False), (1, True)]
    assert defer.count == 0


def test_changes_that_wait_are_stored_together_and_in_their_order(qmgr, defer):
    gate, stores, real = threading.Event(), [], qmgr.defedb.store

    def slow(tas, put, removed=()):
        put = list(put)
        stores.append([one.tries for one in put])
        assert gate.wait(20)
        return real(tas, put, removed)

    qmgr.defedb.store = slow
    told = []
    defer.add(change(0))
    wait_until(lambda: stores, "the first store runs")
    for number in range(1, DEFER_BATCH_MAX + 5):
        defer.add(change(1, told, put=(rcpt(1, tries=number),)))
    gate.set()
    wait_until(lambda: len(told) == DEFER_BATCH_MAX + 4, "all told")
    assert [len(one) for one in stores] == [1, DEFER_BATCH_MAX, 4]
    assert qmgr.defedb.get_rcpt(ta_id(1), 0).tries == DEFER_BATCH_MAX + 4


@pytest.mark.parametrize("error", [OSError(28, "full"), PermError(Module.DEFEDB, "damaged")])
def test_a_failed_change_is_tried_again_and_nobody_is_told_before(qmgr, defer, error):
    told = []
    qmgr.defedb.error = error
    defer.add(change(1, told))
    qmgr.sink.wait("func=qmgr.store.*cannot store")
    defer.add(change(2, told))
    assert (told, defer.pending) == ([], 2)
    qmgr.defedb.error = None
    wait_until(lambda: told == [(1, False), (2, False)], "told in order")


def test_a_change_for_which_there_was_no_thread_is_stored_soon_without_another_one(make_qmgr):
    with no_threads("defedb"):
        qmgr = make_qmgr()
        told = []
        qmgr.context.feeder.stopping = True
        qmgr.context.defer.add(change(1, told))
    qmgr.advance(2)
    wait_until(lambda: told, "stored")


def test_a_question_is_answered_in_the_thread_of_defedb(defer):
    found = []
    defer.add(change(1))
    defer.ask(lambda db: db.count(), lambda count: found.append((count, threading.current_thread().name)))
    wait_until(lambda: found, "answered")
    assert found == [(1, "defedb")]


def test_a_failed_question_is_told(qmgr, defer):
    failed = []

    def broken(db):
        raise OSError("disk")

    defer.ask(broken, lambda result: failed.append("wrong"), lambda error: failed.append(str(error)))
    wait_until(lambda: failed, "told")
    assert failed == ["disk"]
    assert qmgr.sink.find("(func=qmgr.store|where=qmgr.defedb).*disk")


def test_close_stores_what_waits(qmgr, defer):
    told = []
    qmgr.defedb.error = OSError(28, "full")
    defer.add(change(1, told))
    qmgr.sink.wait("cannot store")
    qmgr.defedb.error = None
    qmgr.stop()
    assert told == [(1, False)]
    with pytest.raises(FullError):
        defer.ask(lambda db: 0, lambda result: None)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_bug_in_the_thread_of_a_store_ends_the_process(qmgr, defer):
    """What is in doubt is found again by recovery; going on would make it worse."""
    qmgr.defedb.error = BugError(Module.DEFEDB, "impossible")
    defer.add(change(1))
    wait_until(lambda: qmgr.exits, "the end")
    assert qmgr.exits == [sysexits.EX_SOFTWARE]
    assert qmgr.sink.find("sevr=FATAL.*where=workers.call.*impossible")
    qmgr.exits.clear()
    qmgr.sink.lines.clear()
    qmgr.defedb.error = None


def test_one_callback_that_fails_costs_nobody_else_his_answer(qmgr, defer):
    told, gate = [], threading.Event()
    defer.ask(lambda db: gate.wait(20), lambda result: None)

    def broken(gone):
        raise RuntimeError("a mistake")

    defer.add(change(1, stored=broken))
    defer.add(change(2, told))
    gate.set()
    wait_until(lambda: told, "told")
    assert qmgr.sink.find("where=qmgr.stored.*contained: RuntimeError: a mistake")
    qmgr.sink.lines.clear()


def test_a_change_that_cannot_be_stored_for_a_reason_of_its_own_does_not_block_the_others(qmgr, defer):
    told, gate = [], threading.Event()
    defer.ask(lambda db: gate.wait(20), lambda result: None)
    for number in (1, 2, 3):
        facts = {"put": (rcpt(2, rcpt_idx=-1),)} if number == 2 else {}
        defer.add(change(number, told, **facts))
    gate.set()
    wait_until(lambda: len(told) == 2, "told")
    wait_until(lambda: not defer.pending, "given up")
    assert told == [(1, False), (3, False)]
    assert qmgr.sink.find("ss_ta=S000000000000000200.*where=qmgr.defedb.*contained")
    qmgr.sink.lines.clear()


def test_an_answer_that_fails_is_told_to_whoever_asked(qmgr, defer):
    failed = []

    def broken(count):
        raise RuntimeError("a mistake")

    defer.ask(lambda db: db.count(), broken, failed.append)
    wait_until(lambda: failed, "told")
    assert str(failed[0]) == "a mistake"
    qmgr.sink.lines.clear()


def test_a_big_change_is_stored_in_parts_and_told_of_once(qmgr, defer):
    told, sizes, real = [], [], qmgr.defedb.store

    def store(tas, put, removed=()):
        put, removed = list(put), list(removed)
        sizes.append(len(put) + len(removed))
        return real(tas, put, removed)

    qmgr.defedb.store = store
    count = 2 * DEFER_BATCH_MAX + 10
    defer.add(change(1))
    defer.add(change(1, told, put=tuple(rcpt(1, idx) for idx in range(1, count)), removed=(0,)))
    wait_until(lambda: told, "told")
    assert told == [(1, False)]
    assert max(sizes) <= DEFER_BATCH_MAX
    assert {one.rcpt_idx for one in qmgr.defedb.get_rcpts(ta_id(1))} == set(range(1, count))
    defer.add(change(1, told, put=(), removed=tuple(range(1, count))))
    wait_until(lambda: len(told) == 2, "told")
    assert told[1] == (1, True)


def test_long_work_lets_others_have_their_turn(qmgr, defer):
    order = []

    def work(db):
        for _ in range(5):
            end = time.monotonic() + SLICE_S
            while time.monotonic() < end:
                pass
            order.append("slice")
            yield
        return "done"

    defer.scan(work, order.append)
    defer.ask(lambda db: None, lambda result: order.append("asked"))
    wait_until(lambda: "done" in order, "done")
    assert order.index("asked") == 1
    assert order[-1] == "done"


def test_work_that_fails_in_the_middle_is_told(qmgr, defer):
    failed = []

    def work(db):
        yield
        raise RuntimeError("a mistake")

    defer.scan(work, failed.append, failed.append)
    wait_until(lambda: failed, "told")
    assert str(failed[0]) == "a mistake"
    qmgr.sink.lines.clear()


def test_the_held_are_counted_at_the_start_and_when_they_change(qmgr, defer):
    held = {"flags": RcptFlags.HOLD, "next_try": HELD_UNTIL}
    defer.add(change(1, put=(rcpt(1), rcpt(1, 1, **held), rcpt(1, 2, **held))))
    wait_until(lambda: defer.held == 2, "counted")
    qmgr.restart()
    wait_until(lambda: qmgr.context.defer.held == 2, "counted at the start")
    qmgr.context.defer.add(change(1, put=(), removed=(1,)))
    wait_until(lambda: qmgr.context.defer.held == 1, "one was removed")


def test_work_that_pauses_lets_everybody_else_work_meanwhile(qmgr, defer):
    order = []

    def work(db):
        defer.add(change(1, order))
        defer.ask(lambda db: order.append("other"), lambda nothing: None)
        yield 0.05
        order.append("again")
        return "done"

    defer.scan(work, order.append)
    wait_until(lambda: "done" in order, order)
    assert sorted(map(str, order[:2])) == ["(1, False)", "other"]
    assert order[2:] == ["again", "done"]


def test_a_pause_ends_with_an_answer_even_if_nothing_more_can_be_asked(qmgr, defer):
    found = []

    def work(db):
        defer._workers.close(0)
        yield 0.01
        found.append("never")

    defer.scan(work, found.append, found.append)
    wait_until(lambda: found, "told")
    assert isinstance(found[0], FullError)
    qmgr.stop(clean=False)


def test_a_change_that_is_made_at_once_is_counted_and_says_what_is_gone(qmgr, defer):
    defer.add(change(1))
    found = []
    wait_until(lambda: defer.count == 1, "stored")
    defer.ask(lambda db: defer.store_now(db, [], [(ta_id(1), 0)]), found.append)
    wait_until(lambda: found, "done")
    assert (found, defer.count) == ([{ta_id(1)}], 0)


def test_a_look_for_due_mail_for_which_there_is_no_thread_is_made_again(make_qmgr):
    with no_threads("defedb"):
        qmgr = make_qmgr()
        qmgr.context.feeder._busy = True  # only the looks of this test
        for _ in range(2):
            qmgr.context.feeder._look()
    told = []
    qmgr.context.defer.add(change(1, told))
    wait_until(lambda: told, "stored")
