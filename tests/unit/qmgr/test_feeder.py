import pytest

from meta1g.base.errors import FullError, Module
from meta1g.db.defedb import DefeDb
from meta1g.db.edbc import FOREVER
from meta1g.qmgr.feeder import _read
from meta1g.rcb.envelope import RcptFlags
from tests.fakes.envelopes import rcpt, ta, ta_id
from tests.fakes.qmgr_system import QmgrSystem, wait_until


def fill(system: QmgrSystem, count: int, **facts) -> None:
    """Puts transactions with content into DEFEDB before QMGR starts; the times are seconds from now."""
    system.start()
    now = system.clock.now()
    for number in range(count):
        system.cdb.write_whole(ta_id(number), [b"x"])
    base = {"entered": now, "next_try": now, **{key: now + value for key, value in facts.items()}}
    system.defedb.store(
        [ta(n, entered=now) for n in range(count)], [rcpt(n, rcpt=f"r{n}@x.example", **base) for n in range(count)]
    )
    system.restart()


@pytest.fixture
def filled(tmp_path):
    systems = []

    def make(count, facts=None, **changes):
        systems.append(QmgrSystem(tmp_path, **changes))
        fill(systems[-1], count, **(facts or {}))
        return systems[-1]

    yield make
    for system in systems:
        system.stop()


def test_what_is_due_at_the_start_is_delivered(filled):
    qmgr = filled(5)
    qmgr.smar()
    agent = qmgr.agent()
    qmgr.wait_empty()
    assert sorted(job.rcpts[0] for job in agent.jobs) == [f"r{number}@x.example" for number in range(5)]


def test_what_is_not_due_stays_where_it_is(filled):
    qmgr = filled(5, {"next_try": 1000})
    wait_until(lambda: qmgr.context.active.edbc.complete, "the window is read")
    assert (len(qmgr.context.active.edbc), qmgr.states()) == (5, {})
    qmgr.advance(1001)
    wait_until(lambda: len(qmgr.states()) == 5, "due")


def test_part_of_aq_is_left_to_new_mail(filled):
    qmgr = filled(100, aq_max_entries=20)
    wait_until(lambda: len(qmgr.states()) == 15, "three quarters")
    qmgr.advance(5)
    qmgr.smtps().mail(*(f"new{number}@x.example" for number in range(5)))
    assert qmgr.journal.count(("ibdb", "ta_done", ta_id(0))) == 0
    wait_until(lambda: len(qmgr.states()) == 20, "new mail has its place")


def test_a_queue_much_larger_than_memory_is_delivered_whole(filled):
    """The window holds 64 entries; 300 recipients pass through it."""
    qmgr = filled(300, aq_max_entries=16)
    qmgr.smar()
    agent = qmgr.agent()
    wait_until(lambda: len(qmgr.context.active.edbc) <= 64, "bounded")
    qmgr.wait_empty()
    assert len({job.rcpts[0] for job in agent.jobs}) == 300
    assert len(agent.jobs) == 300, "nobody twice"


def test_a_full_thread_of_defedb_loses_nobody(filled, monkeypatch):
    qmgr = filled(5, {"next_try": 1000})
    wait_until(lambda: len(qmgr.context.active.edbc) == 5, "the window is read")
    refused = []

    def full(*args):
        refused.append(1)
        raise FullError(Module.DEFEDB, "too many calls wait")

    with monkeypatch.context() as patch:
        patch.setattr(qmgr.context.defer, "ask", full)
        qmgr.advance(1001)
        wait_until(lambda: len(refused) > 1, "refused and tried again")
    wait_until(lambda: len(qmgr.states()) == 5, "all came")


def test_records_that_cannot_be_read_are_tried_again(filled, monkeypatch):
    qmgr = filled(5, {"next_try": 1000})
    wait_until(lambda: len(qmgr.context.active.edbc) == 5, "the window is read")

    def broken(*args):
        raise OSError("disk")

    with monkeypatch.context() as patch:
        patch.setattr(qmgr.defedb, "read_due", broken)
        qmgr.advance(1001)
        qmgr.sink.wait("func=qmgr.defedb.*disk", 2)
    wait_until(lambda: len(qmgr.states()) == 5, "all came")


@pytest.fixture
def db(tmp_path):
    opened = DefeDb(tmp_path, 1 << 20)
    opened.open()
    yield opened
    opened.close()


@pytest.mark.parametrize(
    ("record", "read"),
    [(rcpt(1, next_try=50.0), True), (rcpt(1, next_try=40.0), True), (rcpt(1, next_try=50.0, flags=RcptFlags.HOLD), False),
     (rcpt(1, next_try=60.0), False), (rcpt(1, 3, next_try=50.0), False), (rcpt(2, next_try=50.0), False)],
)  # fmt: skip
def test_what_was_held_removed_or_rescheduled_meanwhile_is_left_out(db, record, read):
    db.store([ta(1), ta(2)], [rcpt(1, 9), rcpt(2, 9), record])
    assert bool(_read(db, [(50.0, ta_id(1), 0)])) is read


def test_an_empty_queue_asks_once(qmgr):
    wait_until(lambda: qmgr.context.active.edbc.complete, "the window is read")
    assert qmgr.context.active.edbc.next_time() == FOREVER
