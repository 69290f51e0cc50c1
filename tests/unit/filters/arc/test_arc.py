"""ARC: chains made here, verified here and by dkimpy, and the ways in which they fail."""

import time

import dkim
import pytest

from meta1g_filters.arc.seal import ArcSealer
from meta1g_filters.arc.verify import ArcResult
from meta1g_filters.dkim.canon import Canonicalization
from meta1g_filters.dkim.sign import SignSettings
from meta1g_filters.dkim.signature import VerifyLimits
from tests.unit.filters.arc.chains import DNS, KEYS, chained, seal, state
from tests.unit.filters.dkim.forms import DIFFERENT, FORMS
from tests.unit.filters.dkim.samples import (
    ED_KEY,
    FROM,
    PLAIN,
    Dns,
    record,
    sign,
    signing_key,
)

ED = signing_key(ED_KEY)


def by_dkimpy(message, lookup=DNS):
    def text(name, timeout=5):
        return lookup(name.decode().rstrip(".")).texts[0]

    return dkim.arc_verify(message, dnsfunc=text)[0].decode()


def test_a_message_without_sets_has_no_chain():
    assert state(PLAIN) == ArcResult("none")
    assert state(b"") == ArcResult("none")


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_a_chain_passes_here_and_with_another_verifier(count):
    message = chained(sign(PLAIN, signing_key()), count)
    names = tuple(KEYS[number % 3].domain for number in range(count))
    assert state(message) == ArcResult("pass", count, sealers=names)
    assert by_dkimpy(message) == "pass"


@pytest.mark.parametrize("form", FORMS)
def test_each_form_of_message_can_be_sealed(form):
    message = chained(FORMS[form], 2)
    assert state(message).cv == "pass"
    assert by_dkimpy(message) == ("fail" if (form, Canonicalization.RELAXED) in DIFFERENT else "pass")


def test_ed25519_seals_too():
    assert state(seal(PLAIN, signing_key(ED_KEY))).cv == "pass"


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (b"two  words", b"swords", "ARC-Message-Signature i=2: body hash does not fit the body"),
        (b"To: bob", b"To: eve", "ARC-Message-Signature i=2: signature does not fit the header fields"),
        (b"spf=pass", b"spf=fail", "ARC-Seal i=2: signature does not fit the sets"),
        (b"cv=pass", b"cv=none", "i=2 says cv=none"),
        (b"cv=pass", b"cv=fail", "i=2 says cv=fail"),
        (b"cv=pass", b"cv=well", "cv= is unknown"),
        (b" cv=pass;", b"", "no cv="),
        (b"ARC-Seal: i=2", b"ARC-Seal: i=1", "two ARC-Seal i=1"),
        (b"ARC-Seal: i=2", b"ARC-Seal: i=3", "no ARC-Seal i=2"),
        (b"ARC-Seal: i=2", b"ARC-Seal: i=51", "no i= from 1 to 50 in ARC-Seal"),
        (b"ARC-Seal: i=2", b"ARC-Seal: h=from; i=2", "ARC-Seal has h="),
        (
            b"ARC-Authentication-Results: i=1;",
            b"ARC-Authentication-Results: ",
            "no i= from 1 to 50 in ARC-Authentication-Results",
        ),
        (b"h=from", b"h=arc-seal:from", "h= has ARC-Seal"),
        (b"a=rsa-sha256", b"a=rsa-sha1", "rsa-sha1 is historic"),
    ],
)
def test_a_chain_that_does_not_hold_says_why(old, new, reason):
    message = chained(PLAIN, 2)
    assert old in message
    result = state(message.replace(old, new, 1))
    assert (result.cv, result.reason) == ("fail", reason)


@pytest.mark.parametrize(
    ("answer", "reason", "temporary"),
    [("temperror", "DNS does not answer for the key", True), ("nxdomain", "no key", False), (b"p=", "key revoked", False)],
)
def test_a_chain_fails_without_its_keys(answer, reason, temporary):
    lookup = Dns({**DNS.records, "arc._domainkey.hop1.example": answer})
    result = state(chained(PLAIN, 2), lookup)
    assert (result.cv, result.reason, result.is_temporary) == ("fail", f"ARC-Seal i=1: {reason}", temporary)


