"""The begin of a server's handshake over TCP: nothing is made for a client before its first record is there."""

import errno
import socket

import pytest

from meta1g import st
from meta1g.st import libssl, tls
from tests.fakes.certificates import make_certificate
from tests.unit.st.conftest import errno_of
from tests.unit.st.tls_ends import LIMIT, any_client, later, server_context, shake

#: Long enough for who has something to do.
TURN_US = 50_000


@pytest.fixture(params=["libssl", "pyssl"])
def server(request, monkeypatch, tmp_path):
    """A context that keeps which descriptors it made a connection for."""
    if request.param == "pyssl":
        monkeypatch.setattr(libssl, "why_not", lambda: "not built")
    make_certificate(tmp_path, "mx.example")
    context = server_context(tmp_path, "mx.example")
    context.made = []
    make = context.connection
    context.connection = lambda fd, wanted: context.made.append(fd) or make(fd, wanted)
    return context


@pytest.fixture
def tcp():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        theirs = socket.create_connection(listener.getsockname())
        ours, _ = listener.accept()
    ends = [st.st_netfd_open_socket(sock) for sock in (ours, theirs)]
    yield ends
    for nfd in ends:
        st.st_netfd_close(nfd)


@pytest.mark.parametrize("said", [b"", b"\x16\x03\x01", b"\x16\x03\x01\x02\x00\x01\x00", b"\x16\x03\x01\x00\x02\x01"])
def test_half_a_hello_costs_nothing_of_libssl(tcp, server, clock, said):
    if said:
        st.st_write(tcp[1], said, LIMIT)
    assert errno_of(tls.st_tls_accept, tcp[0], server, 1_000_000) == errno.ETIME
    assert clock.now_us == 1_000_000
    assert server.made == []


@pytest.mark.parametrize(
    "said",
    [
        b"EHLO in clear\r\n",
        b"\x16\x03\x01\x00\x00",
        b"\x16\x03\x01\xff\xff\x01",
        b"\x15\x03\x01\x00\x02\x02",
        b"\x16\x03\x01\x00\x01\x07",
    ],
)
def test_what_is_no_hello_is_not_waited_for(tcp, server, said):
    st.st_write(tcp[1], said, LIMIT)
    thread = later(tls.st_tls_accept, tcp[0], server, LIMIT)
    st.st_usleep(TURN_US)
    assert server.made
    st.st_netfd_close(tcp[1])
    assert st.st_thread_join(thread).errno in (errno.EPROTO, errno.ECONNRESET)


@pytest.mark.parametrize("said", [b"", b"\x16\x03", b"\x16\x03\x01\x02\x00\x01\x00"])
def test_a_client_that_goes_away_is_noticed(tcp, server, clock, said):
    if said:
        st.st_write(tcp[1], said, LIMIT)
    thread = later(tls.st_tls_accept, tcp[0], server, LIMIT)
    st.st_usleep(0)
    st.st_netfd_close(tcp[1])
    assert st.st_thread_join(thread).errno == errno.EPROTO
    assert clock.now_us < LIMIT


def test_a_hello_in_pieces_is_taken(tcp, server):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        between = socket.create_connection(listener.getsockname())
        client, _ = listener.accept()
    ends = [st.st_netfd_open_socket(sock) for sock in (between, client)]

    def pass_on(_):
        """Passes on the hello byte by byte, what follows as it comes."""
        data = st.st_read(ends[0], 4096, LIMIT)
        for byte in data[:40]:
            st.st_write(tcp[1], bytes((byte,)), LIMIT)
            st.st_usleep(0)
        assert server.made == []
        st.st_write(tcp[1], data[40:], LIMIT)
        return copy(tcp[1], ends[0]), copy(ends[0], tcp[1])

    def copy(source, target):
        def body(_):
            try:
                while data := st.st_read(source, 65536, LIMIT):
                    st.st_write(target, data, LIMIT)
            except st.StError:
                return

        return st.st_thread_create(body, None, True)

    thread = st.st_thread_create(pass_on, None, True)
    ours, theirs = shake((tcp[0], ends[1]), server, any_client())
    assert ours.version == theirs.version == "TLSv1.3"
    threads = st.st_thread_join(thread)
    for nfd in ends:
        st.st_netfd_close(nfd)
    for one in threads:
        st.st_thread_interrupt(one)
        st.st_thread_join(one)
