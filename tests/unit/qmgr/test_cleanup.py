from meta1g.qmgr.cleanup import Chore, Cleanup
from meta1g.qmgr.limits import CLEANUP_S
from meta1g.rcb.smtps_qmgr import Throttle
from tests.fakes.qmgr_system import wait_until


def test_a_chore_is_done_again_and_again_but_not_before_its_time(qmgr):
    done, looks, context = [], [], qmgr.context
    chore = Chore(100, lambda: done.append(qmgr.clock.offset_s), qmgr.clock.monotonic() + 100)
    Cleanup(context.env, context.storing, context.commit, [chore, Chore(0, lambda: looks.append(1))])
    for offset_s, times in ((50, 0), (102, 1), (150, 1), (204, 2)):
        qmgr.advance(offset_s - qmgr.clock.offset_s)
        looks.clear()
        wait_until(lambda: looks, "the clean-up ran")
        assert len(done) == times


def test_a_full_disk_stops_new_mail(make_qmgr):
    qmgr = make_qmgr(min_free_disk=1 << 60, ok_free_disk=1 << 61)
    wait_until(lambda: qmgr.context.smtps.percent == 0, "the disk was looked at")
    smtps = qmgr.smtps()
    _, told = smtps.peer.expect(Throttle)
    assert (smtps.allowed, told.max_threads, told.text) == (0, 0, "Insufficient resources (disk_cdb), try again later")


def test_a_full_incoming_queue_throttles_and_lets_go(make_qmgr):
    qmgr = make_qmgr(iqdb_max_entries=2)
    smtps = qmgr.smtps()
    smtps.connect()
    smtps.envelope()
    wait_until(lambda: len(qmgr.context.intake.iqdb) == 2, "full")
    qmgr.advance(CLEANUP_S)
    _, told = smtps.peer.expect(Throttle)
    assert told.max_threads == 0
    second = qmgr.smtps()
    smtps.stop()
    qmgr.advance(CLEANUP_S)
    wait_until(lambda: qmgr.context.smtps.percent == 100, "free again")
    assert second.peer.expect(Throttle)[1].max_threads in (0, 100)


def test_checkpoints_of_defedb_are_made(make_qmgr):
    qmgr = make_qmgr(checkpoint_interval_s=60)
    made = []
    qmgr.defedb.checkpoint = lambda: made.append(1)
    qmgr.advance(61)
    wait_until(lambda: made, "a checkpoint")
