"""Damaged input for the parsers of what SMTP peers send; `python -m tests.fuzz.smtp_fuzz` has more of it."""

import pytest

from tests.fuzz.runner import run
from tests.fuzz.smtp_fuzz import TARGETS

SEED = 20261127


@pytest.mark.parametrize("target", TARGETS)
def test_whatever_comes_is_read_or_refused_and_both_happens(target):
    seen = run({target: TARGETS[target]}, 3000, SEED)
    assert min(seen[f"{target} {word}"] for word in ("right", "wrong")) > 0
