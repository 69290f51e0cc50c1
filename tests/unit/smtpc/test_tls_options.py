"""What each file and option of section tls does to a handshake of a real smtpc process."""

import ssl
import subprocess

import pytest

from tests.fakes.certificates import make_certificate, revoke_certificate, sign_certificate
from tests.fakes.smtp_server import EHLO, ScriptedServer
from tests.unit.smtpc.conftest import running
from tests.unit.smtpc.test_starttls import CONTENT, codes, context, log_of

pytestmark = pytest.mark.system

TLS = {"EHLO": EHLO.replace("250-PIPELINING", "250-STARTTLS\r\n250-PIPELINING"), "STARTTLS": "220 go\r\n"}
LOG = 'log {{ file = "smtpc.log"; }} log_level = 9;'
LEFT = "DSA_cert_file = {0}/client.example.pem; DSA_key_file = {0}/client.example.key;"
BOTH = "cert_file = {0}/rsa.example.pem; key_file = {0}/rsa.example.key; " + LEFT
OWN = "cert_file = {0}/client.example.pem; key_file = {0}/client.example.key;"
RSA_ONLY = "ECDHE-RSA-AES256-GCM-SHA384"


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    directory = tmp_path_factory.mktemp("files")
    make_certificate(directory, "ca.example")
    make_certificate(directory, "client.example")
    make_certificate(directory, "rsa.example", "rsa")
    for name in ("mx.x.example", "bad.example"):
        sign_certificate(directory, name, "ca.example")
    revoke_certificate(directory, "bad.example", "ca.example")
    (directory / "authorities").mkdir()
    (directory / "authorities/ca.pem").write_bytes((directory / "ca.example.pem").read_bytes())
    subprocess.run(["openssl", "rehash", directory / "authorities"], check=True, capture_output=True)
    return directory


def delivered(directory, files, options, tls):
    """Delivers a message to a server; gives the process and what the server has seen last."""
    with running(directory, f"{LOG} tls {{{{ {options} }}}}".format(files), step_s=30) as smtpc:
        smtpc.store(CONTENT)
        with ScriptedServer(TLS, tls=tls) as server:
            assert codes(smtpc.deliver(smtpc.job(server.port))) == {0: 250}
            return smtpc, server.connections[-1]


def asking(files):
    """A server that goes on with nobody but client.example."""
    made = context(files)
    made.load_verify_locations(files / "client.example.pem")
    made.verify_mode = ssl.CERT_REQUIRED
    made.maximum_version = ssl.TLSVersion.TLSv1_2  # the client hears of a refusal in the handshake
    return made


@pytest.mark.parametrize(("options", "under"), [(OWN, 2), ("", 0)])
def test_cert_file_and_key_file_are_shown_to_a_server_that_asks(tmp_path, files, options, under):
    _, seen = delivered(tmp_path, files, options, asking(files))
    assert seen.tls == under


@pytest.mark.parametrize(("options", "under"), [(LEFT, 2), (BOTH, 2)])
def test_dsa_cert_file_with_dsa_key_file_is_shown_too(tmp_path, files, options, under):
    _, seen = delivered(tmp_path, files, options, asking(files))
    assert seen.tls == under


@pytest.mark.parametrize("options", ["CAcert_directory = {0}/authorities;", "CAcert_file = {0}/ca.example.pem;"])
def test_cacert_directory_and_cacert_file_have_authorities_that_servers_are_verified_by(tmp_path, files, options):
    smtpc, _ = delivered(tmp_path, files, options, context(files))
    log_of(smtpc, "func=smtpc.tls, .*verify=ok, ")


def test_crl_file_takes_a_certificate_back(tmp_path, files):
    options = "CAcert_file = {0}/ca.example.pem; CRL_file = {0}/crl.pem;"
    smtpc, _ = delivered(tmp_path, files, options, context(files, "bad.example"))
    log_of(smtpc, "func=smtpc.tls, .*verify=certificate revoked, ")


@pytest.mark.parametrize(("options", "under"), [("min_version = tls1.3;", 0), ("min_version = tls1.2;", 2)])
def test_min_version(tmp_path, files, options, under):
    old = context(files)
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    _, seen = delivered(tmp_path, files, options, old)
    assert seen.tls == under


@pytest.mark.parametrize(("ciphers", "under"), [(RSA_ONLY, 0), ("ECDHE-ECDSA-AES128-GCM-SHA256", 2)])
def test_ciphers(tmp_path, files, ciphers, under):
    old = context(files)
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    smtpc, seen = delivered(tmp_path, files, f'ciphers = "{ciphers}";', old)
    assert seen.tls == under
    if under:
        log_of(smtpc, f"func=smtpc.tls, .*tls=TLSv1.2 {ciphers}")
