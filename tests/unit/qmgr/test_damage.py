"""What is damaged while QMGR runs costs itself: records of DEFEDB, content, and what others say about them."""

import os

import pytest

from meta1g.db import defedb_records as records
from meta1g.db.defedb_base import MAIN_FILE
from meta1g.db.ibdb_reader import ibdb_files
from meta1g.qmgr.defer import Change
from meta1g.qmgr.limits import CLEANUP_S
from meta1g.rcb.envelope import RcptFlags
from meta1g.rcb.smtpc_qmgr import SmtpcContained
from meta1g.rcb.smtps_qmgr import CloseTransaction, SmtpsContained, SmtpsTrouble
from tests.fakes.envelopes import rcpt, ta, ta_id
from tests.fakes.qmgr_peers import CONTENT
from tests.fakes.qmgr_system import QmgrSystem, wait_until

COUNT = 10
BAD = 4


def fill(system, spoil, facts=None):
    """Deferred messages, one of them damaged; the process starts anew."""
    system.start()
    now = system.clock.now()
    for number in range(COUNT):
        system.cdb.write_whole(ta_id(number), [CONTENT])
    system.defedb.store(
        [ta(n, entered=now, size_bytes=len(CONTENT)) for n in range(COUNT)],
        [rcpt(n, rcpt=f"r{n}@x.example", entered=now, next_try=now + 1000) for n in range(COUNT)],
    )
    with system.defedb._env.transaction() as txn:
        spoil(system.defedb, txn)
    system.restart()
    return system


def spoil_key(key):
    def spoil(db, txn):
        db._main.put(key, db._main.get(key)[:-3] + b"xyz", txn=txn)

    return spoil


def spoil_index(db, txn):
    db._due.put(b"\x00\x00\x00\x00\x00\x00\x00\x01nonsense", b"", txn=txn)
    db._due.put(records.due_key(5, records.rcpt_key(ta_id(77), 0)), b"", txn=txn)


RCPT = spoil_key(records.rcpt_key(ta_id(BAD), 0))
TA = spoil_key(records.ta_key(ta_id(BAD)))


@pytest.fixture
def system(tmp_path):
    made = QmgrSystem(tmp_path)
    yield made
    made.stop()


@pytest.mark.parametrize("spoil", [RCPT, TA], ids=["recipient", "transaction"])
def test_a_damaged_record_is_set_aside_and_named_and_all_others_are_delivered(system, spoil):
    fill(system, spoil)
    system.smar()
    agent = system.agent()
    system.advance(1001)
    wait_until(lambda: len(agent.jobs) == COUNT - 1, "the others")
    assert ta_id(BAD) not in {job.msg.ta_id for job in agent.jobs}
    system.sink.wait(f"sevr=ERROR, func=qmgr.damaged, ss_ta={ta_id(BAD)}.*path=.*{MAIN_FILE}.*key={ta_id(BAD)}.*lost.found")
    wait_until(lambda: system.content() == [ta_id(BAD)] and not system.context.defer.count, "its content stays")
    status = system.context.status()
    assert status["set_aside"] >= 1
    assert status["lost_found"] >= 2
    assert any("lost+found" in text for text in status["trouble"])


def test_entries_of_the_index_that_make_no_sense_are_dropped(system):
    fill(system, spoil_index)
    system.smar()
    agent = system.agent()
    system.advance(1001)
    wait_until(lambda: len(agent.jobs) == COUNT, "all")
    system.wait_empty()
    system.defedb.check()


@pytest.mark.parametrize("spoil", [RCPT, TA], ids=["recipient", "transaction"])
@pytest.mark.parametrize(
    "words", [("queue",), ("show", ta_id(BAD)), ("retry", "all"), ("remove", ta_id(BAD)), ("release", "all")]
)
def test_every_command_goes_on_behind_a_damaged_record(system, spoil, words):
    fill(system, spoil)
    answers = []
    system.context.control._run(words, 0, lambda code, result, more: answers.append((code, result)))
    wait_until(lambda: answers, "answered")
    assert answers[0][0] in (0, 66), answers
    if words == ("queue",):
        assert len(answers[0][1]) >= COUNT - 1
    if words == ("retry", "all"):
        assert answers[0][1]["retried"] >= COUNT - 1


