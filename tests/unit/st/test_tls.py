"""TLS over descriptor objects, both ends in this process, certificates made by openssl."""

import errno
import os
import socket
import ssl
import subprocess

import pytest

from meta1g import st
from meta1g.st import tls
from meta1g.st.limits import TURN_CALLS
from tests.unit.st.conftest import errno_of

LIMIT = 10_000_000
FOREVER = st.ST_UTIME_NO_TIMEOUT


def make_certificate(directory, name):
    key, cert = directory / f"{name}.key", directory / f"{name}.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    names = ["-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}"]
    subprocess.run([*command, "-keyout", key, "-out", cert, *names], check=True, capture_output=True)
    return cert, key


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    directory = tmp_path_factory.mktemp("tls")
    for name in ("mx.example", "other.example"):
        make_certificate(directory, name)
    return directory


@pytest.fixture
def server(directory):
    return tls.server_context(directory / "mx.example.pem", directory / "mx.example.key")


@pytest.fixture
def trusting(directory):
    return tls.client_context(directory / "mx.example.pem")


@pytest.fixture
def pair():
    ends = [st.st_netfd_open_socket(sock) for sock in socket.socketpair()]
    yield ends
    for nfd in ends:
        st.st_netfd_close(nfd)


def later(function, *args):
    def body(_):
        try:
            return function(*args)
        except st.StError as error:
            return error

    return st.st_thread_create(body, None, True)


def shake(pair, server, client, name="mx.example"):
    """Makes both sides of the handshake; gives both results."""
    threads = [later(tls.st_tls_accept, pair[0], server, LIMIT), later(tls.st_tls_connect, pair[1], client, name, LIMIT)]
    return [st.st_thread_join(thread) for thread in threads]


def test_both_sides_agree_and_talk(pair, server, trusting):
    ours, theirs = shake(pair, server, trusting)
    assert ours.version == theirs.version == "TLSv1.3"
    assert ours.cipher == theirs.cipher
    assert (ours.peer_cert, ours.verified, theirs.verified) == (None, False, True)
    assert theirs.bits >= 128
    st.st_write(pair[0], b"220 hello", LIMIT)
    assert st.st_read(pair[1], 99, LIMIT) == b"220 hello"
    st.st_write(pair[1], b"EHLO", LIMIT)
    assert st.st_read(pair[0], 99, LIMIT) == b"EHLO"


def test_more_than_a_socket_takes_arrives_whole(pair, server, trusting):
    shake(pair, server, trusting)
    data = os.urandom(3_000_000)
    writer = later(st.st_write, pair[0], data, LIMIT)
    assert st.st_read_fully(pair[1], len(data), LIMIT) == data
    assert st.st_thread_join(writer) == len(data)


def test_streams_under_tls_have_turns_as_well(pair, server, trusting):
    shake(pair, server, trusting)
    ran = []
    st.st_thread_create(ran.append, 1)
    for _ in range(TURN_CALLS):
        st.st_write(pair[0], b"x", FOREVER)
        st.st_read(pair[1], 1, FOREVER)
    assert ran


def test_the_client_names_the_server_it_wants(pair, directory, server):
    other = tls.server_context(directory / "other.example.pem", directory / "other.example.key")
    asked = []

    def choose(name):
        asked.append(name)
        return other if name == "other.example" else None

    tls.set_choice(server, choose)
    _, theirs = shake(pair, server, tls.client_context(directory / "other.example.pem"), "other.example")
    assert theirs.verified
    assert asked == ["other.example"]


def test_an_unknown_certificate_is_refused_and_says_why(pair, server, directory):
    ours, theirs = shake(pair, server, tls.client_context(directory / "other.example.pem"))
    assert theirs.errno == errno.EPROTO
    assert "certificate: self-signed certificate" in theirs.strerror
    assert isinstance(ours, tls.TlsInfo) or ours.errno == errno.EPROTO  # TLS 1.3: the server is done before the client


def test_a_certificate_of_another_name_is_refused_unless_nobody_looks(pair, server, trusting):
    _, theirs = shake(pair, server, trusting, "wrong.example")
    assert "mismatch" in theirs.strerror.lower()


