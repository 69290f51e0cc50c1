"""A small part of tests/fuzz/sasl_fuzz.py, in each run."""

from tests.fuzz.sasl_fuzz import run


def test_damaged_messages_end_in_errors_of_ours_and_let_nobody_in():
    ends = run(2000, 1)
    assert set(ends) == {"taken", "malformed", "refused", "no answer", "no line"}
