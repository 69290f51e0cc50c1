import pytest

from meta1g.base.errors import FullError
from meta1g.db.iqdb import Iqdb
from meta1g.rcb.smtps_qmgr import NewRecipient, NewTransaction

OWNER, OTHER = object(), object()


def mail(session, ta_id):
    return NewTransaction(session_id=session, ta_id=ta_id, mail="s@x.example")


def to(ta_id, idx=0):
    return NewRecipient(ta_id=ta_id, rcpt_idx=idx, rcpt="r@x.example")


def fill(it, ta):
    for idx in range(800):
        it.add_rcpt(ta, to(ta.msg.ta_id, idx))


@pytest.fixture
def iqdb():
    it = Iqdb(48)
    it.add_session("S1", OWNER, "192.0.2.1")
    return it


def test_sessions_transactions_and_recipients_are_counted_together(iqdb):
    ta = iqdb.add_ta(OWNER, mail("S1", "T1"), 1)
    iqdb.add_rcpt(ta, to("T1"))
    assert (len(iqdb), iqdb.sessions, iqdb.transactions, iqdb.usage_percent()) == (3, 1, 1, 6)
    assert iqdb.get("T1") is ta


def test_a_client_does_not_go_beyond_its_share_and_the_others_do_not_notice(iqdb):
    ta = iqdb.add_ta(OWNER, mail("S1", "T1"), 1)
    for idx in range(4):
        iqdb.add_rcpt(ta, to("T1", idx))
    for add in (lambda: iqdb.add_rcpt(ta, to("T1", 4)), lambda: iqdb.add_session("S2", OWNER, "192.0.2.1")):
        with pytest.raises(FullError, match="share of IQDB_max_entries"):
            add()
    assert (iqdb.held("192.0.2.1"), iqdb.usage_percent(), len(ta.rcpts)) == (6, 12, 4)
    iqdb.add_session("S3", OWNER, "192.0.2.2")
    iqdb.add_rcpt(iqdb.add_ta(OWNER, mail("S3", "T3"), 1), to("T3"))


def test_sessions_leave_half_of_a_share_to_what_is_said_in_them(iqdb):
    iqdb.add_session("S2", OWNER, "192.0.2.1")
    iqdb.add_session("S3", OWNER, "192.0.2.1")
    with pytest.raises(FullError, match="share"):
        iqdb.add_session("S4", OWNER, "192.0.2.1")
    iqdb.add_rcpt(iqdb.add_ta(OWNER, mail("S2", "T2"), 1), to("T2"))
    iqdb.drop_session("S2")
    iqdb.add_session("S4", OWNER, "192.0.2.1")


def test_addresses_of_one_ipv6_prefix_are_one_client(iqdb):
    for number in range(3):
        iqdb.add_session(f"S1{number}", OWNER, f"2001:db8::{number}")
    with pytest.raises(FullError, match="share"):
        iqdb.add_session("S14", OWNER, "2001:db8::4")
    iqdb.add_session("S15", OWNER, "2001:db8:0:1::4")


def test_some_greedy_clients_leave_room_for_one_more():
    it = Iqdb(800)
    for number in range(10):
        it.add_session(f"S{number}", OWNER, f"192.0.2.{number}")
        ta = it.add_ta(OWNER, mail(f"S{number}", f"T{number}"), 1)
        with pytest.raises(FullError):
            fill(it, ta)
        assert it.held(f"192.0.2.{number}") <= 100
    it.add_session("S99", OWNER, "192.0.2.99")
    it.add_rcpt(it.add_ta(OWNER, mail("S99", "T99"), 1), to("T99"))


def test_nothing_goes_beyond_the_limit():
    it = Iqdb(5)
    for number in range(5):
        it.add_session(f"S{number}", OWNER, f"192.0.2.{number}")
    with pytest.raises(FullError, match="incoming queue is full"):
        it.add_session("S9", OWNER, "192.0.2.9")
    assert (len(it), it.usage_percent()) == (5, 100)


