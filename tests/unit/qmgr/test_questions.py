from collections import deque
from dataclasses import replace

import pytest

from meta1g.db.aq_types import AqRcpt, AqTa, Home, RcptState
from meta1g.qmgr import questions
from meta1g.qmgr.questions import AHEAD, PACE_S, TURN, Unasked, Window
from meta1g.rcb.qmgr_smar import MEMBERS_PER_PART, Members, Resolve
from tests.fakes.envelopes import rcpts, ta
from tests.fakes.qmgr_peers import route
from tests.fakes.qmgr_system import wait_until


def transaction(number: int, count: int) -> list[AqRcpt]:
    one = AqTa(ta(number, count), in_ibdb=True, in_defedb=False)
    return [AqRcpt(one, record, Home.IBDB) for record in rcpts(number, count)]


# -- turns


def test_recipients_of_a_transaction_are_asked_for_in_their_order_and_all_of_them():
    unasked, one = Unasked(), transaction(1, 3 * TURN)
    unasked.extend(one)
    assert len(unasked) == 3 * TURN
    assert [unasked.take() for _ in range(len(unasked))] == one
    assert len(unasked) == 0


def test_a_small_transaction_has_its_turn_soon_behind_a_big_one():
    unasked, big, small = Unasked(), transaction(1, 5000), transaction(2, 1)
    unasked.extend(big)
    unasked.extend(small)
    assert small[0] in [unasked.take() for _ in range(TURN + 1)]
    assert [unasked.take() for _ in range(len(unasked))] == big[TURN:]


def test_who_is_put_back_is_the_next_one():
    unasked, big, small = Unasked(), transaction(1, TURN + 2), transaction(2, 1)
    unasked.extend([*big, *small])
    taken = [unasked.take() for _ in range(TURN)]
    unasked.put_back(taken[-1])
    assert unasked.take() is taken[-1]
    assert len(unasked) == 3


def addressed(*addresses: str) -> list[AqRcpt]:
    one = AqTa(ta(1, len(addresses)), in_ibdb=True, in_defedb=False)
    records = rcpts(1, len(addresses))
    return [AqRcpt(one, replace(record, rcpt=rcpt), Home.IBDB) for record, rcpt in zip(records, addresses, strict=True)]


def test_those_that_follow_at_the_same_domain_are_taken_together():
    unasked = Unasked()
    one = addressed("a@x.org", "b.c@X.org", "d+e@x.org", "f@y.org", "g@x.org")
    unasked.extend([*one, *transaction(2, 1)])
    assert unasked.take_alike(unasked.take()) == one[1:3]
    assert unasked.take_alike(unasked.take()) == []
    assert unasked.take_alike(last := unasked.take()) == []
    assert last is one[4]
    assert len(unasked) == 1
    assert unasked.take() is not None
    assert len(unasked) == 0


@pytest.mark.parametrize(
    "odd", ['"o d"@x.org', "o..d@x.org", ".o@x.org", "x.org", "\u00f6@x.org", "o@d@x.org", f"{65 * 'o'}@x.org", "@x.org"]
)
def test_an_address_that_may_be_wrong_goes_by_itself(odd):
    unasked = Unasked()
    unasked.extend(addressed("a@x.org", odd, odd, "b@x.org"))
    assert [len(unasked.take_alike(unasked.take())) for _ in range(4)] == [0, 0, 0, 0]
    assert len(unasked) == 0


def test_not_more_are_taken_together_than_a_turn_has_and_none_that_is_in_other_hands():
    unasked, big, small = Unasked(), addressed(*(f"r{n}@x.org" for n in range(3 * TURN))), transaction(2, 1)
    unasked.extend([*big, *small])
    assert len(unasked.take_alike(unasked.take())) == TURN
    leader, big[TURN + 2].state = unasked.take(), RcptState.SENT_TO_AR
    assert leader is big[TURN + 1]
    assert unasked.take_alike(leader) == []
    left = [unasked.take() for _ in range(len(unasked))]
    assert small[0] in left[: TURN + 1]
    assert [one for one in left if one is not small[0]] == big[TURN + 2 :]


