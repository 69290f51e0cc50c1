"""Certificates by server name, two kinds of keys side by side, tickets that several processes take; with openssl(1)."""

import re
import shutil
import subprocess

import pytest

from meta1g.base.errors import Meta1Error
from meta1g.base.tlsfacts import KeyPair, ServerNamesFile
from meta1g.db.mapfile import MapFile
from meta1g.smtps.servernames import read_names
from meta1g.tools.createmap import read_map
from tests.fakes.certificates import make_certificate
from tests.fakes.smtps_process import SmtpsProcess

NAMES = ("mx.example", "one.example", "sub.example", "late.example")
TLS = """
tls {{
  cert_file = {0}/mx.example.pem; key_file = {0}/mx.example.key;
  ticket_secret_file = {0}/ticket.secret;
  server_names {{ file = {0}/names; type = text; }}
}}
"""
ENTRIES = """
one.example    {0}/one.example.pem {0}/one.example.key  {0}/rsa.pem {0}/rsa.key
.sub.example   {0}/sub.example.pem {0}/sub.example.key
lost.example   {0}/lost.pem {0}/lost.key
"""
pytestmark = pytest.mark.xdist_group("server-names")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    directory = tmp_path_factory.mktemp("files")
    for name in NAMES:
        make_certificate(directory, name)
    make_certificate(directory, "rsa", "rsa:2048")
    (directory / "ticket.secret").write_bytes(bytes(range(48)))
    (directory / "names").write_text(ENTRIES.format(directory))
    return directory


@pytest.fixture(scope="module")
def smtps(tmp_path_factory, files):
    with SmtpsProcess(tmp_path_factory.mktemp("q") / "q", TLS.format(files), limits={"CERTIFICATES_LOOK_S": 1}) as process:
        yield process


def s_client(process, *options):
    """What openssl(1) says of a session."""
    command = [
        "openssl",
        "s_client",
        "-starttls",
        "smtp",
        "-connect",
        f"127.0.0.1:{process.port}",
        "-ign_eof",
        "-crlf",
        *map(str, options),
    ]
    done = subprocess.run(command, input="quit\n", capture_output=True, text=True, timeout=60, check=False)
    return done.stdout + done.stderr


def subject(process, *options):
    """The CN of the certificate that the server shows."""
    said = s_client(process, *options)
    found = re.search(r"^subject=CN ?= ?(\S+)", said, re.MULTILINE)
    assert found, said
    return found[1]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["-noservername"], "mx.example"),
        (["-servername", "other.example"], "mx.example"),
        (["-servername", "ONE.example"], "one.example"),
        (["-servername", "a.sub.example"], "sub.example"),
        (["-servername", "b.a.sub.example"], "sub.example"),
        (["-servername", "sub.example"], "mx.example"),
        (["-servername", "lost.example"], "mx.example"),
        (["-servername", "one.example", "-sigalgs", "RSA-PSS+SHA256:RSA+SHA256"], "rsa"),
        (["-servername", "one.example", "-tls1_2", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256"], "rsa"),
        (["-servername", "one.example", "-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256"], "one.example"),
    ],
)
def test_the_name_and_the_kind_of_key_choose_the_certificate(smtps, options, expected):
    assert subject(smtps, *options) == expected


def test_files_that_cannot_be_used_are_told_and_the_certificate_of_the_section_serves(smtps):
    assert subject(smtps, "-servername", "lost.example") == "mx.example"
    smtps.wait_log(r"func=smtps\.tls_files, .*lost\.pem: No such file or directory; the certificate of the section is used")


def test_names_and_their_files_are_renewed_without_a_restart(tmp_path, files):
    for path in files.iterdir():
        shutil.copy(path, tmp_path)
    names = tmp_path / "names"
    names.write_text(ENTRIES.format(tmp_path))
    with SmtpsProcess(tmp_path / "q", TLS.format(tmp_path), limits={"CERTIFICATES_LOOK_S": 1}) as process:
        assert subject(process, "-servername", "one.example") == "one.example"
        (tmp_path / "one.example.key").write_text("half a key\n")
        process.wait_log(r"func=smtps\.tls_files, .*one\.example\.key.*; the old certificates are used on")
        assert subject(process, "-servername", "one.example") == "one.example"
        shutil.copy(tmp_path / "late.example.key", tmp_path / "one.example.key")
        shutil.copy(tmp_path / "late.example.pem", tmp_path / "one.example.pem")
        process.wait_log(r"func=smtps\.tls_loaded, .*one\.example\.pem")
        assert subject(process, "-servername", "one.example") == "late.example"
        names.write_text("new.example one two three\n")
        process.wait_log(r"func=smtps\.tls_files, .*names:1: key new\.example: has 3 words.*; the old map is used on")
        names.write_text(f"new.example {tmp_path}/sub.example.pem {tmp_path}/sub.example.key\n")
        process.wait_log(r"func=smtps\.tls_loaded, .*path=\S+/names")
        assert subject(process, "-servername", "new.example") == "sub.example"
        assert subject(process, "-servername", "one.example") == "mx.example"


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_a_ticket_of_one_process_is_taken_by_another_one_with_the_same_secret(smtps, files, tmp_path, version):
    ticket = tmp_path / "ticket"
    assert "New, TLSv1" in s_client(smtps, version, "-sess_out", ticket)
    with SmtpsProcess(tmp_path / "q", TLS.format(files)) as other:
        assert "Reused, TLSv1" in s_client(other, version, "-sess_in", ticket)
    (tmp_path / "other.secret").write_bytes(bytes(48))
    options = TLS.format(files).replace(f"{files}/ticket.secret", f"{tmp_path}/other.secret")
    with SmtpsProcess(tmp_path / "q2", options) as stranger:
        assert "New, TLSv1" in s_client(stranger, version, "-sess_in", ticket)


@pytest.mark.parametrize("kind", ["text", "hash"])
def test_a_map_of_names(tmp_path, kind):
    path = tmp_path / ("names.db" if kind == "hash" else "names")
    text = "One.example a b\n.two.example /x/c\n"
    entries, errors = read_map(text.encode(), "server_names")
    assert errors == []
    path.write_text(text)
    if kind == "hash":
        path.unlink()
        MapFile.build(path, sorted(entries.items()), kind)
    names = ServerNamesFile(path, kind, tmp_path)
    assert read_names(names) == {
        "one.example": (KeyPair(tmp_path / "a", tmp_path / "b"),),
        ".two.example": (KeyPair(*[tmp_path / "/x/c"] * 2),),
    }


def test_a_wrong_entry_is_named(tmp_path):
    (tmp_path / "names").write_text("a.example x y\nb.example x y z\nc.example x y\nd.example 1 2 3\n")
    with pytest.raises(Meta1Error) as caught:
        read_names(ServerNamesFile(tmp_path / "names", "text", tmp_path))
    assert "names:2: key b.example: has 3 words; write CERT_FILE KEY_FILE" in caught.value.cause
    assert "names:4: key d.example: has 3 words; write" in caught.value.cause
