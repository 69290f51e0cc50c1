"""Descriptor objects and polling."""

import errno
import os
import socket

import pytest

from meta1g import st
from tests.unit.st.conftest import errno_of

MS = 1000
FOREVER = st.ST_UTIME_NO_TIMEOUT


@pytest.fixture
def pipe():
    ends = [st.st_netfd_open(fd) for fd in os.pipe()]
    yield ends
    for nfd in ends:
        st.st_netfd_close(nfd)


def later(function, *args):
    return st.st_thread_create(lambda _: function(*args), None, True)


def test_pipes_can_be_read_and_written(pipe):
    st.st_write(pipe[1], b"abc", FOREVER)
    assert st.st_read(pipe[0], 9, FOREVER) == b"abc"
    assert st.st_netfd_fileno(pipe[0]) == pipe[0].fd


def test_closing_wakes_the_thread_that_waits_and_later_calls_fail(pipe):
    reader = later(errno_of, st.st_read, pipe[0], 1, FOREVER)
    st.st_usleep(0)
    assert st.st_netfd_close(pipe[0]) == 0
    assert st.st_thread_join(reader) == errno.EBADF
    assert errno_of(st.st_netfd_poll, pipe[0], st.POLLIN, FOREVER) == errno.EBADF
    assert errno_of(st.st_read, pipe[0], 1, FOREVER) == errno.EBADF
    assert st.st_netfd_close(pipe[0]) == 0


def test_closing_wakes_all_threads_that_wait():
    ours, theirs = (st.st_netfd_open_socket(sock) for sock in socket.socketpair())
    calls = [st.POLLIN, st.POLLIN, st.POLLIN | st.POLLPRI, st.POLLIN]
    readers = [later(errno_of, st.st_netfd_poll, ours, how, FOREVER) for how in calls]
    st.st_usleep(0)
    st.st_netfd_close(ours)
    assert [st.st_thread_join(reader) for reader in readers] == [errno.EBADF] * 4
    st.st_netfd_close(theirs)


def test_freeing_keeps_the_descriptor_open():
    ours, theirs = socket.socketpair()
    fd = ours.fileno()
    st.st_netfd_free(st.st_netfd_open_socket(ours))
    assert os.write(fd, b"x") == 1
    os.close(fd)
    theirs.close()


def test_the_destructor_takes_a_replaced_value_and_the_last_one(pipe, trace):
    assert st.st_netfd_getspecific(pipe[0]) is None
    st.st_netfd_setspecific(pipe[0], "a", trace.append)
    st.st_netfd_setspecific(pipe[0], "b", trace.append)
    assert st.st_netfd_getspecific(pipe[0]) == "b"
    st.st_netfd_close(pipe[0])
    assert trace == ["a", "b"]


def test_poll_of_one_descriptor_waits_for_what_it_is_asked(pipe, clock):
    assert errno_of(st.st_netfd_poll, pipe[0], st.POLLIN, MS) == errno.ETIME
    assert st.st_netfd_poll(pipe[1], st.POLLOUT, FOREVER) == 0
    assert errno_of(st.st_netfd_poll, pipe[0], 0, MS) == errno.EINVAL
    ours, theirs = (st.st_netfd_open_socket(sock) for sock in socket.socketpair())
    assert st.st_netfd_poll(ours, st.POLLIN | st.POLLOUT, FOREVER) == 0
    st.st_netfd_close(ours)
    st.st_netfd_close(theirs)


def test_poll_of_many_descriptors_tells_which_are_ready(pipe, clock):
    pds = [st.PollFd(pipe[0].fd, st.POLLIN), st.PollFd(pipe[1].fd, st.POLLIN)]
    assert st.st_poll(pds, MS) == 0
    assert clock.now_us == MS
    thread = later(st.st_poll, pds, FOREVER)
    st.st_usleep(0)
    st.st_write(pipe[1], b"x", FOREVER)
    assert st.st_thread_join(thread) == 1
    assert [pd.revents for pd in pds] == [st.POLLIN, 0]


def test_poll_refuses_nonsense_and_marks_closed_descriptors(pipe):
    assert errno_of(st.st_poll, [st.PollFd(-1, st.POLLIN)], 0) == errno.EINVAL
    assert errno_of(st.st_poll, [st.PollFd(0, 0)], 0) == errno.EINVAL
    closed = pipe[0].fd
    st.st_netfd_close(pipe[0])
    pd = st.PollFd(closed, st.POLLIN)
    assert st.st_poll([pd], FOREVER) == 1
    assert pd.revents == st.POLLNVAL


def test_open_gives_a_descriptor_that_does_not_wait_for_the_other_end(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    reader = st.st_open(tmp_path / "fifo", os.O_RDONLY)
    writer = st.st_open(str(tmp_path / "fifo"), os.O_WRONLY)
    st.st_write(writer, b"x", FOREVER)
    assert st.st_read(reader, 9, FOREVER) == b"x"
    st.st_netfd_close(reader)
    st.st_netfd_close(writer)
    assert errno_of(st.st_open, tmp_path / "none", os.O_RDONLY) == errno.ENOENT
    assert errno_of(st.st_netfd_open, 999_999) == errno.EBADF
