"""Listening sockets handed over by a Unix socket, as mcp does."""

import array
import os
import socket
import stat

import pytest

from meta1g import st
from meta1g.base.cli import CliError
from meta1g.base.errors import Module, PermError
from meta1g.base.log import Log
from meta1g.base.unixsock import Peer
from meta1g.rcb import codec, framing
from meta1g.rcb.mcp_child import PROTOCOL, FdTaken, PassFd
from meta1g.st import fdpass
from tests.fakes.lines import Lines
from tests.fakes.shortage import no_descriptors

LIMIT = 10_000_000


@pytest.fixture
def log():
    return Log("test", level=20, sink=Lines())


@pytest.fixture
def service(tmp_path, log):
    """Starts a service with a take function; gives its path."""
    made = []

    def start(take):
        made.append(fdpass.serve_pass_fd(tmp_path / "pass", take, log))
        return tmp_path / "pass"

    yield start
    for nfd in made:
        st.st_netfd_close(nfd)


def connect(path):
    nfd = st.st_netfd_open_socket(socket.socket(socket.AF_UNIX))
    st.st_connect(nfd, str(path), LIMIT)
    return nfd


def send(nfd, number, fds, first=False):
    msg = PassFd(name="127.0.0.1:25", index=number, count=2)
    data = (framing.preamble(PROTOCOL) if first else b"") + codec.encode(msg, number)
    st.st_sendmsg(nfd, [data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else [], LIMIT)


def answers(nfd, count, splitter=None):
    splitter, found = splitter or framing.Splitter(PROTOCOL), []
    while len(found) < count:
        data = st.st_read(nfd, 4096, LIMIT)
        assert data, "closed"
        found += [codec.decode(PROTOCOL.from_server, body) for body in splitter.feed(data)]
    return found


def test_sockets_are_taken_with_their_messages_and_answered(service):
    taken = []
    path = service(lambda sock, msg: taken.append((sock, msg)))
    assert stat.S_IMODE(path.stat().st_mode) == 0o660
    mcp = connect(path)
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as two:
        send(mcp, 1, [one.fileno()], first=True)
        send(mcp, 2, [two.fileno()])
        assert answers(mcp, 2) == [(1, FdTaken(status=0)), (2, FdTaken(status=0))]
        assert [(sock.getsockname(), msg.index) for sock, msg in taken] == [(one.getsockname(), 1), (two.getsockname(), 2)]
        assert not any(os.get_inheritable(sock.fileno()) for sock, _ in taken)
    for sock, _ in taken:
        sock.close()
    st.st_netfd_close(mcp)


def test_a_message_without_descriptor_and_a_descriptor_that_is_no_socket_are_refused(service):
    mcp = connect(service(lambda sock, msg: None))
    reader, writer = os.pipe()
    send(mcp, 1, [], first=True)
    splitter = framing.Splitter(PROTOCOL)
    ((_, none),) = answers(mcp, 1, splitter)
    send(mcp, 2, [reader])
    ((_, pipe),) = answers(mcp, 1, splitter)
    assert (none.status, pipe.status) == (1, 1)
    assert "no descriptor" in none.text
    assert "not a socket" in pipe.text
    for fd in (reader, writer):
        os.close(fd)
    st.st_netfd_close(mcp)


def test_a_reason_not_to_take_a_socket_is_told_and_the_socket_closed(service):
    def take(sock, msg):
        raise PermError(Module.SMTPS, "not mine")

    mcp = connect(service(take))
    with socket.create_server(("127.0.0.1", 0)) as sock:
        send(mcp, 7, [sock.fileno()], first=True)
    assert answers(mcp, 1) == [(7, FdTaken(status=1, text="smtps: not mine"))]
    st.st_netfd_close(mcp)


def test_nonsense_ends_the_connection_and_the_next_one_is_served(service, log):
    path = service(lambda sock, msg: sock.close())
    bad = connect(path)
    st.st_write(bad, b"\xff" * 64, LIMIT)
    while st.st_read(bad, 4096, LIMIT):
        pass
    st.st_netfd_close(bad)
    assert any("func=st.fdpass" in line for line in log.sink.lines)
    good = connect(path)
    with socket.create_server(("127.0.0.1", 0)) as sock:
        send(good, 1, [sock.fileno()], first=True)
        assert answers(good, 1) == [(1, FdTaken(status=0))]
    st.st_netfd_close(good)


def test_another_account_may_not_pass_descriptors(service, log, monkeypatch):
    path = service(lambda sock, msg: None)
    monkeypatch.setattr(fdpass.unixsock, "peer_of", lambda sock: Peer(1, 4711, 1))
    stranger = connect(path)
    assert st.st_read(stranger, 99, LIMIT) == b""
    st.st_netfd_close(stranger)
    assert any("user id 4711" in line for line in log.sink.lines)


def test_a_stale_socket_is_replaced_and_a_file_is_not(tmp_path, log):
    for _ in range(2):
        st.st_netfd_close(fdpass.serve_pass_fd(tmp_path / "pass", lambda sock, msg: None, log))
        st.st_usleep(0)
    (tmp_path / "file").write_text("")
    with pytest.raises(CliError, match="is no socket"):
        fdpass.serve_pass_fd(tmp_path / "file", lambda sock, msg: None, log)
    with pytest.raises(CliError, match="cannot listen"):
        fdpass.serve_pass_fd(tmp_path / "none/pass", lambda sock, msg: None, log)


def test_a_shortage_of_descriptors_is_waited_out(service, log):
    path = service(lambda sock, msg: sock.close())
    mcp = st.st_netfd_open_socket(socket.socket(socket.AF_UNIX))
    with socket.create_server(("127.0.0.1", 0)) as sock:
        with no_descriptors():
            st.st_connect(mcp, str(path), LIMIT)
            while not any("Too many open files" in line for line in log.sink.lines):
                st.st_usleep(1000)
        send(mcp, 1, [sock.fileno()], first=True)
        assert answers(mcp, 1) == [(1, FdTaken(status=0))]
    st.st_netfd_close(mcp)


def test_whatever_goes_wrong_with_a_socket_is_answered_and_the_next_one_is_taken(service, log):
    taken = []

    def take(sock, msg):
        sock.close()
        taken.append(1 / (msg.index - 1))

    mcp = connect(service(take))
    with socket.create_server(("127.0.0.1", 0)) as sock:
        send(mcp, 1, [sock.fileno()], first=True)
        send(mcp, 2, [sock.fileno()])
    assert answers(mcp, 2) == [(1, FdTaken(status=1, text="division by zero")), (2, FdTaken(status=0))]
    st.st_netfd_close(mcp)
