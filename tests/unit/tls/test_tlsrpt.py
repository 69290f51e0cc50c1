"""TLSRPT: records, what a session means, the counts of a day, the report and its message."""

import email
import email.policy
import gzip
import json
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from meta1g.tls import rptday
from meta1g.tls.mtasts import StsMode, StsPolicy
from meta1g.tls.rptday import FAILURES_MAX, POLICIES_MAX, DayError, RptDay, content_of, day_from
from meta1g.tls.rptmail import report_message
from meta1g.tls.sessions import TlsSeen, held_against, judged
from meta1g.tls.tlsrpt import (
    RUA_MAX,
    DayReport,
    PolicyType,
    ResultType,
    RptCount,
    RptError,
    RptFailure,
    RptPolicy,
    RptSender,
    RptTarget,
    day_of,
    rpt_targets,
)

R = ResultType
MAIL = RptTarget(address="rpt@example.com")


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["v=TLSRPTv1; rua=mailto:rpt@example.com"], (MAIL,)),
        (["v=TLSRPTv1;rua=mailto:rpt@example.com;"], (MAIL,)),
        (["v=TLSRPTv1; x=y; rua=MAILTO:rpt%40example.com?subject=x"], (MAIL,)),
        (["v=TLSRPTv1; rua=https://R.example.com/v1?a=b"], (RptTarget("", "r.example.com", 443, "/v1?a=b"),)),
        (
            ["v=TLSRPTv1; rua=https://r.example.com:8443 , mailto:rpt@example.com"],
            (RptTarget("", "r.example.com", 8443, "/"), MAIL),
        ),
        (["v=TLSRPTv1; rua=ftp://example.com/,mailto:rpt@example.com"], (MAIL,)),
        (["v=TLSRPTv1; rua=" + ",".join(["mailto:rpt@example.com"] * 99)], (MAIL,)),
        (["v=spf1"], ()),
        ([], ()),
        (["v=TLSRPTv2; rua=mailto:rpt@example.com"], ()),
    ],
)
def test_the_record_tells_who_wants_reports(texts, expected):
    assert rpt_targets(texts) == expected
    assert len(expected) <= RUA_MAX


@pytest.mark.parametrize(
    ("record", "word"),
    [
        ("v=TLSRPTv1", "no rua"),
        ("v=TLSRPTv1; nonsense", "key=value"),
        ("v=TLSRPTv1; rua=mailto:", "no mail address"),
        ("v=TLSRPTv1; rua=mailto:a@b%0d%0aBcc:c@d", "no mail address"),
        ("v=TLSRPTv1; rua=mailto:<a@b>", "no mail address"),
        ("v=TLSRPTv1; rua=https://192.0.2.1/", "host name"),
        ("v=TLSRPTv1; rua=https://u:p@r.example.com/", "host name"),
        ("v=TLSRPTv1; rua=https://localhost/", "host name"),
        ("v=TLSRPTv1; rua=https://r.example.com:x/", "no URI"),
        ("v=TLSRPTv1; rua=https://[::1/", "no URI"),
        ("v=TLSRPTv1; rua=https://r.example.com/a b", "no URI"),
        ("v=TLSRPTv1; rua=https://r.example.com/" + "a" * 2000, "no URI"),
    ],
)
def test_a_damaged_record_is_told(record, word):
    with pytest.raises(RptError, match=word):
        rpt_targets([record])
    with pytest.raises(RptError, match="more than one"):
        rpt_targets([record, record])


@settings(deadline=None)
@given(some.lists(some.text(max_size=60).map(lambda rest: "v=TLSRPTv1;rua=" + rest) | some.text(max_size=60), max_size=3))
def test_any_texts_are_targets_or_an_error(texts):
    with suppress(RptError):
        for one in rpt_targets(texts):
            assert bool(one.address) != bool(one.host)


POLICY = StsPolicy(StsMode.TESTING, ("mx.example.com",), 86400)


def seen(**facts):
    usual = {
        "domain": "example.com", "host": "mx.example.com", "address": "192.0.2.1", "source": "192.0.2.9",
        "offered": True, "secured": True, "verified": True, "reason": "",
    }  # fmt: skip
    return TlsSeen(**{**usual, **facts})


