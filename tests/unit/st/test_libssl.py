"""What the system's libssl can do beside Python's ssl: certificates of clients, choice by name, tickets, TLSA, bindings."""

import errno
import hashlib
import os
import re
import shutil
import socket
import ssl
import subprocess
import sys

import pytest

from meta1g import st
from meta1g.base.tlsfacts import TICKET_KEYS_BYTES, KeyPair, Tlsa, TlsSettings, TlsWanted
from meta1g.st import libssl, tls
from tests.fakes.certificates import make_certificate, sign_certificate
from tests.unit.st.tls_ends import LIMIT, any_client, later, server_context, shake

pytestmark = pytest.mark.skipif(bool(libssl.why_not()), reason=libssl.why_not())


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    directory = tmp_path_factory.mktemp("libssl")
    for name in ("mx.example", "other.example", "client.example"):
        make_certificate(directory, name)
    make_certificate(directory, "rsa.example", "rsa:2048")
    sign_certificate(directory, "signed.example", "mx.example")
    return directory


@pytest.fixture
def server(directory):
    return server_context(directory, "mx.example")


def pairs_of(directory, *names):
    return tuple(KeyPair(directory / f"{name}.pem", directory / f"{name}.key") for name in names)


def der(directory, name):
    return ssl.PEM_cert_to_DER_cert((directory / f"{name}.pem").read_text())


def test_it_is_built_and_of_the_library_that_python_uses():
    assert libssl.why_not() == ""
    assert tls.tls_trouble() == ""


def test_another_library_than_python_s_is_not_used(monkeypatch, server):
    monkeypatch.setattr(libssl, "_PYTHONS", "OpenSSL 9.9.9")
    assert "9.9.9" in libssl.why_not()
    assert "DANE" in tls.tls_trouble()


def test_a_binding_of_another_version_is_found_before_it_is_called(monkeypatch, tmp_path):
    source = tmp_path / "libssl_build.py"
    assert not libssl._is_stale(source)
    source.write_text("# newer\n")
    assert libssl._is_stale(source)
    monkeypatch.setattr(libssl, "_STALE", True)
    assert "install meta1g again" in tls.tls_trouble()


@pytest.mark.parametrize(
    ("ask", "client", "trusted", "expected"),
    [
        (False, ("client.example",), ("client.example",), (False, False, "no certificate")),
        (True, (), (), (False, False, "no certificate")),
        (True, ("client.example",), (), (True, False, "self-signed certificate")),
        (True, ("client.example",), ("client.example",), (True, True, "")),
    ],
    ids=["not-asked", "none", "unknown", "known"],
)
def test_a_client_is_asked_for_a_certificate_and_any_is_taken(pair, directory, ask, client, trusted, expected):
    ca_file = directory / f"{trusted[0]}.pem" if trusted else None
    server = server_context(directory, "mx.example", request_cert=ask, ca_file=ca_file)
    ours, _ = shake(pair, server, tls.tls_context(TlsSettings(pairs_of(directory, *client)), server=False), None)
    assert (ours.peer_cert is not None, ours.verified, ours.reason) == expected
    if ask and client:
        assert ours.peer_cert == der(directory, "client.example")
        assert ours.subject == "CN=client.example"


def test_the_context_is_chosen_by_the_name_that_the_client_asks_for(pair, directory, server):
    other = server_context(directory, "other.example")
    asked = []

    def choose(name):
        asked.append(name)
        st.st_usleep(1)  # a look-up may take its time
        return other if name == "other.example" else None

    client = tls.tls_context(TlsSettings(ca_file=directory / "other.example.pem"), server=False)
    ours, theirs = shake(pair, server, client, "Other.Example", choose=choose)
    assert theirs.verified
    assert (asked, ours.server_name) == (["other.example"], "other.example")


def test_without_a_name_the_choice_is_asked_as_well(pair, server):
    asked = []
    _, theirs = shake(pair, server, any_client(), None, choose=asked.append)
    assert theirs.common_name == "mx.example"
    assert asked == [""]


