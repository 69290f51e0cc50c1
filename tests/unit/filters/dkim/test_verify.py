"""The verifier: samples of the standards, and each way in which a signature is not good enough."""

import base64
import time

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicNumbers
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from meta1g_filters.dkim.canon import BodyHashes, Canonicalization, SignedFields
from meta1g_filters.dkim.keyrecord import parse_record
from meta1g_filters.dkim.sign import SignSettings, signed_field
from meta1g_filters.dkim.signature import VerifyLimits
from meta1g_filters.dkim.verify import DkimResult, DkimVerifier
from tests.unit.filters.dkim.samples import (
    ED_KEY,
    FROM,
    NOW,
    PLAIN,
    RFC6376,
    RFC6376_KEY,
    RFC8463,
    RFC8463_KEYS,
    Dns,
    crlf,
    dns_of,
    public_text,
    record,
    rsa_key,
    sign,
    signing_key,
    split,
    verify,
)

RSA, ED = signing_key(), signing_key(ED_KEY)
BOTH = dns_of(RSA, ED)
NAME = "rsa._domainkey.example.org"


def words(message, lookup=BOTH, limits=None, **options):
    return [(one.result, one.reason) for one in verify(message, lookup, limits, **options)]


def test_the_sample_of_rfc_6376_passes():
    found = verify(crlf(RFC6376), Dns({"brisbane._domainkey.example.com": RFC6376_KEY}))
    result = DkimResult("pass", "example.com", "brisbane", "joe@football.example.com", "rsa-sha256", "AuUoFEfD", key_bits=1024)
    assert found == [result]


def test_the_samples_of_rfc_8463_pass():
    found = verify(crlf(RFC8463), Dns(RFC8463_KEYS))
    assert [(one.result, one.algorithm, one.key_bits) for one in found] == [
        ("pass", "ed25519-sha256", 256),
        ("pass", "rsa-sha256", 1024),
    ]


@pytest.mark.parametrize("header_way", Canonicalization)
@pytest.mark.parametrize("body_way", Canonicalization)
@pytest.mark.parametrize("chunk", [1, 7, 1000])
def test_what_is_signed_here_passes_here(header_way, body_way, chunk):
    message = sign(PLAIN, RSA, ED, settings=SignSettings(header_way, body_way), chunk=chunk)
    assert words(message, chunk=chunk) == [("pass", "")] * 2


def test_a_message_without_signatures_has_the_result_none():
    assert verify(PLAIN, BOTH) == [DkimResult("none")]
    assert verify(b"", BOTH) == [DkimResult("none")]


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (b"words", b"swords", "body hash does not fit the body"),
        (b"To: bob", b"To: eve", "signature does not fit the header fields"),
        (b"From: ann", b"From: eve@example.net\r\nFrom: ann", "signature does not fit the header fields"),
        (b"d=example.org", b"d=example.ORG ", "signature does not fit the header fields"),
    ],
)
def test_a_change_is_found(old, new, reason):
    message = sign(PLAIN, RSA)
    assert message.count(old) >= 1
    assert words(message.replace(old, new, 1)) == [("fail", reason)]


def tagged(**tags):
    """Gives a message with a signature that has other tags, or none; it is not signed anew."""
    have = {"v": "1", "a": "rsa-sha256", "d": "example.org", "s": "rsa", "h": "from", "bh": "YWJj", "b": "YWJj"}
    have |= {name.rstrip("_"): value for name, value in tags.items()}
    text = "; ".join(f"{name}={value}" for name, value in have.items() if value is not None)
    return f"DKIM-Signature: {text}\r\n".encode() + FROM + b"\r\n"


@pytest.mark.parametrize(
    ("tags", "word", "reason"),
    [
        ({"v": None}, "neutral", "no v="),
        ({"v": "2"}, "neutral", "v= is not 1"),
        ({"a": None}, "neutral", "no a="),
        ({"a": "rsa-sha512"}, "neutral", "a= is unknown"),
        ({"a": "rsa-sha1"}, "permerror", "rsa-sha1 is historic"),
        ({"d": None}, "neutral", "no d="),
        ({"d": "a..b"}, "neutral", "d= is no domain"),
        ({"d": "org"}, "neutral", "d= is no domain"),
        ({"s": None}, "neutral", "no s="),
        ({"s": "!"}, "neutral", "s= is no selector"),
        ({"h": None}, "neutral", "no h="),
        ({"h": "to"}, "permerror", "From is not signed"),
        ({"h": ":".join(["from"] * 5001)}, "neutral", "h= has too many names"),
        ({"b": None}, "neutral", "no b="),
        ({"b": "!"}, "neutral", "b= is not base64"),
        ({"bh": ""}, "neutral", "no bh="),
        ({"bh": "YWJ"}, "neutral", "bh= is not base64"),
        ({"c": "strict"}, "neutral", "c= is unknown"),
        ({"c": "relaxed/strict"}, "neutral", "c= is unknown"),
        ({"q": "http"}, "neutral", "q= is unknown"),
        ({"l": "-1"}, "neutral", "l= is no number"),
        ({"l": "10"}, "fail", "l=: body is shorter"),
        ({"t": "x"}, "neutral", "t= is no number"),
        ({"t": "20", "x": "10"}, "neutral", "x= is before t="),
        ({"i": "@example.net"}, "permerror", "i= is not below d="),
        ({"i": "@notexample.org"}, "permerror", "i= is not below d="),
        ({"z": "x" * 70_000}, "neutral", "field too long"),
        ({"bh": "YWJj"}, "fail", "body hash does not fit the body"),
    ],
)
def test_a_signature_that_is_not_to_be_used_says_why(tags, word, reason):
    assert words(tagged(**tags)) == [(word, reason)]


