import pytest

from meta1g.base import hostname


@pytest.mark.parametrize("name", ["mx.example.org", "a.b"])
def test_a_full_name_of_the_system_serves(monkeypatch, name):
    monkeypatch.setattr(hostname, "system_name", lambda: name)
    assert hostname.problem("") == ""


@pytest.mark.parametrize("name", ["box", "localhost", "localhost.localdomain", ""])
def test_no_full_name_is_told_with_the_option_that_gives_one(monkeypatch, name):
    monkeypatch.setattr(hostname, "system_name", lambda: name)
    assert "add hostname = mx.example.org;" in hostname.problem("")


def test_nobody_asks_the_system_if_a_name_is_given(monkeypatch):
    monkeypatch.setattr(hostname, "system_name", lambda: pytest.fail("asked"))
    assert hostname.problem("mx.example.org") == ""
    assert hostname.problem("mx").startswith("hostname: mx is no full name, which others refuse in EHLO; write")
