import pytest

from meta1g.db.icc import RATE_UNIT_S, Icc
from meta1g.rcb.smtps_qmgr import ClientEvent

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


# -- rates of messages and recipients

MESSAGE, RECIPIENT = ClientEvent.MESSAGE, ClientEvent.RECIPIENT


def test_messages_and_recipients_have_rates_of_their_own():
    icc = Icc(0, 0, 10, rates={MESSAGE: 2, RECIPIENT: 3})
    assert icc.counted == MESSAGE | RECIPIENT
    assert [icc.count(A, MESSAGE, 0.0) for _ in range(3)] == ["", "", "message rate limit exceeded"]
    assert [icc.count(A, RECIPIENT, 1.0) for _ in range(4)] == ["", "", "", "recipient rate limit exceeded"]
    assert icc.count(B, MESSAGE, 1.0) == ""


def test_what_has_no_rate_is_not_counted():
    icc = Icc(0, 5, 10, rates={MESSAGE: 0, RECIPIENT: 1})
    assert icc.counted == RECIPIENT
    assert {icc.count(A, MESSAGE, 0.0) for _ in range(100)} == {""}
    assert Icc(0, 5, 10).counted == ClientEvent(0)


def test_a_unit_of_time_begins_with_the_first_event_and_what_was_refused_does_not_count():
    icc = Icc(0, 1, 10, unit_s=600, rates={MESSAGE: 1})
    assert icc.connect(A, 100.0) == ""
    assert icc.count(A, MESSAGE, 500.0) == ""
    assert icc.count(A, MESSAGE, 699.9) == "message rate limit exceeded"
    assert icc.count(A, MESSAGE, 700.0) == ""
    assert icc.count(A, MESSAGE, 1299.9) == "message rate limit exceeded"


def test_a_client_is_a_prefix_and_keeps_its_counts_between_sessions():
    icc = Icc(0, 0, 10, rates={MESSAGE: 1})
    icc.connect("2001:db8::1", 0.0)
    assert icc.count("2001:db8::1", MESSAGE, 0.0) == ""
    icc.disconnect("2001:db8::1")
    assert icc.count("2001:db8::2", MESSAGE, 1.0) == "message rate limit exceeded"


def test_clients_that_are_counted_are_bounded():
    icc = Icc(0, 0, 2, rates={MESSAGE: 1})
    for addr in (A, B, C):
        assert icc.count(addr, MESSAGE, 0.0) == ""
    assert len(icc) == 2
    assert icc.count(A, MESSAGE, 0.0) == ""  # it was forgotten


def test_who_is_exempt_has_no_rate_and_its_share_of_the_sessions():
    icc = Icc(1, 1, 10)
    assert [icc.connect(A, 0.0, 24, exempt=True) for _ in range(4)] == [""] * 3 + ["too many open connections"]
    assert {icc.connect(B, 0.0, exempt=True) for _ in range(9)} == {""}
    assert [icc.connect(C, 0.0, 24) for _ in range(2)] == ["", "connection rate limit exceeded"]
