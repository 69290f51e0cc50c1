from dataclasses import replace

import pytest

from meta1g.base.errors import BugError, FullError
from meta1g.db.aq import Aq
from meta1g.db.aq_types import AqRcpt, AqTa, DestKey, Home, RcptState
from meta1g.rcb.common import ServerAddr
from tests.fakes.envelopes import rcpt, rcpts, ta, ta_id


def test_recipients_enter_as_new_with_their_transaction():
    aq = Aq(10)
    fresh = aq.add_ta(ta(1, 2), rcpts(1, 2), Home.IBDB)
    assert [(one.record.rcpt_idx, one.state, one.home) for one in fresh] == [
        (0, RcptState.NEW, Home.IBDB), (1, RcptState.NEW, Home.IBDB),
    ]  # fmt: skip
    assert (len(aq), aq.transactions, aq.room(), aq.usage_percent()) == (2, 1, 8, 20)
    it = aq.get(ta_id(1))
    assert (it.in_ibdb, it.in_defedb) == (True, False)
    aq.check()


def test_those_that_are_here_already_stay_as_they_are():
    aq = Aq(10)
    (first,) = aq.add_ta(ta(1, 2), [rcpt(1, 0)], Home.IBDB)
    (second,) = aq.add_ta(ta(1, 2), rcpts(1, 2), Home.DEFEDB)
    assert (first.home, second.home, second.ta, len(aq)) == (Home.IBDB, Home.DEFEDB, first.ta, 2)


def test_what_does_not_fit_is_refused_as_a_whole():
    aq = Aq(4)
    aq.add_ta(ta(1, 2), rcpts(1, 2), Home.IBDB)
    with pytest.raises(FullError, match="AQ_max_entries"):
        aq.add_ta(ta(2, 2), rcpts(2, 2), Home.IBDB)
    assert (len(aq), aq.get(ta_id(2))) == (2, None)
    aq.check()


def test_only_new_ones_need_room():
    aq = Aq(3)
    aq.add_ta(ta(1, 2), rcpts(1, 2), Home.IBDB)
    assert aq.add_ta(ta(1, 2), rcpts(1, 2), Home.DEFEDB) == []


def to(number, domain, count):
    return [rcpt(number, idx, rcpt=f"r{idx}@{domain}") for idx in range(count)]


def routed(aq, rcpts, addr):
    told = []
    for one in rcpts:
        one.servers = (ServerAddr(addr=addr, port=25),)
        told.append(aq.routed(one))
    return told


def test_one_domain_leaves_room_for_the_others():
    aq = Aq(30)
    assert aq.fits(to(1, "HUNG.example", 20))
    assert not aq.fits(to(1, "hung.example", 21))
    aq.add_ta(ta(1, 20), to(1, "hung.example", 20), Home.IBDB)
    with pytest.raises(FullError):
        aq.add_ta(ta(2, 1), to(2, "Hung.Example", 1), Home.IBDB)
    aq.add_ta(ta(3, 4), to(3, "a.example", 4), Home.IBDB)
    aq.add_ta(ta(4, 1), to(4, "b.example", 1), Home.IBDB)
    aq.check()


def test_a_destination_that_has_older_mail_waiting_uses_half_of_its_share_for_new_mail():
    aq = Aq(30)
    assert not aq.fits(to(1, "hung.example", 16), {"hung.example"})
    assert aq.fits(to(1, "hung.example", 10), {"hung.example"})


def test_domains_that_go_to_one_server_share_its_share():
    aq = Aq(30)
    for number in range(20):
        (one,) = aq.add_ta(ta(number), to(number, f"d{number}.example", 1), Home.IBDB)
        assert routed(aq, [one], "192.0.2.1") == [False]
    aq.check()
    assert not aq.fits(to(99, "d7.example", 1))
    aq.forget_routes()
    assert aq.fits(to(99, "d7.example", 1))


