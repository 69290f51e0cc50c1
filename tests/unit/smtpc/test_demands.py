import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meta1g.base.reply import Reply
from meta1g.base.tlsfacts import Tlsa, TlsInfo, TlsWanted
from meta1g.base.tlsneeds import TlsRequirements, Violation
from meta1g.base.tlspolicy import TlsLevel, TlsPolicy, policy_of
from meta1g.smar.tlsmap import key_problem, read_entry
from meta1g.smtpc.demands import is_known, lack, refused, violation, wanted

L = TlsLevel
HOST = "mx.x.example"
PRINT = "ab" * 32
RECORD = Tlsa(3, 1, 1, b"\1" * 32)
DANE = TlsPolicy(L.DANE, names=("b.example",), tlsa=(RECORD,), server_name="b.example")
BOOKS = "xn--bcher-kva.example"


def info(*, verified=False, dane=False, reason="no"):
    return TlsInfo("TLSv1.3", "c", "s", 256, 256, b"x", verified=verified, dane=dane, reason="" if verified else reason)


@pytest.mark.parametrize(
    ("policy", "host", "asked"),
    [
        (TlsPolicy(), HOST, TlsWanted(HOST, (HOST,))),
        (TlsPolicy(), "", TlsWanted("", ())),
        (TlsPolicy(L.ENCRYPT), HOST, TlsWanted(HOST, (HOST,))),
        (TlsPolicy(L.VERIFY, names=("a.example",)), HOST, TlsWanted(HOST, ("a.example",))),
        (
            TlsPolicy(L.VERIFY, names=(".bücher.example",)),
            "bücher.example",
            TlsWanted("xn--bcher-kva.example", (".xn--bcher-kva.example",)),
        ),
        (
            TlsPolicy(L.DANE, names=("b.example",), tlsa=(RECORD,), server_name="b.example"),
            HOST,
            TlsWanted("b.example", ("b.example",), (RECORD,)),
        ),
        (
            TlsPolicy(L.FINGERPRINT, fingerprints=(PRINT,)),
            "",
            TlsWanted("", (), (Tlsa(3, 0, 1, bytes.fromhex(PRINT)), Tlsa(3, 1, 1, bytes.fromhex(PRINT)))),
        ),
    ],
)
def test_what_is_wanted_of_a_server(policy, host, asked):
    assert wanted(policy, host) == asked


@pytest.mark.parametrize(
    ("policy", "host", "has", "known"),
    [
        (TlsPolicy(), HOST, info(verified=True), True),
        (TlsPolicy(L.ENCRYPT), HOST, info(verified=True), True),
        (TlsPolicy(), "", info(verified=True), False),
        (TlsPolicy(), HOST, info(), False),
        (TlsPolicy(), HOST, None, False),
        (TlsPolicy(L.VERIFY, names=("a.example",)), "", info(verified=True), True),
        (TlsPolicy(L.FINGERPRINT, fingerprints=(PRINT,)), "", info(verified=True, dane=True), True),
        (TlsPolicy(L.FINGERPRINT, fingerprints=(PRINT,)), "", info(verified=True), False),
        (DANE, HOST, info(verified=True, dane=True), True),
    ],
)
def test_who_is_known(policy, host, has, known):
    assert is_known(policy, host, has) == known


@pytest.mark.parametrize(
    ("policy", "has", "text"),
    [
        (TlsPolicy(L.NONE), None, ""),
        (TlsPolicy(L.MAY), None, ""),
        (TlsPolicy(L.MAY), info(), ""),
        (TlsPolicy(L.ENCRYPT), None, "TLS is required"),
        (TlsPolicy(L.ENCRYPT), info(), ""),
        (TlsPolicy(L.VERIFY, names=("a",)), None, "TLS is required"),
        (TlsPolicy(L.VERIFY, names=("a",)), info(), "cannot be verified: no"),
        (TlsPolicy(L.VERIFY, names=("a",)), info(verified=True), ""),
        (TlsPolicy(L.VERIFY), info(verified=True), "no name is right"),
        (TlsPolicy(L.DANE, tlsa=(RECORD,)), info(verified=True), "fits no TLSA record: no record was used"),
        (TlsPolicy(L.DANE, tlsa=(RECORD,)), info(dane=True), "fits no TLSA record: no"),
        (TlsPolicy(L.DANE, tlsa=(RECORD,)), info(verified=True, dane=True), ""),
        (TlsPolicy(L.FINGERPRINT), info(verified=True), "none of the fingerprints"),
        (TlsPolicy(L.FINGERPRINT), info(verified=True, dane=True), ""),
    ],
)
def test_what_a_session_lacks(policy, has, text):
    assert (text in lack(policy, has)) if text else lack(policy, has) == ""


def test_the_reply_names_server_policy_and_source():
    policy = TlsPolicy(L.ENCRYPT, source="tls_policy x")
    assert violation("mx", "TLS is required", policy, None, in_clear=True) == Reply(
        451, "4.7.4", "mx: TLS is required (encrypt: tls_policy x)"
    )
    permanent = TlsRequirements(encrypted=True, violation=Violation.PERMANENT)
    assert violation("mx", "no", TlsPolicy(), permanent, in_clear=False) == Reply(554, "5.7.5", "mx: no (tls_requirements)")
    assert violation("mx", "no", policy, permanent, in_clear=False).code == 451, "what the policy demands may come back"
    assert refused("mx", TlsPolicy(refused="why not", source="who")) == Reply(451, "4.7.0", "mx: why not (who)")
    assert refused("mx", TlsPolicy()) is None


@given(st.text(max_size=60))
def test_whatever_stands_in_the_map_is_a_policy_or_an_error(text):
    for value in (text, f"verify {text}", f"fingerprint match={text}", f"may ciphers={text}"):
        with contextlib.suppress(ValueError):
            policy = read_entry(value).at("x.example", HOST)
            assert policy_of(policy.demands()).demands() == policy.demands()
    assert isinstance(key_problem(text), str)
