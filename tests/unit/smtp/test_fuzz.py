"""Damaged input for the parsers of what SMTP peers send; `python -m tests.fuzz.smtp_fuzz` has more of it."""

import pytest

from tests.fuzz import smtp_fuzz

SEED = 20261127


@pytest.mark.parametrize("target", smtp_fuzz.TARGETS)
def test_whatever_comes_is_read_or_refused_and_both_happens(target):
    seen = smtp_fuzz.run(3000, SEED, [target])
    assert seen[target] > 0
