"""Streams: reading, writing, accepting, connecting."""

import errno
import os
import socket

import pytest

from meta1g import st
from tests.unit.st.conftest import errno_of

MS = 1000
FOREVER = st.ST_UTIME_NO_TIMEOUT


@pytest.fixture
def pair():
    ends = [st.st_netfd_open_socket(sock) for sock in socket.socketpair()]
    yield ends
    for nfd in ends:
        st.st_netfd_close(nfd)


@pytest.fixture
def listener():
    nfd = st.st_netfd_open_socket(socket.create_server(("127.0.0.1", 0)))
    yield nfd
    st.st_netfd_close(nfd)


def later(function, *args):
    return st.st_thread_create(lambda _: function(*args), None, True)


def fill(nfd):
    """Writes until the socket takes no more; gives the number of bytes."""
    total = 0
    while True:
        try:
            total += nfd.send(b"x" * 65536)
        except BlockingIOError:
            return total


def test_a_read_waits_for_data_and_a_second_one_takes_the_rest(pair):
    thread = later(st.st_read, pair[0], 3, FOREVER)
    st.st_usleep(0)
    st.st_write(pair[1], b"hello", FOREVER)
    assert st.st_thread_join(thread) == b"hel"
    before = st.switch_count()
    assert st.st_read(pair[0], 9, FOREVER) == b"lo"
    assert st.switch_count() == before


def test_a_read_fails_when_the_time_is_over_and_gives_nothing_at_the_end(pair, clock):
    assert errno_of(st.st_read, pair[0], 1, 5 * MS) == errno.ETIME
    assert clock.now_us == 5 * MS
    st.st_netfd_close(pair[1])
    assert st.st_read(pair[0], 1, FOREVER) == b""


def test_read_fully_goes_on_until_all_is_there_or_the_end(pair):
    thread = later(st.st_read_fully, pair[0], 6, FOREVER)
    for piece in (b"ab", b"cd", b"efg"):
        st.st_write(pair[1], piece, FOREVER)
        st.st_usleep(0)
    assert st.st_thread_join(thread) == b"abcdef"
    st.st_netfd_close(pair[1])
    assert st.st_read_fully(pair[0], 6, FOREVER) == b"g"


def test_read_resid_tells_what_is_missing_at_the_end_and_after_an_error(pair, clock):
    buffer = bytearray(4)
    st.st_write(pair[1], b"abc", FOREVER)
    with pytest.raises(st.StError) as failure:
        st.st_read_resid(pair[0], buffer, MS)
    assert (failure.value.errno, failure.value.resid, buffer) == (errno.ETIME, 1, b"abc\0")
    st.st_netfd_close(pair[1])
    assert st.st_read_resid(pair[0], buffer, MS) == 4


def test_readv_fills_buffer_after_buffer(pair):
    buffers = [bytearray(2), bytearray(0), bytearray(2), bytearray(2)]
    st.st_write(pair[1], b"abc", FOREVER)
    assert st.st_readv(pair[0], buffers, FOREVER) == 3
    assert buffers == [b"ab", b"", b"c\0", b"\0\0"]


def test_readv_resid_leaves_the_buffers_that_are_not_full(pair, clock):
    iov = [memoryview(bytearray(2)), memoryview(bytearray(3)), memoryview(bytearray(1))]
    st.st_write(pair[1], b"abc", FOREVER)
    assert errno_of(st.st_readv_resid, pair[0], iov, MS) == errno.ETIME
    assert [len(part) for part in iov] == [2, 1]
    st.st_write(pair[1], b"def", FOREVER)
    assert st.st_readv_resid(pair[0], iov, MS) == 0


def test_a_write_of_more_than_the_socket_takes_waits_for_the_reader(pair):
    data = os.urandom(3_000_000)
    writer = later(st.st_write, pair[0], data, FOREVER)
    assert st.st_read_fully(pair[1], len(data), FOREVER) == data
    assert st.st_thread_join(writer) == len(data)