def test_a_choice_that_fails_ends_the_handshake(pair, server):
    def choose(name):
        raise st.StError(5, "no map")

    ours, theirs = shake_ends(pair, server, any_client(), choose)
    assert ours.strerror == "no map"
    assert isinstance(theirs, st.StError)


def shake_ends(pair, server, client, choose):
    """A handshake whose server closes after a failure."""

    def serve(_):
        try:
            return tls.st_tls_accept(pair[0], server, LIMIT, choose)
        except st.StError as error:
            st.st_netfd_close(pair[0])
            return error

    threads = [st.st_thread_create(serve, None, True), later(tls.st_tls_connect, pair[1], client, TlsWanted(), LIMIT)]
    return [st.st_thread_join(thread) for thread in threads]


@pytest.mark.parametrize(("only", "name"), [("ECDSA", "mx.example"), ("RSA", "rsa.example")])
def test_certificates_of_two_kinds_stand_side_by_side(pair, directory, only, name):
    server = server_context(directory, "mx.example", "rsa.example")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(f"ECDHE-{only}-AES128-GCM-SHA256")
    _, cert, _ = python_client(pair, server, context)
    assert cert == der(directory, name)


def python_client(pair, server, context, session=None):
    """A handshake with Python's client; gives what the server saw, the certificate, the session."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(incoming, outgoing, session=session)
    accepted = later(tls.st_tls_accept, pair[0], server, LIMIT)
    while True:
        try:
            client.do_handshake()
        except ssl.SSLWantReadError:
            st.st_write(pair[1], outgoing.read(), LIMIT)
            incoming.write(st.st_read(pair[1], 65536, LIMIT))
            continue
        st.st_write(pair[1], outgoing.read(), LIMIT)
        break
    info = st.st_thread_join(accepted)
    if isinstance(info, tls.TlsInfo):
        st.st_write(pair[0], b"x", LIMIT)
        while True:
            try:
                client.read(1)
                break
            except ssl.SSLWantReadError:
                incoming.write(st.st_read(pair[1], 65536, LIMIT))
    return info, client.getpeercert(binary_form=True), client.session


def plain_context(version, directory, name=None):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.minimum_version = context.maximum_version = version
    if name:
        context.load_cert_chain(directory / f"{name}.pem", directory / f"{name}.key")
    return context


@pytest.fixture
def sockets():
    made = []

    def pair():
        made.append([st.st_netfd_open_socket(sock) for sock in socket.socketpair()])
        return made[-1]

    yield pair
    for nfd in [nfd for one in made for nfd in one]:
        st.st_netfd_close(nfd)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_session_goes_on_in_another_process_that_has_the_same_keys(sockets, directory, version):
    keys = os.urandom(TICKET_KEYS_BYTES)
    settings = {"ticket_keys": keys, "request_cert": True}
    first, second = (server_context(directory, "mx.example", **settings) for _ in range(2))
    stranger = server_context(directory, "mx.example", request_cert=True)
    context = plain_context(version, directory, "client.example")
    info, _, session = python_client(sockets(), first, context)
    assert not info.resumed
    again, _, _ = python_client(sockets(), second, context, session)
    assert again.resumed
    # what did not count as verified does not in a session that goes on, either
    assert (again.verified, again.reason, again.common_name) == (False, "self-signed certificate", "client.example")
    other, _, _ = python_client(sockets(), stranger, context, session)
    assert not other.resumed


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_ticket_of_the_keys_before_is_taken_and_replaced(sockets, directory, version):
    old, new, newer = (os.urandom(TICKET_KEYS_BYTES) for _ in range(3))
    server = server_context(directory, "mx.example", ticket_keys=old)
    context = plain_context(version, directory, "client.example")
    _, _, first = python_client(sockets(), server, context)
    server.set_ticket_keys(new + old)
    info, _, second = python_client(sockets(), server, context, first)
    assert info.resumed
    server.set_ticket_keys(newer + new)
    assert not python_client(sockets(), server, context, first)[0].resumed
    assert python_client(sockets(), server, context, second)[0].resumed


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_what_one_server_has_verified_does_not_count_where_others_are_trusted(sockets, directory, version, tmp_path):
    shutil.copy(directory / "mx.example.pem", tmp_path / "ca.pem")
    (tmp_path / "hashed").mkdir()
    keys = os.urandom(TICKET_KEYS_BYTES)

    def server(**trusted):
        return server_context(directory, "mx.example", ticket_keys=keys, request_cert=True, **trusted)

    context = plain_context(version, directory, "signed.example")
    info, _, session = python_client(sockets(), server(ca_file=tmp_path / "ca.pem"), context)
    assert (info.verified, info.common_name) == (True, "signed.example")
    assert python_client(sockets(), server(ca_file=tmp_path / "ca.pem"), context, session)[0].resumed
    for trusted in ({}, {"ca_file": directory / "other.example.pem"}, {"ca_directory": tmp_path / "hashed"}):
        again, _, _ = python_client(sockets(), server(**trusted), context, session)
        assert (again.resumed, again.verified) == (False, False)
    shutil.copy(directory / "other.example.pem", tmp_path / "ca.pem")  # the same file does not trust it any more
    again, _, _ = python_client(sockets(), server(ca_file=tmp_path / "ca.pem"), context, session)
    assert (again.resumed, again.verified) == (False, False)


TLSA_RIGHT = [(3, 1, 1), (3, 0, 1), (3, 0, 2), (3, 1, 2), (3, 0, 0)]


def record(data, spki, usage, selector, kind):
    what = spki if selector else data
    return Tlsa(usage, selector, kind, (what, hashlib.sha256(what).digest(), hashlib.sha512(what).digest())[kind])


def spki_of(directory, name):
    command = ["openssl", "x509", "-in", directory / f"{name}.pem", "-pubkey", "-noout"]
    pem = subprocess.run(command, check=True, capture_output=True).stdout
    return subprocess.run(["openssl", "pkey", "-pubin", "-outform", "DER"], input=pem, check=True, capture_output=True).stdout


@pytest.mark.parametrize("fields", TLSA_RIGHT, ids=lambda fields: "{}-{}-{}".format(*fields))
def test_records_that_match_verify_a_server(pair, directory, server, fields):
    tlsa = record(der(directory, "mx.example"), spki_of(directory, "mx.example"), *fields)
    info = dane(pair, server, TlsWanted("mx.example", (), (tlsa,)))
    assert (info.verified, info.dane, info.reason) == (True, True, "")


@pytest.mark.parametrize("fields", TLSA_RIGHT, ids=lambda fields: "{}-{}-{}".format(*fields))
def test_records_that_do_not_match_do_not(pair, directory, server, fields):
    tlsa = record(der(directory, "other.example"), spki_of(directory, "other.example"), *fields)
    info = dane(pair, server, TlsWanted("mx.example", ("mx.example",), (tlsa,)))
    assert (info.verified, info.dane) == (False, False)
    assert info.reason


@pytest.mark.parametrize("name", ["signed.example", "wrong.example"])
def test_the_record_of_an_issuer_needs_a_chain_and_the_right_name(pair, directory, name):
    server = server_context(directory, "signed.example")
    tlsa = record(der(directory, "mx.example"), spki_of(directory, "mx.example"), 2, 0, 1)
    info = dane(pair, server, TlsWanted(name, (name,), (tlsa,)))
    right = name == "signed.example"
    assert (info.verified, info.dane, info.issuer_common_name) == (right, right, "mx.example")


def test_usages_of_the_web_are_not_for_mail(pair, directory, server):
    tlsa = record(der(directory, "mx.example"), spki_of(directory, "mx.example"), 1, 0, 1)
    info = dane(pair, server, TlsWanted("mx.example", (), (tlsa,)))
    assert (info.verified, info.dane) == (False, False)


def dane(pair, server, wanted):
    threads = [
        later(tls.st_tls_accept, pair[0], server, LIMIT),
        later(tls.st_tls_connect, pair[1], any_client(), wanted, LIMIT),
    ]
    return [st.st_thread_join(thread) for thread in threads][1]


def test_both_sides_have_the_same_channel_binding(pair, server):
    assert tls.st_tls_exporter(pair[0]) is None
    shake(pair, server, any_client(), None)
    binding = tls.st_tls_exporter(pair[0])
    assert binding == tls.st_tls_exporter(pair[1])
    assert len(binding) == 32


def test_before_tls_1_3_there_is_no_channel_binding(pair, directory, server):
    info, _, _ = python_client(pair, server, plain_context(ssl.TLSVersion.TLSv1_2, directory))
    assert info.version == "TLSv1.2"
    assert tls.st_tls_exporter(pair[0]) is None


def test_tls_1_3_only_is_that(pair, directory):
    server = server_context(directory, "mx.example", tls13_only=True)
    accepted = later(tls.st_tls_accept, pair[0], server, LIMIT)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = plain_context(ssl.TLSVersion.TLSv1_2, directory).wrap_bio(incoming, outgoing)
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    st.st_write(pair[1], outgoing.read(), LIMIT)
    assert "protocol" in st.st_thread_join(accepted).strerror


def test_a_server_has_the_dh_parameters_of_its_file(pair, directory, tmp_path):
    params = tmp_path / "dh.pem"
    command = ["openssl", "genpkey", "-genparam", "-algorithm", "DH", "-pkeyopt", "group:ffdhe3072", "-out", params]
    subprocess.run(command, check=True, capture_output=True)
    server = server_context(directory, "rsa.example", dh_file=params)
    context = plain_context(ssl.TLSVersion.TLSv1_2, directory)
    context.set_ciphers("DHE-RSA-AES128-GCM-SHA256")
    info, _, _ = python_client(pair, server, context)
    assert info.cipher == "DHE-RSA-AES128-GCM-SHA256"
    assert dh_bits(server) == 3072
    assert dh_bits(server_context(directory, "rsa.example")) == 2048, "as long as the key, without a file"


def dh_bits(server):
    """Size of the Diffie-Hellman parameters that openssl's client sees."""
    listener = socket.create_server(("127.0.0.1", 0))
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{listener.getsockname()[1]}", "-tls1_2", "-cipher", "DHE"]
    client = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    nfd = st.st_netfd_open_socket(listener.accept()[0])
    listener.close()
    try:
        assert isinstance(st.st_thread_join(later(tls.st_tls_accept, nfd, server, LIMIT)), tls.TlsInfo)
    finally:
        st.st_netfd_close(nfd)
        with client:  # this closes its pipes and waits for it, whatever becomes of it
            try:
                output, _ = client.communicate(timeout=20)
            finally:
                client.kill()
    return int(re.search(r"Server Temp Key: DH, (\d+) bits", output)[1])


