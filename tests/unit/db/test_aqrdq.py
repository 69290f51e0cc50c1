from dataclasses import replace

import pytest

from meta1g.base.reply import Reply
from meta1g.db.aq_types import AqRcpt, AqTa, DestKey, Home
from meta1g.db.aqrdq import DestQueues
from meta1g.rcb.common import ServerAddr
from meta1g.rcb.envelope import DsnRcpt
from tests.fakes.envelopes import rcpt, ta

A, B = DestKey(0, "a", 25), DestKey(0, "b", 25)


class Mail:
    def __init__(self):
        self.queues = DestQueues()
        self.tas = {}

    def add(self, number, idx=0, addr="a", **facts):
        it = self.tas.setdefault(number, AqTa(ta(number), in_ibdb=True, in_defedb=False))
        one = AqRcpt(it, rcpt(number, idx, **facts), Home.IBDB)
        one.servers = (ServerAddr(addr=addr, port=25),)
        self.queues.add(one)
        return one

    def turns(self, number):
        """Takes turns and gives the destinations."""
        served = []
        for _ in range(number):
            queue = self.queues.turn()
            served.append(queue and queue.key.addr)
            if queue:
                self.queues.take(queue, 1)
                self.queues.again(queue)
        return served


@pytest.fixture
def mail():
    return Mail()


def test_destinations_have_their_turns_one_after_the_other(mail):
    for number in range(4):
        mail.add(number, addr="a")
    mail.add(9, addr="b")
    assert mail.turns(6) == ["a", "b", "a", "a", "a", None]


def test_the_transaction_that_waits_longest_comes_first(mail):
    for number in (3, 1, 2):
        mail.add(number)
    queue = mail.queues.turn()
    assert [mail.queues.take(queue, 9)[0].ta.ta_id for _ in range(3)] == [mail.tas[number].ta_id for number in (3, 1, 2)]


def test_recipients_of_one_transaction_are_joined_up_to_the_limit(mail):
    for idx in range(5):
        mail.add(1, idx)
    mail.add(2)
    queue = mail.queues.turn()
    taken = [[one.record.rcpt_idx for one in mail.queues.take(queue, 3)] for _ in range(3)]
    assert taken == [[0, 1, 2], [3, 4], [0]]
    assert mail.queues.get(A) is None


def test_only_recipients_with_the_same_sender_are_joined(mail):
    mail.add(1, 0)
    mail.add(1, 1, sender="owner-l@x.example")
    mail.add(1, 2)
    queue = mail.queues.turn()
    assert [one.record.rcpt_idx for one in mail.queues.take(queue, 9)] == [0, 2]
    assert [one.record.rcpt_idx for one in mail.queues.take(queue, 9)] == [1]


def test_a_report_travels_alone(mail):
    failed = (DsnRcpt(rcpt="x", reply=Reply(550)),)
    mail.add(1, 0, sender="")
    mail.add(1, 1, sender="", failed=failed)
    mail.add(1, 2, sender="", failed=failed)
    queue = mail.queues.turn()
    assert [[one.record.rcpt_idx for one in mail.queues.take(queue, 9)] for _ in range(3)] == [[0], [1], [2]]


def test_a_blocked_destination_has_no_turn_until_it_is_unblocked(mail):
    mail.add(1)
    mail.add(2)
    queue = mail.queues.turn()
    mail.queues.block(queue)
    mail.add(3)
    assert mail.queues.turn() is None
    assert mail.queues.unblock(A)
    assert mail.queues.turn() is queue
    assert not mail.queues.unblock(B)


def test_unblock_all_frees_everybody_once(mail):
    for number, addr in enumerate("abab"):
        mail.add(number, addr=addr)
    for _ in range(2):
        mail.queues.block(mail.queues.turn())
    mail.queues.unblock_all()
    mail.queues.unblock_all()
    assert mail.turns(5) == ["a", "b", "a", "b", None]


def test_a_call_out_of_turn_keeps_the_place_in_the_ring(mail):
    mail.add(1, addr="a")
    mail.add(2, addr="b")
    mail.add(3, addr="b")
    queue = mail.queues.call(B)
    assert queue.key == B
    mail.queues.take(queue, 1)
    mail.queues.again(queue)
    assert mail.turns(3) == ["a", "b", None]
    assert mail.queues.call(A) is None


def test_a_called_destination_is_no_longer_blocked(mail):
    mail.add(1)
    mail.queues.block(mail.queues.turn())
    assert not mail.queues.call(A).blocked


def test_a_recipient_is_removed_wherever_it_stands(mail):
    first, second = mail.add(1, 0), mail.add(1, 1)
    other = mail.add(2)
    mail.queues.remove(first)
    queue = mail.queues.turn()
    assert mail.queues.take(queue, 9) == [second]
    mail.queues.remove(other)
    mail.queues.remove(other)
    assert (len(mail.queues), mail.queues.turn()) == (0, None)


