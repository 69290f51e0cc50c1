"""Datagrams and ancillary data."""

import array
import errno
import os
import socket

import pytest

from meta1g import st
from tests.unit.st.conftest import errno_of

FOREVER = st.ST_UTIME_NO_TIMEOUT


@pytest.fixture
def two():
    made = []
    for _ in range(2):
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind(("127.0.0.1", 0))
        made.append(st.st_netfd_open_socket(sock))
    yield made
    for nfd in made:
        st.st_netfd_close(nfd)


def test_a_datagram_comes_with_the_address_of_its_sender(two):
    reader = st.st_thread_create(lambda _: st.st_recvfrom(two[0], 3, FOREVER), None, True)
    st.st_usleep(0)
    assert st.st_sendto(two[1], b"abcdef", two[0].sock.getsockname(), FOREVER) == 6
    assert st.st_thread_join(reader) == (b"abc", two[1].sock.getsockname())


def test_no_datagram_in_time_is_an_error(two, clock):
    assert errno_of(st.st_recvfrom, two[0], 3, 1000) == errno.ETIME


def test_a_descriptor_travels_beside_a_message():
    ends = [st.st_netfd_open_socket(sock) for sock in socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)]
    reader = st.st_thread_create(lambda _: st.st_recvmsg(ends[0], 9, socket.CMSG_SPACE(4), FOREVER), None, True)
    st.st_usleep(0)
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [ends[1].fd]))]
    assert st.st_sendmsg(ends[1], [b"a", b"b"], rights, FOREVER) == 2
    data, ancillary, _, _ = st.st_thread_join(reader)
    assert data == b"ab"
    (copy,) = array.array("i", ancillary[0][2])
    assert os.fstat(copy).st_ino == os.fstat(ends[1].fd).st_ino
    for fd in (copy,):
        os.close(fd)
    for nfd in ends:
        st.st_netfd_close(nfd)
