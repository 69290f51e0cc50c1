"""What each file and option of section tls does to a handshake with a real smtps process."""

import contextlib
import smtplib
import ssl
import subprocess

import pytest

from tests.fakes.certificates import make_certificate, revoke_certificate, sign_certificate
from tests.fakes.smtps_process import SmtpsProcess

pytestmark = pytest.mark.system

WAIT_S = 20
PARTS = ("cert_file = {0}/mx.example.pem; key_file = {0}/mx.example.key;", "DSA_cert_file = {0}/ec.example.pem;",
         "DSA_key_file = {0}/ec.example.key;", "CAcert_directory = {0}/authorities;")  # fmt: skip


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    directory = tmp_path_factory.mktemp("files")
    make_certificate(directory, "mx.example", "rsa")
    make_certificate(directory, "ec.example")
    make_certificate(directory, "ca.example")
    for name in ("good.example", "bad.example"):
        sign_certificate(directory, name, "ca.example")
    revoke_certificate(directory, "bad.example", "ca.example")
    (directory / "authorities").mkdir()
    (directory / "authorities/ca.pem").write_bytes((directory / "ca.example.pem").read_bytes())
    subprocess.run(["openssl", "rehash", directory / "authorities"], check=True, capture_output=True)
    group = ["openssl", "genpkey", "-genparam", "-algorithm", "DH", "-pkeyopt", "group:ffdhe3072"]
    subprocess.run([*group, "-out", directory / "dh.pem"], check=True, capture_output=True)
    return directory


@pytest.fixture(scope="module")
def smtps(tmp_path_factory, files):
    with process(tmp_path_factory.mktemp("q"), files) as made:
        yield made


def process(directory, files, more="", parts=None):
    options = " ".join([*(PARTS if parts is None else parts), more]).format(files)
    return SmtpsProcess(directory / "q", f"tls {{ {options} }}")


def client(name="", files=None, *, ciphers="", newest=None):
    made = ssl._create_unverified_context()
    if name:
        made.load_cert_chain(files / f"{name}.pem", files / f"{name}.key")
    if ciphers:
        made.set_ciphers(ciphers)
        made.maximum_version = ssl.TLSVersion.TLSv1_2
    if newest is not None:
        made.maximum_version = newest
    return made


@contextlib.contextmanager
def under_tls(made, smtps):
    """Makes the handshake; gives the socket."""
    with smtplib.SMTP("127.0.0.1", smtps.port, timeout=WAIT_S) as smtp:
        smtp.ehlo("client.example")
        smtp.starttls(context=made)
        smtp.ehlo("client.example")
        yield smtp.sock


def subject(files, name):
    return ssl.PEM_cert_to_DER_cert((files / f"{name}.pem").read_text())


@pytest.mark.parametrize(("kind", "name"), [("RSA", "mx.example"), ("ECDSA", "ec.example")])
def test_cert_file_and_dsa_cert_file_are_for_clients_of_their_kind_with_key_file_and_dsa_key_file(smtps, files, kind, name):
    with under_tls(client(ciphers=f"ECDHE-{kind}-AES128-GCM-SHA256"), smtps) as sock:
        assert sock.getpeercert(binary_form=True) == subject(files, name)


def test_cacert_directory_has_authorities_that_clients_are_verified_by(smtps, files):
    with under_tls(client("good.example", files), smtps):
        smtps.wait_log("func=smtps.tls, .*verify=ok, .*good.example")


def test_crl_file_takes_a_certificate_back(tmp_path, files):
    with process(tmp_path, files, "CRL_file = {0}/crl.pem;") as smtps:
        with under_tls(client("bad.example", files), smtps):
            smtps.wait_log("func=smtps.tls, .*verify=certificate revoked, .*bad.example")
        with under_tls(client("good.example", files), smtps):
            smtps.wait_log("func=smtps.tls, .*verify=ok, .*good.example")


def test_min_version_and_dont_request_cert(tmp_path, files):
    parts = [one for one in PARTS if not one.startswith(("CAcert", "CRL"))]
    with process(tmp_path, files, "min_version = tls1.3; flags = {{ dont_request_cert }};", parts) as smtps:
        with under_tls(client("good.example", files), smtps) as sock:
            assert sock.version() == "TLSv1.3"
            smtps.wait_log("func=smtps.tls, (?!.*good.example)")
        with (
            pytest.raises(ssl.SSLError, match="alert protocol version"),
            under_tls(client(newest=ssl.TLSVersion.TLSv1_2), smtps),
        ):
            pass


def test_ciphers_and_dh_file(tmp_path, files):
    only = "DHE-RSA-AES256-GCM-SHA384"
    with process(tmp_path, files, f'ciphers = "{only}"; DH_file = {{0}}/dh.pem;') as smtps:
        with (
            pytest.raises(ssl.SSLError, match="handshake failure"),
            under_tls(client(ciphers="ECDHE-RSA-AES128-GCM-SHA256"), smtps),
        ):
            pass
        with under_tls(client(ciphers=only), smtps) as sock:
            assert sock.cipher()[0] == only
        command = [
            "openssl",
            "s_client",
            "-connect",
            f"127.0.0.1:{smtps.port}",
            "-starttls",
            "smtp",
            "-tls1_2",
            "-cipher",
            only,
        ]
        said = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False)
        assert "Server Temp Key: DH, 3072 bits" in said.stdout
