from meta1g.base.reply import Reply
from meta1g.qmgr.attempts import ATTEMPTS_MAX, with_attempt
from tests.fakes.envelopes import NOW, rcpt


def after(*replies):
    record = rcpt(1)
    for number, reply in enumerate(replies):
        record = with_attempt(record, "mx.example[192.0.2.1]", reply, NOW + number)
    return [(one.reply, one.count, one.first - NOW, one.last - NOW) for one in record.attempts]


def test_the_same_answer_of_the_same_server_counts_up():
    busy, full = Reply(450, "4.2.1", "busy", "a"), Reply(452, "4.2.2", "full", "a")
    assert after(busy, full, busy, busy) == [(full, 1, 1, 1), (busy, 3, 0, 3)]


def test_the_same_answer_of_another_server_is_another_one():
    one, other = Reply(450, "", "busy", "a"), Reply(450, "", "busy", "b")
    assert [entry[0] for entry in after(one, other, one)] == [other, one]


def test_the_list_and_its_texts_stay_short():
    found = after(*(Reply(450, "", (f"{number}", "x" * 1000)) for number in range(100)))
    assert [entry[0].text[:2].strip() for entry in found] == [str(number) for number in range(100 - ATTEMPTS_MAX, 100)]
    assert {len(entry[0].text) for entry in found} == {200}
