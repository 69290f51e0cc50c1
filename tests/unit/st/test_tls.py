"""TLS over descriptor objects, both ends in this process, certificates made by openssl."""

import errno
import os
import select
import socket
import ssl

import pytest

from meta1g import st
from meta1g.base.tlsbytes import TLS_FEED_BYTES
from meta1g.base.tlsfacts import KeyPair, TlsSettings, TlsWanted
from meta1g.st import libssl, tls
from meta1g.st.limits import TURN_CALLS
from tests.fakes.certificates import make_certificate
from tests.fakes.key_updates import key_updates, renegotiation
from tests.unit.st.conftest import errno_of
from tests.unit.st.tls_ends import LIMIT, any_client, later, server_context, shake

FOREVER = st.ST_UTIME_NO_TIMEOUT
ALERT = 21


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    directory = tmp_path_factory.mktemp("tls")
    for name in ("mx.example", "other.example"):
        make_certificate(directory, name)
    return directory


@pytest.fixture(params=["libssl", "pyssl"])
def backend(request, monkeypatch):
    if request.param == "pyssl":
        monkeypatch.setattr(libssl, "why_not", lambda: "not built")
    return request.param


@pytest.fixture
def server(directory, backend):
    return server_context(directory, "mx.example")


@pytest.fixture
def trusting(directory, backend):
    return tls.tls_context(TlsSettings(ca_file=directory / "mx.example.pem"), server=False)


def test_both_sides_agree_and_talk(pair, server, trusting, backend):
    ours, theirs = shake(pair, server, trusting)
    assert ours.version == theirs.version == "TLSv1.3"
    assert ours.cipher == theirs.cipher
    assert (ours.peer_cert, ours.verified, theirs.verified) == (None, False, backend == "libssl")
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


#: What a server may send all the time while a client makes a handshake: it wants one (RFC 5246 7.4.1.1).
HELLO_REQUEST = bytes.fromhex("160303000400000000")


@pytest.fixture
def turns():
    """One more for each turn that another thread has."""
    seen = []

    def others(_):
        while True:
            seen.append(1)
            st.st_usleep(0)

    other = st.st_thread_create(others)
    yield seen
    st.st_thread_interrupt(other)
    st.st_usleep(0)


def test_others_have_turns_while_a_client_does_nothing_but_change_its_keys(pair, server, turns):
    taking = later(tls.st_tls_accept, pair[0], server, LIMIT)
    client = pair[1].sock
    client.setblocking(True)
    records = st.offload(key_updates, client, 2000)
    assert st.st_thread_join(taking).version == "TLSv1.3"
    client.sendall(records)  # all are there before the first one is read
    client.shutdown(socket.SHUT_WR)
    turns.clear()
    assert errno_of(st.st_read, pair[0], 99, LIMIT) == errno.EPROTO  # the end comes without a word
    assert len(turns) >= len(records) // TLS_FEED_BYTES


def test_others_have_turns_while_a_server_does_nothing_but_want_handshakes(pair, trusting, turns):
    """OpenSSL reads on without leaving the call, as long as such messages come."""
    server = pair[1].sock
    server.setblocking(True)
    flood = HELLO_REQUEST * 15_000
    server.sendall(flood)
    server.shutdown(socket.SHUT_WR)
    connecting = later(tls.st_tls_connect, pair[0], trusting, TlsWanted("mx.example"), LIMIT)
    assert st.st_thread_join(connecting).errno == errno.EPROTO
    assert len(turns) >= len(flood) // TLS_FEED_BYTES


def test_a_client_that_asks_for_another_handshake_hears_no_and_may_go_on(pair, server):
    taking = later(tls.st_tls_accept, pair[0], server, LIMIT)
    client = pair[1].sock
    client.setblocking(True)
    record = st.offload(renegotiation, client)
    assert st.st_thread_join(taking).version == "TLSv1.2"
    client.sendall(record)
    reading = later(st.st_read, pair[0], 99, LIMIT)
    st.st_usleep(0)
    assert st.offload(client.recv, 1)[0] == ALERT
    st.st_thread_interrupt(reading)
    assert st.st_thread_join(reading).errno == errno.EINTR


@pytest.mark.parametrize("count", [1, 20_000])
def test_what_is_behind_a_record_that_was_read_is_there_to_be_read(pair, server, trusting, count):
    shake(pair, server, trusting)
    for _ in range(3):
        st.st_write(pair[1], b"x" * count, LIMIT)
    for _ in range(3):
        st.st_netfd_poll(pair[0], select.POLLIN, LIMIT)
        assert st.st_read_fully(pair[0], count, LIMIT) == b"x" * count