def test_two_certificates_of_the_same_kind_are_refused(directory):
    with pytest.raises(st.StError, match=r"other\.example\.pem: its key is of the same kind"):
        server_context(directory, "mx.example", "other.example")


def test_a_key_with_a_passphrase_is_refused_and_nobody_is_asked_for_it(directory, tmp_path):
    key = tmp_path / "locked.key"
    command = ["openssl", "ec", "-aes128", "-passout", "pass:secret", "-in", directory / "mx.example.key", "-out", key]
    subprocess.run(command, check=True, capture_output=True)
    with pytest.raises(st.StError, match=r"locked\.key"):
        tls.tls_context(TlsSettings((KeyPair(directory / "mx.example.pem", key),)), server=True)


def test_a_connection_that_is_closed_in_the_middle_of_a_handshake_is_an_error_of_its_own(pair, server):
    accepted = later(tls.st_tls_accept, pair[0], server, LIMIT)
    st.st_usleep(0)
    st.st_netfd_close(pair[0])
    assert st.st_thread_join(accepted).errno == errno.EBADF


def test_an_end_without_close_notify_is_told_apart(pair, server):
    shake(pair, server, any_client(), None)
    pair[1].sock.shutdown(socket.SHUT_WR)
    with pytest.raises(st.StError, match="eof"):
        st.st_read(pair[0], 9, LIMIT)


