import errno

import pytest

from meta1g.base.ids import RCPT_IDX_MAX
from meta1g.db.ibdb_reader import IbdbReader, ibdb_files
from meta1g.db.ibdb_records import TaNew
from meta1g.qmgr.limits import IQDB_HOLD_S
from meta1g.rcb.smtps_qmgr import (
    ClientEvent,
    CloseSession,
    CloseTransaction,
    CountEvent,
    DiscardTransaction,
    NewRecipient,
    Refused,
    Throttle,
)
from tests.fakes.qmgr_peers import new_id
from tests.fakes.qmgr_system import wait_until


def stored(qmgr) -> list[str]:
    """The transactions that stand in IBDB files, read from the disk."""
    found = [one.entry for path in ibdb_files(qmgr.queue / "ibdb") for one in IbdbReader(path).entries()]
    return [entry.ta.ta_id for entry in found if isinstance(entry, TaNew)]


def test_a_message_goes_all_the_way(qmgr):
    qmgr.smar()
    agent = qmgr.agent()
    ta_id = qmgr.smtps().mail("r@to.example")
    (job,) = agent.wait_jobs(1)
    assert (job.msg.ta_id, job.msg.mail, job.rcpts) == (ta_id, "s@from.example", ["r@to.example"])
    qmgr.wait_empty()
    assert not [entry for entry in qmgr.journal if entry[0] == "defedb"], "mail delivered at once must not touch DEFEDB"


def test_250_comes_only_after_the_envelope_is_on_the_disk(qmgr):
    smtps = qmgr.smtps()
    qmgr.files.gate.clear()
    ta_id = smtps.envelope("r@to.example")
    smtps.dot(ta_id, 1)
    wait_until(lambda: qmgr.context.commit.open_count == 1, "the envelope is taken")
    smtps.peer.sock.settimeout(0.2)
    with pytest.raises(TimeoutError):
        smtps.reply()
    smtps.peer.sock.settimeout(20)
    qmgr.files.gate.set()
    assert smtps.reply().code == 250
    assert ("ibdb", "flush", 0) in qmgr.journal
    assert stored(qmgr) == [ta_id]


def test_one_flush_answers_all_that_wait(qmgr):
    smtps = qmgr.smtps()
    qmgr.files.gate.clear()
    first = smtps.envelope("r@to.example")
    smtps.dot(first, 1, 100)
    wait_until(lambda: qmgr.context.commit._ibdb.pending_count == 0 and qmgr.context.commit.open_count, "first flush runs")
    others = [smtps.envelope(f"r{number}@to.example") for number in range(30)]
    for number, ta_id in enumerate(others):
        smtps.dot(ta_id, 1, 101 + number)
    wait_until(lambda: qmgr.context.commit.open_count == 31, "all are taken")
    qmgr.files.gate.set()
    assert [smtps.reply().code for _ in range(31)] == [250] * 31
    assert qmgr.journal.count(("ibdb", "flush", 0)) == 2
    assert sorted(stored(qmgr)) == sorted([first, *others])


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EIO])
def test_an_envelope_that_cannot_be_written_is_refused_and_not_delivered(qmgr, code):
    qmgr.smar()
    agent, smtps = qmgr.agent(), qmgr.smtps()
    qmgr.files.error = OSError(code, "broken")
    ta_id = smtps.envelope("r@to.example")
    smtps.dot(ta_id, 1)
    stat = smtps.reply()
    assert (stat.code, stat.ecode) == (451, "4.3.1")
    assert qmgr.sink.find("func=qmgr.ibdb.*broken")
    qmgr.files.error = None
    accepted = smtps.mail("later@to.example")
    assert [job.msg.ta_id for job in agent.wait_jobs(1)] == [accepted]
    wait_until(lambda: qmgr.content() == [ta_id], "only the refused content is left, to be removed as an orphan")


def test_an_envelope_without_content_is_refused(qmgr):
    smtps = qmgr.smtps()
    ta_id = smtps.envelope("r@to.example")
    qmgr.cdb.unlink(ta_id)
    smtps.dot(ta_id, 1)
    assert smtps.reply().code == 451
    assert qmgr.context.commit.open_count == 0