def test_domains_whose_destination_is_not_known_leave_room_for_those_that_are_known():
    aq = Aq(30)
    (one,) = aq.add_ta(ta(99), to(99, "known.example", 1), Home.IBDB)
    routed(aq, [one], "192.0.2.1")
    entered = 0
    while aq.fits(to(entered, f"d{entered}.example", 1)):
        aq.add_ta(ta(entered), to(entered, f"d{entered}.example", 1), Home.IBDB)
        entered += 1
    assert (entered, aq.room_for("new.example")) == (24, 0)
    assert aq.fits(to(98, "known.example", 3))
    assert aq.room_for(one.place) == 3
    aq.check()


def test_who_is_found_to_go_to_a_server_that_holds_too_much_is_told_to_leave():
    aq = Aq(30)
    fresh = [aq.add_ta(ta(number), to(number, f"d{number}.example", 1), Home.IBDB)[0] for number in range(20)]
    others = to(90, "a.example", 1) + to(91, "b.example", 1)
    routed(aq, [aq.add_rcpt(fresh[0].ta, replace(one, rcpt_idx=9 + n), Home.IBDB) for n, one in enumerate(others)], "192.0.2.9")
    told = routed(aq, fresh, "192.0.2.1")
    assert told[0] is False
    assert any(told)
    assert not any(routed(aq, fresh, "192.0.2.1")), "only once"
    aq.check()


def test_a_recipient_that_leaves_gives_its_place_back():
    aq = Aq(30)
    (one,) = aq.add_ta(ta(1), to(1, "a.example", 1), Home.IBDB)
    routed(aq, [one], "192.0.2.1")
    aq.remove(one)
    assert (aq.places.used, aq.places.keys) == (0, 0)


def test_the_next_index_comes_behind_all_others():
    aq = Aq(10)
    (first,) = aq.add_ta(ta(1, 3), [rcpt(1, 1)], Home.IBDB)
    assert first.ta.next_idx == 3
    aq.add_rcpt(first.ta, rcpt(1, 8), Home.IBDB)
    assert first.ta.next_idx == 9


def test_the_same_recipient_twice_is_a_bug():
    aq = Aq(10)
    (first,) = aq.add_ta(ta(1), rcpts(1, 1), Home.IBDB)
    with pytest.raises(BugError, match="entered twice"):
        aq.add_rcpt(first.ta, rcpt(1, 0), Home.IBDB)


def test_a_transaction_leaves_with_its_last_recipient():
    aq = Aq(10)
    first, second = aq.add_ta(ta(1, 2), rcpts(1, 2), Home.IBDB)
    assert not aq.remove(first)
    assert not aq.has(ta_id(1), 0)
    assert aq.has(ta_id(1), 1)
    assert aq.remove(second)
    assert (len(aq), aq.transactions, aq.get(ta_id(1)), aq.tas()) == (0, 0, None, [])
    aq.check()


def test_removing_twice_is_a_bug():
    aq = Aq(10)
    first, _ = aq.add_ta(ta(1, 2), rcpts(1, 2), Home.IBDB)
    aq.remove(first)
    with pytest.raises(BugError, match="is not in AQ"):
        aq.remove(first)


def test_check_finds_a_wrong_counter_and_an_empty_transaction():
    aq = Aq(10)
    (first,) = aq.add_ta(ta(1), rcpts(1, 1), Home.IBDB)
    first.ta.rcpts.clear()
    with pytest.raises(BugError, match="counter 1, recipients 0"):
        aq.check()


def test_a_recipient_knows_its_destination_and_its_sender():
    it = AqRcpt(AqTa(ta(1, mail="s@x.example"), in_ibdb=True, in_defedb=False), rcpt(1), Home.IBDB)
    it.da, it.servers, it.server_idx = 1, (ServerAddr(addr="a", port=1), ServerAddr(addr="b", port=2)), 1
    assert (it.dest, it.server.addr, it.sender) == (DestKey(1, "b", 2), "b", "s@x.example")
    it.record = rcpt(1, sender="")
    assert it.sender == ""
