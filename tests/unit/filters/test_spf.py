"""SPF: records, macros, limits.  The test suite of RFC 7208 is tests/conformance/test_spf_suite.py; these are our own cases."""

import ipaddress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meta1g_filters.dns import FilterResolver
from meta1g_filters.spf.evaluate import SpfQuery, check_host
from meta1g_filters.spf.macros import SpfSyntaxError, domain_spec, is_domain, macro_text, shortened
from meta1g_filters.spf.record import RECORD_MAX_BYTES, parse_record, selected
from tests.fakes.nameserver import SERVFAIL, NameServer
from tests.fakes.spfzone import SpfZone
from tests.unit.filters.test_dns import TurnedClock

CLIENT = "192.0.2.1"


def check(zone, ip=CLIENT, sender="ada@example.org", helo="mail.example.org", clock=None):
    query = SpfQuery(ipaddress.ip_address(ip), sender.rpartition("@")[2], sender, helo, "mx.example.net")
    return check_host(query, zone, clock or TurnedClock())


def result(zonedata, **what):
    return str(check(SpfZone(zonedata), **what).code)


# id: (record, expected for 192.0.2.1, expected for 2001:db8::1)
RECORDS = {
    "no mechanism": ("v=spf1", "neutral", "neutral"),
    "all": ("v=spf1 -all", "fail", "fail"),
    "upper case": ("V=SPF1 A:HOST.EXAMPLE.ORG -ALL", "pass", "pass"),
    "ip4": ("v=spf1 ip4:192.0.2.0/24 -all", "pass", "fail"),
    "ip6": ("v=spf1 ip6:2001:db8::/32 -all", "fail", "pass"),
    "a": ("v=spf1 a:host.example.org ~all", "pass", "pass"),
    "a beside": ("v=spf1 a:beside.example.org/24//64 ~all", "pass", "pass"),
    "mx": ("v=spf1 mx:mx.example.org ?all", "pass", "pass"),
    "include": ("v=spf1 include:four.example.org -all", "pass", "fail"),
    "include that fails": ("v=spf1 -include:four.example.org +all", "fail", "pass"),
    "exists": ("v=spf1 exists:%{ir}.list.example.org -all", "pass", "fail"),
    "redirect": ("v=spf1 redirect=four.example.org", "pass", "fail"),
    "ptr": ("v=spf1 ptr:example.org -all", "pass", "fail"),
    "unknown modifier": ("v=spf1 x-foo=%{d} ip4:192.0.2.1 -all", "pass", "fail"),
    "zone of an address": ("v=spf1 ip6:fe80::1%eth0 -all", "permerror", "permerror"),
    "network with bits of the host": ("v=spf1 ip4:192.0.2.77/24 -all", "pass", "fail"),
    "length with a sign": ("v=spf1 ip4:192.0.2.0/+24 -all", "permerror", "permerror"),
    "address with a leading zero": ("v=spf1 ip4:192.0.2.01 -all", "permerror", "permerror"),
    "tabulator": ("v=spf1\tall", "none", "none"),
    "two qualifiers": ("v=spf1 --all", "permerror", "permerror"),
    "macro of the explanation": ("v=spf1 a:%{t}.example.org -all", "permerror", "permerror"),
    "no parts": ("v=spf1 a:%{d0}.example.org -all", "permerror", "permerror"),
    "half a macro": ("v=spf1 a:%{d.example.org -all", "permerror", "permerror"),
}
ZONE = {
    "host.example.org": [{"A": "192.0.2.1"}, {"AAAA": "2001:db8::1"}],
    "beside.example.org": [{"A": "192.0.2.99"}, {"AAAA": "2001:db8::99"}],
    "mx.example.org": [{"MX": [10, "none.example.org"]}, {"MX": [20, "host.example.org"]}],
    "four.example.org": [{"TXT": "v=spf1 ip4:192.0.2.0/24 -all"}],
    "1.2.0.192.list.example.org": [{"A": "127.0.0.2"}],
    "1.2.0.192.in-addr.arpa": [{"PTR": "stranger.example.net."}, {"PTR": "Host.Example.org."}],
}


@pytest.mark.parametrize(("record", "four", "six"), RECORDS.values(), ids=RECORDS)
def test_a_record_means_what_it_says(record, four, six):
    zone = ZONE | {"example.org": [{"TXT": record}]}
    assert (result(zone), result(zone, ip="2001:db8::1")) == (four, six)
    assert result(zone, ip="::ffff:192.0.2.1") == four, "an IPv6 form of an IPv4 address is that address"


