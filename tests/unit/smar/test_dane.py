"""DANE: what the DNS says about a host, over a name server that validates, and what follows."""

import dns.rdata
import dns.rrset
import pytest

from meta1g.base.log import Log
from meta1g.base.tlsfacts import Tlsa
from meta1g.base.tlspolicy import TlsLevel, policy_of
from meta1g.rcb.common import DeliveryAgent
from meta1g.rcb.qmgr_smar import Route
from meta1g.smar.dane import Dane, is_usable, read_tlsa
from meta1g.smar.dnswire import DnsRecord, RRType
from meta1g.smar.limits import TLSA_BYTES_MAX
from meta1g.smar.myself import Myself
from meta1g.smar.request import Resolution
from meta1g.smar.route import RoutePlan, Target
from meta1g.smar.tlspolicies import TlsPolicies
from tests.fakes.lines import Lines
from tests.fakes.nameserver import DROP, SERVFAIL, rcode

from .conftest import Heard

ONE, TWO = "11" * 32, "22" * 32
MX_DOMAIN = Target("x.example", 25, is_address=False, use_mx=True)
HOST = Target("mx.x.example", 587, is_address=False)


def usual(server):
    """A domain with one host, all of it signed."""
    server.add("x.example", "MX", "10 mx.x.example.")
    server.add("mx.x.example", "A", "192.0.2.1")
    server.signed("x.example")


def tlsa(server, *values, base="_25._tcp.mx.x.example"):
    server.add(base, "TLSA", *values)


def aliased(server):
    """The host is an alias."""
    usual(server)
    server.remove("mx.x.example", "A")
    server.add("mx.x.example", "CNAME", "real.y.example.")
    server.add("real.y.example", "A", "192.0.2.1")
    server.signed("y.example")


# Each case: what the DNS has, then what follows: level, data of the records, base domain, names; or a part of the refusal.


def _cut_short(answer):
    """Adds a record whose data have a wrong length, which dnspython would not make."""
    answer.answer[0].add(dns.rdata.GenericRdata(1, 52, b"\3\1\1" + b"3" * 31))
    return [answer.to_wire()]


def one(s):
    usual(s)
    tlsa(s, f"3 1 1 {ONE}")


def several(s):
    usual(s)
    tlsa(s, f"3 1 1 {ONE}", f"2 0 1 {TWO}", f"1 0 1 {ONE}", f"0 0 1 {ONE}")
    s.script("_25._tcp.mx.x.example", "TLSA", _cut_short)


def none(s):
    usual(s)


def empty_name(s):
    usual(s)
    s.add("_25._tcp.mx.x.example", "TXT", '"x"')


def unusable(s):
    usual(s)
    tlsa(s, f"1 0 1 {ONE}", f"0 0 1 {ONE}", f"3 2 1 {ONE}", f"3 1 9 {ONE}", f"255 1 1 {ONE}")
    s.script("_25._tcp.mx.x.example", "TLSA", _cut_short)


def mx_unsigned(s):
    one(s)
    s.unsigned("x.example")
    s.signed("mx.x.example")


def host_unsigned(s):
    one(s)
    s.unsigned("mx.x.example")


def ipv6_unsigned(s):
    one(s)
    s.script("mx.x.example", "AAAA", _unsigned)


def _unsigned(answer):
    answer.flags &= ~0x20
    return [answer.to_wire()]


def ipv6_kept_back(s):
    one(s)
    s.script("mx.x.example", "AAAA", SERVFAIL, SERVFAIL, SERVFAIL)


def records_unsigned(s):
    one(s)
    s.unsigned("_25._tcp.mx.x.example")


def servfail(s):
    one(s)
    s.script("_25._tcp.mx.x.example", "TLSA", SERVFAIL, SERVFAIL, SERVFAIL)


def refused(s):
    one(s)
    s.script("_25._tcp.mx.x.example", "TLSA", *[rcode(5)] * 3)


def notimp(s):
    one(s)
    s.script("_25._tcp.mx.x.example", "TLSA", *[rcode(4)] * 3)


def recovers(s):
    one(s)
    s.script("_25._tcp.mx.x.example", "TLSA", SERVFAIL)


def no_mx(s):
    s.add("x.example", "A", "192.0.2.1")
    s.signed("x.example")
    tlsa(s, f"3 1 1 {ONE}", base="_25._tcp.x.example")


def no_mx_unsigned(s):
    no_mx(s)
    s.unsigned("x.example")


def alias_end(s):
    aliased(s)
    tlsa(s, f"3 1 1 {ONE}", base="_25._tcp.real.y.example")


