"""A small part of tests/fuzz/filters_fuzz.py, in each run."""

import pytest

from tests.fuzz.filters_fuzz import TARGETS
from tests.fuzz.runner import run


@pytest.mark.parametrize("target", TARGETS)
def test_damaged_input_gives_the_error_of_its_parser_and_nothing_else(target):
    assert run({target: TARGETS[target]}, 1000, 20260101)