def test_revoked_certificates_do_not_count(pair, directory, tmp_path, server):
    shutil.copy(directory / "mx.example.pem", tmp_path / "ca.pem")
    (tmp_path / "index.txt").write_text("")
    (tmp_path / "crlnumber").write_text("01\n")
    (tmp_path / "ca.cnf").write_text(
        f"[ca]\ndefault_ca=x\n[x]\ndatabase={tmp_path}/index.txt\ncrlnumber={tmp_path}/crlnumber\n"
        "default_md=sha256\ndefault_crl_days=1\n"
    )
    openssl = ["openssl", "ca", "-config", tmp_path / "ca.cnf", "-cert", tmp_path / "ca.pem"]
    openssl += ["-keyfile", directory / "mx.example.key"]
    subprocess.run([*openssl, "-revoke", tmp_path / "ca.pem"], check=True, capture_output=True)
    subprocess.run([*openssl, "-gencrl", "-out", tmp_path / "crl.pem"], check=True, capture_output=True)
    settings = TlsSettings(ca_file=tmp_path / "ca.pem", crl_file=tmp_path / "crl.pem")
    _, theirs = shake(pair, server, tls.tls_context(settings, server=False))
    assert (theirs.verified, "revoked" in theirs.reason) == (False, True)


def test_the_end_of_a_certificate_is_known(server):
    assert 86400 < server.seconds_left()[0] < 2 * 86400 + 60
    assert any_client().seconds_left() == []


