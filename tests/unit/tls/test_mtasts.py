"""Records and policies of MTA-STS: the examples of the RFC, what is wrong, and any bytes."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from meta1g.tls.mtasts import MAX_AGE_MAX_S, MX_MAX, POLICY_MAX_BYTES, StsError, StsMode, StsPolicy, parse_policy, record_id

POLICY = b"version: STSv1\nmode: enforce\nmx: mail.example.com\nmx: *.example.net\nmax_age: 604800\n"
PARSED = StsPolicy(StsMode.ENFORCE, ("mail.example.com", "*.example.net"), 604800)


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["v=STSv1; id=20160831085700Z;"], "20160831085700Z"),
        (["v=STSv1;id=a"], "a"),
        (["v=STSv1 ;\tid=a ; x=1;"], "a"),
        (["v=STSv1; x-y.z_1=~!; id=a"], "a"),
        (["v=STSv1; id=a; id=b"], "a"),
        (["v=spf1 -all", "v=STSv1; id=a", ""], "a"),
        ([], None),
        (["v=STSv2; id=a"], None),
        (["v=STSv11; id=a"], None),
        ([" v=STSv1; id=a"], None),
        (["V=STSv1; id=a"], None),
    ],
)
def test_the_record_tells_the_id_of_the_policy(texts, expected):
    assert record_id(texts) == expected


@pytest.mark.parametrize(
    ("texts", "word"),
    [
        (["v=STSv1; id=a", "v=STSv1; id=a"], "more than one"),
        (["v=STSv1"], "no id"),
        (["v=STSv1;"], "key=value"),
        (["v=STSv1; ; id=a"], "key=value"),
        (["v=STSv1; id="], "key=value"),
        (["v=STSv1; id=a-b"], "no id"),
        (["v=STSv1; id=" + "a" * 33], "no id"),
        (["v=STSv1; id=a; nonsense"], "key=value"),
        (["v=STSv1; id=a; x=\xe9"], "key=value"),
    ],
)
def test_a_damaged_record_is_told(texts, word):
    with pytest.raises(StsError, match=word):
        record_id(texts)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (POLICY, PARSED),
        (POLICY.replace(b"\n", b"\r\n"), PARSED),
        (POLICY.rstrip(b"\n"), PARSED),
        (POLICY + b"\r\n\n", PARSED),
        (b"max_age:604800\nmx:MAIL.example.com.\nmx:*.Example.net  \nmode:\tenforce\nversion:STSv1", PARSED),
        (POLICY + b"mode: none\nmax_age: 1\nversion: STSv2\n", PARSED),
        (POLICY + b"mx: mail.example.com\nnew_key: \xc3\xa9 anything: at all\nx.y-z: \n", PARSED),
        (b"version: STSv1\nmode: none\nmax_age: 0", StsPolicy(StsMode.NONE, (), 0)),
        (b"version: STSv1\nmode: testing\nmx: a\nmax_age: 9999999999", StsPolicy(StsMode.TESTING, ("a",), MAX_AGE_MAX_S)),
    ],
)
def test_a_policy_is_read(data, expected):
    assert parse_policy(data) == expected


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (b"", "no version"),
        (POLICY.replace(b"STSv1", b"STSv2"), "no version"),
        (POLICY.replace(b"enforce", b"Enforce"), "no mode"),
        (POLICY.replace(b"mode", b"node"), "no mode"),
        (b"version: STSv1\nmode: enforce\nmax_age: 1\n", "no mx"),
        (b"version: STSv1\nmode: none\n", "no max_age"),
        (POLICY.replace(b"604800", b"1w"), "no max_age"),
        (POLICY.replace(b"604800", b"-1"), "no max_age"),
        (POLICY.replace(b"604800", b"12345678901"), "no max_age"),
        (POLICY.replace(b"604800", "٦".encode()), "no max_age"),
        (POLICY + b"<html>\n", "line 6 .* key: value"),
        (POLICY + b"mx: *\n", "line 6 .* mx"),
        (POLICY + b"mx: *.*.example.com\n", "mx"),
        (POLICY + b"mx: a.*.example.com\n", "mx"),
        (POLICY + b"mx: .example.com\n", "mx"),
        (POLICY + b"mx: a..b\n", "mx"),
        (POLICY + b"mx: \xc3\xa9.example\n", "mx"),
        (POLICY + b"mx: a b\n", "mx"),
        (POLICY + b"mx: " + b"a." * 128 + b"b\n", "mx"),
        (POLICY + b"\xff", "UTF-8"),
        (POLICY + b"\r", "key: value"),
        (POLICY + b"".join(b"mx: m%d.example\n" % one for one in range(MX_MAX)), "more than"),
        (POLICY + b"x: " + b"y" * POLICY_MAX_BYTES, "longer"),
    ],
)
def test_what_is_no_policy_is_told(data, word):
    with pytest.raises(StsError, match=word):
        parse_policy(data)


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("mail.example.com", True),
        ("MAIL.Example.com.", True),
        ("example.com", False),
        ("a.mail.example.com", False),
        ("mx1.example.net", True),
        ("example.net", False),
        ("a.b.example.net", False),
        ("*.example.net", True),
        (".example.net", True),
        ("", False),
        ("com", False),
        ("192.0.2.1", False),
    ],
)
def test_a_star_stands_for_one_label(host, allowed):
    assert PARSED.allows(host) is allowed


@settings(deadline=None)
@given(some.binary(max_size=300) | some.lists(some.sampled_from([*POLICY.split(b"\n"), b"mx: *.", b"\r"])).map(b"\n".join))
def test_any_bytes_are_a_policy_or_an_error_and_a_policy_reads_as_it_was_written(data):
    try:
        policy = parse_policy(data)
    except StsError:
        return
    assert parse_policy("\r\n".join(policy.lines()).encode()) == policy


@settings(deadline=None)
@given(some.lists(some.text(max_size=60).map(lambda rest: "v=STSv1;" + rest) | some.text(max_size=60), max_size=3))
def test_any_texts_are_an_id_or_none_or_an_error(texts):
    try:
        found = record_id(texts)
    except StsError:
        return
    assert found is None or found.isalnum()
