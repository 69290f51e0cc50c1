import pytest

from meta1g.base import hostname


@pytest.mark.parametrize("name", ["mx.example.org", "a.b"])
def test_a_full_name_of_the_system_serves(monkeypatch, name):
    monkeypatch.setattr(hostname, "system_name", lambda: name)
    assert hostname.problem("") == ""


@pytest.mark.parametrize("name", ["box", "localhost", "localhost.localdomain", "", "gw_1.example.org", "192.0.2.1"])
def test_no_full_name_is_told_with_the_option_that_gives_one(monkeypatch, name):
    monkeypatch.setattr(hostname, "system_name", lambda: name)
    assert "add hostname = mx.example.org;" in hostname.problem("")


@pytest.mark.parametrize(
    "name", ["mx.example.org", "MX1.Example.ORG", "a-b.c", "4.example.org", "x" * 63 + ".org", "xn--mller-kva.de", "mx"]
)
def test_names_that_smtp_takes(name):
    assert hostname.is_well_formed(name)


@pytest.mark.parametrize(
    "name",
    [
        "1.2.3.4",
        "a.4",
        "-a.b",
        "a-.b",
        "a.-b",
        "gw_1.example.org",
        "m\u00fcller.de",
        "a..b",
        ".a",
        "a.",
        "",
        "x" * 64 + ".org",
        "a b.c",
        "a.b\n",
    ],
)
def test_names_that_smtp_does_not_take(name):
    assert not hostname.is_well_formed(name)


def test_nobody_asks_the_system_if_a_name_is_given(monkeypatch):
    monkeypatch.setattr(hostname, "system_name", lambda: pytest.fail("asked"))
    assert hostname.problem("mx.example.org") == ""
    assert hostname.problem("mx").startswith("hostname: mx is no full name, which others refuse in EHLO; write")