def alias_begin(s):
    aliased(s)
    tlsa(s, f"3 1 1 {ONE}")


def alias_both(s):
    aliased(s)
    tlsa(s, f"3 1 1 {TWO}")
    tlsa(s, f"3 1 1 {ONE}", base="_25._tcp.real.y.example")


def alias_to_unsigned(s):
    alias_begin(s)
    s.unsigned("y.example")


def alias_to_unsigned_that_has_records(s):
    aliased(s)
    tlsa(s, f"3 1 1 {ONE}", base="_25._tcp.real.y.example")
    s.unsigned("y.example")


def alias_in_unsigned(s):
    alias_both(s)
    s.unsigned("mx.x.example")


def alias_end_fails(s):
    alias_both(s)
    s.script("_25._tcp.real.y.example", "TLSA", SERVFAIL, SERVFAIL, SERVFAIL)


def domain_alias(s):
    usual(s)
    s.remove("x.example", "MX")
    s.add("x.example", "CNAME", "z.example.")
    s.add("z.example", "MX", "10 mx.x.example.")
    s.signed("z.example")
    tlsa(s, f"3 1 1 {ONE}")


def records_by_alias(s):
    usual(s)
    s.add("_25._tcp.mx.x.example", "CNAME", "_dane.x.example.")
    tlsa(s, f"3 1 1 {ONE}", base="_dane.x.example")


def records_by_alias_unsigned(s):
    records_by_alias(s)
    s.unsigned("_dane.x.example")


