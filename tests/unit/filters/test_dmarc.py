"""DMARC: records, authors, policies and organizations by both ways, alignment, what is done."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meta1g_filters.dmarc.author import AUTHORS_MAX, FROM_MAX_BYTES, author_domains
from meta1g_filters.dmarc.discovery import Discovery, PolicyFinder, public_organization, walk_names
from meta1g_filters.dmarc.evaluate import VouchedNames, evaluate, worst
from meta1g_filters.dmarc.record import Disposition, ReportAddress, parse_policy, report_addresses, selected_record
from tests.fakes.spfzone import SpfZone

NONE, QUARANTINE, REJECT = Disposition
WALK, LIST = Discovery


def zone(**records):
    """Gives a zone: `example_org="v=DMARC1; ..."` stands at _dmarc.example.org."""
    return SpfZone({f"_dmarc.{name.replace('_', '.')}": [{"TXT": text}] for name, text in records.items()})


def check(resolver, author, *, spf="", dkim=(), unsure=("", ()), how=WALK, percent=0.0):
    return evaluate(author, VouchedNames(spf, dkim, *unsure), resolver, how, lambda: percent)


# -- records


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("v=DMARC1; p=reject", (REJECT, None, None)),
        ("v=DMARC1;p=Quarantine;sp=none;np=reject", (QUARANTINE, NONE, REJECT)),
        ("v = DMARC1 ; p = none", (NONE, None, None)),
        ("v=DMARC1; p=reject; x=y; ;; =; p=none", (REJECT, None, None)),
        ("v=DMARC1; p=monitor; rua=mailto:a@example.org", (NONE, None, None)),
        ("v=DMARC1; p=reject; sp=oops; rua=mailto:a@example.org", (NONE, None, None)),
        ("v=DMARC1; rua=mailto:a@example.org", (NONE, None, None)),
        ("v=DMARC1", None),
        ("v=DMARC1; p=monitor", None),
        ("v=DMARC1; p=reject; sp=oops", None),
        ("v=DMARC2; p=reject", None),
        ("v=dmarc1; p=reject", None),
        ("p=reject; v=DMARC1", None),
        ("v=DMARC1p=reject", None),
    ],
)
def test_a_record_says_what_is_wanted(text, expected):
    record = selected_record([text.encode()])
    assert (None if record is None else (record.p, record.sp, record.np)) == expected


def test_several_records_are_none():
    assert selected_record([b"v=DMARC1; p=reject", b"v=DMARC1; p=none"]) is None
    assert selected_record([b"v=DMARC1; p=reject", b"v=spf1 -all", b"\xff"]) is not None


def test_all_tags_are_read():
    for local in ("x%3Cvictim%40other.example%3E", "a%22", "%28c%29", "a%2Cb%40c.example%2C", "a;b", ".a", "a..b"):
        assert report_addresses(f"mailto:{local}@example.org") == ()  # programs on the way would not agree on whose it is
    assert report_addresses("mailto:a@example..org,mailto:a@-.org,mailto:a@" + "b." * 200 + "org") == ()
    rua = "mailto:a@example.org!10m,MAILTO:b%2Bc@example.net,https://x,mailto:a@example.org"
    record = parse_policy(f"v=DMARC1; p=none; adkim=s; aspf=S; pct=30; t=y; psd=N; fo=1:d; rua={rua}")
    assert (record.strict_dkim, record.strict_spf, record.pct, record.testing, record.psd, record.fo) == (
        True,
        True,
        30,
        True,
        "n",
        "1:d",
    )
    assert record.rua == (ReportAddress("a@example.org", 10 << 20), ReportAddress("b+c@example.net"))
    odd = parse_policy("v=DMARC1; p=none; adkim=x; pct=101; t=x; psd=x; fo=<>; rua=mailto:no,mailto:a@b\r\n.example")
    assert (odd.strict_dkim, odd.pct, odd.testing, odd.psd, odd.fo, odd.rua) == (False, 100, False, "u", "", ())


@given(st.text(max_size=80))
@settings(max_examples=100, deadline=None)
def test_no_record_breaks_the_reader(text):
    parse_policy(f"v=DMARC1;{text}")
    author_domains([text.encode()])


# -- authors


@pytest.mark.parametrize(
    ("values", "domains"),
    [
        ([b" Ada <ada@Example.ORG>"], ("example.org",)),
        ([b" ada@example.org (x@y.example)"], ("example.org",)),
        ([b' "boss@bank.example" <ada@example.org>'], ("example.org",)),
        ([b' "<boss@bank.example>" <ada@example.org>'], ("example.org",)),
        ([b" boss@bank.example <ada@example.org>"], ("example.org",)),
        ([b" <ada@example.org>, bob@example.net"], ("example.org", "example.net")),
        ([b" <ada@example.org>", b" <bob@example.net>"], ("example.org", "example.net")),
        ([b" <ada@example.org> <bob@example.net>"], ("example.org", "example.net")),
        ([b" Team: ada@example.org, <bob@example.net>;"], ("example.org", "example.net")),
        ([b" Nobody:;"], ()),
        ([b' "a@b"@example.org'], ("example.org",)),
        ([b" <@relay.example,@other.example:ada@example.org>"], ("example.org",)),
        ([b" ada@\r\n example.org"], ("example.org",)),
        ([" <ada@bücher.example>".encode()], ("xn--bcher-kva.example",)),
        ([b" Ada"], ("",)),
        ([b" <ada@[192.0.2.1]>"], ("",)),
        ([b" <>"], ("",)),
        ([b" =?utf-8?q?x=40bank.example?= <ada@example.org>"], ("example.org",)),
        ([b" (unclosed <ada@example.org>"], ()),
        ([b" ada@example.org) <bob@example.net>"], ("example.net",)),
        ([], ()),
    ],
)
def test_authors_are_all_addresses_that_a_reader_could_see(values, domains):
    assert author_domains(values) == domains


@pytest.mark.parametrize("text", [b"<", b"(", b'"', b":;,", b"a@b.example,", b"\xc3\xa4."])
def test_an_author_that_nobody_could_read_is_one_of_too_many(text):
    assert len(author_domains([b"Eve <eve@bank.example>", text * (FROM_MAX_BYTES // len(text))])) > AUTHORS_MAX


# -- discovery


def test_the_walk_asks_eight_names_at_most():
    assert list(walk_names("a.example.org")) == ["a.example.org", "example.org", "org"]
    long = "a.b.c.d.e.f.g.h.i.example.org"
    assert list(walk_names(long))[:3] == [long, "e.f.g.h.i.example.org", "f.g.h.i.example.org"]
    assert len(list(walk_names(long))) == 8
    assert len(list(walk_names("a.b.c.d.e.f.example.org"))) == 8


@pytest.mark.parametrize(
    ("records", "author", "policy_of", "organization"),
    [
        ({"example_org": "v=DMARC1; p=reject"}, "a.b.example.org", "example.org", "example.org"),
        (
            {"example_org": "v=DMARC1; p=reject", "b_example_org": "v=DMARC1; p=none"},
            "b.example.org",
            "b.example.org",
            "example.org",
        ),
        (
            {"example_org": "v=DMARC1; p=reject", "b_example_org": "v=DMARC1; p=none"},
            "a.b.example.org",
            "example.org",
            "example.org",
        ),
        (
            {"example_org": "v=DMARC1; p=reject", "b_example_org": "v=DMARC1; p=none; psd=n"},
            "a.b.example.org",
            "b.example.org",
            "b.example.org",
        ),
        ({"org": "v=DMARC1; p=reject; psd=y"}, "a.example.org", "org", "example.org"),
        (
            {"org": "v=DMARC1; p=reject; psd=y", "example_org": "v=DMARC1; p=none"},
            "a.example.org",
            "example.org",
            "example.org",
        ),
        ({"co_org": "v=DMARC1; p=none; psd=y"}, "co.org", "co.org", "co.org"),
        ({}, "a.example.org", None, "a.example.org"),
    ],
)
def test_the_walk_finds_policy_and_organization(records, author, policy_of, organization):
    finder = PolicyFinder(zone(**records), WALK)
    found = finder.find(author)
    assert (None if found is None else found.domain) == policy_of
    assert finder.organization(author) == organization


def test_the_list_of_public_suffixes_asks_two_names():
    resolver = zone(example_co_uk="v=DMARC1; p=reject", uk="v=DMARC1; p=none")
    found = PolicyFinder(resolver, LIST).find("a.b.example.co.uk")
    assert (found.domain, found.organization) == ("example.co.uk", "example.co.uk")
    assert [name for name, _kind in resolver.asked] == ["_dmarc.a.b.example.co.uk", "_dmarc.example.co.uk"]
    assert public_organization("co.uk") == "co.uk"


@pytest.mark.parametrize(
    ("author", "exists", "wanted"),
    [("example.org", True, REJECT), ("a.example.org", True, QUARANTINE), ("a.example.org", False, NONE)],
)
def test_domains_below_have_a_policy_of_their_own(author, exists, wanted):
    data = {
        "_dmarc.example.org": [{"TXT": "v=DMARC1; p=reject; sp=quarantine; np=none"}],
        "other.a.example.org": [{"A": "192.0.2.1"}],
    }
    if exists:
        data |= {"a.example.org": [{"MX": [10, "mx.example.org"]}], "example.org": [{"A": "192.0.2.1"}]}
    assert check(SpfZone(data), author).disposition is wanted


# -- alignment and what is done


@pytest.mark.parametrize(
    ("record", "spf", "dkim", "result"),
    [
        ("", "example.org", (), "pass"),
        ("", "bounce.example.org", (), "pass"),
        ("", "example.net", (), "fail"),
        ("", "notexample.org", (), "fail"),
        ("", "", ("example.net", "mail.example.org"), "pass"),
        ("; aspf=s", "bounce.example.org", (), "fail"),
        ("; aspf=s", "EXAMPLE.org", (), "pass"),
        ("; adkim=s", "", ("mail.example.org",), "fail"),
        ("; adkim=s", "bounce.example.org", ("mail.example.org",), "pass"),
        ("", "org", ("org",), "fail"),
    ],
)
@pytest.mark.parametrize("how", Discovery)
def test_a_name_of_the_author_or_the_organization_is_enough(record, spf, dkim, result, how):
    assert check(zone(example_org=f"v=DMARC1; p=reject{record}"), "example.org", spf=spf, dkim=dkim, how=how).result == result


def test_an_organization_below_is_another_one():
    resolver = zone(example_org="v=DMARC1; p=reject", shop_example_org="v=DMARC1; p=none; psd=n")
    assert check(resolver, "example.org", dkim=("shop.example.org",)).result == "fail"
    assert check(resolver, "shop.example.org", dkim=("example.org",)).result == "fail"


def test_no_policy_is_none():
    assert check(zone(), "example.org", spf="example.org").result == "none"


def test_a_failure_of_dns_is_temperror_unless_something_aligns():
    silent = SpfZone({"_dmarc.example.org": ["TIMEOUT"]})
    assert check(silent, "example.org", spf="example.org").result == "temperror"
    half = SpfZone({"_dmarc.example.org": [{"TXT": "v=DMARC1; p=reject"}], "_dmarc.a.example.org": ["TIMEOUT"]})
    assert check(half, "example.org", dkim=("a.example.org",)).result == "temperror"
    assert check(half, "example.org", dkim=("a.example.org", "example.org")).result == "pass"


@pytest.mark.parametrize(
    ("unsure", "result"),
    [
        (("example.org", ()), "temperror"),
        (("", ("free.example", "a.example.org")), "temperror"),
        (("free.example", ("free.example", "notexample.org")), "fail"),
    ],
)
def test_only_what_would_align_can_be_missing(unsure, result):
    found = check(zone(example_org="v=DMARC1; p=reject"), "example.org", unsure=unsure)
    assert (found.result, found.disposition) == (result, REJECT if result == "fail" else NONE)
    strict = check(
        zone(example_org="v=DMARC1; p=reject; adkim=s; aspf=s"), "example.org", unsure=("a.example.org", ("a.example.org",))
    )
    assert strict.result == "fail"


@pytest.mark.parametrize(
    ("record", "how", "percent", "disposition"),
    [
        ("p=reject", WALK, 0, REJECT),
        ("p=reject; t=y", WALK, 0, QUARANTINE),
        ("p=quarantine; t=y", WALK, 0, NONE),
        ("p=none; t=y", WALK, 0, NONE),
        ("p=reject; pct=30", WALK, 99, REJECT),
        ("p=reject; pct=30", LIST, 29.9, REJECT),
        ("p=reject; pct=30", LIST, 30, QUARANTINE),
        ("p=quarantine; pct=0", LIST, 0, NONE),
    ],
)
def test_tests_and_parts_of_the_mail_weaken_the_policy(record, how, percent, disposition):
    found = check(zone(example_org=f"v=DMARC1; {record}"), "example.org", how=how, percent=percent)
    assert (found.result, found.disposition) == ("fail", disposition)


def test_the_author_that_lets_through_least_counts():
    resolver = zone(example_org="v=DMARC1; p=reject", example_net="v=DMARC1; p=none")
    results = [check(resolver, author, dkim=("example.org",)) for author in ("example.org", "example.net", "example.com")]
    assert worst(results).author == "example.net"
    assert worst([*results, check(resolver, "a.example.org")]).author == "a.example.org"
