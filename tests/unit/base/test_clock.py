import time
from email.utils import formatdate

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from meta1g.base.clock import rfc5322

DAY_S = 86_400


@pytest.fixture(params=["UTC", "Europe/Berlin", "America/St_Johns", "Asia/Kathmandu", "America/Los_Angeles"])
def place(request, monkeypatch):
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield request.param
    monkeypatch.undo()
    time.tzset()


def test_a_date_is_that_of_the_standard_library_at_each_place_and_in_each_month(place):
    for day in range(0, 400 * 30, 13):
        when = 1_000_000_000.75 + day * DAY_S + day * 7
        assert rfc5322(when) == formatdate(when, localtime=True), place
        assert rfc5322(when, local=False) == formatdate(when)


@given(st.integers(0, 4_000_000_000))
@example(1_709_210_096)
def test_any_time_has_the_form_of_the_standard_library(when):
    assert rfc5322(when, local=False) == formatdate(when)