NO_TLS = {"offered": False, "secured": False, "verified": False}


@pytest.mark.parametrize(
    ("facts", "policy", "failed", "kind", "result"),
    [
        ({}, None, None, PolicyType.NONE, None),
        ({"verified": False, "reason": "self-signed certificate"}, None, None, PolicyType.NONE, None),
        (NO_TLS, None, None, PolicyType.NONE, R.STARTTLS_NOT_SUPPORTED),
        ({"secured": False, "reason": "TLS: no shared cipher"}, None, None, PolicyType.NONE, R.VALIDATION_FAILURE),
        ({}, POLICY, None, PolicyType.STS, None),
        (NO_TLS, POLICY, None, PolicyType.STS, R.STARTTLS_NOT_SUPPORTED),
        ({"verified": False, "reason": "hostname mismatch"}, POLICY, None, PolicyType.STS, R.CERTIFICATE_HOST_MISMATCH),
        ({"verified": False, "reason": "certificate has expired"}, POLICY, None, PolicyType.STS, R.CERTIFICATE_EXPIRED),
        ({"verified": False, "reason": "self-signed certificate"}, POLICY, None, PolicyType.STS, R.CERTIFICATE_NOT_TRUSTED),
        (
            {"verified": False, "reason": "unable to get local issuer certificate"},
            POLICY,
            None,
            PolicyType.STS,
            R.CERTIFICATE_NOT_TRUSTED,
        ),
        ({"verified": False, "reason": "what?"}, POLICY, None, PolicyType.STS, R.VALIDATION_FAILURE),
        ({"host": "mx.evil.example"}, POLICY, None, PolicyType.STS, R.VALIDATION_FAILURE),
        ({}, None, R.STS_POLICY_INVALID, PolicyType.STS, R.STS_POLICY_INVALID),
        ({}, POLICY, R.STS_POLICY_FETCH_ERROR, PolicyType.STS, R.STS_POLICY_FETCH_ERROR),
        ({}, StsPolicy(StsMode.NONE, (), 1), None, PolicyType.NONE, None),
        (
            {"secured": False, "reason": "no answer about its TLSA records: SERVFAIL"},
            POLICY,
            None,
            PolicyType.TLSA,
            R.DNSSEC_INVALID,
        ),
        (
            {"secured": False, "reason": "its TLSA records have more than 8192 bytes"},
            None,
            None,
            PolicyType.TLSA,
            R.TLSA_INVALID,
        ),
        ({"tlsa": ("3 1 1 00",), "verified": False}, POLICY, None, PolicyType.TLSA, None),
        (
            {"tlsa": ("3 1 1 00",), "secured": False, "reason": "fits no TLSA record"},
            None,
            None,
            PolicyType.TLSA,
            R.VALIDATION_FAILURE,
        ),
    ],
)
def test_what_a_session_means(facts, policy, failed, kind, result):
    found = judged(seen(**facts), policy, failed, "why")
    assert held_against(seen(**facts), policy, failed).kind is kind
    assert (None if found is None else found.result) is result


STS = RptPolicy(PolicyType.STS, "example.com", POLICY.lines(), POLICY.mx)
NONE = RptPolicy(PolicyType.NONE, "other.example")
EXPIRED = RptFailure(R.CERTIFICATE_EXPIRED, "192.0.2.9", "mx.example.com", "192.0.2.1", reason="certificate has expired")


def a_day():
    day = RptDay("2026-11-26")
    for failure in (None, None, EXPIRED, EXPIRED, EXPIRED):
        assert day.add(STS, failure)
    assert day.add(NONE, None)
    day.note_sent("example.com", "mailto:rpt@example.com")
    return day


def test_a_day_is_read_as_it_was_written():
    day = a_day()
    again = day_from(day.day, content_of(list(day.lines())))
    assert again.counts("example.com") == day.counts("example.com") == (RptCount(STS, 2, 3, ((EXPIRED, 3),)),)
    assert again.sent_to("example.com") == {"mailto:rpt@example.com"}
    assert (again.domains(), again.changed) == (("example.com", "other.example"), False)
    again.drop("example.com")
    assert (again.counts("example.com"), again.sent_to("example.com"), again.changed) == ((), frozenset(), True)