def test_many_handshakes_let_others_have_their_turns(sockets, directory):
    """Between two steps of handshakes everybody else who is ready runs."""
    server = server_context(directory, "rsa.example")
    client = any_client()
    steps, turns = [0], []

    def busy(_):
        while steps[0] < 20:
            turns.append(steps[0])
            st.st_usleep(0)

    def serve(_):
        pair = sockets()
        threads = [
            later(tls.st_tls_accept, pair[0], server, LIMIT),
            later(tls.st_tls_connect, pair[1], client, TlsWanted(), LIMIT),
        ]
        for thread in threads:
            st.st_thread_join(thread)
        steps[0] += 1

    other = st.st_thread_create(busy, None, True)
    threads = [st.st_thread_create(serve, None, True) for _ in range(20)]
    for thread in [*threads, other]:
        st.st_thread_join(thread)
    assert len(turns) >= 40  # each handshake has several steps on both sides


def test_memory_goes_with_the_connection(sockets, directory):
    """Run apart: what leaks shows in the size of a fresh process."""
    program = """
import resource, socket, sys
from pathlib import Path
from meta1g import st
from meta1g.st import tls
from meta1g.base.tlsfacts import KeyPair, TlsSettings, TlsWanted
st.st_init()
cert, key = map(Path, sys.argv[1:])
server = tls.tls_context(TlsSettings((KeyPair(cert, key),), request_cert=True), server=True)
client = tls.tls_context(TlsSettings((KeyPair(cert, key),)), server=False)
def once():
    pair = [st.st_netfd_open_socket(sock) for sock in socket.socketpair()]
    threads = [
        st.st_thread_create(lambda _: tls.st_tls_accept(pair[0], server, 9_000_000), None, True),
        st.st_thread_create(lambda _: tls.st_tls_connect(pair[1], client, TlsWanted(), 9_000_000), None, True),
    ]
    for thread in threads:
        assert st.st_thread_join(thread).peer_cert
    for nfd in pair:
        st.st_netfd_close(nfd)
for _ in range(50): once()
first = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for _ in range(300): once()
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - first)
"""
    files = [directory / "mx.example.pem", directory / "mx.example.key"]
    done = subprocess.run([sys.executable, "-c", program, *files], capture_output=True, text=True, check=True, timeout=60)
    assert int(done.stdout) < 2000  # KiB
