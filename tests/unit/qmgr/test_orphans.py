import os

import pytest

from meta1g.qmgr.limits import ORPHAN_DELAY_S, ORPHAN_SCAN_S
from tests.fakes.qmgr_peers import new_id
from tests.fakes.qmgr_system import wait_until


def leave(qmgr, age_s=3600):
    """Leaves a content file behind that nobody announced."""
    cdb_id = new_id()
    qmgr.cdb.write_whole(cdb_id, [b"x"])
    when = qmgr.clock.now() - age_s
    os.utime(qmgr.cdb.path(cdb_id), (when, when))
    return cdb_id


def test_old_files_without_an_envelope_are_removed_soon_after_the_start(qmgr):
    gone = leave(qmgr)
    qmgr.advance(ORPHAN_DELAY_S + 1)
    wait_until(lambda: ("cdb", "unlink", gone) in qmgr.journal, "removed")
    assert qmgr.content() == []
    qmgr.sink.wait("func=qmgr.orphans, count=1")


def test_files_of_all_stores_stay(qmgr):
    """Whoever is being received, accepted, deferred, or handed to DEFEDB keeps its content."""
    qmgr.smar()
    agent = qmgr.agent(script=lambda job: job.done(450))
    smtps = qmgr.smtps()
    kept = [smtps.mail("r@to.example")]
    qmgr.wait_deferred(1)
    agent.script = lambda job: None
    kept += [smtps.mail("r@to.example"), smtps.envelope("r@to.example")]
    wait_until(lambda: qmgr.context.intake.iqdb.transactions == 1, "received")
    for cdb_id in kept:
        os.utime(qmgr.cdb.path(cdb_id), (0, 0))
    orphan = leave(qmgr)
    qmgr.advance(ORPHAN_DELAY_S + 1)
    wait_until(lambda: orphan not in qmgr.content(), "the scan is over")
    assert qmgr.content() == sorted(kept)


def test_what_overflowed_stays_while_defedb_cannot_take_it(make_qmgr):
    qmgr = make_qmgr(aq_max_entries=16)
    smtps = qmgr.smtps()
    qmgr.defedb.error = OSError(28, "full")
    kept = [smtps.mail(*(f"r{number}@to.example" for number in range(10))) for _ in range(2)]
    qmgr.sink.wait("cannot store")
    for cdb_id in kept:
        os.utime(qmgr.cdb.path(cdb_id), (0, 0))
    orphan = leave(qmgr)
    qmgr.advance(ORPHAN_DELAY_S + 1)
    wait_until(lambda: orphan not in qmgr.content(), "the scan is over")
    assert qmgr.content() == sorted(kept)
    qmgr.defedb.error = None


def test_a_young_file_stays(qmgr):
    young = leave(qmgr, age_s=-ORPHAN_DELAY_S)
    old = leave(qmgr)
    qmgr.advance(ORPHAN_DELAY_S + 1)
    wait_until(lambda: old not in qmgr.content(), "the scan is over")
    assert qmgr.content() == [young]


@pytest.mark.parametrize("delay_s", [ORPHAN_DELAY_S, ORPHAN_SCAN_S])
def test_a_lost_smtps_makes_the_next_scan_come_early(qmgr, delay_s):
    smtps = qmgr.smtps()
    first = leave(qmgr)
    qmgr.advance(ORPHAN_DELAY_S + 1)
    wait_until(lambda: first not in qmgr.content(), "removed")
    qmgr.sink.wait("func=qmgr.orphans, count=1")  # the first scan is over
    if delay_s == ORPHAN_DELAY_S:
        smtps.stop()
        qmgr.sink.wait("func=qmgr.smtps.*gone")
    second = leave(qmgr)
    qmgr.advance(delay_s + 1)
    wait_until(lambda: second not in qmgr.content(), "the second scan is over")


def test_content_of_what_was_set_aside_stays_and_all_else_goes(qmgr):
    """Its envelope may still be saved by hand."""
    kept, listed, gone = leave(qmgr), leave(qmgr), leave(qmgr)
    record = qmgr.queue / "lost+found" / f"{kept}-0001.record"
    record.write_bytes(b"damaged")
    assert qmgr.context.lost.keep_content([listed, kept], "test") == 1
    qmgr.advance(ORPHAN_DELAY_S + 1)
    wait_until(lambda: gone not in qmgr.content(), "removed")
    assert qmgr.content() == sorted([kept, listed])
    record.unlink()

    def scanned_again() -> bool:
        """The first scan may not be over yet; then the next one is counted from its end."""
        qmgr.advance(ORPHAN_SCAN_S + 1)
        return qmgr.content() == [listed]

    wait_until(scanned_again, "dealt with")
