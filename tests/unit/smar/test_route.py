from pathlib import Path

import pytest

from meta1g.base.errors import PermError
from meta1g.maps.base import perm, temp
from meta1g.maps.static import StaticMap
from meta1g.maps.textmap import TextMap
from meta1g.rcb.common import DeliveryAgent
from meta1g.rcb.qmgr_smar import Route, Unresolved
from meta1g.smar.route import RouteDefaults, Routes, Target, parse_value
from tests.unit.maps.conftest import StillClock

DEFAULTS = RouteDefaults(25, "lmtpsock", Path("/q"))
ESMTP, LMTP = DeliveryAgent.ESMTP, DeliveryAgent.LMTP


@pytest.mark.parametrize(
    ("value", "da", "targets"),
    [
        ("lmtp:", LMTP, [Target("unix:/q/lmtpsock", 0, is_address=True)]),
        ("lmtp:/run/dovecot/lmtp", LMTP, [Target("unix:/run/dovecot/lmtp", 0, is_address=True)]),
        ("lmtp:sub/sock", LMTP, [Target("unix:/q/sub/sock", 0, is_address=True)]),
        ("lmtp:24^[192.0.2.1]", LMTP, [Target("192.0.2.1", 24, is_address=True)]),
        ("[192.0.2.1]", ESMTP, [Target("192.0.2.1", 25, is_address=True)]),
        ("192.0.2.1", ESMTP, [Target("192.0.2.1", 25, is_address=True)]),
        ("[IPv6:2001:DB8::1]", ESMTP, [Target("2001:db8::1", 25, is_address=True)]),
        ("[2001:db8::1]", ESMTP, [Target("2001:db8::1", 25, is_address=True)]),
        ("[mx.Example.org]", ESMTP, [Target("mx.example.org", 25, is_address=False)]),
        ("example.org", ESMTP, [Target("example.org", 25, is_address=False, use_mx=True)]),
        ("esmtp:example.org", ESMTP, [Target("example.org", 25, is_address=False, use_mx=True)]),
        ("2526^[127.0.0.1]", ESMTP, [Target("127.0.0.1", 2526, is_address=True)]),
        ("26^mx.example.org", ESMTP, [Target("mx.example.org", 26, is_address=False, use_mx=True)]),
        (
            "[192.0.2.1] 26^[192.0.2.2]",
            ESMTP,
            [Target("192.0.2.1", 25, is_address=True), Target("192.0.2.2", 26, is_address=True)],
        ),
    ],
)
def test_values_of_the_mailertable(value, da, targets):
    assert parse_value(value, DEFAULTS) == (da, tuple(targets))


@pytest.mark.parametrize("value", ["", "0^[192.0.2.1]", "65536^x", "x^y", "^y", "25^", "[]", "lmtp: [192.0.2.1]", "lmtp:host"])
def test_a_wrong_value_is_a_temporary_error_and_not_a_bounce(value):
    with pytest.raises(PermError):
        parse_value(value, DEFAULTS)
    answer = Routes(StaticMap("mt", {".": value}), DEFAULTS).plan("x.org").answer
    assert isinstance(answer, Unresolved)
    assert (answer.reply.code, answer.reply.ecode) == (451, "4.3.5")


@pytest.mark.parametrize(
    ("domain", "expected"),
    [
        ("example.org", "192.0.2.1"),
        ("a.example.org", "192.0.2.2"),
        ("b.a.example.org", "192.0.2.2"),
        ("other.org", "192.0.2.3"),
    ],
)
def test_the_most_specific_entry_wins(domain, expected):
    table = {"example.org": "[192.0.2.1]", ".example.org": "[192.0.2.2]", ".": "[192.0.2.3]"}
    answer = Routes(StaticMap("mt", table), DEFAULTS).plan(domain).answer
    assert isinstance(answer, Route)
    assert [server.addr for server in answer.servers] == [expected]


def test_several_addresses_keep_their_order_as_preference():
    answer = Routes(StaticMap("mt", {".": "[192.0.2.2] [192.0.2.1]"}), DEFAULTS).plan("x.org").answer
    assert [(server.addr, server.pref) for server in answer.servers] == [("192.0.2.2", 0), ("192.0.2.1", 1)]


@pytest.mark.parametrize("table", [None, StaticMap("mt", {})])
def test_without_an_entry_the_dns_decides(table):
    plan = Routes(table, DEFAULTS).plan("x.org")
    assert (plan.da, plan.targets, plan.answer) == (ESMTP, (Target("x.org", 25, is_address=False, use_mx=True),), None)


def test_an_address_literal_needs_no_entry_but_a_smart_host_takes_it_too():
    assert Routes(None, DEFAULTS).plan("[192.0.2.9]").answer.servers[0].addr == "192.0.2.9"
    assert Routes(None, DEFAULTS).plan("[ipv6:2001:db8::9]").answer.servers[0].addr == "2001:db8::9"
    assert Routes(StaticMap("mt", {".": "[192.0.2.3]"}), DEFAULTS).plan("[192.0.2.9]").answer.servers[0].addr == "192.0.2.3"


class Failing:
    name, blocking = "f", True

    def __init__(self, result):
        self.result = result

    def lookup(self, key):
        return self.result


def test_a_mailertable_that_does_not_answer():
    away, broken = Routes(Failing(temp("away")), DEFAULTS), Routes(Failing(perm("no")), DEFAULTS)
    assert away.plan("x.org").answer.reply.code == 451
    assert broken.plan("x.org").answer.reply.code == 550
    assert away.failed("x.org")
    assert not away.is_local("x.org")
    assert away.version() is None


def test_plans_are_made_once_and_anew_after_a_change(tmp_path):
    clock = StillClock()
    (tmp_path / "mt").write_text(". [192.0.2.1]\n")
    routes = Routes(TextMap("mt", tmp_path / "mt", clock), DEFAULTS)
    first = routes.plan("x.org")
    assert routes.plan("x.org") is first
    (tmp_path / "mt").write_text(". [192.0.2.22]\n")
    clock.now_s += 1
    assert routes.plan("x.org").answer.servers[0].addr == "192.0.2.22"
