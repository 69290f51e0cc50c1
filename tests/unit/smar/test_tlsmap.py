import re
from dataclasses import replace

import pytest

from meta1g.base.log import Log
from meta1g.base.tlspolicy import TlsLevel, TlsPolicy, policy_of
from meta1g.maps.base import MapResult, MapStatus
from meta1g.maps.static import StaticMap
from meta1g.maps.wrong import WrongEntries
from meta1g.rcb.common import DeliveryAgent, ServerAddr
from meta1g.rcb.qmgr_smar import Route
from meta1g.smar.route import Target
from meta1g.smar.tlsmap import PolicyMap, key_problem, keys_of, needs_dane, read_entry
from meta1g.smar.tlspolicies import Hop, TlsPolicies
from tests.fakes.lines import Lines

L = TlsLevel
MX = "mx.x.example"
PRINT, COLONS = "ab" * 32, ":".join(["AB"] * 32)


def mx(domain="x.example", port=25):
    return Target(domain, port, is_address=False, use_mx=True)


HOST = Target("mx.x.example", 587, is_address=False)
ADDRESS = Target("192.0.2.1", 25, is_address=True)
ADDRESS6 = Target("2001:db8::1", 26, is_address=True)


@pytest.mark.parametrize(
    ("target", "keys"),
    [
        (mx("a.x.example"), "a.x.example:25 a.x.example .x.example .example ."),
        (
            mx("bücher.example", 26),
            "bücher.example:26 xn--bcher-kva.example:26 bücher.example xn--bcher-kva.example .example .",
        ),
        (mx("x.example", 26), "x.example:26 x.example .example ."),
        (HOST, "[mx.x.example]:587 [mx.x.example] mx.x.example .x.example .example ."),
        (ADDRESS, "[192.0.2.1]:25 [192.0.2.1] ."),
        (ADDRESS6, "[2001:db8::1]:26 [2001:db8::1] ."),
    ],
)
def test_keys_go_from_most_to_least_specific_and_each_of_them_is_right(target, keys):
    assert " ".join(keys_of(target)) == keys
    assert [key_problem(key) for key in keys_of(target)] == [""] * len(keys.split())


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("a@x.example", "the mailertable has domains|addresses"),
        ("*", "write \\. for everything else"),
        ("192.0.2.1", "in brackets; write \\[192.0.2.1\\]"),
        ("[mx.x.example]:99999", "port is not 1 to 65535"),
        ("x.example:0", "port is not"),
        ("[mx..example]", "is no host"),
        ("x example", "is not a domain"),
        ("*.x.example", "write .x.example"),
    ],
)
def test_wrong_keys(key, text):
    assert re.search(text, key_problem(key)), key_problem(key)


@pytest.mark.parametrize(
    ("value", "policy", "dane"),
    [
        ("none", TlsPolicy(L.NONE), False),
        ("may", TlsPolicy(L.MAY), False),
        ("MAY min_version=tls1.3", TlsPolicy(L.MAY, tls13=True), False),
        ("encrypt", TlsPolicy(L.ENCRYPT), False),
        ("encrypt protocols=>=TLSv1.3 ciphers=ECDHE+AESGCM", TlsPolicy(L.ENCRYPT, tls13=True, ciphers="ECDHE+AESGCM"), False),
        ("dane", TlsPolicy(L.MAY), True),
        ("verify", TlsPolicy(L.VERIFY, names=("mx.x.example",)), False),
        ("secure", TlsPolicy(L.VERIFY, names=("x.example", ".x.example")), False),
        (
            "verify match=a.example:.b.example match=hostname",
            TlsPolicy(L.VERIFY, names=("a.example", ".b.example", "mx.x.example")),
            False,
        ),
        ("secure match=nexthop|dot-nexthop", TlsPolicy(L.VERIFY, names=("x.example", ".x.example")), False),
        (f"fingerprint match={PRINT}", TlsPolicy(L.FINGERPRINT, fingerprints=(PRINT,)), False),
        (f"fingerprint match={PRINT * 2}", TlsPolicy(L.FINGERPRINT, fingerprints=(PRINT * 2,)), False),
        (
            "fingerprint match=" + ":".join(["AB"] * 32) + f"|{PRINT}",
            TlsPolicy(L.FINGERPRINT, fingerprints=(PRINT, PRINT)),
            False,
        ),
    ],
)
def test_right_hand_sides(value, policy, dane):
    entry = read_entry(value, "tls_policy x")
    assert entry.at("x.example", "mx.x.example") == replace(policy, fixed=True, source="tls_policy x")
    assert entry.dane == dane == needs_dane(value)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("", "is no level"),
        ("encrypted", "did you mean|encrypt"),
        ("none ciphers=x", "none has no attributes"),
        ("encrypt match=x.example", "looks at no names"),
        ("encrypt cipher=x", "is no attribute; write match="),
        ("encrypt min_version", "is no attribute"),
        ("encrypt min_version=", "is no attribute"),
        ("encrypt min_version=ssl3", "is no version"),
        ('encrypt ciphers=a"b', "is no list of ciphers"),
        ("verify match=a_b..c", "write names"),
        ("verify match=::", "write names"),
        ("fingerprint", "fingerprint needs match="),
        ("fingerprint match=abcd", "is no SHA-256"),
        (f"fingerprint match={PRINT}ab", "is no SHA-256 or SHA-512"),
        (f"fingerprint match={PRINT}|{PRINT * 2}", "write those of one kind"),
    ],
)
def test_wrong_right_hand_sides(value, text):
    with pytest.raises(ValueError, match=text):
        read_entry(value)