@pytest.mark.parametrize(
    "domain", ["org", "[192.0.2.1]", "a..example.org", "x" * 64 + ".org", "example.123", "", "bücher.example"]
)
def test_what_is_no_domain_has_no_policy_and_is_not_asked_for(domain):
    zone = SpfZone({})
    assert (str(check(zone, sender=f"ada@{domain}").code), zone.asked) == ("none", [])


def test_ten_terms_may_ask_and_no_more():
    terms = " ".join(f"a:h{number}.example.org" for number in range(9))
    hosts = {f"h{number}.example.org": [{"A": "192.0.2.9"}] for number in range(12)}
    assert result(hosts | {"example.org": [{"TXT": f"v=spf1 {terms} a:h9.example.org -all"}]}) == "fail"
    redirecting = {"example.org": [{"TXT": f"v=spf1 {terms} redirect=h10.example.org"}]}
    assert result(hosts | redirecting | {"h10.example.org": [{"TXT": "v=spf1 -all"}]}) == "fail"
    assert result(hosts | redirecting | {"h10.example.org": [{"TXT": "v=spf1 a:h9.example.org"}]}) == "permerror"


def test_a_circle_of_includes_ends():
    zone = SpfZone({"example.org": [{"TXT": "v=spf1 include:example.org -all"}]})
    found = check(zone)
    assert (str(found.code), len(zone.asked)) == ("permerror", 11)


def test_a_mail_server_without_an_address_of_the_kind_is_no_void_term():
    servers = [{"MX": [number, f"h{number}.example.org"]} for number in range(5)]
    hosts = {f"h{number}.example.org": [{"A": "192.0.2.9"}] for number in range(5)} | {
        "h4.example.org": [{"AAAA": "2001:db8::1"}]
    }
    zone = hosts | {"example.org": [{"TXT": "v=spf1 mx -all"}, *servers]}
    assert result(zone, ip="2001:db8::1") == "pass"


def test_the_third_term_that_finds_nothing_is_too_many():
    terms = ["a:n1.example.org", "mx:n2.example.org", "exists:n3.example.org"]
    assert result({"example.org": [{"TXT": f"v=spf1 {' '.join(terms[:2])} -all"}]}) == "fail"
    assert result({"example.org": [{"TXT": f"v=spf1 {' '.join(terms)} -all"}]}) == "permerror"


def test_more_names_of_the_client_than_ten_are_not_looked_at():
    names = [{"PTR": f"h{number}.example.org."} for number in range(12)]
    zone = SpfZone({"example.org": [{"TXT": "v=spf1 ptr -all"}], "1.2.0.192.in-addr.arpa": names})
    assert str(check(zone).code) == "fail"
    assert sum(kind == "A" for _name, kind in zone.asked) == 10


def test_a_failure_of_dns_is_temperror_except_for_names_of_the_client():
    assert result({"example.org": ["TIMEOUT"]}) == "temperror"
    assert result({"example.org": [{"TXT": "v=spf1 a:h.example.org -all"}], "h.example.org": ["TIMEOUT"]}) == "temperror"
    assert result({"example.org": [{"TXT": "v=spf1 ptr -all"}], "1.2.0.192.in-addr.arpa": ["TIMEOUT"]}) == "fail"


def test_a_check_has_an_end():
    clock = TurnedClock()

    class Slow(SpfZone):
        def addresses(self, name, kind):
            clock.at_s += 6
            return super().addresses(name, kind)

    hosts = {f"h{number}.example.org": [{"A": "192.0.2.9"}] for number in range(10)}
    zone = Slow(hosts | {"example.org": [{"TXT": "v=spf1 " + " ".join(f"a:{name}" for name in hosts)}]})
    found = check(zone, clock=clock)
    assert (str(found.code), found.problem, len(zone.asked)) == ("temperror", "not done in 20 s", 5)


def test_macros_of_a_local_part_that_is_not_ascii_match_nothing():
    with NameServer() as server:
        server.add("example.org", "TXT", '"v=spf1 exists:%{l}.users.example.org -all"')
        resolver = FilterResolver([(server.address, server.port)])
        assert str(check(resolver, sender="ädä@example.org").code) == "fail"
        assert [one.name for one in server.asked] == ["example.org"]


def test_a_check_over_a_real_name_server():
    with NameServer() as server:
        server.add("example.org", "TXT", '"v=spf1 include:_spf." "example.org -all"')
        server.add("_spf.example.org", "TXT", '"v=spf1 mx:example.org ptr:example.net exp=why.example.org -all"')
        server.add("example.org", "MX", "10 mx.example.org.")
        server.add("mx.example.org", "A", "192.0.2.1")
        server.add("9.2.0.192.in-addr.arpa", "PTR", "out.example.net.")
        server.add("out.example.net", "A", "192.0.2.9")
        resolver = FilterResolver([(server.address, server.port)])
        assert [str(check(resolver, ip=ip).code) for ip in (CLIENT, "192.0.2.9", "192.0.2.77")] == ["pass", "pass", "fail"]
        server.script("example.net", "TXT", SERVFAIL)
        assert str(check(resolver, sender="ada@example.net").code) == "temperror"


