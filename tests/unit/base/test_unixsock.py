"""Unix sockets by name, with real sockets, and real processes for what only several can do."""

import contextlib
import errno
import fcntl
import os
import select
import socket
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from meta1g.base import unixsock

DEADLINE_S = 30


@pytest.fixture
def path(tmp_path):
    return tmp_path / "socket"


def listen(path, **changes):
    return unixsock.listen(path, **{"mode": 0o660, "backlog": 5, **changes})


def stale(path, kind=socket.SOCK_STREAM):
    """Leaves a name behind as a killed process does."""
    with socket.socket(socket.AF_UNIX, kind) as sock:
        sock.bind(str(path))


def descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def talk(path) -> bool:
    """Tells whether somebody can be reached there."""
    try:
        unixsock.connect(path, timeout_s=DEADLINE_S).close()
    except OSError:
        return False
    return True


def test_a_client_reaches_the_listener_and_both_know_each_other(path):
    with listen(path) as server, unixsock.connect(path, timeout_s=DEADLINE_S) as client:
        conn, _address = server.accept()
        with conn:
            us = unixsock.Peer(os.getpid(), os.geteuid(), os.getegid())
            assert (unixsock.peer_of(conn), unixsock.peer_of(client)) == (us, us)
            client.sendall(b"hello")
            assert conn.recv(10) == b"hello"
        assert server.getsockname() == str(path)


@pytest.mark.parametrize("mode", [0o600, 0o660, 0o666])
@pytest.mark.parametrize("umask", [0, 0o077, 0o777])
def test_mode_is_the_one_asked_for_whatever_the_umask_is(path, mode, umask):
    old = os.umask(umask)
    try:
        with listen(path, mode=mode):
            assert stat.S_IMODE(path.stat().st_mode) == mode
    finally:
        assert os.umask(old) == umask


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_group_is_the_one_asked_for(path):
    with listen(path, gid=261):
        assert path.stat().st_gid == 261


def test_nobody_connects_before_group_and_mode_are_right(path, monkeypatch):
    seen = []
    dress = unixsock._dress

    def watch(*arguments):
        seen.append(talk(path))
        return dress(*arguments)

    monkeypatch.setattr(unixsock, "_dress", watch)
    with listen(path):
        assert seen == [False]
        assert talk(path)


# -- names that are there already --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_SEQPACKET])
def test_a_name_that_was_left_behind_is_used_again(path, kind):
    stale(path, kind)
    with listen(path):
        assert talk(path)


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_SEQPACKET])
def test_a_name_that_is_served_is_never_taken_over(path, kind):
    with socket.socket(socket.AF_UNIX, kind) as sock:
        sock.bind(str(path))
        if kind is not socket.SOCK_DGRAM:
            sock.listen(1)
        before = path.stat().st_ino
        with pytest.raises(OSError, match="another process listens there") as caught:
            listen(path)
        assert caught.value.errno == errno.EADDRINUSE
        assert path.stat().st_ino == before


def test_a_server_that_is_too_busy_to_accept_keeps_its_name(path):
    with listen(path, backlog=0), contextlib.ExitStack() as clients:
        with contextlib.suppress(BlockingIOError):
            while True:
                clients.enter_context(unixsock.connect(path, nonblocking=True))
        with pytest.raises(OSError, match="another process listens there"):
            listen(path)


@pytest.mark.parametrize("make", [Path.touch, Path.mkdir, os.mkfifo, lambda path: path.symlink_to("/dev/null")])
def test_what_is_no_socket_is_kept(path, make):
    make(path)
    with pytest.raises(FileExistsError, match="exists and is no socket"):
        listen(path)
    assert os.path.lexists(path)


def test_a_symbolic_link_to_a_socket_is_kept(path, tmp_path):
    stale(tmp_path / "other")
    path.symlink_to(tmp_path / "other")
    with pytest.raises(FileExistsError, match="no socket"):
        listen(path)
    assert (tmp_path / "other").is_socket()


def test_a_path_too_long_is_refused_with_advice_by_both_sides(tmp_path):
    long = tmp_path / ("x" * 120)
    for call in (listen, unixsock.connect):
        with pytest.raises(OSError, match="shorter queue directory") as caught:
            call(long)
        assert caught.value.errno == errno.ENAMETOOLONG


def test_a_directory_that_is_missing_is_the_errno_of_the_system(tmp_path):
    with pytest.raises(FileNotFoundError):
        listen(tmp_path / "none/socket")


# -- all or nothing ----------------------------------------------------------------------------------------------------


def test_a_listener_that_cannot_be_completed_leaves_nothing_behind(path, monkeypatch):
    before = descriptors()

    def fail(*arguments):
        raise OSError(errno.ENOMEM, "no memory")

    with monkeypatch.context() as patched:
        patched.setattr(unixsock, "_dress", fail)
        with pytest.raises(OSError, match="no memory"):
            listen(path)
    assert not path.exists()
    assert descriptors() == before
    with listen(path):
        assert talk(path)