def test_an_unknown_certificate_is_told(pair, server, directory, backend):
    client = tls.tls_context(TlsSettings(ca_file=directory / "other.example.pem"), server=False)
    _, theirs = shake(pair, server, client)
    assert (theirs.verified, theirs.reason) == (False, "self-signed certificate" if backend == "libssl" else "not checked")


def test_a_certificate_of_another_name_is_told(pair, server, trusting, backend):
    _, theirs = shake(pair, server, trusting, "wrong.example")
    assert (theirs.verified, theirs.reason) == (False, "hostname mismatch" if backend == "libssl" else "not checked")


def test_without_trusted_certificates_any_server_will_do(pair, server):
    _, theirs = shake(pair, server, any_client(), None)
    assert theirs.peer_cert is not None
    assert not theirs.verified
    assert theirs.reason


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
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
    old.set_ciphers("ALL:@SECLEVEL=0")
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    with pytest.raises(ssl.SSLWantReadError):
        old.wrap_bio(incoming, outgoing).do_handshake()
    st.st_write(pair[1], outgoing.read(), LIMIT)
    ours = st.st_thread_join(later(tls.st_tls_accept, pair[0], server, LIMIT))
    assert ours.errno == errno.EPROTO
    assert "protocol" in ours.strerror


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


def test_a_record_that_trickles_does_not_stretch_the_time_of_a_read(pair, server, trusting, clock):
    shake(pair, server, trusting)
    while errno_of(st.st_read, pair[0], 1, 1000) != errno.ETIME:
        pass
    st.st_write(pair[1], b"x" * 500, LIMIT)
    record = pair[0].sock.recv(4096, socket.MSG_PEEK)
    pair[0].sock.recv(len(record))

    def trickle(_):
        for byte in record:
            os.write(pair[1].fd, bytes((byte,)))  # under the layer, as a network would
            st.st_usleep(400_000)

    feeder = st.st_thread_create(trickle, None, True)
    begun_us = clock.now_us
    assert errno_of(st.st_read, pair[0], 1, 1_000_000) == errno.ETIME
    assert clock.now_us - begun_us <= 1_200_000
    st.st_thread_interrupt(feeder)
    st.st_thread_join(feeder)


def test_closing_tells_the_peer(pair, server, trusting):
    shake(pair, server, trusting)
    st.st_write(pair[0], b"bye", LIMIT)
    st.st_netfd_close(pair[0])
    assert st.st_read(pair[1], 9, LIMIT) == b"bye"
    assert st.st_read(pair[1], 9, LIMIT) == b""
    assert pair[0].fd == -1


def test_files_that_are_no_certificates_are_named(directory, tmp_path, backend):
    good = directory / "mx.example.pem", directory / "mx.example.key"
    junk = tmp_path / "junk.pem"
    junk.write_text("no certificate\n")
    for cert, key, text in (
        (tmp_path / "missing.pem", good[1], r"missing\.pem: No such file"),
        (good[0], tmp_path / "missing.key", r"missing\.key: No such file"),
        (good[0], directory / "other.example.key", r"other\.example\.key: .*mismatch"),
        (junk, good[1], r"junk\.pem"),
        (good[0], junk, r"junk\.pem"),
    ):
        with pytest.raises(st.StError, match=text):
            tls.tls_context(TlsSettings((KeyPair(cert, key),)), server=True)
    for settings, text in (
        (TlsSettings(ca_file=tmp_path / "missing.pem"), r"missing\.pem"),
        (TlsSettings(ca_directory=tmp_path / "missing"), "missing"),
        (TlsSettings(crl_file=tmp_path / "missing.crl"), r"missing\.crl"),
        (TlsSettings(ca_file=junk), r"junk\.pem"),
        (TlsSettings(ciphers="NONSENSE"), "ciphers NONSENSE"),
        (TlsSettings(dh_file=junk), r"junk\.pem"),
        (TlsSettings(dh_file=tmp_path / "missing.dh"), r"missing\.dh"),
    ):
        with pytest.raises(st.StError, match=text):
            tls.tls_context(settings, server=settings.dh_file is not None)


def test_names_and_issuers_are_told(pair, server, backend):
    if backend == "pyssl":
        pytest.skip("Python's ssl does not tell them")
    _, theirs = shake(pair, server, any_client(), None)
    assert (theirs.subject, theirs.common_name, theirs.issuer_common_name) == ("CN=mx.example", "mx.example", "mx.example")
    assert theirs.algorithm_bits >= theirs.bits


def test_tls_needs_an_open_socket(pair, server):
    reader, writer = (st.st_netfd_open(fd) for fd in os.pipe())
    assert errno_of(tls.st_tls_accept, reader, server, LIMIT) == errno.ENOTSOCK
    for nfd in (reader, writer, pair[0]):
        st.st_netfd_close(nfd)
    assert errno_of(tls.st_tls_accept, pair[0], server, LIMIT) == errno.EBADF