@pytest.mark.parametrize(
    ("text", "explanation"),
    [
        ("%{i} may not send for %{o}: ask %{R}", "192.0.2.1 may not send for example.org: ask mx.example.net"),
        ("it is %{t}", "it is 1000"),
        ("100%", ""),
        ("two\r\n250 lines", ""),
        ("é", ""),
        ("x" * 401, ""),
    ],
)
def test_an_explanation_is_text_that_can_stand_in_a_reply(text, explanation):
    zone = {"example.org": [{"TXT": "v=spf1 exp=why.example.org -all"}], "why.example.org": [{"TXT": text}]}
    assert check(SpfZone(zone)).explanation == explanation


def test_an_explanation_cannot_grow_without_bound():
    zone = {"example.org": [{"TXT": "v=spf1 exp=why.example.org -all"}], "why.example.org": [{"TXT": "%{s}" * 90}]}
    assert len(check(SpfZone(zone), sender="a" * 60 + "@example.org").explanation) == 400


def test_the_result_says_what_decided():
    found = check(SpfZone({"example.org": [{"TXT": "v=spf1 ~IP4:192.0.2.1 -all"}]}))
    assert (str(found.code), found.mechanism, found.domain) == ("softfail", "~IP4:192.0.2.1", "example.org")
    found = check(SpfZone({"example.org": [{"TXT": "v=spf1 moo -all"}]}))
    assert (str(found.code), found.problem) == ("permerror", "example.org: 'moo' is neither a mechanism nor a modifier")


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("%{s}", "strong-bad@email.example.com"),
        ("%{o}", "email.example.com"),
        ("%{d4}", "email.example.com"),
        ("%{d3}", "email.example.com"),
        ("%{d2}", "example.com"),
        ("%{d1}", "com"),
        ("%{dr}", "com.example.email"),
        ("%{d2r}", "example.email"),
        ("%{l}", "strong-bad"),
        ("%{l-}", "strong.bad"),
        ("%{lr}", "strong-bad"),
        ("%{lr-}", "bad.strong"),
        ("%{l1r-}", "strong"),
        ("%{ir}.%{v}._spf.%{d2}", "3.2.0.192.in-addr._spf.example.com"),
        ("%{lr-}.lp._spf.%{d2}", "bad.strong.lp._spf.example.com"),
    ],
)
def test_the_examples_of_rfc_7208_7_4(source, text):
    values = {"s": "strong-bad@email.example.com", "o": "email.example.com", "d": "email.example.com", "l": "strong-bad"}
    values |= {"i": "192.0.2.3", "v": "in-addr"}
    assert macro_text(source).expand(values.__getitem__) == text


def test_a_name_that_is_too_long_loses_labels_on_the_left():
    assert shortened("x" * 60 + "." + "y." * 120 + "example.org.") == "y." * 120 + "example.org"
    assert len(shortened("a." * 200 + "org")) <= 253


def test_several_records_and_a_huge_one_are_errors():
    with pytest.raises(SpfSyntaxError, match="2 records"):
        selected([b"v=spf1 -all", b"other", b"v=spf1 +all"])
    with pytest.raises(SpfSyntaxError, match="bytes"):
        parse_record(b"v=spf1 " + b"a " * RECORD_MAX_BYTES)
    assert selected([b"v=spf10", b"spf"]) is None


@given(st.text(alphabet="v=spf1 adil{}%:/.-+~?=mxyrt0129_\r\n\u00e9", max_size=60))
@settings(max_examples=200, deadline=None)
def test_no_record_breaks_the_evaluator(rest):
    zone = {"example.org": [{"TXT": f"v=spf1 {rest}"}], "d.example.org": [{"A": CLIENT}]}
    assert result(zone) in ("none", "neutral", "pass", "fail", "softfail", "temperror", "permerror")


@pytest.mark.parametrize("source", ["", "org", "example.-org", "%{d}org", "a b.org", "%(d).org"])
def test_what_is_no_domain_spec_is_refused(source):
    with pytest.raises(SpfSyntaxError):
        domain_spec(source)


def test_domains():
    assert is_domain("example.org.")
    assert is_domain("example.xn--zckzah")
    assert not is_domain("example.org..")