def test_an_unknown_transaction_is_refused(qmgr):
    smtps = qmgr.smtps()
    stat = smtps.peer.request(CloseTransaction(ta_id=new_id(), cdb_id=new_id(), size_bytes=1, rcpts=1)).reply
    assert (stat.code, stat.text) == (451, "Transaction is not known, try again")


def test_a_transaction_of_another_smtps_is_not_known(qmgr):
    ta_id = qmgr.smtps().envelope("r@to.example")
    other = qmgr.smtps()
    other.dot(ta_id, 1)
    assert other.reply().code == 451


def test_a_wrong_number_of_recipients_is_refused(qmgr):
    smtps = qmgr.smtps()
    ta_id = smtps.envelope("r@to.example")
    smtps.dot(ta_id, 2)
    assert smtps.reply().text == "Envelope is not complete, try again"


@pytest.mark.parametrize("index", [0, RCPT_IDX_MAX + 1])
def test_a_repeated_or_huge_recipient_index_is_refused(qmgr, index):
    """A peer that lies must not bring the queue manager down."""
    smtps = qmgr.smtps()
    ta_id = smtps.envelope("r@to.example")
    smtps.peer.send(NewRecipient(ta_id=ta_id, rcpt_idx=index, rcpt="again@to.example"))
    smtps.dot(ta_id, 2)
    assert smtps.reply().code == 451
    smtps.mail("r@to.example")


def test_a_discarded_transaction_is_forgotten(qmgr):
    smtps = qmgr.smtps()
    ta_id = smtps.envelope("r@to.example")
    smtps.peer.send(DiscardTransaction(ta_id=ta_id))
    smtps.dot(ta_id, 1)
    assert smtps.reply().code == 451
    assert len(qmgr.context.intake.iqdb) == 0


def test_a_client_that_does_its_worst_holds_an_eighth_and_the_others_do_not_notice(make_qmgr):
    qmgr = make_qmgr(iqdb_max_entries=800, smtps_max_connections=0)
    smtps = qmgr.smtps(max_threads=80)
    greeted = []
    for _ in range(20):
        smtps.session = new_id()
        greeted.append(smtps.connect("2001:db8::bad").code)
        smtps.envelope(*(f"r{number}@to.example" for number in range(60)))
    assert greeted == [220] * 10 + [421] * 10
    wait_until(lambda: len(qmgr.sink.find("func=qmgr.refused.*share")) >= 5, "refused")
    assert qmgr.context.intake.iqdb.held("2001:db8::1") <= 100
    smtps.session = new_id()
    assert smtps.connect("192.0.2.1").code == 220
    ta_id = smtps.envelope("r@to.example")
    smtps.dot(ta_id, 1)
    assert smtps.reply().code == 250


def test_an_envelope_that_stays_open_is_refused_only_when_the_queue_is_crowded(make_qmgr):
    qmgr = make_qmgr(iqdb_max_entries=80)
    smtps = qmgr.smtps()
    ids = []
    for number in range(7):
        smtps.session = new_id()
        smtps.connect(f"192.0.2.{number}")
        ids.append(smtps.envelope(*(f"r{number}@to.example" for number in range(3))))
    wait_until(lambda: len(qmgr.context.intake.iqdb) == 35, "all there")
    qmgr.advance(IQDB_HOLD_S + 1)
    qmgr.context.intake.relieve()
    smtps.session = new_id()
    smtps.connect("192.0.2.99")
    young = smtps.envelope(*(f"r{number}@to.example" for number in range(6)))
    _, refused = smtps.peer.expect(Refused)
    assert (refused.ta_id, refused.reply.code) == (ids[0], 452)
    wait_until(lambda: qmgr.context.intake.iqdb.held("192.0.2.99") == 8, "the young one is whole")
    qmgr.context.intake.relieve()
    assert qmgr.context.intake.is_open(young)


