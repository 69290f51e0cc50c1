"""SCRAM against the examples of the RFCs, against itself, and against another author's client and server."""

import base64
import hashlib
import hmac

import pytest
import scramp
from hypothesis import given
from hypothesis import strategies as some

from meta1g.sasl.base import Challenge, FindVerifier, Found, SaslError, SaslIdentity
from meta1g.sasl.scram import ITERATIONS, ScramClient, ScramServer, check_verifier, make_verifier
from tests.unit.sasl.exchanges import SALT, serve, talk

EXAMPLES = {
    "sha1": (
        "QSXCR+Q6sek8bf92",
        "fyko+d2lbbFgONRv9qkxdawL",
        "3rfcNHYJY1ZVvWVs7j",
        b"n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL",
        b"r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096",
        b"c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=",
        b"v=rmF9pqV8S7suAoZWja4dJRkFsKQ=",
    ),
    "sha256": (
        "W22ZaJ0SNY7soEsUEjb6gQ==",
        "rOprNGfwEbeRWgbNEkqO",
        "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0",
        b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO",
        b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
        b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
        b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
    ),
}
BINDING = b"\x01" * 32


@pytest.mark.parametrize("hash_name", EXAMPLES)
def test_the_example_of_the_rfc_server(hash_name):
    salt, _, nonce, first, server_first, final, server_final = EXAMPLES[hash_name]
    verifier = make_verifier(hash_name, "pencil", base64.b64decode(salt))
    exchange = ScramServer(hash_name, nonce).exchange(first)
    assert next(exchange) == FindVerifier("user", hash_name)
    assert exchange.send(Found(verifier, True)) == Challenge(server_first)
    assert exchange.send(final) == Challenge(server_final)
    with pytest.raises(StopIteration) as end:
        exchange.send(b"")
    assert end.value.value == SaslIdentity("user", "user")


@pytest.mark.parametrize("hash_name", EXAMPLES)
def test_the_example_of_the_rfc_client(hash_name):
    _, nonce, _, first, server_first, final, server_final = EXAMPLES[hash_name]
    exchange = ScramClient(hash_name, "user", "pencil", nonce).exchange()
    assert [next(exchange), exchange.send(server_first), exchange.send(server_final)] == [first, final, b""]


def server(hash_name="sha256", **more):
    return ScramServer(hash_name, "snonce", **more)


def client(user="user", password="pencil", hash_name="sha256", **more):
    return ScramClient(hash_name, user, password, "cnonce", **more)


@pytest.mark.parametrize("hash_name", ["sha1", "sha256"])
@pytest.mark.parametrize("binding", [None, BINDING])
@pytest.mark.parametrize(("user", "password"), [("user", "pencil"), ("joe", "sécret"), ("a=b,c", "pass word")])
def test_both_sides_agree(hash_name, binding, user, password):
    ours = server(hash_name, binding=binding, binding_offered=binding is not None)
    assert talk(client(user, password, hash_name, binding=binding).exchange(), ours.exchange) == SaslIdentity(user, user)


@pytest.mark.parametrize(("user", "password"), [("user", "wrong"), ("nobody", "pencil"), ("user", ""), ("us\xadér", "x")])
def test_a_wrong_password_and_an_unknown_user_look_alike(user, password):
    error = talk(client(user, password).exchange(), server().exchange)
    assert (type(error), error.malformed, error.reason) == (SaslError, False, "the password is wrong")


def test_another_connection_s_binding_is_refused():
    error = talk(client(binding=b"\x02" * 32).exchange(), server(binding=BINDING, binding_offered=True).exchange)
    assert "channel binding" in error.reason


def test_a_list_without_the_stronger_mechanism_is_noticed():
    error = talk(client(could_bind=True).exchange(), server(binding_offered=True).exchange)
    assert "somebody may have changed the list" in error.reason
    assert talk(client(could_bind=True).exchange(), server().exchange) == SaslIdentity("user", "user")


BAD_FIRST = [
    b"",
    b"n",
    b"n,",
    b"n,,",
    b"n,,n=user",
    b"n,,r=x,n=user",
    b"n,,n=,r=x",
    b"n,,n=us=er,r=x",
    b"n,,n=user,r=",
    b"n,,n=user,r=a b",
    b"n,,n=user,r=\xc3\xa9",
    b"n,,n=user,r=x,r=y",
    b"n,,m=more,n=user,r=x",
    b"n,,n=user,r=x,m=more",
    b"n,b=joe,n=user,r=x",
    b"x,,n=user,r=x",
    b"p=tls-unique,,n=user,r=x",
    b"p=tls-exporter,,n=user,r=x",
    b"n,,n=\xff,r=x",
    b"n,,n=us\0er,r=x",
    b"n,,n=user,r=" + b"x" * 5000,
]


@pytest.mark.parametrize("message", BAD_FIRST)
def test_a_first_message_that_breaks_the_rules_is_told_apart(message):
    error, _ = serve(server().exchange(message), b"")
    assert error.malformed


