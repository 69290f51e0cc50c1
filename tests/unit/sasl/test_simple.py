"""PLAIN, LOGIN, EXTERNAL, CRAM-MD5, XOAUTH2, OAUTHBEARER and the preparation of names."""

import pytest

from meta1g.sasl.base import SaslError, SaslIdentity
from meta1g.sasl.prep import saslprep
from meta1g.sasl.simple import (
    cram_md5_client,
    external_server,
    login_client,
    login_server,
    oauthbearer_client,
    plain_client,
    plain_server,
    xoauth2_client,
)
from tests.unit.sasl.exchanges import serve, talk


@pytest.mark.parametrize("initial", [b"\0user\0pencil", None])
def test_plain_with_and_without_an_initial_response(initial):
    responses = () if initial else (b"\0user\0pencil",)
    assert serve(plain_server(initial), *responses)[0] == SaslIdentity("user", "user")


@pytest.mark.parametrize(
    ("message", "wrong"),
    [
        (b"", True),
        (b"user", True),
        (b"user\0pencil", True),
        (b"\0user\0pencil\0more", True),
        (b"\0\0pencil", True),
        (b"\0user\0", True),
        (b"\0\xff\0pencil", True),
        (b"\0user\0" + b"x" * 513, True),
        (b"\0user\0wrong", False),
        (b"\0nobody\0pencil", False),
        (b"\0us\x07er\0pencil", False),
    ],
)
def test_plain_that_is_wrong(message, wrong):
    error, _ = serve(plain_server(message))
    assert (type(error), error.malformed) == (SaslError, wrong)


def test_errors_do_not_tell_which_half_was_wrong():
    reasons = {serve(plain_server(message))[0].reason for message in (b"\0user\0wrong", b"\0nobody\0pencil", b"\0us\x07er\0x")}
    assert len(reasons) == 1


def test_plain_tells_whom_the_client_wants_to_act_as():
    assert serve(plain_server(b"other\0user\0pencil"))[0] == SaslIdentity("user", "other")


@pytest.mark.parametrize("initial", [b"joe", None])
def test_login_asks_for_what_is_missing(initial):
    responses = ["sécret".encode()] if initial else [b"joe", "sécret".encode()]
    identity, challenges = serve(login_server(initial), *responses)
    assert identity == SaslIdentity("joe", "joe")
    assert challenges == [b"Username:", b"Password:"][-len(responses) :]


def test_external_needs_a_certificate():
    assert serve(external_server(b"", "cert.example"))[0] == SaslIdentity("cert.example", "cert.example")
    assert serve(external_server(None, "cert.example"), b"joe")[0] == SaslIdentity("cert.example", "joe")
    assert isinstance(serve(external_server(b"joe", ""))[0], SaslError)


def test_clients_and_servers_agree():
    assert talk(plain_client("a=b,c", "pass word"), plain_server) == SaslIdentity("a=b,c", "a=b,c")
    assert talk(login_client("joe", "sécret"), login_server) == SaslIdentity("joe", "joe")


def test_the_example_of_rfc_2195():
    challenge = b"<1896.697170952@postoffice.reston.mci.net>"
    assert next(cram_md5_client("tim", "tanstaaftanstaaf", challenge)) == b"tim b913a602c7eda7a495b4e6e7334d3890"


def test_tokens():
    exchange = xoauth2_client("user@example.org", "TOKEN")
    assert next(exchange) == b"user=user@example.org\1auth=Bearer TOKEN\1\1"
    assert exchange.send(b'{"status":"401"}') == b""
    exchange = oauthbearer_client("user@example.org", "TOKEN", "mx.example", 587)
    assert next(exchange) == b"n,a=user@example.org,\1host=mx.example\1port=587\1auth=Bearer TOKEN\1\1"
    assert exchange.send(b'{"status":"invalid_token"}') == b"\1"


@pytest.mark.parametrize(
    ("text", "prepared"),
    [("I\u00adX", "IX"), ("user", "user"), ("USER", "USER"), ("\u00aa", "a"), ("\u2168", "IX"), ("a\u00a0b", "a b")],
)
def test_the_examples_of_rfc_4013(text, prepared):
    assert saslprep(text) == prepared


@pytest.mark.parametrize("text", ["\u0007", "\u06271", "a\u0627", "\ue000", "\u2028"])
def test_what_may_not_stand_in_a_name(text):
    with pytest.raises(SaslError):
        saslprep(text)


def test_what_is_kept_has_only_assigned_characters():
    assert saslprep("\U0001f600") == "\U0001f600"
    with pytest.raises(SaslError):
        saslprep("\U0001f600", stored=True)
