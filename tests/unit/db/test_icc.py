import pytest

from meta1g.db.icc import RATE_UNIT_S, Icc

A, B, C = "192.0.2.1", "192.0.2.2", "192.0.2.3"


def test_open_sessions_of_an_address_are_limited():
    icc = Icc(2, 0, 10)
    assert [icc.connect(A, 0.0) for _ in range(3)] == ["", "", "too many open connections"]
    assert (icc.open_of(A), icc.connect(B, 0.0)) == (2, "")
    icc.disconnect(A)
    assert icc.connect(A, 0.0) == ""


def test_the_rate_of_an_address_is_limited_within_a_minute():
    icc = Icc(0, 2, 10)
    for _ in range(2):
        assert icc.connect(A, 100.0) == ""
        icc.disconnect(A)
    assert icc.connect(A, 100.0 + RATE_UNIT_S - 0.1) == "connection rate limit exceeded"
    assert icc.connect(A, 100.0 + RATE_UNIT_S) == ""


def test_without_an_option_a_client_has_an_eighth_of_the_sessions():
    icc = Icc(0, 0, 10)
    assert [icc.connect(A, 0.0, 24) for _ in range(4)] == [""] * 3 + ["too many open connections"]
    assert [icc.connect(B, 0.0, 2) for _ in range(2)] == ["", "too many open connections"]


def test_an_option_counts_for_more_than_the_share():
    icc = Icc(5, 0, 10)
    assert [icc.connect(A, 0.0, 24) for _ in range(6)] == [""] * 5 + ["too many open connections"]


def test_addresses_of_one_ipv6_prefix_are_one_client():
    icc = Icc(2, 0, 10)
    assert [icc.connect(f"2001:db8::{number}", 0.0) for number in range(3)] == ["", "", "too many open connections"]
    icc.disconnect("2001:db8::7")
    assert (icc.open_of("2001:db8::9"), len(icc)) == (1, 1)


def test_zero_is_no_limit():
    icc = Icc(0, 0, 10)
    assert {icc.connect(A, 0.0) for _ in range(1000)} == {""}
    assert icc.open_of(A) == 1000


def test_an_address_without_sessions_is_forgotten_if_its_rate_does_not_matter():
    icc = Icc(5, 0, 10)
    icc.connect(A, 0.0)
    icc.disconnect(A)
    icc.disconnect(A)
    assert (len(icc), icc.open_of(A)) == (0, 0)


def test_no_more_addresses_than_the_limit_are_kept_and_the_quietest_goes():
    icc = Icc(5, 1, 2)
    for addr in (A, B):
        icc.connect(addr, 0.0)
        icc.disconnect(addr)
    icc.connect(A, 1.0)  # refused, and seen last
    icc.connect(C, 2.0)
    assert len(icc) == 2
    assert icc.connect(A, 3.0) == "connection rate limit exceeded"
    assert icc.connect(B, 3.0) == ""


@pytest.mark.parametrize("limit", [1, 2])
def test_an_address_with_open_sessions_is_counted_even_beyond_the_limit(limit):
    icc = Icc(1, 0, limit)
    for addr in (A, B, C):
        assert icc.connect(addr, 0.0) == ""
    assert [icc.connect(addr, 0.0) for addr in (A, B, C)] == ["too many open connections"] * 3
