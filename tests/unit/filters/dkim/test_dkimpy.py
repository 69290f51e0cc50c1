"""Both ways with dkimpy, another author's signer and verifier; `python -m tests.system.dkim_peers` has OpenDKIM, too."""

import time

import dkim
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from meta1g_filters.dkim.canon import Canonicalization
from meta1g_filters.dkim.sign import SignSettings
from tests.unit.filters.dkim.forms import DIFFERENT, FORMS
from tests.unit.filters.dkim.samples import dns_of, sign, signing_key, verify

KEY = signing_key()
DNS = dns_of(KEY)
PEM = KEY.key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())


def text_of(name, timeout=5):
    return DNS(name.decode().rstrip(".")).texts[0]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("way", Canonicalization)
def test_what_is_signed_here_passes_there(form, way):
    passes = dkim.verify(sign(FORMS[form], KEY, settings=SignSettings(way, way)), dnsfunc=text_of)
    assert passes == ((form, way) not in DIFFERENT)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("way", Canonicalization)
def test_what_is_signed_there_passes_here(form, way):
    ways = (way.value.encode(), way.value.encode())
    field = dkim.sign(FORMS[form], KEY.selector.encode(), KEY.domain.encode(), PEM, canonicalize=ways)
    found = verify(field + FORMS[form], DNS, now=time.time())[0]
    assert found.result == ("fail" if (form, way) in DIFFERENT else "pass"), found


def test_a_changed_body_passes_neither_here_nor_there():
    message = sign(FORMS["plain"], KEY).replace(b"hungry", b"angry")
    assert not dkim.verify(message, dnsfunc=text_of)
    assert [one.result for one in verify(message, DNS)] == ["fail"]