def test_a_list_of_tags_that_is_none_is_neutral():
    assert words(b"DKIM-Signature: v=1;; a=b\r\n" + FROM + b"\r\n") == [("neutral", "no tag behind the first one")]
    assert words(b"DKIM-Signature:\r\n" + FROM + b"\r\n") == [("neutral", "no v=")]


@pytest.mark.parametrize(
    ("answer", "word", "reason"),
    [
        ("nxdomain", "permerror", "no key"),
        ("nodata", "permerror", "no key"),
        ("temperror", "temperror", "DNS does not answer for the key"),
        (b"v=DKIM1; p=", "permerror", "key revoked"),
        (b"v=DKIM2; p=YWJj", "permerror", "key record: v= is not DKIM1"),
        (b"p=YWJj; v=DKIM1", "permerror", "key record: v= is not DKIM1"),
        (b"v=DKIM1; p=YWJj", "permerror", "key record: p= is no key of rsa"),
        (b"v=DKIM1; p=%", "permerror", "key record: p= is not base64"),
        (b"v=DKIM1; k=dsa; p=YWJj", "permerror", "key record: k= is unknown"),
        (b"v=DKIM1; k=ed25519; p=YWJj", "permerror", "key record: p= is no key of ed25519"),
        (b"v=DKIM1", "permerror", "key record: no p="),
        (b"x" * 20_000, "permerror", "key record: key record too long"),
        (b"junk", "permerror", "key record: no tag"),
        (record(ED), "permerror", "key is for ed25519, signature is rsa"),
        (record(RSA, b"v=DKIM1; h=sha1"), "permerror", "key is not for sha256"),
        (record(RSA, b"v=DKIM1; s=other"), "permerror", "key is not for email"),
        ([record(RSA), record(RSA)], "permerror", "2 keys under one selector"),
    ],
)
def test_what_dns_says_of_the_key_decides(answer, word, reason):
    assert words(sign(PLAIN, RSA), Dns({NAME: answer})) == [(word, reason)]


@pytest.mark.parametrize(
    "answer",
    [
        record(RSA, b"v=DKIM1; h=sha1 : sha256; s=tls:*; g=*; n=some notes"),
        b"p=" + public_text(RSA.key),
        [record(RSA), b"v=spf1 -all"],
        record(RSA, b"v=DKIM1; t=s"),
    ],
)
def test_a_key_record_may_say_more_or_less(answer):
    assert words(sign(PLAIN, RSA), Dns({NAME: answer})) == [("pass", "")]


def test_a_key_in_the_form_of_pkcs_1_is_taken():
    data = rsa_key().public_key().public_bytes(Encoding.DER, PublicFormat.PKCS1)
    assert parse_record(b"p=" + base64.b64encode(data)).bits == 2048


def test_a_key_for_tests_is_named_in_the_reason():
    assert words(sign(PLAIN, RSA), dns_of(RSA, tags=b"v=DKIM1; t=y")) == [("pass", "test key")]


def test_a_strict_key_wants_the_domain_of_the_identity_to_be_its_own():
    message = crlf(RFC6376)
    strict = RFC6376_KEY.replace(b"v=DKIM1;", b"v=DKIM1; t=y:s;")
    assert words(message, Dns({"brisbane._domainkey.example.com": strict})) == [
        ("permerror", "i= is below d=, which the key forbids")
    ]


def test_short_keys_are_refused_by_policy():
    short = signing_key(bits=1024)
    message = sign(PLAIN, short)
    assert words(message, dns_of(short)) == [("pass", "")]
    assert words(message, dns_of(short), VerifyLimits(rsa_min_bits=2048)) == [("policy", "key of 1024 bits is too short")]


def test_keys_that_cost_too_much_are_refused():
    key = RSAPublicNumbers(65537, (1 << 9000) + 1).public_key()
    data = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert words(sign(PLAIN, RSA), Dns({NAME: b"p=" + base64.b64encode(data)})) == [("permerror", "key of 9001 bits")]


