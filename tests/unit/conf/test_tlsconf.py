"""The sections tls: what they say, for a server and for a client; what the settings do is shown by tests/unit/st."""

from pathlib import Path

import pytest

from meta1g.base.tlsfacts import CIPHERS, SERVER_CIPHERS, KeyPair, TlsSettings
from meta1g.conf.errors import ConfigError
from meta1g.conf.tlsconf import tls_settings
from tests.unit.conf.text import load

FILES = (
    "cert_file = a.pem; key_file = /k/a.key; DSA_cert_file = b.pem; DSA_key_file = b.key; CAcert_file = ca.pem; "
    "CAcert_directory = ca; CRL_file = crl.pem; ciphers = HIGH;"
)


def read(keyword, text):
    config = load(f'configuration_directory = "/etc/m"; {keyword} {{ tls {{ {text} }} }}')
    return tls_settings(config, config.section(keyword).sub("tls"), server=keyword == "smtps")


def etc(name):
    return Path("/etc/m") / name


@pytest.mark.parametrize("keyword", ["smtps", "smtpc"])
def test_every_option_becomes_a_setting(keyword):
    server = keyword == "smtps"
    assert read(keyword, FILES + ("DH_file = dh.pem;" if server else "")) == TlsSettings(
        pairs=(KeyPair(etc("a.pem"), Path("/k/a.key")), KeyPair(etc("b.pem"), etc("b.key"))),
        ca_file=etc("ca.pem"),
        ca_directory=etc("ca"),
        crl_file=etc("crl.pem"),
        dh_file=etc("dh.pem") if server else None,
        ciphers="HIGH",
        request_cert=server,
    )
    assert read(keyword, "cert_file = a.pem; min_version = tls1.3;").tls13_only


def test_a_server_without_a_certificate_has_no_tls_and_a_client_needs_none():
    assert read("smtps", "") is None
    assert read("smtpc", "") == TlsSettings(ciphers=CIPHERS, system_ca=True), "it trusts whom the system trusts"


def test_a_server_offers_less_than_a_client_takes():
    assert read("smtps", "cert_file = a.pem;").ciphers == SERVER_CIPHERS
    assert "CHACHA20" in SERVER_CIPHERS


def test_a_key_may_stand_in_the_file_of_its_certificate():
    assert read("smtps", "cert_file = a.pem;").pairs == (KeyPair(etc("a.pem"), etc("a.pem")),)


@pytest.mark.parametrize("option", ["key_file", "DSA_key_file"])
@pytest.mark.parametrize("keyword", ["smtps", "smtpc"])
def test_a_key_needs_a_certificate(keyword, option):
    with pytest.raises(ConfigError, match=rf"t\.conf:1: {option} is given without (DSA_)?cert_file"):
        read(keyword, f"{option} = a.key;")


def test_clients_are_asked_for_a_certificate_unless_told_otherwise():
    assert read("smtps", "cert_file = a.pem;").request_cert
    assert not read("smtps", "cert_file = a.pem; flags = { dont_request_cert };").request_cert
