"""The signer: which fields it signs, and how its own looks."""

import base64
import re

from meta1g_filters.dkim.sign import DkimSigner, SignSettings
from meta1g_filters.dkim.tags import parse_tags
from tests.unit.filters.dkim.samples import ED_KEY, FROM, NOW, PLAIN, dns_of, sign, signing_key, split, verify

RSA, ED = signing_key(), signing_key(ED_KEY)


def tags(field):
    return parse_tags(field.partition(b":")[2])


def signatures(message, *keys, settings=None):
    fields, body = split(message)
    signer = DkimSigner(list(keys), settings)
    signer.header(fields)
    signer.body(body)
    return signer.finish(NOW + 0.9)


def test_each_key_makes_a_field_of_its_own():
    first, second = signatures(PLAIN, RSA, ED)
    assert {name: tags(first)[name] for name in "vacdst"} == {
        "v": "1",
        "a": "rsa-sha256",
        "c": "relaxed/relaxed",
        "d": "example.org",
        "s": "rsa",
        "t": str(NOW),
    }
    assert (tags(second)["a"], tags(second)["s"]) == ("ed25519-sha256", "ed")
    assert len(base64.b64decode(re.sub(r"\s", "", tags(second)["b"]))) == 64


def names(message, settings=None):
    return re.sub(r"\s", "", tags(signatures(message, ED, settings=settings)[0])["h"]).split(":")


def test_fields_are_signed_as_often_as_they_are_there_and_some_once_more():
    settings = SignSettings(signed=("to", "list-id", "x-none"), oversigned=("from", "subject"))
    message = FROM + b"To: a\r\nTO : b\r\nList-Id: c\r\nX-Other: d\r\n\r\n"
    assert names(message, settings) == ["from", "from", "to", "to", "list-id", "subject"]


def test_from_is_signed_whatever_the_settings_say():
    assert names(PLAIN, SignSettings(signed=(), oversigned=())) == ["from"]


def test_a_field_added_on_the_way_breaks_the_signature_if_its_name_is_oversigned():
    message = sign(PLAIN, ED)
    lookup = dns_of(ED)
    for line in (b"Subject: other\r\n", b"Reply-To: eve@example.net\r\n", b"Content-Type: text/html\r\n"):
        assert [one.result for one in verify(line + message, lookup)] == ["fail"]
    for line in (b"List-Id: x\r\n", b"Received: x\r\n", b"DKIM-Signature: x\r\n"):
        assert "pass" in [one.result for one in verify(line + message, lookup)]


def test_a_signature_expires_if_the_settings_say_so():
    assert tags(signatures(PLAIN, ED, settings=SignSettings(lifetime_s=600))[0])["x"] == str(NOW + 600)
    assert "x" not in tags(signatures(PLAIN, ED)[0])


def test_lines_are_short_and_a_fold_is_one():
    message = b"".join(b"To: x\r\n" for _ in range(500)) + PLAIN
    for field in signatures(message, RSA, ED):
        lines = field.split(b"\r\n")
        assert lines.pop() == b""
        assert max(map(len, lines)) <= 78
        assert all(line.startswith(b"\t") and line.strip() for line in lines[1:])
    assert [one.result for one in verify(sign(message, RSA, ED), dns_of(RSA, ED))] == ["pass"] * 2


def test_no_keys_make_no_fields():
    assert signatures(PLAIN) == []
