import random

import pytest

from meta1g.base.ids import RCPT_IDX_MAX, IdGenerator, idx_text, is_id, parse_idx, rcpt_id, split_rcpt_id


class FixedClock:
    def now(self):
        return 1_700_000_000.0

    def monotonic(self):
        return 0.0


def test_an_id_is_a_letter_16_hex_digits_and_the_process_index():
    made = IdGenerator("S", 0x1F, FixedClock()).new()
    assert made == f"S{1_700_000_000_000_001:016X}1F"
    assert is_id(made)


def test_ids_never_repeat_within_a_process():
    generator = IdGenerator("C", 0, FixedClock())
    assert len({generator.new() for _ in range(10_000)}) == 10_000


@pytest.mark.parametrize(
    "text", ["", "S" * 19, "S00000000000000000", "s000000000000000000", "S0000000000000000/../", "S00000000000000000\n"]
)
def test_what_could_leave_the_directory_is_no_id(text):
    assert not is_id(text)


def test_a_recipient_id_splits_into_transaction_and_index():
    for index in (0, 0xBEEF, 0xFFFF, 0x10000, RCPT_IDX_MAX):
        assert split_rcpt_id(rcpt_id("S" + "0" * 18, index)) == ("S" + "0" * 18, index)


def test_recipient_ids_sort_as_their_indexes_do():
    """Stores, windows and lists order recipients by the text or by the number."""
    indexes = sorted([*random.Random(1).choices(range(RCPT_IDX_MAX + 1), k=1000), 0, 9, 10, 0xFFFF, 0x10000, 0x10001])
    texts = [idx_text(index) for index in indexes]
    assert texts == sorted(texts)
    assert [parse_idx(text) for text in texts] == indexes


@pytest.mark.parametrize("text", ["S" + "0" * 18, "S" + "0" * 18 + "-12345", "x-0001", "S" + "0" * 18 + "-x0001"])
def test_what_is_no_recipient_id_is_refused(text):
    with pytest.raises(ValueError, match="recipient id"):
        split_rcpt_id(text)


@pytest.mark.parametrize(("letter", "index"), [("X", 0), ("S", 256), ("S", -1)])
def test_letter_and_process_index_have_bounds(letter, index):
    with pytest.raises(ValueError):
        IdGenerator(letter, index, FixedClock())