def test_a_change_of_a_damaged_record_blocks_nobody(system):
    fill(system, RCPT)
    told = []
    for n in range(COUNT):
        change = Change(ta=ta(n), put=(rcpt(n, tries=7),) if n % 2 else (), removed=() if n % 2 else (0,), stored=told.append)
        system.context.defer.add(change)
    wait_until(lambda: len(told) == COUNT, "all stored")
    assert [one.tries for one in system.defedb.scan(None, 100)] == [7] * (COUNT // 2)
    system.sink.wait(f"func=qmgr.damaged.*key={ta_id(BAD)}-0000")


def test_a_record_that_cannot_be_set_aside_stays_and_the_others_go_on(system):
    fill(system, RCPT)
    system.context.lost.directory.rmdir()
    system.smar()
    agent = system.agent()
    system.advance(1001)
    wait_until(lambda: len(agent.jobs) == COUNT - 1, "the others")
    system.sink.wait("cannot be set aside")
    assert system.defedb.has_rcpt(ta_id(BAD), 0)
    system.context.lost.directory.mkdir()


def test_damaged_content_holds_the_recipients_without_an_outcome_of_their_own(system):
    system.start()
    system.smar()
    agent = system.agent(script=lambda job: job._answer(None, damage="too short", rcpts=job.own({"b@to.example": 550})))
    system.smtps().mail("a@to.example", "b@to.example", "c@to.example", mail="")
    wait_until(lambda: system.context.defer.held == 2, "held")
    jobs = len(agent.jobs)
    lines = system.sink.wait("sevr=ERROR, func=qmgr.held.*content is damaged: too short", 2)
    assert all("cdb_id=" in line for line in lines)
    assert {one.flags for one in system.defedb.scan(None, 9)} == {RcptFlags.HOLD}
    system.advance(86400 * 30)
    wait_until(lambda: system.context.active.edbc.complete, "looked")
    assert len(agent.jobs) == jobs


def test_the_checksum_goes_from_the_final_dot_to_the_delivery(system):
    system.start()
    system.smar()
    agent, smtps = system.agent(), system.smtps()
    new = smtps.envelope("r@to.example")
    smtps.peer.send(CloseTransaction(ta_id=new, cdb_id=new, size_bytes=len(CONTENT), rcpts=1, checksum=77), 7)
    assert smtps.reply().code == 250
    assert [(job.msg.file_bytes, job.msg.checksum) for job in agent.wait_jobs(1)] == [(len(CONTENT), 77)]


def test_content_of_another_size_is_refused_at_the_final_dot(system):
    system.start()
    smtps = system.smtps()
    new = smtps.envelope("r@to.example")
    smtps.peer.send(CloseTransaction(ta_id=new, cdb_id=new, size_bytes=len(CONTENT) + 1, rcpts=1, checksum=77), 7)
    assert smtps.reply().code == 451
    system.sink.wait("func=qmgr.store.*has .* bytes instead of")


def test_contained_failures_of_all_processes_are_counted_and_are_trouble_for_a_while(system):
    system.start()
    agent, smtps = system.agent(), system.smtps()
    agent.peer.send(SmtpcContained(count=3, last="smtpc.x: broken"))
    smtps.peer.send(SmtpsContained(count=2, last="smtps.y: broken"))
    before = system.context.contained.total()
    wait_until(lambda: system.context.contained.total() == before + 5 or system.context.contained.total() == 5, "counted")
    texts = "\n".join(system.context.status()["trouble"])
    assert "smtpc 0 contained failures" in texts
    assert "smtps.y: broken" in texts
    agent.stop()
    system.peers.remove(agent)
    total = system.context.contained.total()
    wait_until(lambda: "func=qmgr.smtpc" in str(system.sink.find("gone")), "gone")
    assert system.context.contained.total() == total
    system.advance(3601)
    assert "contained" not in "\n".join(system.context.status()["trouble"])


def test_status_has_what_an_smtps_wants_to_be_looked_at_until_it_is_over_or_gone(system):
    system.start()
    smtps = system.smtps()

    def trouble():
        return "\n".join(system.context.status()["trouble"])

    for text in ("cert.pem: the certificate ends in 3 days", ""):
        smtps.peer.send(SmtpsTrouble(text=text))
        wait_until(lambda text=text: ("cert.pem" in trouble()) == bool(text), "told")
    smtps.peer.send(SmtpsTrouble(text="key.pem"))
    wait_until(lambda: "key.pem" in trouble(), "told")
    smtps.stop()
    system.peers.remove(smtps)
    wait_until(lambda: "key.pem" not in trouble(), "gone")


@pytest.mark.parametrize("harm", [lambda path: path.unlink(), lambda path: os.truncate(path, 30)], ids=["removed", "cut"])
def test_mail_in_an_ibdb_file_that_somebody_harms_moves_to_defedb_and_new_mail_goes_to_another_file(system, harm):
    system.start()
    smtps = system.smtps()
    first = [smtps.mail("r@to.example") for _ in range(3)]
    wait_until(lambda: len(system.states()) == 3, "entered")
    (path,) = ibdb_files(system.queue / "ibdb")
    harm(path)
    system.advance(CLEANUP_S + 1)
    system.sink.wait(f"sevr=ERROR, func=qmgr.ibdb, path={path}")
    wait_until(lambda: {one.ta_id for one in system.defedb.scan(None, 9)} == set(first), "safe")
    smtps.mail("r@to.example")
    assert path not in ibdb_files(system.queue / "ibdb") or len(ibdb_files(system.queue / "ibdb")) == 2
    system.smar()
    system.agent()
    system.wait_empty()
