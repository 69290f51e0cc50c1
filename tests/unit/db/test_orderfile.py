"""The file of standing orders: all of it or none."""

import json
from zlib import crc32

import pytest

from meta1g.db.orderfile import LimitOrder, OrderFile, StandingOrders, decode, encode

ORDERS = StandingOrders("drain", 1_700_000_000.25, {"min_retry_delay": LimitOrder("10m", "5m", 1_700_000_001.5)})


def lines(facts) -> bytes:
    line = json.dumps(facts).encode()
    return b"%s\n%08X\n" % (line, crc32(line))


def test_what_is_written_is_read_and_nothing_is_no_file(tmp_path):
    file = OrderFile(tmp_path / "orders")
    assert file.read() is None
    file.write(ORDERS)
    assert decode(file.read()) == ORDERS
    assert (tmp_path / "orders").stat().st_mode & 0o777 == 0o600
    file.write(None)
    file.write(None)
    assert file.read() is None
    assert list(tmp_path.iterdir()) == []


def test_every_damage_is_seen():
    data = encode(ORDERS)
    for end in range(len(data)):
        with pytest.raises(ValueError, match="checksum"):
            decode(data[:end])
    for place in range(len(data)):
        for bit in range(8):
            hurt = bytearray(data)
            hurt[place] ^= 1 << bit
            with pytest.raises(ValueError, match="checksum"):
                decode(bytes(hurt))


@pytest.mark.parametrize(
    "change",
    [{"meta1g_orders": 2}, {"mode": 1}, {"since": True}, {"since": "now"}, {"limits": []}, {"more": 1}, {"limits": {"x": {}}},
     {"limits": {"x": {"value": 1, "configured": "2", "since": 1.0}}}],
)  # fmt: skip
def test_what_another_version_wrote_is_not_guessed_at(change):
    facts = json.loads(encode(ORDERS).splitlines()[0])
    assert decode(lines(facts)) == ORDERS
    with pytest.raises(ValueError, match=r"version|is no"):
        decode(lines({**facts, **change}))
    with pytest.raises(ValueError, match="version"):
        decode(lines([]))