def partly_signed(length):
    """Gives a message whose signature has `l=`."""
    fields, _body = split(PLAIN)
    bodies = BodyHashes()
    settings = SignSettings()
    bodies.want(settings.body_way)
    bodies.update(b"One\r\n two words\r\n"[:length])
    tags = {"v": "1", "a": "rsa-sha256", "c": "relaxed/relaxed", "d": "example.org", "s": "rsa", "l": str(length)}
    field = signed_field("DKIM-Signature", tags, RSA, settings, SignedFields(fields), bodies)
    return field + PLAIN


def test_a_body_that_is_signed_in_part_is_refused_by_policy():
    message = partly_signed(5)
    assert words(message) == [("policy", "l=: 12 octets of the body are not signed")]
    assert words(message, limits=VerifyLimits(partial_body=True)) == [("pass", "")]


def test_a_length_that_covers_the_body_does_not_matter():
    assert words(partly_signed(17)) == [("pass", "")]


@pytest.mark.parametrize(
    ("lifetime_s", "now", "expected"),
    [
        (10, NOW + 310, ("pass", "")),
        (10, NOW + 311, ("policy", "signature expired")),
        (None, NOW + 10**9, ("pass", "")),
        (None, NOW - 300, ("pass", "")),
        (None, NOW - 301, ("policy", "signature is from the future")),
    ],
)
def test_times_hold_but_for_the_skew_of_clocks(lifetime_s, now, expected):
    assert words(sign(PLAIN, RSA, settings=SignSettings(lifetime_s=lifetime_s)), now=now) == [expected]


def test_a_number_of_signatures_is_looked_at_and_each_key_is_asked_for_once():
    message = sign(PLAIN, *[RSA, ED] * 150)
    lookup = dns_of(RSA, ED)
    found = words(message, lookup)
    assert found == [("pass", "")] * 10 + [("policy", "290 more signatures, not looked at")]
    assert sorted(lookup.asked) == ["ed._domainkey.example.org", "rsa._domainkey.example.org"]
    assert len(verify(message, lookup, VerifyLimits(signatures_max=400))) == 300


def test_no_more_is_asked_after_three_questions_that_dns_did_not_answer():
    """Ten signatures of ten domains whose servers say nothing would hold the message for ten time-outs."""
    keys = [signing_key(ED_KEY, f"d{number}.example") for number in range(10)]
    lookup = Dns({f"ed._domainkey.d{number}.example": "temperror" for number in range(10)})
    assert words(sign(PLAIN, *keys), lookup) == [("temperror", "DNS does not answer for the key")] * 10
    assert len(lookup.asked) == 3


def test_many_fields_of_one_name_and_long_signatures_take_little_time():
    fields = [b"To: x\r\n"] * 5000 + [FROM]
    names = ":".join(["to"] * 4998 + ["from"])
    tags = {"h": names, "bh": "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=", "c": "relaxed/relaxed"}
    both = [tagged(**tags, b="YWJj" * 9999 + end).partition(b"\r\n")[0] + b"\r\n" for end in ("YWJj", "YWJk")]
    verifier = DkimVerifier()
    began = time.process_time()
    verifier.header(both * 5 + fields)
    results = verifier.finish(dns_of(RSA), NOW)
    assert time.process_time() - began < 2
    assert {(one.result, len(one.header_b)) for one in results} == {("fail", 64)}


def test_dns_is_not_asked_for_a_signature_that_fails_anyway():
    lookup = dns_of(RSA)
    assert verify(sign(PLAIN, RSA) + b"more", lookup)[0].result == "fail"
    assert lookup.asked == []


def test_signatures_are_told_apart_by_their_first_letters():
    """RFC 6008: eight of them, more if they are the same."""
    message = tagged(b="YWJjZGVmYWJj") + b""
    other = tagged(b="YWJjZGVmZ2hp").partition(b"\r\n")[0] + b"\r\n"
    assert [one.header_b for one in verify(other + message, BOTH)] == ["YWJjZGVmZ", "YWJjZGVmY"]
    assert [one.header_b for one in verify(message.partition(b"\r\n")[0] + b"\r\n" + message, BOTH)] == ["YWJjZGVm"] * 2


def test_domains_in_utf_8_are_asked_for_in_their_a_labels():
    lookup = Dns()
    message = tagged(d="bücher.example", bh="47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=", c="relaxed/relaxed")
    result = verify(message, lookup)[0]
    assert (result.domain, result.reason, lookup.asked) == (
        "xn--bcher-kva.example",
        "no key",
        ["rsa._domainkey.xn--bcher-kva.example"],
    )


def test_a_body_may_be_hashed_by_somebody_else():
    fields, body = split(sign(PLAIN, RSA))
    bodies = BodyHashes()
    verifier = DkimVerifier(bodies=bodies)
    verifier.header(fields)
    bodies.update(body)
    assert [one.result for one in verifier.finish(BOTH, NOW)] == ["pass"]