# -- window


def ask_all(window: Window, now_s: float) -> list[int]:
    return [window.asked() for _ in range(window.room(now_s))]


def test_no_more_questions_are_ahead_than_the_window_has():
    window = Window()
    numbers = ask_all(window, 0.0)
    assert len(numbers) == AHEAD
    for number in numbers[:50]:
        assert ask_all(window, 0.0) == []
        assert window.ahead == AHEAD
        window.answered(number)
        assert len(ask_all(window, 0.0)) == 1


def test_a_slow_resolver_is_waited_for_as_long_as_it_answers():
    window, now_s = Window(), 0.0
    for number in ask_all(window, now_s)[:20]:
        assert ask_all(window, now_s) == []
        window.answered(number)
        now_s += 2 * PACE_S
        assert len(ask_all(window, now_s)) == 1


def test_whoever_waits_goes_on_when_half_of_them_are_answered():
    window = Window()
    numbers = ask_all(window, 0.0)
    assert window.room(0.0) == 0
    assert window.closed
    told = [window.answered(number) for number in numbers]
    assert told.index(True) == AHEAD // 2 - 1


def test_questions_that_are_overtaken_do_not_count():
    window = Window()
    numbers = ask_all(window, 0.0)
    window.answered(numbers[-1])
    assert len(ask_all(window, 0.0)) == AHEAD


def test_questions_that_all_hang_do_not_keep_others_from_being_asked():
    window, now_s, numbers = Window(), 0.0, []
    for _ in range(10):
        numbers += ask_all(window, now_s)
        assert ask_all(window, now_s) == [], "it waits a moment"
        assert ask_all(window, now_s + PACE_S / 2) == []
        now_s += PACE_S
    assert len(numbers) == 10 * AHEAD
    for number in numbers:  # they time out, and are no sign of life of those that were asked later
        window.answered(number)
    assert 0 <= window.ahead <= AHEAD


# -- in the queue manager


def test_other_mail_does_not_stand_behind_the_members_of_a_list(make_qmgr, monkeypatch):
    monkeypatch.setattr(questions, "PACE_S", 1000.0)  # the resolver is slow, but nothing hangs
    qmgr = make_qmgr(aq_max_entries=8192)
    members = [f"m{number}@list.example" for number in range(4000)]
    smar = qmgr.smar()
    smar.answers["big@to.example"] = lambda msg: Members(
        members=tuple(members[msg.offset : msg.offset + MEMBERS_PER_PART]),
        more=msg.offset + MEMBERS_PER_PART < len(members),
        offset=msg.offset,
        expansion="e",
    )
    held, asked, real = deque(), [], smar._handler

    def handler(conn, request_id, msg):
        if isinstance(msg, Resolve):
            asked.append(msg.rcpt)
        if isinstance(msg, Resolve) and msg.rcpt.endswith("@list.example"):
            held.append((conn, request_id))
        else:
            real(conn, request_id, msg)

    smar._handler = handler
    smtps = qmgr.smtps()
    smtps.mail("big@to.example")
    wait_until(lambda: len(held) == AHEAD and len(qmgr.states()) > 2000, "no more are asked for at a time")
    smtps.mail("other@to.example")
    wait_until(lambda: "NEW" in [state for (key, _), state in qmgr.states().items()], "it waits, too")

    def answer() -> None:
        while held:
            conn, request_id = held.popleft()
            conn.send(route("192.0.2.1"), request_id)

    agent = qmgr.agent()
    answer()
    wait_until(lambda: "other@to.example" in asked, "asked for")
    assert asked.index("other@to.example") <= 4 + AHEAD + TURN  # four parts of the list were asked for
    wait_until(lambda: answer() or not any(qmgr.left()), qmgr.left, 120)
    assert sum(len(job.rcpts) for job in agent.jobs) == 4001
