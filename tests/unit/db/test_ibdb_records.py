import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meta1g.base.errors import PermError, ProtocolError
from meta1g.base.reply import Reply
from meta1g.db import ibdb_records
from meta1g.db.ibdb_records import ENTRY_HEADER, TaNew, check_header, decode_body, entry, file_header, file_name, file_number
from meta1g.rcb.envelope import DsnRcpt, RcptDone, RcptRecord, TaCancel, TaDone, TaRecord
from tests.fakes.envelopes import rcpt, rcpts, ta, ta_id
from tests.unit.rcb.samples import full, sparse

#: The format on disk: a release that changes it needs another version number.
GOLDEN_HEADER = "6d31672d69626462000000020000000a39613ee6"
GOLDEN_DONE = "00000024_1cf292a6_00000000_00007031_00000013_00007001_".replace("_", "") + ta_id(1).encode().hex() + "00"


def body(data):
    length, _ = ENTRY_HEADER.unpack_from(data)
    assert len(data) == ENTRY_HEADER.size + length
    return data[ENTRY_HEADER.size :]


@pytest.mark.parametrize("make", [full, sparse])
@pytest.mark.parametrize("cls", [RcptRecord, RcptDone, TaDone, TaCancel])
def test_single_records_come_back(cls, make):
    assert decode_body(body(entry(make(cls)))) == make(cls)


@pytest.mark.parametrize("make", [full, sparse])
@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_transaction_comes_back_with_its_recipients(make, count):
    new = TaNew(make(TaRecord), tuple(make(RcptRecord) for _ in range(count)))
    assert decode_body(body(ibdb_records.ta_entry(new.ta, new.rcpts))) == new


def test_a_bounce_with_its_failures_comes_back():
    bounce = rcpt(1, 5, flags=1, failed=tuple(DsnRcpt(rcpt=f"<{i}@x.example>", reply=Reply(550)) for i in range(3)))
    assert decode_body(body(ibdb_records.ta_entry(ta(1), [rcpt(1), bounce]))) == TaNew(ta(1), (rcpt(1), bounce))


@given(st.binary(max_size=200))
def test_any_bytes_are_an_entry_or_a_protocol_error(data):
    with contextlib.suppress(ProtocolError):
        decode_body(data)


@given(st.integers(0, 400), st.integers(1, 255))
def test_a_changed_byte_never_raises_anything_else(place, change):
    data = bytearray(body(ibdb_records.ta_entry(ta(1), rcpts(1, 2))))
    data[place % len(data)] ^= change
    with contextlib.suppress(ProtocolError):
        decode_body(bytes(data))


def test_a_file_name_gives_its_number_back():
    assert [file_name(1), file_name(0xABCDEF01)] == ["ibdb00000001", "ibdbABCDEF01"]
    assert [file_number(n) for n in ("ibdb0000000A", "ibdb0000000a", "ibdb1", "ibdb0000000A.new", "x")] == [10, *[None] * 4]


def test_the_format_is_frozen():
    assert file_header(10).hex() == GOLDEN_HEADER
    assert entry(TaDone(ta_id=ta_id(1))).hex() == GOLDEN_DONE


def test_a_header_is_good_or_damaged_or_of_another_version(monkeypatch):
    header = file_header(3)
    assert check_header(header + b"more")
    assert not check_header(header[:-1])
    for place in range(len(header)):
        damaged = bytearray(header)
        damaged[place] ^= 1
        assert not check_header(bytes(damaged))
    monkeypatch.setattr(ibdb_records, "VERSION", 3)
    with pytest.raises(PermError, match="version 2 of the queue files is not 3"):
        check_header(header)