def test_a_refused_name_costs_no_descriptor(path):
    with listen(path):
        before = descriptors()
        for _ in range(3):
            with pytest.raises(OSError, match="listens there"):
                listen(path)
        assert descriptors() == before


def test_a_client_that_finds_nobody_costs_no_descriptor(path):
    before = descriptors()
    with pytest.raises(FileNotFoundError):
        unixsock.connect(path)
    stale(path)
    with pytest.raises(ConnectionRefusedError):
        unixsock.connect(path, nonblocking=True)
    assert descriptors() == before


# -- the end of a name -------------------------------------------------------------------------------------------------


def test_a_name_is_removed_by_its_owner(path):
    with listen(path) as server:
        server.unlink()
        assert not path.exists()
        server.unlink()


def test_the_name_of_a_successor_stays(path):
    with listen(path) as first:
        path.unlink()
        with listen(path) as second:
            first.unlink()
            assert talk(path)
            second.unlink()
        assert not path.exists()


def test_another_file_with_the_name_stays(path):
    with listen(path) as server:
        path.unlink()
        path.write_text("precious")
        server.unlink()
    assert path.read_text() == "precious"


def test_a_name_whose_directory_is_gone_is_no_error(tmp_path):
    (tmp_path / "sub").mkdir()
    with listen(tmp_path / "sub/socket") as server:
        (tmp_path / "sub/socket").unlink()
        (tmp_path / "sub").rmdir()
        server.unlink()


# -- several processes at the same time --------------------------------------------------------------------------------


def test_a_client_waits_for_room_at_a_busy_server_until_its_time_is_over(path):
    with listen(path, backlog=0) as server, contextlib.ExitStack() as clients:
        with contextlib.suppress(BlockingIOError):
            while True:
                clients.enter_context(unixsock.connect(path, nonblocking=True))
        with pytest.raises(BlockingIOError):
            unixsock.connect(path, timeout_s=0.02)

        def serve():
            server.accept()[0].close()

        timer = threading.Timer(0.05, serve)
        timer.start()
        clients.enter_context(unixsock.connect(path, timeout_s=DEADLINE_S))
        timer.join()


def test_somebody_who_holds_the_lock_for_long_is_named_not_waited_for(path, monkeypatch):
    monkeypatch.setattr(unixsock, "LOCK_WAIT_S", 0.02)
    fd = os.open(path.parent, os.O_RDONLY)
    fcntl.flock(fd, fcntl.LOCK_EX)
    try:
        with pytest.raises(OSError, match="holds a lock"):
            listen(path)
    finally:
        os.close(fd)
    with listen(path):
        assert talk(path)


def test_a_short_lock_is_waited_for(path):
    fd = os.open(path.parent, os.O_RDONLY)
    fcntl.flock(fd, fcntl.LOCK_EX)
    timer = threading.Timer(0.05, os.close, (fd,))
    timer.start()
    with listen(path):
        assert talk(path)
    timer.join()


STARTER = """
import pathlib, sys
from meta1g.base import unixsock
sys.stdin.readline()
try:
    sock = unixsock.listen(pathlib.Path(sys.argv[1]), mode=0o600, backlog=50)
except OSError as error:
    print("refused", flush=True)
else:
    print("listens", flush=True)
    sys.stdin.readline()
    sock.unlink()
"""


@pytest.mark.parametrize("left_behind", [False, True])
def test_of_many_processes_that_start_at_the_same_time_one_gets_the_name_and_keeps_it(path, left_behind):
    processes = [
        subprocess.Popen([sys.executable, "-c", STARTER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for _ in range(8)
    ]
    try:
        if left_behind:
            stale(path)
        for process in processes:
            process.stdin.write(b"\n")
            process.stdin.flush()
        said = [process.stdout.readline().strip() for process in processes]
        assert sorted(said) == [b"listens"] + [b"refused"] * 7
        winner = processes[said.index(b"listens")]
        with unixsock.connect(path, timeout_s=DEADLINE_S) as client:
            assert unixsock.peer_of(client).pid == winner.pid
    finally:
        for process in processes:
            with process:
                process.stdin.close()
                process.wait(DEADLINE_S)
    assert not path.exists()


def test_many_threads_that_start_and_stop_never_serve_a_name_twice(path):
    """Whoever listens is alone; nobody removes the name of another."""
    serving, mistakes, ended = [], [], threading.Event()

    def work():
        while not ended.is_set():
            try:
                sock = listen(path, backlog=4096)  # nobody accepts the probes of the others
            except OSError:
                continue
            serving.append(sock)
            if len(serving) != 1 or not talk(path):
                mistakes.append(len(serving))
            serving.remove(sock)
            sock.unlink()
            sock.close()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    select.select([], [], [], 0.5)
    ended.set()
    for thread in threads:
        thread.join(DEADLINE_S)
    assert mistakes == []
