from pathlib import Path

import pytest

from meta1g.base.errors import PermError
from meta1g.maps.static import StaticMap
from meta1g.smar.relay import RelayRules
from meta1g.smar.route import RouteDefaults, Routes

DEFAULTS = RouteDefaults(25, "lmtpsock", Path("/q"))


def rules(relay_from=(), relay_to=(), local=(), table=None):
    return RelayRules(relay_from, relay_to, local, Routes(StaticMap("mt", table or {}), DEFAULTS), "f:1")


@pytest.mark.parametrize(
    ("address", "may"),
    [
        ("127.0.0.1", True),
        ("::ffff:127.0.0.1", True),
        ("127.0.0.2", False),
        ("192.0.2.200", True),
        ("192.0.3.1", False),
        ("2001:db8::5", True),
        ("2001:db9::5", False),
        ("unix:/x", False),
        ("", False),
    ],
)
def test_clients_by_address_and_network(address, may):
    one = rules(["127.0.0.1", "192.0.2.0/24", "2001:db8::/32"])
    assert [one.client_may(address) for _ in range(2)] == [may, may]


def test_nobody_relays_if_nothing_is_said():
    assert not rules().client_may("127.0.0.1")
    assert not rules().domain_may("x.org")


def test_domains_that_anybody_may_write_to():
    one = rules(relay_to=["X.org", ".sub.org"])
    assert [one.domain_may(domain) for domain in ("x.org", "a.x.org", "sub.org", "a.sub.org", "a.b.sub.org")] == [
        True,
        False,
        False,
        True,
        True,
    ]
    assert not one.is_local("x.org")


def test_local_domains_come_from_the_option_and_from_lmtp_entries():
    one = rules(local=["a.org"], table={"b.org": "lmtp:", ".c.org": "lmtp:", "d.org": "[192.0.2.1]", ".": "lmtp:"})
    domains = ("a.org", "b.org", "x.c.org", "c.org", "d.org", "e.org")
    assert [one.is_local(domain) for domain in domains] == [True, True, True, False, False, False]
    assert one.domain_may("b.org")


def test_a_wrong_network_is_an_error_with_its_place():
    with pytest.raises(PermError, match=r"f:1: relay_from: .*write addresses and networks"):
        rules(["example.org"])


@pytest.mark.parametrize("domain", ["bücher.example", "xn--bcher-kva.example"])
@pytest.mark.parametrize("asked", ["bücher.example", "xn--bcher-kva.example"])
def test_a_domain_with_other_letters_is_ours_in_both_forms(domain, asked):
    rules = RelayRules((), [domain], (), Routes(None, None))
    assert rules.domain_may(asked)
    assert not rules.domain_may("xn--tda.example")