def test_an_emptied_destination_is_forgotten_and_comes_back_unblocked(mail):
    one = mail.add(1)
    mail.queues.block(mail.queues.turn())
    mail.queues.remove(one)
    assert mail.queues.get(A) is None
    mail.add(2)
    assert mail.turns(2) == ["a", None]


def test_a_destination_is_emptied_in_slices(mail):
    waiting = [mail.add(2, 0), mail.add(1, 0), mail.add(2, 1), mail.add(4, 0)]
    mail.add(3, addr="b")
    queue = mail.queues.turn()
    assert mail.queues.take_some(queue, 2) == [waiting[0], waiting[2]]
    mail.queues.again(queue)
    assert mail.queues.turn().key == B
    assert mail.queues.take_some(mail.queues.turn(), 9) == [waiting[1], waiting[3]]
    assert [one.key for one in mail.queues.queues()] == [B]
    assert mail.queues.turn() is None


def test_reports_with_many_senders_do_not_make_a_turn_long(mail):
    for idx in range(100):
        mail.add(1, idx, sender=f"s{idx}@x.example")
    mail.add(1, 100, sender="s0@x.example")
    assert [one.record.rcpt_idx for one in mail.queues.take(mail.queues.turn(), 2)] == [0], "the last one is not looked for"


def test_a_queue_tells_how_many_transactions_wait(mail):
    mail.add(1, 0)
    mail.add(1, 1)
    mail.add(2, 0)
    assert len(mail.queues.get(A)) == 2


# -- priorities


def taken(mail, turns):
    """The numbers of the transactions that are served, one after the other."""
    numbers = {it.ta_id: number for number, it in mail.tas.items()}
    served = []
    for _ in range(turns):
        queue = mail.queues.turn()
        served.append(numbers[mail.queues.take(queue, 9)[0].ta.ta_id])
        mail.queues.again(queue)
    return served


def rank(mail, number, priority):
    mail.tas[number] = AqTa(replace(ta(number), priority=priority), in_ibdb=True, in_defedb=False)
    mail.add(number)


def test_a_higher_priority_goes_first_and_the_same_one_in_turn(mail):
    for number, priority in ((1, 0), (2, -9), (3, 4), (4, 9), (5, 4), (6, 0)):
        rank(mail, number, priority)
    assert taken(mail, 3) == [4, 3, 5]
    assert taken(mail, 3) == [1, 6, 2]


def test_who_has_waited_longest_waits_for_no_more_than_four_others(mail):
    rank(mail, 0, -9)
    rank(mail, 1, 0)
    for number in range(10, 30):
        rank(mail, number, 9)
    assert taken(mail, 5) == [10, 11, 12, 13, 0]
    assert taken(mail, 5) == [14, 15, 16, 17, 1]
    assert taken(mail, 12) == [*range(18, 30)]


def test_among_those_of_low_priority_the_usual_ones_go_first_however_many_there_are(mail):
    for number in range(150):
        rank(mail, number, -1)
    rank(mail, 500, 0)
    order = taken(mail, 151)
    assert sorted(order) == [*range(150), 500]
    assert order.index(500) < 105


def test_nothing_is_kept_of_those_who_have_left(mail):
    for number in range(1, 6):
        rank(mail, number, number)
    queue = mail.queues.turn()
    mail.queues.remove(next(iter(mail.tas[5].rcpts.values()), None) or queue.by_ta[mail.tas[5].ta_id][0])
    mail.queues.take_some(queue, 2)
    mail.queues.again(queue)
    assert taken(mail, 2) == [4, 3]
    assert len(mail.queues) == 0
    assert not queue._ranks


def test_those_who_have_left_do_not_stay_for_ever_among_those_who_are_timed(mail):
    for number in range(3000):
        mail.tas[number] = AqTa(replace(ta(number), by=1e12, by_mode="R"), in_ibdb=True, in_defedb=False)
        one = mail.add(number)
        if number % 10:
            mail.queues.remove(one)
    assert 300 <= len(mail.queues.timed) <= 1000
    assert mail.queues.timed.due(1e11, 9) == []
    due = mail.queues.timed.due(1e12, 10_000)
    assert len(due) == 300
    assert all(mail.queues.has(one) for one in due)


def test_who_comes_back_is_timed_once(mail):
    mail.tas[1] = AqTa(replace(ta(1), by=5.0, by_mode="R"), in_ibdb=True, in_defedb=False)
    one = mail.add(1)
    for _ in range(9):
        mail.queues.remove(one)
        mail.queues.add(one)
    assert len(mail.queues.timed) == 1
    assert mail.queues.timed.due(5.0, 9) == [one]
    assert mail.queues.timed.due(5.0, 9) == []
    mail.queues.remove(one)
    mail.queues.add(one)
    assert mail.queues.timed.due(5.0, 9) == [one]
