"""A small part of tests/fuzz/sasl_fuzz.py, in each run."""

from tests.fuzz.runner import run
from tests.fuzz.sasl_fuzz import TARGETS


def test_damaged_messages_end_in_errors_of_ours_and_let_nobody_in():
    ends = {words.partition(" ")[2] for words in run(TARGETS, 2000, 1)}
    assert ends == {"taken", "malformed", "refused", "no answer", "no line"}