def changed(old, new):
    """A client's last message with something changed."""

    def final(server_first):
        exchange = client().exchange()
        next(exchange)
        message = exchange.send(server_first)
        assert old in message
        return message.replace(old, new)

    return final


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"c=biws", b"c=eSws"),
        (b"r=cnonce", b"r=other"),
        (b",p=", b",x=1,p=A"),
        (b",p=", b",q="),
        (b"c=", b"c=!"),
        (b"=", b"=" * 9),
    ],
)
def test_a_last_message_that_was_changed_is_refused(old, new):
    error, challenges = serve(server().exchange(b"n,,n=user,r=cnonce"), changed(old, new))
    assert isinstance(error, SaslError)
    assert len(challenges) == 1, "nothing was proved to the client"


def test_an_extension_that_may_be_ignored_is():
    found, _ = serve(
        server().exchange(b"n,,n=nobody,r=cnonce,x=new"), b"c=biws,r=cnoncesnonce,p=" + base64.b64encode(bytes(32))
    )
    assert not found.malformed


def test_who_the_client_wants_to_act_as_is_told():
    def final(server_first):
        return proof_for(server_first, b"n,a=other,")

    identity, _ = serve(server().exchange(b"n,a=other,n=user,r=cnonce"), final, b"")
    assert identity == SaslIdentity("user", "other")


def proof_for(server_first, head):
    """The last message of a client with another head, worked out from the verifier's making."""
    without = b"c=" + base64.b64encode(head) + b",r=cnoncesnonce"
    message = b"n=user,r=cnonce," + server_first + b"," + without
    key = hmac.digest(hashlib.pbkdf2_hmac("sha256", b"pencil", SALT, ITERATIONS), b"Client Key", "sha256")
    signature = hmac.digest(hashlib.sha256(key).digest(), message, "sha256")
    return without + b",p=" + base64.b64encode(bytes(a ^ b for a, b in zip(key, signature, strict=True)))


def test_the_client_wants_a_server_that_knows_the_password():
    exchange = client().exchange()
    next(exchange)
    exchange.send(b"r=cnoncesnonce,s=QSXCR+Q6sek8bf92,i=4096")
    with pytest.raises(SaslError, match="does not know the password"):
        exchange.send(b"v=rmF9pqV8S7suAoZWja4dJRkFsKQ=")


@pytest.mark.parametrize(
    "message",
    [
        b"r=cnonce,s=QQ==,i=4096",
        b"r=other,s=QQ==,i=4096",
        b"r=cnoncex,s=!,i=4096",
        b"r=cnoncex,s=QQ==,i=0",
        b"r=cnoncex,s=QQ==,i=99999999",
        b"r=cnoncex,s=QQ==,i=-1",
        b"r=cnoncex,s=QQ==",
        b"",
        b"\xff",
    ],
)
def test_the_client_does_not_follow_a_server_that_breaks_the_rules(message):
    exchange = client().exchange()
    next(exchange)
    with pytest.raises(SaslError):
        exchange.send(message)


@pytest.mark.parametrize(("hash_name", "mechanism"), [("sha1", "SCRAM-SHA-1"), ("sha256", "SCRAM-SHA-256")])
def test_another_author_s_client_is_served(hash_name, mechanism):
    peer = scramp.ScramClient([mechanism], "user", "pencil")

    def final(challenge):
        peer.set_server_first(challenge.decode())
        return peer.get_client_final().encode()

    def end(challenge):
        peer.set_server_final(challenge.decode())
        return b""

    identity, _ = serve(server(hash_name).exchange(peer.get_client_first().encode()), final, end)
    assert identity == SaslIdentity("user", "user")


@pytest.mark.parametrize(("hash_name", "mechanism"), [("sha1", "SCRAM-SHA-1"), ("sha256", "SCRAM-SHA-256")])
def test_another_author_s_server_takes_our_client(hash_name, mechanism):
    kind = scramp.ScramMechanism(mechanism)
    peer = kind.make_server(lambda user: kind.make_auth_info("pencil"))
    exchange = client(hash_name=hash_name).exchange()
    peer.set_client_first(next(exchange).decode())
    peer.set_client_final(exchange.send(peer.get_server_first().encode()).decode())
    assert exchange.send(peer.get_server_final().encode()) == b""


def test_a_verifier_is_that_of_its_password_only():
    verifier = make_verifier("sha256", "pencil", b"salt")
    assert check_verifier("sha256", verifier, "pencil")
    assert not check_verifier("sha256", verifier, "pencils")
    assert not check_verifier("sha256", verifier, "\u200f\u0007")


@given(some.binary(max_size=80), some.binary(max_size=80))
def test_whatever_a_client_sends_ends_in_an_error_or_goes_on(first, final):
    found, _ = serve(server().exchange(first), final, b"")
    assert isinstance(found, SaslError)
