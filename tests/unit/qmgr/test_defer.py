import threading

import pytest

from meta1g.base.errors import BugError, FullError, Module, PermError
from meta1g.qmgr.defer import Change
from meta1g.qmgr.limits import DEFER_BATCH_MAX
from tests.fakes.envelopes import rcpt, ta, ta_id
from tests.fakes.qmgr_system import wait_until


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
    qmgr.sink.wait("func=qmgr.defedb.*cannot store")
    defer.add(change(2, told))
    assert (told, defer.pending) == ([], 2)
    qmgr.defedb.error = None
    wait_until(lambda: told == [(1, False), (2, False)], "told in order")


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
    assert qmgr.sink.find("func=qmgr.defedb.*disk")


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


def test_a_bug_in_the_thread_of_a_store_stops_the_process(qmgr, defer):
    """What is in doubt is found again by recovery; going on would make it worse."""
    qmgr.defedb.error = BugError(Module.DEFEDB, "impossible")
    defer.add(change(1))
    qmgr.thread.join(20)
    assert not qmgr.thread.is_alive()
    assert qmgr.context.bug.cause == "impossible"
    assert qmgr.sink.find("sevr=FATAL, func=qmgr.bug.*impossible")
    qmgr.context.bug = qmgr.defedb.error = None
    qmgr.sink.lines.clear()
