"""Times as texts."""

import time
from email.utils import formatdate

import pytest

from meta1g.base.clock import rfc5322


@pytest.fixture
def zone(monkeypatch):
    def use(name: str) -> None:
        monkeypatch.setenv("TZ", name)
        time.tzset()

    yield use
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize("name", ["UTC", "Europe/Berlin", "America/St_Johns", "Asia/Kathmandu", "XXX+0:30", "YYY-14"])
@pytest.mark.parametrize("when", [0, 951782399, 1e9 + 0.999, 1711846800, 1730000000.5, 4102444799])
def test_the_date_of_a_header_is_what_the_standard_library_makes(zone, name, when):
    zone(name)
    assert rfc5322(when) == formatdate(when, localtime=True)