def test_a_refused_transaction_holds_no_room_for_recipients(iqdb):
    ta = iqdb.add_ta(OWNER, mail("S1", "T1"), 1)
    iqdb.add_rcpt(ta, to("T1"))
    iqdb.refused(ta)
    assert len(iqdb) == 2
    iqdb.drop_ta("T1")
    assert len(iqdb) == 1


def test_a_new_transaction_of_a_session_replaces_the_open_one(iqdb):
    iqdb.add_rcpt(iqdb.add_ta(OWNER, mail("S1", "T1"), 1), to("T1"))
    iqdb.add_ta(OWNER, mail("S1", "T2"), 1)
    assert (iqdb.get("T1"), len(iqdb)) == (None, 2)


def test_dropping_a_transaction_gives_its_room_back(iqdb):
    ta = iqdb.add_ta(OWNER, mail("S1", "T1"), 1)
    iqdb.add_rcpt(ta, to("T1"))
    assert iqdb.drop_ta("T1") is ta
    assert iqdb.drop_ta("T1") is None
    assert len(iqdb) == 1


def test_the_end_of_a_session_takes_its_open_transaction_along(iqdb):
    iqdb.add_ta(OWNER, mail("S1", "T1"), 1)
    assert iqdb.drop_session("S1").client_addr == "192.0.2.1"
    assert iqdb.drop_session("S1") is None
    assert len(iqdb) == 0


def test_a_committed_transaction_survives_its_session(iqdb):
    """After the final dot it is dropped from here; the session has nothing to take along."""
    iqdb.add_ta(OWNER, mail("S1", "T1"), 1)
    iqdb.drop_ta("T1")
    iqdb.add_ta(OWNER, mail("S1", "T2"), 1)
    iqdb.drop_session("S1")
    assert len(iqdb) == 0


def test_all_of_a_connection_goes_with_it(iqdb):
    iqdb.add_session("S2", OTHER, "192.0.2.2")
    iqdb.add_ta(OWNER, mail("S1", "T1"), 1)
    kept = iqdb.add_ta(OTHER, mail("S2", "T2"), 1)
    assert iqdb.drop_owner(OWNER, 9) == ["192.0.2.1"]
    assert (iqdb.get("T1"), iqdb.get("T2"), len(iqdb)) == (None, kept, 2)
    assert (iqdb.owns(OWNER), iqdb.owns(OTHER)) == (False, True)


def test_a_connection_goes_in_slices():
    it = Iqdb(800)
    for number in range(10):
        it.add_session(f"S{number}", OWNER, f"192.0.2.{number}")
        it.add_rcpt(it.add_ta(OWNER, mail(f"S{number}", f"T{number}"), 1), to(f"T{number}"))
    dropped = []
    while it.owns(OWNER):
        some = it.drop_owner(OWNER, 3)
        assert len(some) <= 3
        dropped += some
    assert sorted(dropped) == sorted(f"192.0.2.{number}" for number in range(10))
    assert len(it) == 0


def test_a_transaction_without_a_known_session_is_taken_all_the_same(iqdb):
    """QMGR may have been restarted since the session began."""
    ta = iqdb.add_ta(OTHER, mail("S7", "T1"), 1)
    assert iqdb.get("T1") is ta
    assert iqdb.drop_owner(OTHER, 9) == []
    assert len(iqdb) == 1


def test_the_same_transaction_id_again_replaces_the_first(iqdb):
    iqdb.add_rcpt(iqdb.add_ta(OTHER, mail("S7", "T1"), 1), to("T1"))
    iqdb.add_ta(OTHER, mail("S8", "T1"), 1)
    iqdb.drop_ta("T1")
    assert len(iqdb) == 1


def test_the_same_session_id_again_replaces_the_first(iqdb):
    iqdb.add_ta(OWNER, mail("S1", "T1"), 1)
    iqdb.add_session("S1", OTHER, "192.0.2.3")
    assert (iqdb.get("T1"), len(iqdb)) == (None, 1)
