"""Records that are given as they stand: nothing is lost on the way, and what is damaged costs itself."""

from dataclasses import replace

import pytest

from meta1g.base.errors import ProtocolError
from meta1g.db import defedb_records as records
from meta1g.db.damage import DamageError
from meta1g.db.defedb import DefeDb
from meta1g.db.defedb_page import page_of, read_page
from meta1g.rcb.envelope import RcptRecord, TaRecord
from tests.fakes.envelopes import rcpt, rcpts, ta, ta_id
from tests.unit.rcb.samples import full, sparse

CACHE = 1 << 20
KINDS = [(make, cls) for make in (full, sparse) for cls in (TaRecord, RcptRecord)]


@pytest.fixture
def db(tmp_path):
    store = DefeDb(tmp_path, CACHE)
    store.open()
    yield store
    store.close()


def stored(number, idx):
    """A recipient with its key, and with an index of any length."""
    record = rcpt(number, idx)
    return records.key_of(record), records.encode_record(record)


def test_what_was_written_is_read_in_the_same_order():
    values = [make(cls) for make, cls in KINDS]
    assert list(read_page(page_of(map(records.encode_record, values)))) == values
    assert list(read_page(b"")) == []


def test_a_record_that_cannot_be_read_costs_itself():
    good = records.encode_record(ta(1))
    strange = [b"\0" * 4, good[:4] + good[12:], good[:-8], good + good[-12:], good[:4] + b"\0" * 64]
    for value in strange:
        first, bad, last = read_page(page_of([good, value, good]))
        assert (first, last) == (ta(1), ta(1))
        assert isinstance(bad, ProtocolError), value


@pytest.mark.parametrize("cut", [1, 7, 9, 40])
def test_a_page_that_is_cut_short_says_so(cut):
    page = page_of([records.encode_record(ta(1))])
    with pytest.raises(ProtocolError, match="cut short"):
        list(read_page(page[:cut]))


@pytest.mark.parametrize(("make", "cls"), KINDS)
def test_a_record_is_sound_if_and_only_if_it_can_be_decoded_under_its_key(make, cls):
    record = replace(make(cls), ta_id=ta_id(1), **({} if cls is TaRecord else {"rcpt_idx": 5}))
    key, value = records.key_of(record), records.encode_record(record)
    assert records.is_sound(key, value)
    others = [
        records.ta_key(ta_id(2)),
        records.rcpt_key(ta_id(1), 6),
        records.rcpt_key(ta_id(2), 5),
        key + b"-0000",
        key[:-1],
        b"",
    ]
    others.append(records.rcpt_key(ta_id(1), 5) if cls is TaRecord else records.ta_key(ta_id(1)))
    for other in others:
        assert not records.is_sound(other, value), other
    for at in range(len(value)):
        assert not records.is_sound(key, value[:at])
        spoilt = bytearray(value)
        spoilt[at] ^= 4
        assert not records.is_sound(key, bytes(spoilt))
        with pytest.raises(DamageError):
            records.decode_record(cls, key, bytes(spoilt))


@pytest.mark.parametrize("idx", [0, 0xFFFF, 0x10000, 0x0FFFFFFF])
def test_an_index_of_any_length_is_known(idx):
    assert records.is_sound(*stored(1, idx))
    assert not records.is_sound(stored(1, idx)[0], stored(1, idx ^ 1)[1])


def test_pages_have_each_recipient_once_behind_its_transaction(db):
    db.store([ta(1, 5), ta(2), ta(3, 2)], [*rcpts(1, 5), rcpt(2), *rcpts(3, 2)])
    for limit in (1, 2, 3, 100):
        seen, last = [], None
        while found := db.scan_stored(last, limit):
            assert len([key for key, _ in found if records.is_rcpt_key(key)]) <= limit
            for key, _ in found:
                if records.is_rcpt_key(key):
                    assert key[:19] in [before for before, _ in found[: found.index((key, db._main.get(key)))]]
                    seen.append(key)
            last = found[-1][0].decode()
        assert seen == [records.key_of(one) for one in (*rcpts(1, 5), rcpt(2), *rcpts(3, 2))]


def test_damaged_records_are_set_aside_and_all_others_given(db):
    kept = []
    db.keeper = lambda path, key, value, why: kept.append(key) is None
    db.store([ta(n) for n in range(6)], [rcpt(n) for n in range(6)])
    with db._env.transaction() as txn:
        for key in (records.rcpt_key(ta_id(1), 0), records.ta_key(ta_id(3))):
            db._main.put(key, db._main.get(key)[:-1] + b"\xff", txn=txn)
        db._main.put(records.rcpt_key(ta_id(4), 0), db._main.get(records.rcpt_key(ta_id(5), 0)), txn=txn)
    found = [key for key, _ in db.scan_stored(None, 100)]
    assert [ta_id(n).encode() in found for n in range(6)] == [True, True, True, False, True, True]
    assert [records.rcpt_key(ta_id(n), 0) in found for n in range(6)] == [True, False, True, True, False, True]
    assert {records.rcpt_key(ta_id(1), 0), records.rcpt_key(ta_id(4), 0), records.ta_key(ta_id(3))} <= set(kept)
    assert [key for key, _ in db.scan_stored(None, 100)] == [
        key for key in found if key[:19] not in (b"", *map(key_of, (1, 4)))
    ]


def key_of(number):
    return ta_id(number).encode()


def test_without_a_keeper_damage_is_an_error(db):
    db.store([ta(1)], [rcpt(1)])
    key = records.rcpt_key(ta_id(1), 0)
    with db._env.transaction() as txn:
        db._main.put(key, b"xyz", txn=txn)
    with pytest.raises(DamageError, match="is damaged"):
        db.scan_stored(None, 10)