def test_short_keys_fail():
    result = state(chained(PLAIN, 1), limits=VerifyLimits(rsa_min_bits=4096))
    assert (result.cv, result.reason) == ("fail", "ARC-Message-Signature i=1: key of 2048 bits is too short")


@pytest.mark.parametrize(("changed_at", "oldest"), [(1, 2), (2, 3), (0, 0)])
def test_the_oldest_signature_that_holds_is_named(changed_at, oldest):
    message = PLAIN
    for number in range(3):
        if number == changed_at and number:
            message = message.replace(b"Subject: ", b"Subject: [list] ")
        message = seal(message, KEYS[number], ArcResult("pass" if number else "none", number))
    assert (state(message).cv, state(message).oldest_pass) == ("pass", oldest)


def test_message_signatures_that_are_not_looked_at_do_not_count_as_passed():
    message = chained(PLAIN, 4)
    assert state(message, limits=VerifyLimits(signatures_max=2)).oldest_pass == 3


def test_the_last_message_signature_is_looked_at_whatever_the_limit_is():
    assert state(chained(PLAIN, 2), limits=VerifyLimits(signatures_max=0)).oldest_pass == 2


def test_a_chain_that_fails_is_sealed_by_its_own_set_alone_and_then_never_more():
    broken = chained(PLAIN, 2).replace(b"To: bob", b"To: eve")
    result = state(broken)
    message = seal(broken, KEYS[2], result)
    assert b"ARC-Seal: i=3; a=rsa-sha256; d=hop3.example; s=arc" in message
    assert b"cv=fail" in message
    assert state(message).reason == "i=3 says cv=fail"
    assert seal(message, KEYS[0]) == message
    alone = seal(PLAIN, KEYS[2], ArcResult("fail"))
    assert b"i=1;" in alone


def test_nothing_is_sealed_while_a_key_cannot_be_asked_for():
    message = chained(PLAIN, 1)
    assert seal(message, KEYS[1], state(message, Dns({KEYS[0].domain: "temperror"}))) != message
    lost = state(message, Dns({"arc._domainkey.hop1.example": "temperror"}))
    assert seal(message, KEYS[1], lost) == message


def test_sets_that_nobody_verified_are_not_sealed():
    message = chained(PLAIN, 2)
    for chain in (ArcResult("none"), ArcResult("pass", 1), ArcResult("pass", 3)):
        assert seal(message, ED, chain) == message


def test_only_a_seal_says_that_a_chain_has_failed():
    broken = chained(PLAIN, 1).replace(b"ARC-Message-Signature: i=1;", b"ARC-Message-Signature: i=1; cv=fail;")
    assert b"cv=fail" in seal(broken, ED).partition(b"ARC-Message-Signature")[0]
    failed = broken.replace(b"cv=none", b"cv=FAIL")
    assert seal(failed, ED) == failed


def test_fifty_big_sets_take_little_time_and_are_enough():
    message = FROM + b"\r\n"
    for number in range(50):
        message = seal(message, ED, ArcResult("pass" if number else "none", number), results=b"x; " + b"y z " * 5000)
    began = time.process_time()
    result = state(message)
    assert time.process_time() - began < 2
    assert (result.cv, result.instances) == ("pass", 50)
    assert seal(message, ED) == message, "there are no more"


def test_fields_of_arc_are_not_signed_with_the_message():
    with pytest.raises(ValueError, match="arc-seal"):
        ArcSealer(KEYS[0], SignSettings(signed=("arc-seal",)))


def test_a_set_that_is_too_long_is_no_set():
    assert state(seal(FROM + b"\r\n", KEYS[0], results=b"x; " + b"y" * 70_000)).reason == "ARC-Authentication-Results too long"


def test_the_key_record_of_a_seal_is_for_mail():
    other = record(KEYS[0], b"v=DKIM1; s=web")
    assert state(chained(PLAIN, 1), Dns({"arc._domainkey.hop1.example": other})).cv == "fail"
