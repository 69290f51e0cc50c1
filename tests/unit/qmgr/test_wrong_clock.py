"""The clock was 60 days ahead once, and is right again."""

import os
import time

import pytest

from meta1g.base.reply import Reply
from meta1g.rcb.envelope import HELD_UNTIL, RcptFlags
from meta1g.rcb.qmgr_smar import Unresolved
from tests.fakes.envelopes import rcpt, ta, ta_id
from tests.fakes.qmgr_peers import CONTENT
from tests.fakes.qmgr_system import wait_until

DAYS_S = 60 * 86400


class WallClock:
    """Turns the wall clock alone, as whoever sets the time does."""

    def __init__(self, qmgr):
        self.ahead_s = 0.0
        qmgr.clock.now = lambda: time.time() + self.ahead_s


def deferred(qmgr, *rcpts):
    """A message that was accepted and deferred while the clock was ahead; the clock is right again."""
    wall = WallClock(qmgr)
    wall.ahead_s = DAYS_S
    smar = qmgr.smar()
    smar.answers["to.example"] = Unresolved(reply=Reply(451, "4.4.3", "DNS is slow"))
    key = qmgr.smtps().mail(*rcpts)
    qmgr.wait_deferred(len(rcpts))
    del smar.answers["to.example"]
    wall.ahead_s = 0.0
    return key


def test_what_was_deferred_while_the_clock_was_ahead_is_tried_when_it_is_right(qmgr):
    deferred(qmgr, "a@to.example", "b@to.example")
    agent = qmgr.agent()
    qmgr.context.wrong_clock.look()
    qmgr.wait_empty()
    assert sorted(rcpt for job in agent.jobs for rcpt in job.rcpts) == ["a@to.example", "b@to.example"]


def test_it_is_looked_for_by_itself_at_the_start(qmgr):
    deferred(qmgr, "a@to.example")
    qmgr.restart()
    qmgr.smar()
    agent = qmgr.agent()
    qmgr.wait_empty()
    assert len(agent.jobs) == 1


def test_its_age_counts_from_the_day_on_which_the_clock_was_right(qmgr):
    key = deferred(qmgr, "a@to.example")
    agent = qmgr.agent(script=lambda job: job.done(450))
    qmgr.context.wrong_clock.look()
    agent.wait_jobs(1)
    wait_until(lambda: qmgr.defedb.get_rcpts(key)[0].tries == 2, "tried")
    record, now = qmgr.defedb.get_rcpts(key)[0], qmgr.clock.now()
    assert now - 60 < record.entered <= now
    assert now - 60 < record.last_try <= now
    assert now < record.next_try < now + 600
    assert qmgr.defedb.get_ta(key).entered <= now


def test_a_transaction_in_ibdb_from_the_future_is_recovered_as_entered_now(qmgr):
    wall = WallClock(qmgr)
    wall.ahead_s = DAYS_S
    key = qmgr.smtps().mail("a@to.example")
    wall.ahead_s = 0.0
    qmgr.restart()
    record = qmgr.defedb.get_rcpts(key)[0]
    assert record.entered <= qmgr.clock.now()
    assert qmgr.defedb.get_ta(key).entered <= qmgr.clock.now()
    qmgr.smar()
    qmgr.agent()
    qmgr.wait_empty()


def test_many_of_them_come_in_slices_and_those_that_are_held_stay(make_qmgr):
    qmgr = make_qmgr()
    now, key = qmgr.clock.now(), ta_id(1)
    far = [rcpt(1, idx, rcpt=f"r{idx}@to.example", entered=now, next_try=now + DAYS_S) for idx in range(600)]
    held = rcpt(1, 600, rcpt="held@to.example", entered=now, next_try=HELD_UNTIL, flags=RcptFlags.HOLD)
    soon = rcpt(1, 601, rcpt="soon@to.example", entered=now, next_try=float(int(now) + 3000))
    qmgr.cdb.write_whole(key, [CONTENT])
    stored = []
    qmgr.context.defer.ask(
        lambda db: db.store([ta(1, 602, entered=now, size_bytes=len(CONTENT))], [*far, held, soon]), stored.append
    )
    wait_until(lambda: stored, "stored")
    qmgr.context.wrong_clock.look()
    qmgr.sink.wait("func=qmgr.clock.*count=600")
    qmgr.smar()
    qmgr.agent()
    wait_until(lambda: {one.rcpt for one in qmgr.defedb.get_rcpts(key)} == {held.rcpt, soon.rcpt}, "the others are gone", 60)
    assert {one.next_try for one in qmgr.defedb.get_rcpts(key)} == {HELD_UNTIL, soon.next_try}


@pytest.mark.parametrize("ahead_s", [DAYS_S, 3600])
def test_an_orphan_from_the_future_is_removed(qmgr, ahead_s):
    qmgr.cdb.write_whole(ta_id(7), [CONTENT])
    later = time.time() + ahead_s
    os.utime(qmgr.cdb.path(ta_id(7)), (later, later))
    qmgr.advance(30)
    wait_until(lambda: qmgr.content() == [], "removed")


def test_mail_that_came_before_the_clock_was_set_is_not_old(qmgr):
    """A machine without a battery starts in 1970."""
    wall = WallClock(qmgr)
    wall.ahead_s = -time.time() + 1000
    smar = qmgr.smar()
    smar.answers["to.example"] = Unresolved(reply=Reply(451, "4.4.3", "DNS is slow"))
    key = qmgr.smtps().mail("a@to.example")
    qmgr.wait_deferred(1)
    wall.ahead_s = 0.0
    with qmgr.context.active.lock:
        qmgr.context.active.edbc.reset()
    qmgr.context.feeder.wake()
    wait_until(lambda: [one.tries for one in qmgr.defedb.get_rcpts(key)] == [2], "tried again, not returned")