@settings(deadline=None)
@given(some.binary(max_size=100) | some.binary(max_size=50).map(lambda more: content_of([*a_day().lines(), more])))
def test_any_content_is_a_day_or_an_error(data):
    with suppress(DayError):
        day_from("2026-11-26", data)


def test_a_day_is_bounded(monkeypatch):
    day = a_day()
    for number in range(FAILURES_MAX + 9):
        assert day.add(STS, RptFailure(R.VALIDATION_FAILURE, mx_host=f"mx{number}.example.com"))
    (count,) = day.counts("example.com")
    assert (len(count.failures), count.bad) == (FAILURES_MAX, FAILURES_MAX + 12)
    added = [day.add(RptPolicy(PolicyType.STS, "example.com", (str(number),)), None) for number in range(POLICIES_MAX)]
    assert added == [True] * (POLICIES_MAX - 1) + [False]
    monkeypatch.setattr(rptday, "DOMAINS_MAX", 2)
    assert not day.add(RptPolicy(PolicyType.NONE, "third.example"), None)
    monkeypatch.setattr(rptday, "DOMAINS_MAX", 9)
    assert not day.add(RptPolicy(PolicyType.NONE, "large.example", ("x" * rptday.DAY_MAX_BYTES,)), None)
    assert day.add(RptPolicy(PolicyType.NONE, "third.example"), None)


SENDER = RptSender("Example Gateway", "tls@gateway.example", "gateway.example")
REPORT = DayReport("example.com", "2026-11-26", SENDER, a_day().counts("example.com"))


def test_the_report_is_that_of_the_rfc():
    assert json.loads(gzip.decompress(REPORT.packed())) == {
        "organization-name": "Example Gateway",
        "date-range": {"start-datetime": "2026-11-26T00:00:00Z", "end-datetime": "2026-11-26T23:59:59Z"},
        "contact-info": "tls@gateway.example",
        "report-id": "2026-11-26T00.00.00Z+example.com@gateway.example",
        "policies": [
            {
                "policy": {
                    "policy-type": "sts",
                    "policy-string": ["version: STSv1", "mode: testing", "mx: mx.example.com", "max_age: 86400"],
                    "policy-domain": "example.com",
                    "mx-host": ["mx.example.com"],
                },
                "summary": {"total-successful-session-count": 2, "total-failure-session-count": 3},
                "failure-details": [
                    {
                        "result-type": "certificate-expired",
                        "sending-mta-ip": "192.0.2.9",
                        "receiving-mx-hostname": "mx.example.com",
                        "receiving-ip": "192.0.2.1",
                        "failure-reason-code": "certificate has expired",
                        "failed-session-count": 3,
                    }
                ],
            }
        ],
    }


def test_the_message_is_that_of_the_rfc():
    raw = report_message(REPORT, "rpt@example.com", 1795800000.0)
    assert max(map(len, raw.split(b"\r\n"))) <= 78 + 40
    message = email.message_from_bytes(raw, policy=email.policy.default)
    assert message["TLS-Report-Domain"] == "example.com"
    assert message["TLS-Report-Submitter"] == "gateway.example"
    assert message["Subject"] == (
        "Report Domain: example.com Submitter: gateway.example Report-ID: <2026-11-26T00.00.00Z+example.com@gateway.example>"
    )
    assert (message.get_content_type(), message.get_param("report-type")) == ("multipart/report", "tlsrpt")
    text, packed = message.iter_parts()
    assert (text.get_content_type(), packed.get_content_type()) == ("text/plain", "application/tlsrpt+gzip")
    assert packed.get_filename() == "gateway.example!example.com!1795651200!1795737599.json.gz"
    assert packed.get_payload(decode=True) == REPORT.packed()
    assert not message.defects


def test_a_day_is_that_of_utc():
    assert (day_of(1795651200), day_of(1795651199.9)) == ("2026-11-26", "2026-11-25")