def too_many(s):
    usual(s)
    tlsa(s, *(f"3 1 1 {number:064x}" for number in range(TLSA_BYTES_MAX // 32 + 1)))


DANE = TlsLevel.DANE
NAMES = ("mx.x.example", "x.example")
CASES = [
    (one, (DANE, {ONE}, "mx.x.example", NAMES)),
    (several, (DANE, {ONE, TWO}, "mx.x.example", NAMES)),
    (none, None),
    (empty_name, None),
    (unusable, (TlsLevel.ENCRYPT, set(), "mx.x.example", ())),
    (mx_unsigned, None),
    (host_unsigned, None),
    (ipv6_unsigned, None),
    (ipv6_kept_back, (DANE, {ONE}, "mx.x.example", NAMES)),
    (records_unsigned, None),
    (servfail, "SERVFAIL"),
    (refused, "REFUSED"),
    (notimp, "NOTIMP"),
    (recovers, (DANE, {ONE}, "mx.x.example", NAMES)),
    (no_mx, (DANE, {ONE}, "x.example", ("x.example",))),
    (no_mx_unsigned, None),
    (alias_end, (DANE, {ONE}, "real.y.example", ("real.y.example", "x.example"))),
    (alias_begin, (DANE, {ONE}, "mx.x.example", NAMES)),
    (alias_both, (DANE, {ONE}, "real.y.example", ("real.y.example", "x.example"))),
    (alias_to_unsigned, (DANE, {ONE}, "mx.x.example", NAMES)),
    (alias_to_unsigned_that_has_records, None),
    (alias_in_unsigned, None),
    (alias_end_fails, "SERVFAIL"),
    (domain_alias, (DANE, {ONE}, "mx.x.example", NAMES)),
    (records_by_alias, (DANE, {ONE}, "mx.x.example", NAMES)),
    (records_by_alias_unsigned, None),
    (too_many, "more than"),
]


@pytest.fixture
def trusting(make_asker, name_server):
    return make_asker(name_server, validated=True)


def servers_of(asker, target, log=None):
    dane = Dane(asker.resolver)
    heard = Heard()
    plan = RoutePlan(DeliveryAgent.ESMTP, (target,))
    policies = TlsPolicies((dane,), log or Log("smar", sink=Lines()))
    Resolution(plan, asker.resolver, Myself(), heard, None, policies).start()
    route = heard.get()
    assert isinstance(route, Route), route
    return [(one.host, policy_of(one.tls, one.tls_source)) for one in route.servers]


@pytest.mark.parametrize(("dns", "follows"), CASES, ids=lambda one: one.__name__ if callable(one) else "")
def test_what_follows(trusting, name_server, dns, follows):
    dns(name_server)
    ((_, policy),) = servers_of(trusting, MX_DOMAIN)
    if follows is None:
        assert policy.demands() == ""
    elif isinstance(follows, str):
        assert follows in policy.refused
        assert not policy.fixed
    else:
        level, data, base, names = follows
        assert (policy.level, {one.data.hex() for one in policy.tlsa}, policy.server_name) == (level, data, base)
        assert set(policy.names) == set(names)
        assert f"TLSA _25._tcp.{base}" in policy.source


def test_a_host_without_mx_look_up_has_records_at_its_port(trusting, name_server):
    name_server.add("mx.x.example", "A", "192.0.2.1")
    name_server.signed("x.example")
    tlsa(name_server, f"3 1 1 {ONE}", base="_587._tcp.mx.x.example")
    ((_, policy),) = servers_of(trusting, HOST)
    assert (policy.level, policy.names) == (DANE, ("mx.x.example",))


def test_each_host_of_a_domain_has_its_own(trusting, name_server):
    one(name_server)
    name_server.remove("x.example", "MX")
    name_server.add("x.example", "MX", "10 mx.x.example.", "20 b.y.example.", "30 c.x.example.")
    name_server.add("b.y.example", "A", "192.0.2.2")
    name_server.add("c.x.example", "A", "192.0.2.3")
    name_server.script("_25._tcp.c.x.example", "TLSA", SERVFAIL, SERVFAIL, SERVFAIL)
    found = servers_of(trusting, MX_DOMAIN)
    assert [(host, policy.level, bool(policy.refused)) for host, policy in found] == [
        ("mx.x.example", TlsLevel.DANE, False),
        ("b.y.example", TlsLevel.MAY, False),
        ("c.x.example", TlsLevel.MAY, True),
    ]
    assert name_server.questions("_25._tcp.b.y.example", "TLSA") == [], "nobody asks below what is not signed (RFC 7672 2.1.2)"


def test_what_is_said_to_be_validated_does_not_count_unless_the_server_is_trusted(asker, name_server):
    one(name_server)
    ((_, policy),) = servers_of(asker, MX_DOMAIN)
    assert policy.demands() == ""
    assert not asker.ask("mx.x.example").secure


def test_an_answer_in_pieces_is_secure_only_if_all_pieces_are(trusting, name_server):
    """A server that does not follow aliases itself."""
    name_server.signed("x.example")
    name_server.unsigned("a.x.example")
    name_server.add("b.x.example", "A", "192.0.2.7")

    def alias_only(answer):
        answer.answer = [dns.rrset.from_text(answer.question[0].name, 60, "IN", "CNAME", "b.x.example.")]
        answer.authority = []
        answer.set_rcode(0)
        return [answer.to_wire()]

    for name, secure in (("a.x.example", False), ("c.x.example", True)):
        name_server.script(name, "A", alias_only)
        answer = trusting.ask(name)
        assert ([one.value for one in answer.records], answer.canonical, answer.secure) == (
            ["192.0.2.7"],
            "b.x.example",
            secure,
        )


def test_a_name_server_that_says_nothing_about_records_puts_mail_off(make_asker, name_server):
    asker = make_asker(name_server, validated=True, timeout_s=0.2, tries=2)
    one(name_server)
    name_server.script("_25._tcp.mx.x.example", "TLSA", DROP, DROP)
    ((_, policy),) = servers_of(asker, MX_DOMAIN)
    assert "no answer in time" in policy.refused


def test_records_are_read_as_they_are_sent(trusting, name_server):
    name_server.add("_25._tcp.a.example", "TLSA", f"3 1 1 {ONE}", "2 0 0 3003020101")
    answer = trusting.ask("_25._tcp.a.example", RRType.TLSA)
    assert set(read_tlsa(answer.records)) == {Tlsa(3, 1, 1, bytes.fromhex(ONE)), Tlsa(2, 0, 0, bytes.fromhex("3003020101"))}


@pytest.mark.parametrize(
    ("record", "usable"),
    [
        ("3 1 1 " + "00" * 32, True),
        ("2 0 2 " + "00" * 64, True),
        ("3 1 1 " + "00" * 33, False),
        ("3 1 2 " + "00" * 32, False),
        ("3 1 3 " + "00" * 32, False),
        ("3 2 1 " + "00" * 32, False),
        ("1 1 1 " + "00" * 32, False),
        ("0 1 1 " + "00" * 32, False),
        ("4 1 1 " + "00" * 32, False),
        ("3 0 0 3000", True),
        ("2 0 0 308100", True),
        ("3 0 0 308101", False),
        ("3 0 0 30", False),
        ("3 0 0 3100", False),
        ("3 0 0 300100ff", False),
    ],
)
def test_usable(record, usable):
    (found,) = read_tlsa([DnsRecord(record)])
    assert is_usable(found) == usable