def test_as_many_envelopes_are_refused_as_it_takes_and_each_once(make_qmgr):
    """Each of them has four entries, of which two are free when it is refused."""
    qmgr = make_qmgr(iqdb_max_entries=40)
    intake, smtps = qmgr.context.intake, qmgr.smtps()

    def fill(*clients):
        for number in clients:
            smtps.session = new_id()
            smtps.connect(f"192.0.2.{number}")
            yield smtps.envelope("a@to.example", "b@to.example")

    def relieved(count):
        intake.relieve()
        assert len(intake.iqdb) == 18
        return [smtps.peer.expect(Refused)[1].ta_id for _ in range(count)]

    ids = list(fill(*range(7)))
    wait_until(lambda: len(intake.iqdb) == 28, "all there")
    qmgr.advance(IQDB_HOLD_S + 1)
    assert relieved(5) == ids[:5]
    list(fill(7))
    wait_until(lambda: len(intake.iqdb) == 22, "one more is there")
    assert relieved(2) == ids[5:]


def test_a_final_dot_that_fails_unexpectedly_gets_an_answer_and_costs_nobody_else(qmgr, monkeypatch):
    smtps = qmgr.smtps()
    ta_id = smtps.envelope("r@to.example")
    with monkeypatch.context() as patch:
        patch.setattr(qmgr.context.commit, "accept", lambda *args: 1 // 0)
        smtps.dot(ta_id, 1)
        assert smtps.reply().code == 451
    smtps.mail("r@to.example")
    assert qmgr.sink.find("where=qmgr.dot.*contained: ZeroDivisionError")


def test_a_full_incoming_queue_refuses_the_transaction_before_its_end(make_qmgr):
    qmgr = make_qmgr(iqdb_max_entries=3)
    smtps = qmgr.smtps()
    ta_id = smtps.envelope(*(f"r{number}@to.example" for number in range(4)))
    _, refused = smtps.peer.expect(Refused)
    assert (refused.ta_id, refused.reply.code) == (ta_id, 452)
    smtps.dot(ta_id, 4)
    assert smtps.reply().code == 452
    assert len(qmgr.context.intake.iqdb) == 0


def test_too_many_sessions_of_a_client_are_refused_until_one_ends(make_qmgr):
    smtps = make_qmgr(smtps_max_connections=1).smtps()
    first, second = new_id(), new_id()
    assert [smtps.connect(session=one).code for one in (first, second)] == [220, 421]
    assert smtps.connect("192.0.2.98", session=second).code == 220
    smtps.peer.send(CloseSession(session_id=first))
    assert smtps.connect(session=new_id()).code == 220


def test_a_session_that_is_announced_twice_is_counted_once(make_qmgr):
    qmgr = make_qmgr(smtps_max_connections=1)
    smtps = qmgr.smtps()
    assert [smtps.connect().code for _ in range(3)] == [220] * 3
    assert qmgr.context.intake.icc.open_of("192.0.2.99") == 1


def test_the_rate_of_a_client_is_limited(make_qmgr):
    qmgr = make_qmgr(smtps_max_rate=2)
    smtps = qmgr.smtps()
    assert [smtps.connect(session=new_id()).code for _ in range(3)] == [220, 220, 421]
    qmgr.advance(61)
    assert smtps.connect(session=new_id()).code == 220


def test_what_an_smtps_had_open_is_forgotten_with_it(qmgr):
    smtps = qmgr.smtps()
    smtps.connect()
    smtps.envelope("r@to.example")
    wait_until(lambda: len(qmgr.context.intake.iqdb) == 3, "session, transaction, recipient")
    smtps.stop()
    wait_until(lambda: len(qmgr.context.intake.iqdb) == 0, "forgotten")
    assert len(qmgr.context.intake.icc) == 0


def test_an_accepted_message_is_delivered_although_its_smtps_is_gone(qmgr):
    smtps = qmgr.smtps()
    qmgr.files.gate.clear()
    ta_id = smtps.envelope("r@to.example")
    smtps.dot(ta_id, 1)
    wait_until(lambda: qmgr.context.commit.open_count == 1, "taken")
    smtps.stop()
    qmgr.files.gate.set()
    qmgr.smar()
    assert [job.msg.ta_id for job in qmgr.agent().wait_jobs(1)] == [ta_id]


def test_a_stopping_qmgr_takes_no_new_mail_and_finishes_the_dot(qmgr):
    smtps = qmgr.smtps()
    ta_id = smtps.envelope("r@to.example")
    wait_until(lambda: qmgr.context.intake.iqdb.transactions == 1, "received")
    qmgr.context.stop_intake()
    smtps.dot(ta_id, 1)
    assert smtps.reply().code == 250
    smtps.envelope("r@to.example")
    _, refused = smtps.peer.expect(Refused)
    assert refused.reply.code == 421
    assert smtps.connect().code == 421


def test_too_many_waiting_changes_stop_new_mail(qmgr, monkeypatch):
    monkeypatch.setattr(type(qmgr.context.defer), "full", property(lambda self: True))
    smtps = qmgr.smtps()
    smtps.envelope("r@to.example")
    _, refused = smtps.peer.expect(Refused)
    assert refused.reply.code == 452


def test_a_second_hello_closes_the_connection(qmgr):
    smtps = qmgr.smtps()
    with pytest.raises((EOFError, ConnectionError)):
        smtps.hello()
    assert qmgr.sink.wait("a second hello")


def test_load_control_tells_all_smtps_and_those_that_come_later(qmgr):
    first = qmgr.smtps(max_threads=200)
    assert first.allowed == 200
    qmgr.context.smtps.throttle(50, "half")
    _, told = first.peer.expect(Throttle)
    assert (told.max_threads, told.text) == (100, "half")
    second = qmgr.smtps(max_threads=10)
    assert second.allowed == 5
    _, told = second.peer.expect(Throttle)
    assert told.text == "half"
    qmgr.context.smtps.throttle(100, "")
    assert [peer.peer.expect(Throttle)[1].max_threads for peer in (first, second)] == [200, 10]


# -- rates of clients


def test_smtps_hears_what_is_counted_and_asks(make_qmgr):
    qmgr = make_qmgr(smtps_max_message_rate=1, smtps_max_recipient_rate=0)
    smtps = qmgr.smtps()
    assert smtps.counts == ClientEvent.MESSAGE
    smtps.connect("192.0.2.7")
    answers = [smtps.peer.request(CountEvent(session_id=smtps.session, event=ClientEvent.MESSAGE), n).reply for n in (11, 12)]
    assert [str(one) for one in answers] == ["250 2.0.0", "450 4.7.1 message rate limit exceeded, try again later"]


def test_the_sessions_of_all_smtps_are_one_client(make_qmgr):
    qmgr = make_qmgr(smtps_max_message_rate=1)
    codes = []
    for _ in range(2):
        smtps = qmgr.smtps()
        smtps.connect("192.0.2.7")
        codes.append(smtps.peer.request(CountEvent(session_id=smtps.session, event=ClientEvent.MESSAGE), 11).reply.code)
    assert codes == [250, 450]


@pytest.mark.parametrize(
    ("client", "codes"),
    [("10.1.2.3", [250, 250]), ("2001:db8::9", [250, 250]), ("::ffff:10.1.2.3", [250, 250]), ("192.0.2.7", [250, 450])],
)
def test_exempt_networks_have_no_rates(make_qmgr, client, codes):
    qmgr = make_qmgr(smtps_max_message_rate=1, smtps_max_rate=1, smtps_exempt=("10.0.0.0/8", "2001:db8::9"))
    smtps = qmgr.smtps()
    assert smtps.connect(client).is_ok
    event = CountEvent(session_id=smtps.session, event=ClientEvent.MESSAGE)
    assert [smtps.peer.request(event, n).reply.code for n in (11, 12)] == codes


def test_a_session_that_began_before_qmgr_is_not_counted(make_qmgr):
    smtps = make_qmgr(smtps_max_message_rate=1).smtps()
    event = CountEvent(session_id=new_id(), event=ClientEvent.MESSAGE)
    assert [smtps.peer.request(event, n).reply.code for n in (11, 12)] == [250, 250]


@pytest.mark.parametrize("event", [0, 1, 3, 6, 8, 0xFFFFFFFF])
def test_an_event_that_does_not_exist_ends_the_connection(make_qmgr, event):
    smtps = make_qmgr(smtps_max_message_rate=1).smtps()
    smtps.peer.send(CountEvent(session_id=smtps.session, event=event), 11)
    with pytest.raises(EOFError):
        smtps.peer.receive()