def test_without_trusted_certificates_any_server_will_do(pair, server):
    _, theirs = shake(pair, server, tls.client_context(), None)
    assert theirs.peer_cert is not None
    assert not theirs.verified


def test_nothing_goes_in_clear_after_a_handshake_that_failed(pair, server):
    st.st_write(pair[1], b"EHLO in clear\r\n", LIMIT)
    failure = st.st_thread_join(later(tls.st_tls_accept, pair[0], server, LIMIT))
    assert failure.errno == errno.EPROTO
    assert errno_of(st.st_write, pair[0], b"secret", LIMIT) == errno.EPROTO
    assert errno_of(st.st_read, pair[0], 9, LIMIT) == errno.EPROTO
    assert errno_of(st.st_read, pair[1], 9, 0) == errno.ETIME


def test_the_whole_handshake_has_one_time_limit(pair, server, clock):
    def trickle(_):
        for byte in b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03":
            st.st_usleep(400_000)
            st.st_write(pair[1], bytes((byte,)), FOREVER)

    feeder = st.st_thread_create(trickle, None, True)
    assert errno_of(tls.st_tls_accept, pair[0], server, 1_000_000) == errno.ETIME
    assert clock.now_us == 1_000_000
    st.st_thread_join(feeder)


def test_an_interrupt_ends_a_handshake(pair, server):
    thread = later(tls.st_tls_accept, pair[0], server, FOREVER)
    st.st_usleep(0)
    st.st_thread_interrupt(thread)
    assert st.st_thread_join(thread).errno == errno.EINTR


def test_a_peer_that_goes_away_in_the_handshake_is_an_error(pair, server):
    st.st_netfd_close(pair[1])
    assert errno_of(tls.st_tls_accept, pair[0], server, LIMIT) == errno.EPROTO


def test_old_versions_are_refused(pair, server):
    old = tls.client_context()
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
    ours, theirs = shake(pair, server, old, None)
    assert (ours.errno, theirs.errno) == (errno.EPROTO, errno.EPROTO)


def test_time_outs_and_polls_work_under_tls(pair, server, trusting, clock):
    shake(pair, server, trusting)
    while True:  # tickets of TLS 1.3
        if errno_of(st.st_read, pair[1], 1, 1000) == errno.ETIME:
            break
    assert errno_of(st.st_netfd_poll, pair[1], st.POLLIN, 1000) == errno.ETIME
    st.st_write(pair[0], b"abcdef", LIMIT)
    assert st.st_netfd_poll(pair[1], st.POLLIN, LIMIT) == 0
    assert st.st_read(pair[1], 2, LIMIT) == b"ab"
    assert st.st_netfd_poll(pair[1], st.POLLIN, 0) == 0
    assert st.st_read(pair[1], 9, LIMIT) == b"cdef"


def test_closing_tells_the_peer(pair, server, trusting):
    shake(pair, server, trusting)
    st.st_write(pair[0], b"bye", LIMIT)
    tls.st_tls_close(pair[0])
    assert st.st_read(pair[1], 9, LIMIT) == b"bye"
    assert st.st_read(pair[1], 9, LIMIT) == b""
    assert pair[0].fd == -1


def test_files_that_are_no_certificates_are_named(directory, tmp_path):
    with pytest.raises(st.StError, match=r"missing\.pem"):
        tls.server_context(tmp_path / "missing.pem", directory / "mx.example.key")
    with pytest.raises(st.StError, match=r"other\.example\.key"):
        tls.server_context(directory / "mx.example.pem", directory / "other.example.key")
    with pytest.raises(st.StError, match=r"missing\.pem"):
        tls.client_context(tmp_path / "missing.pem")


def test_tls_needs_an_open_socket(pair, server):
    reader, writer = (st.st_netfd_open(fd) for fd in os.pipe())
    assert errno_of(tls.st_tls_accept, reader, server, LIMIT) == errno.ENOTSOCK
    for nfd in (reader, writer, pair[0]):
        st.st_netfd_close(nfd)
    assert errno_of(tls.st_tls_accept, pair[0], server, LIMIT) == errno.EBADF