def test_dane_only_refuses_a_host_without_records():
    entry = read_entry("dane-only")
    assert entry.dane
    assert "no TLSA records" in entry.policy.refused


def table(entries, *, dane=True):
    lines = Lines()
    return PolicyMap(StaticMap("tls_policy", entries), WrongEntries(Log("smar", sink=lines)), dane=dane), lines


def test_the_most_specific_entry_counts():
    policies, _ = table({"x.example": "may", ".x.example": "encrypt", "[mx.x.example]:587": "none", ".": "verify"})
    levels = [policies.entry(one).policy.level for one in (mx(), mx("a.x.example"), HOST, ADDRESS)]
    assert levels == [L.MAY, L.ENCRYPT, L.NONE, L.VERIFY]
    assert policies.entry(mx()).policy.source == "tls_policy x.example"
    assert table({})[0].entry(mx()) is None


def test_a_local_socket_has_no_policy():
    assert table({".": "verify"})[0].entry(Target("unix:/x", 0, is_address=True)) is None


@pytest.mark.parametrize(("value", "dane"), [("nonsense", True), ("dane", False), ("dane-only", False)])
def test_a_wrong_entry_puts_mail_off_and_is_told(value, dane):
    policies, lines = table({"x.example": value}, dane=dane)
    assert "is wrong" in policies.entry(mx()).policy.refused
    assert policies.entry(mx()).policy.fixed, "no message may ask for less than nobody knows"
    assert "func=map.entry" in lines.lines[0]


class Dead:
    """A map that does not answer."""

    name, blocking = "dead", True

    def lookup(self, key):
        return MapResult(MapStatus.TEMP, "no answer")


def test_a_map_that_does_not_answer_puts_mail_off():
    policies = PolicyMap(Dead(), WrongEntries(Log("smar", sink=Lines())), dane=True)
    assert "does not answer" in policies.entry(mx()).policy.refused
    assert policies.entry(mx()).policy.fixed
    assert policies.blocking
    assert policies.version() is None


# -- beside the other sources


class Source:
    def __init__(self, policy):
        self.policy = policy
        self.asked = 0

    def ask(self, hop, on_policy):
        self.asked += 1
        on_policy(self.policy)


UNUSABLE = TlsPolicy(L.ENCRYPT, source="TLSA")
FOUND = TlsPolicy(L.DANE, names=("mx.x.example",), source="TLSA")


@pytest.mark.parametrize(
    ("value", "found", "level", "source", "asked"),
    [
        (None, FOUND, L.DANE, "TLSA", 1),
        (None, None, L.MAY, "", 1),
        ("may", FOUND, L.MAY, "tls_policy x.example", 0),
        ("encrypt", FOUND, L.ENCRYPT, "tls_policy x.example", 0),
        ("dane min_version=tls1.3", FOUND, L.DANE, "TLSA, tls_policy x.example", 1),
        ("dane", None, L.MAY, "tls_policy x.example", 1),
        ("dane-only", None, L.MAY, "tls_policy x.example", 1),
        ("dane-only", FOUND, L.DANE, "TLSA, tls_policy x.example", 1),
        ("dane", UNUSABLE, L.ENCRYPT, "TLSA, tls_policy x.example", 1),
        ("dane-only", UNUSABLE, L.ENCRYPT, "TLSA, tls_policy x.example", 1),
    ],
)
def test_an_entry_decides_alone_but_for_what_only_dane_can_say(value, found, level, source, asked):
    dane, other = Source(found), Source(None)
    policies, _ = table({} if value is None else {"x.example": value})
    heard = []
    made = TlsPolicies((dane, other), Log("smar", sink=Lines()), policies, dane)
    hop = Hop("x.example", "mx.x.example", 25, use_mx=True, entry=made.entry(mx()))
    made.apply(Route(da=DeliveryAgent.ESMTP, servers=(ServerAddr(addr="192.0.2.1", port=25),)), [hop], heard.append)
    policy = policy_of(heard[0].servers[0].tls, heard[0].servers[0].tls_source)
    assert (policy.level, policy.source, dane.asked) == (level, source, asked)
    assert policy.fixed == (value is not None)
    assert bool(policy.refused) == (value == "dane-only" and found is not FOUND)
    assert policy.tls13 == ("tls1.3" in (value or ""))
    assert other.asked == (value is None and found is None)
