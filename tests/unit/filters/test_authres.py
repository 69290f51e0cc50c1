"""Authentication-Results: what is written, and which fields of others go."""

import time

import pytest

from meta1g_filters.authres.results import MethodResult, authserv_of, claims, compose, has_result, mailbox

OURS = "mx.example.org"


def test_results_are_written_one_a_line():
    spf = MethodResult("spf", "pass", properties=(("smtp.mailfrom", "ada@example.net"), ("smtp.helo", "")))
    dkim = MethodResult(
        "dkim", "fail", reason='body "has" changed', properties=(("header.d", "example.net"), ("header.b", "a+b/="))
    )
    assert compose(OURS, [spf, dkim]) == (
        " mx.example.org;\r\n\tspf=pass smtp.mailfrom=ada@example.net;\r\n\t"
        'dkim=fail reason="body \\"has\\" changed" header.d=example.net header.b="a+b/="'
    )
    assert compose(OURS, []) == " mx.example.org;\r\n\tnone"
    assert str(MethodResult("dmarc", "fail", comment="p=reject (x) \\")) == "dmarc=fail (p=reject ?x? ?)"


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("example.net", "example.net"),
        ("@example.net", "@example.net"),
        ("ada.x+y@example.net", "ada.x+y@example.net"),
        ("a b@example.net", '"a b@example.net"'),
        ('"a;b"@example.net', '"\\"a;b\\"@example.net"'),
        ("2001:db8::1", '"2001:db8::1"'),
        ("a\r\nX-Forged: 1", '"a??X-Forged: 1"'),
        ("é", '"?"'),
        ("x" * 300, "x" * 256),
    ],
)
def test_a_value_cannot_break_out_of_its_place(value, written):
    field = str(MethodResult("spf", "pass", properties=(("smtp.mailfrom", value),)))
    assert field == f"spf=pass smtp.mailfrom={written}"


def test_an_address_that_is_not_ascii_is_told_by_its_domain():
    assert mailbox("ädä@bücher.example") == "@xn--bcher-kva.example"
    assert mailbox("ada@example.org") == "ada@example.org"
    assert mailbox("ada@exa mple") in ("", "ada@exa mple")


@pytest.mark.parametrize(
    "value",
    [
        b" mx.example.org; spf=pass",
        b" MX.EXAMPLE.ORG;\r\n spf=pass",
        b"mx.example.org; none",
        b" mx.example.org 1; spf=pass",
        b" (a (nested) comment) mx.example.org (more) 1 (more); none",
        b' "mx.example.org"; none',
        b' "mx\\.example.org"; none',
        b"\r\n\tmx.example.org\r\n\t; none",
        b" mx.example.org",
        b" (not closed mx.example.org; spf=pass",
        b" ;mx.example.org; spf=pass",
        b" spf=pass mx.example.org",
        b" \xff; mx.example.org",
        b" mx.example.org\0; spf=pass",
        b" \1mx.example.org; spf=pass",
        b" mx.example.org.; spf=pass",
        b" \xef\xbd\x8d\xef\xbd\x98.example.org; spf=pass",
        b" mx.exam\xc2\xadple.org; spf=pass",
        b" mx.exa\r\n mple.org; spf=pass",
        b" mx . example . org; spf=pass",
        b" mx(a).example(b).org; spf=pass",
        b' "mx".example.org; spf=pass',
        b" mx\\.example.org; spf=pass",
    ],
)
def test_what_says_or_could_be_taken_for_ours_goes(value):
    assert claims(value, OURS)


@pytest.mark.parametrize(
    "value", [b" mx.b\xc3\xbccher.example; spf=pass", b" MX.B\xc3\x9cCHER.example; none", b" mx.xn--bcher-kva.example; none"]
)
def test_a_name_of_ours_in_u_labels_is_ours(value):
    """RFC 8616 5."""
    assert claims(value, "mx.xn--bcher-kva.example")
    assert not claims(value, OURS)


@pytest.mark.parametrize(
    "value",
    [b" other.example.net; spf=pass", b" amx.example.org; none", b" other.example.net; spf=pass smtp.helo=mx.example.org", b""],
)
def test_what_others_say_stays(value):
    assert not claims(value, OURS)


@pytest.mark.parametrize("text", ["()", "(\\)()) ", "( )\t"])
def test_many_comments_cost_their_length_and_no_more(text):
    def cost_s(count):
        begin = time.process_time()
        assert authserv_of(text * count + "x; none") == "x"
        return time.process_time() - begin

    assert min(cost_s(160_000) for _ in range(3)) < 16 * min(cost_s(20_000) for _ in range(3))  # 8 times the text, 64 if not


def test_the_name_of_who_says_so():
    assert authserv_of(' "a b" 1; none') == "a b"
    assert authserv_of("(" * 30 + ")" * 30 + "x; none") == "x"
    assert authserv_of("a b; none") is None


@pytest.mark.parametrize(
    ("field", "found"),
    [
        (b"ARC-Authentication-Results: i=1; mx.example; spf=fail;\r\n dmarc=pass (p=none) header.from=x\r\n", True),
        (b"ARC-Authentication-Results: i=1; mx.example; DMARC/1 = Pass\r\n", True),
        (b"ARC-Authentication-Results: i=1; mx.example; dmarc=fail (dmarc=pass; dmarc=pass)\r\n", False),
        (b'ARC-Authentication-Results: i=1; mx.example; dmarc=fail reason="; dmarc=pass"\r\n', False),
        (b"ARC-Authentication-Results: i=1; mx.example; xdmarc=pass; dmarc=passed; dmarc=pass-not\r\n", False),
        (b'ARC-Authentication-Results: i=1; mx.example; spf=fail (a " b) reason="; dmarc=pass"\r\n', False),
        (b"ARC-Authentication-Results: " + b"(" * 30000 + b")" * 30000, False),
    ],
)
def test_what_a_field_says_of_a_method(field, found):
    assert has_result(field, "dmarc", "pass") is found
