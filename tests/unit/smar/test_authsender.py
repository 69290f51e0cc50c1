"""Which senders users may have."""

import pytest

from meta1g.maps.base import MapResult, MapStatus
from meta1g.maps.static import StaticMap
from meta1g.rcb.smtps_smar import CheckMail, Checks, LookupFlags, VerdictFlags
from meta1g.smar.authsender import AuthSenders, check_senders
from meta1g.smar.checks import Policy
from meta1g.smar.entries import SENDERS, EntryRules, MapEntry, check_entries
from meta1g.smar.relay import RelayRules
from meta1g.smar.route import RouteDefaults, Routes
from meta1g.smtp.address import parse_path

ENTRIES = {
    "ann@example.org": "own, sales@example.org",
    "@example.org": "own",
    "backup": "@example.org",
    "root": "*",
    "broken": "no@where@x",
    "joe": "own",
    "ida@bücher.example": "own shop@größe.example",
    "@xn--bcher-kva.example": "own",
}


class NoAnswer(StaticMap):
    def lookup(self, key):
        return MapResult(MapStatus.TEMP, "away")


def routes(tmp_path):
    return Routes(None, RouteDefaults(25, "lmtpsock", tmp_path))


@pytest.fixture
def senders(tmp_path):
    return made(tmp_path, ENTRIES)


def made(tmp_path, entries, kind=StaticMap):
    relay = RelayRules((), (), ("local.example",), routes(tmp_path))
    return AuthSenders(kind("senders", entries), "+", relay, "mx.example")


@pytest.mark.parametrize(
    ("user", "sender", "status"),
    [
        ("ann@example.org", "ann@example.org", "OK"),
        ("Ann@Example.org", "ANN@example.ORG", "OK"),
        ("ann@example.org", "ann+news@example.org", "OK"),
        ("ann@example.org", "sales@example.org", "OK"),
        ("ann@example.org", "sales+x@example.org", "OK"),
        ("ann@example.org", "bob@example.org", "NOTFOUND"),
        ("ann@example.org", "ann@example.net", "NOTFOUND"),
        ("ann@example.org", "", "OK"),
        ("bob@example.org", "bob@example.org", "OK"),
        ("bob@example.org", "sales@example.org", "NOTFOUND"),
        ("backup", "anybody@example.org", "OK"),
        ("backup", "anybody@sub.example.org", "NOTFOUND"),
        ("root", "anybody@anywhere.example", "OK"),
        ("joe", "joe@mx.example", "OK"),
        ("joe", "joe+x@local.example", "OK"),
        ("joe", "joe@far.example", "NOTFOUND"),
        ("nobody@far.example", "nobody@far.example", "NOTFOUND"),
        ("ann@example.org", "+ann@example.org", "NOTFOUND"),
        ("ann@example.org", "sales++x@example.org", "OK"),
        ("broken", "broken@mx.example", "TEMP"),
        ("ida@bücher.example", "ida@xn--bcher-kva.example", "OK"),
        ("ida@xn--bcher-kva.example", "ida+x@bücher.example", "OK"),
        ("ida@xn--bcher-kva.example", "shop@xn--gre-6ka8i.example", "OK"),
        ("ida@bücher.example", "SHOP+x@GRÖSSE.example", "NOTFOUND"),
        ("ida@bücher.example", "any@ß.example", "NOTFOUND"),
        ("otto@bücher.example", "otto@bücher.example", "OK"),
        ("otto@bücher.example", "ida@bücher.example", "NOTFOUND"),
    ],
)
def test_a_user_has_its_senders_and_no_others(senders, user, sender, status):
    assert senders.find(user, parse_path(sender, null_ok=True, utf8=True)).value == status


def test_a_key_for_all_others(tmp_path):
    senders = made(tmp_path, {"*": "own"})
    assert senders.find("a@b.example", parse_path("a@b.example")) is MapStatus.OK
    assert senders.find("a@b.example", parse_path("c@b.example")) is MapStatus.NOTFOUND


def test_a_map_that_does_not_answer_puts_off(tmp_path):
    assert made(tmp_path, {}, NoAnswer).find("a", parse_path("a@b.example")) is MapStatus.TEMP


def question(auth="ann@example.org", mail="ann@example.org", flags=0):
    return CheckMail(ta_id="t", client_addr="192.0.2.1", mail=mail, auth=auth, flags=flags)


def test_the_policy_refuses_at_once_and_asks_about_users_only(tmp_path, senders):
    relay = RelayRules((), (), (), routes(tmp_path))
    policy = Policy(routes(tmp_path), relay, senders=senders)
    assert policy.checks() == Checks.RCPT | Checks.AUTH
    assert policy.mail(question()).reply.code == 250
    refused = policy.mail(question(mail="bob@example.org", flags=LookupFlags.QUICK | LookupFlags.NO_ACCESS))
    assert (str(refused.reply)[:9], refused.flags) == ("553 5.7.1", VerdictFlags.FINAL)
    assert policy.mail(question(auth="broken")).reply.code == 451
    assert policy.mail(question(auth="", mail="bob@example.org")).reply.code == 250
    assert not policy.mail_blocks


@pytest.mark.parametrize("value", ["own", "*", "@example.org", "a@b.example, @c.example own", "OWN"])
def test_right_values(value):
    assert check_senders(value)


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("ann", "", "lists nobody"),
        ("ann", "yes", "has no domain; write yes@DOMAIN"),
        ("ann", "@", "no sender"),
        ("ann", "a@@b", "no sender"),
        ("ann", "x" * 17_000, "16384 characters"),
        ("from:ann", "own", "no name of a user"),
        ("<ann@example.org>", "own", "no name of a user"),
        ("*@example.org", "own", "no name of a user"),
    ],
)
def test_wrong_entries_are_named(key, value, told):
    (text,) = check_entries([MapEntry("f:1", key, value)], [EntryRules(use=SENDERS)])
    assert told in text


def test_right_entries_are_not():
    entries = [MapEntry("f:1", key, "own") for key in ("ann", "ann@example.org", "@example.org", "*")]
    assert list(check_entries(entries, [EntryRules(use=SENDERS)])) == []
