import pytest

from meta1g.base.errors import FullError
from meta1g.db.iqdb import Iqdb
from meta1g.rcb.smtps_qmgr import NewRecipient, NewTransaction

OWNER, OTHER = object(), object()


def mail(session, ta_id):
    return NewTransaction(session_id=session, ta_id=ta_id, mail="s@x.example")


def to(ta_id, idx=0):
    return NewRecipient(ta_id=ta_id, rcpt_idx=idx, rcpt="r@x.example")


@pytest.fixture
def iqdb():
    it = Iqdb(6)
    it.add_session("S1", OWNER, "192.0.2.1")
    return it


def test_sessions_transactions_and_recipients_are_counted_together(iqdb):
    ta = iqdb.add_ta(OWNER, mail("S1", "T1"), 1)
    iqdb.add_rcpt(ta, to("T1"))
    assert (len(iqdb), iqdb.sessions, iqdb.transactions, iqdb.usage_percent()) == (3, 1, 1, 50)
    assert iqdb.get("T1") is ta


def test_nothing_goes_beyond_the_limit(iqdb):
    ta = iqdb.add_ta(OWNER, mail("S1", "T1"), 1)
    for idx in range(4):
        iqdb.add_rcpt(ta, to("T1", idx))
    for add in (
        lambda: iqdb.add_rcpt(ta, to("T1", 4)),
        lambda: iqdb.add_session("S2", OWNER, "192.0.2.1"),
        lambda: iqdb.add_ta(OTHER, mail("S9", "T2"), 1),
    ):
        with pytest.raises(FullError, match="IQDB_max_entries"):
            add()
    assert (len(iqdb), iqdb.usage_percent(), len(ta.rcpts)) == (6, 100, 4)


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
    assert iqdb.drop_owner(OWNER) == ["192.0.2.1"]
    assert (iqdb.get("T1"), iqdb.get("T2"), len(iqdb)) == (None, kept, 2)


def test_a_transaction_without_a_known_session_is_taken_all_the_same(iqdb):
    """QMGR may have been restarted since the session began."""
    ta = iqdb.add_ta(OTHER, mail("S7", "T1"), 1)
    assert iqdb.get("T1") is ta
    assert iqdb.drop_owner(OTHER) == []
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
