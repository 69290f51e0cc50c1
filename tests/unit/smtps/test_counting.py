"""Every negative reply counts as exactly one thing."""

from collections import Counter as Tally

import pytest

from meta1g.base.reply import Reply
from meta1g.smtp import replies
from meta1g.smtps import counting
from meta1g.smtps.counting import COUNTS, LAST_WORDS, Count, Counter, count_of

NEGATIVE = {name: value for name, value in vars(replies).items() if isinstance(value, Reply) and value.code >= 400}


def test_every_negative_reply_stands_in_exactly_one_list():
    lists = [*counting._ERRORS, *counting._REFUSALS, *counting._OVERSHOOTS]
    assert Tally(lists) == Tally(NEGATIVE.values())
    assert set(COUNTS) == set(NEGATIVE.values())


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("UNKNOWN_COMMAND", Count.ERROR),
        ("BAD_RCPT_SYNTAX", Count.ERROR),
        ("BAD_RCPT_ADDRESS", Count.REFUSAL),
        ("SENDER_REFUSED", Count.REFUSAL),
        ("NO_VALID_RCPTS", Count.REFUSAL),
        ("TOO_MANY_RCPTS", Count.OVERSHOOT),
        ("TOO_BIG", Count.OVERSHOOT),
    ],
)
def test_what_some_replies_count_as(name, count):
    assert count_of(NEGATIVE[name]) is count


def test_what_others_say_is_a_refusal():
    assert count_of(Reply(550, "5.1.1", "No such user")) is Count.REFUSAL
    assert count_of(Reply(452, "4.3.1", "Queue is full")) is Count.REFUSAL


@pytest.mark.parametrize("count", Count)
def test_each_count_has_its_own_limit_and_last_words(count):
    counter = Counter(dict.fromkeys(Count, 100) | {count: 2})
    mine = next(reply for reply, one in COUNTS.items() if one is count)
    others = [reply for reply, one in COUNTS.items() if one is not count]
    for reply in others:
        assert counter.add(reply) is None
    assert [counter.add(mine) for _ in range(3)] == [None, None, LAST_WORDS[count]]
    assert count_of(LAST_WORDS[count]) is count
    counter.forget()
    assert counter.add(mine) is None
