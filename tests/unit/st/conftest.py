"""State threads inside the test process: the test function is the primordial thread; nothing may be left."""

import socket

import pytest

from meta1g import st
from meta1g.st import offload as _warm
from tests.fakes.st_testing import no_leaks, virtual_clock


@pytest.fixture(autouse=True)
def leaks():
    st.st_init()
    _warm(int)
    with no_leaks():
        yield


@pytest.fixture
def clock():
    with virtual_clock() as clock:
        yield clock


@pytest.fixture
def trace():
    return []


def errno_of(call, *args):
    """Gives the errno that a call fails with, 0 if it does not fail."""
    try:
        call(*args)
    except st.StError as error:
        return error.errno
    return 0


@pytest.fixture
def pair():
    ends = [st.st_netfd_open_socket(sock) for sock in socket.socketpair()]
    yield ends
    for nfd in ends:
        st.st_netfd_close(nfd)
