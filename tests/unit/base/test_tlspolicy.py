import pytest

from meta1g.base.errors import PermError
from meta1g.base.tlsfacts import Tlsa
from meta1g.base.tlspolicy import OPPORTUNISTIC, TlsLevel, TlsPolicy, policy_of

FULL = TlsPolicy(
    TlsLevel.DANE,
    names=("a.example", "b.example"),
    fingerprints=("00" * 32,),
    tlsa=(Tlsa(2, 0, 1, b"\1"), Tlsa(3, 1, 1, b"\2")),
    tls13=True,
    ciphers="HIGH",
    refused="not today",
)


def test_what_holds_where_nobody_says_anything_is_no_text():
    assert OPPORTUNISTIC.demands() == ""
    assert policy_of("") == OPPORTUNISTIC


@pytest.mark.parametrize("policy", [FULL, *(TlsPolicy(level) for level in TlsLevel)])
def test_a_policy_comes_back_as_it_was_and_the_source_apart(policy):
    assert policy_of(policy.demands()) == policy
    assert policy_of(policy.demands(), "map").source == "map"


def test_the_same_demands_are_the_same_text_in_whatever_order_and_from_whomever_they_come():
    other = TlsPolicy(
        TlsLevel.DANE,
        names=FULL.names[::-1],
        fingerprints=FULL.fingerprints,
        tlsa=FULL.tlsa[::-1],
        tls13=True,
        ciphers="HIGH",
        refused="not today",
        source="somebody",
    )
    assert other.demands() == FULL.demands()


@pytest.mark.parametrize(
    "text", ["{", "[]", "1", '{"level":"much"}', '{"tlsa":[[1]]}', '{"tlsa":[[3,1,1,"x"]]}', '{"names":1}']
)
def test_what_is_no_policy_is_refused(text):
    with pytest.raises(PermError, match="no TLS policy"):
        policy_of(text)


def test_only_from_encrypt_on_nothing_may_go_in_clear():
    assert [level.value for level in TlsLevel if not TlsPolicy(level).is_demanded] == ["none", "may"]
