import pytest

from meta1g.base.errors import FullError, Module
from meta1g.db.defedb import DefeDb
from meta1g.db.edbc import FOREVER
from meta1g.qmgr.defer import Change
from meta1g.qmgr.feeder import _read
from meta1g.rcb.envelope import RcptFlags
from tests.fakes.envelopes import rcpt, ta, ta_id
from tests.fakes.qmgr_peers import route
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


def test_deferred_mail_of_one_destination_leaves_room_for_new_mail(filled):
    qmgr = filled(100, aq_max_entries=30)
    qmgr.smar().answers["x.example"] = route("192.0.2.66")
    qmgr.agent(script=lambda job: None)
    wait_until(lambda: len(qmgr.states()) == 15, "its share")
    qmgr.advance(5)
    qmgr.smtps().mail(*(f"r@new{number}.example" for number in range(10)))
    wait_until(lambda: len(qmgr.states()) == 25, "new mail has its place")


def test_new_mail_does_not_overtake_older_mail_for_its_destination(filled):
    """It would take every place that becomes free, and what waits in DEFEDB would never be delivered."""
    qmgr = filled(100, aq_max_entries=20)
    wait_until(lambda: len(qmgr.context.active.edbc.lanes) > 0, "some wait")
    qmgr.smtps().mail("new@x.example")
    wait_until(lambda: qmgr.context.defer.count == 101, "it is in DEFEDB")
    wait_until(lambda: qmgr.context.commit.open_count == 0, "and not in AQ")
    assert len(qmgr.states()) == 10


def test_a_destination_with_much_due_mail_does_not_hide_what_is_due_behind_it(filled):
    """300 recipients of a destination that does not answer fill neither AQ (16) nor the window (64)."""
    qmgr = filled(300, aq_max_entries=16)
    now = qmgr.clock.now()
    qmgr.cdb.write_whole(ta_id(999), [b"x"])
    qmgr.smar().answers["x.example"] = route("192.0.2.66")
    agent = qmgr.agent(script=lambda job: None if job.server == "192.0.2.66" else job.done())
    qmgr.context.defer.add(Change(ta=ta(999), put=(rcpt(999, rcpt="r@other.example", entered=now, next_try=now),)))
    with qmgr.context.active.lock:
        qmgr.context.active.edbc.add((now, ta_id(999), 0))
    wait_until(lambda: "r@other.example" in [job.rcpts[0] for job in agent.jobs], "the other one is delivered")
    qmgr.smtps().mail("new@another.example")
    wait_until(lambda: "new@another.example" in [job.rcpts[0] for job in agent.jobs], "new mail, too")
    assert len(qmgr.states()) <= 11
    assert len(qmgr.context.active.edbc.lanes) <= 66
    agent.script = lambda job: job.done()
    for job in agent.jobs:
        if not job.answered:
            job.done()
    qmgr.wait_empty()
    assert len({job.rcpts[0] for job in agent.jobs}) == 302
    assert len(agent.jobs) == 302, "nobody twice"


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
        qmgr.sink.wait("func=qmgr.store.*disk", 2)
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


def test_who_waits_since_a_time_between_two_microseconds_is_brought_back(qmgr):
    """DEFEDB rounds, upwards for half of them: those in the window are not to look as if they had been put off since."""
    qmgr.smar()
    agent = qmgr.agent(script=lambda job: job.done())
    context = qmgr.context
    wait_until(lambda: context.active.edbc.complete, "the window is read")
    begin_s = float(int(context.env.clock.now()) - 10)
    qmgr.cdb.write_whole(ta_id(1), [b"x"])
    times = [begin_s + (number + 0.75) / 1_000_000 for number in range(20)]
    records = [
        rcpt(1, number, rcpt=f"r{number}@x.example", entered=begin_s, next_try=when) for number, when in enumerate(times)
    ]

    def stored(gone):
        with context.active.lock:
            context.active.into_window(records)

    context.defer.add(Change(ta=ta(1, rcpts=20, entered=begin_s), put=tuple(records), stored=stored))
    wait_until(lambda: len(agent.jobs) > 0, "some are delivered")
    qmgr.wait_empty()
    assert sorted(one for job in agent.jobs for one in job.rcpts) == sorted(record.rcpt for record in records)


def test_an_empty_queue_asks_once(qmgr):
    wait_until(lambda: qmgr.context.active.edbc.complete, "the window is read")
    assert qmgr.context.active.edbc.next_time() == FOREVER