def test_writev_writes_all_pieces_in_order(pair):
    assert st.st_writev(pair[0], [b"ab", b"", b"cd"], FOREVER) == 4
    assert st.st_writev_resid(pair[0], [memoryview(b"ef"), memoryview(b"g")], FOREVER) == 0
    assert st.st_read_fully(pair[1], 7, FOREVER) == b"abcdefg"


def test_a_write_that_stops_in_the_middle_tells_what_is_left(pair, clock):
    data = b"y" * 5_000_000
    with pytest.raises(st.StError) as failure:
        st.st_write_resid(pair[0], data, MS)
    assert failure.value.errno == errno.ETIME
    assert 0 < failure.value.resid < len(data)
    iov = [memoryview(b"0123"), memoryview(b"45")]
    assert errno_of(st.st_writev_resid, pair[0], iov, MS) == errno.ETIME
    assert [bytes(part) for part in iov] == [b"0123", b"45"]


def test_an_interrupt_ends_a_read_a_write_and_an_accept(pair, listener, trace):
    fill(pair[0])
    threads = [
        later(errno_of, st.st_read, pair[0], 1, FOREVER),
        later(errno_of, st.st_write, pair[0], b"x", FOREVER),
        later(errno_of, st.st_accept, listener, FOREVER),
        later(errno_of, st.st_netfd_poll, pair[0], st.POLLIN, FOREVER),
    ]
    st.st_usleep(0)
    for thread in threads:
        st.st_thread_interrupt(thread)
    assert [st.st_thread_join(thread) for thread in threads] == [errno.EINTR] * 4


def test_data_that_is_there_is_read_in_spite_of_an_interrupt_which_stays_for_the_next_call(pair):
    def reader():
        return st.st_read(pair[0], 9, FOREVER), errno_of(st.st_read, pair[0], 9, FOREVER)

    st.st_write(pair[1], b"now", FOREVER)
    thread = later(reader)
    st.st_thread_interrupt(thread)
    assert st.st_thread_join(thread) == (b"now", errno.EINTR)


def test_writing_to_a_closed_connection_is_an_error_and_no_signal(pair):
    st.st_netfd_close(pair[1])
    assert errno_of(st.st_write, pair[0], b"x", FOREVER) == errno.EPIPE


def test_two_threads_may_read_from_one_descriptor(pair):
    threads = [later(st.st_read, pair[0], 1, FOREVER) for _ in range(2)]
    st.st_usleep(0)
    st.st_write(pair[1], b"ab", FOREVER)
    assert sorted(st.st_thread_join(thread) for thread in threads) == [b"a", b"b"]


def test_accept_and_connect_make_a_connection(listener):
    thread = later(st.st_accept, listener, FOREVER)
    client = st.st_netfd_open_socket(socket.socket())
    assert st.st_connect(client, listener.sock.getsockname(), FOREVER) == 0
    server, address = st.st_thread_join(thread)
    assert address == client.sock.getsockname()
    st.st_write(server, b"220 hello", FOREVER)
    assert st.st_read(client, 99, FOREVER) == b"220 hello"
    st.st_netfd_close(client)
    st.st_netfd_close(server)


def test_a_refused_connection_says_so(listener):
    address = listener.sock.getsockname()
    st.st_netfd_close(listener)
    client = st.st_netfd_open_socket(socket.socket())
    assert errno_of(st.st_connect, client, address, FOREVER) == errno.ECONNREFUSED
    st.st_netfd_close(client)


def test_sockets_are_needed_where_sockets_are_used():
    reader, writer = os.pipe()
    nfd = st.st_netfd_open(reader)
    assert errno_of(st.st_accept, nfd, 0) == errno.ENOTSOCK
    assert errno_of(st.st_connect, nfd, ("127.0.0.1", 1), 0) == errno.ENOTSOCK
    assert errno_of(st.st_recvfrom, nfd, 1, 0) == errno.ENOTSOCK
    st.st_netfd_close(nfd)
    os.close(writer)
