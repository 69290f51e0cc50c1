"""start_action = pass, accept and nostartaccept with real sockets."""

import os
import re
import signal
import socket
import time

import pytest

from meta1g.base.clock import SystemClock
from meta1g.mcp import passfd
from meta1g.mcp.loop import Loop
from meta1g.mcp.passfd import Passing
from meta1g.rcb.codec import encode
from meta1g.rcb.framing import preamble
from meta1g.rcb.mcp_child import PROTOCOL, FdTaken, PassFd
from tests.unit.mcp.conftest import WAIT_S, child


def listen(port: int) -> str:
    return f"listen_socket {{ address = 127.0.0.1; port = {port}; }}"


def passing(mcp, name: str, *ports: int, options: str = "", kind: str = "smtps") -> str:
    sockets = " ".join(listen(port) for port in ports)
    section = f"start_action = pass; pass_fd_socket = smtps/{name}; {sockets}"
    return child(name, f"--pass-fd smtps/{name} {options}", section, kind)


def ask(port: int) -> list[str]:
    """Name and process id of whoever serves a port."""
    with socket.create_connection(("127.0.0.1", port), WAIT_S) as sock:
        return sock.makefile().readline().split()


def test_sockets_are_passed_in_file_order_and_served(mcp, port):
    with socket.create_server(("127.0.0.1", 0)) as free:
        other = free.getsockname()[1]
    mcp.start(passing(mcp, "smtps", port, other))
    assert mcp.names("taken") == ["0", "1"]
    assert mcp.wait("taken 1").endswith(f"127.0.0.1 port {other}")
    assert ask(port) == ask(other) == ["smtps", str(mcp.pid("smtps"))]


def test_no_connection_is_refused_while_the_server_restarts(mcp, port):
    mcp.start(passing(mcp, "smtps", port))
    os.kill(mcp.pid("smtps"), signal.SIGKILL)
    assert ask(port) == ["smtps", str(mcp.pid("smtps", 2))]


def test_several_processes_of_a_section_share_its_sockets_and_have_indexes(mcp, port):
    section = passing(mcp, "smtps", port).replace("}\n", "processes = 3; }\n")
    mcp.start(section)
    assert mcp.names("start") == ["smtps"] * 3
    assert mcp.names("taken") == ["0"] * 3
    assert sorted(facts["index"] for facts in mcp.status().values()) == [0, 1, 2]
    assert set(mcp.status()) == {"smtps[0]", "smtps[1]", "smtps[2]"}


def test_a_unix_socket_gets_its_permissions_and_goes_with_mcp(mcp):
    path = mcp.queue / "lmtp"
    section = "start_action = pass; pass_fd_socket = smtps/fd; listen_socket { type = unix; path = lmtp; permissions = 0620; }"
    mcp.start(child("smtps", "--pass-fd smtps/fd", section))
    assert path.stat().st_mode & 0o777 == 0o620
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(path))
        assert sock.makefile().readline().startswith("smtps ")
    assert mcp.stop() == 0
    assert not path.exists()


def test_a_port_in_use_is_one_line_and_nothing_starts(mcp, port):
    with socket.create_server(("127.0.0.1", port)):
        mcp.start(child("smar"), passing(mcp, "smtps", port), ready=False)
        assert mcp.end() == 71
    where = f"{mcp.conf}:3"
    assert mcp.errors == (
        f"mcp: {where}: cannot listen on 127.0.0.1 port {port}: another program uses it; "
        "stop that one or choose another port in listen_socket\n"
    )
    assert mcp.names("start") == []


class Receiver:
    """A child's side of the hand-over inside the test: answers what it is told to; the loop runs until mcp's side is done."""

    def __init__(self, directory, answer: bytes | None, uid: int | None = None) -> None:
        self.said: list[str] = []
        self.answer = answer
        self.loop = Loop(SystemClock())
        self.path = directory / "fd"
        self.conns: list[socket.socket] = []
        with socket.socket(socket.AF_UNIX) as self.server, socket.create_server(("127.0.0.1", 0)) as listener:
            self.server.bind(str(self.path))
            self.server.listen()
            self.loop.add_reader(self.server.fileno(), self._accept)
            expected = os.getuid() if uid is None else uid
            Passing(self.loop, self.path, expected, frozenset(), [("x", listener)], self._done)
            self.loop.run()
        for conn in self.conns:
            conn.close()
        self.loop.close()

    def _accept(self) -> None:
        conn, _address = self.server.accept()
        if self.answer is None:
            conn.close()
            return
        self.conns.append(conn)
        conn.sendall(self.answer)

    def _done(self, text: str) -> None:
        self.said.append(text)
        self.loop.stop()


def test_a_child_whose_socket_another_account_serves_gets_nothing(mcp):
    """The kernel tells whose socket it is; here the expectation is made wrong, since a test has one account."""
    found = Receiver(mcp.directory, b"", uid=os.getuid() + 1)
    served = f"served by user id {os.getuid()}, not by the child's {os.getuid() + 1}; no socket passed"
    assert found.said == [f"{found.path}: {served}"]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (preamble(PROTOCOL) + encode(FdTaken(status=1, text="no room"), 1), "socket refused: no room"),
        (preamble(PROTOCOL) + encode(PassFd(name="x", index=0, count=1), 1), "message 0x5000 is not allowed here"),
        (b"220 mx.example ESMTP\r\n" * 10, "frame of"),
        (None, "closed the connection|Connection reset|Broken pipe"),
    ],
    ids=["refuses", "wrong message", "smtp", "closes"],
)
def test_a_child_that_refuses_or_speaks_nonsense_is_told_of(mcp, answer, reason):
    found = Receiver(mcp.directory, answer)
    assert len(found.said) == 1
    assert re.search(reason, found.said[0]), found.said


def test_a_child_that_never_answers_is_given_up(mcp, monkeypatch):
    monkeypatch.setattr(passfd, "PASS_TIMEOUT_S", 0.05)
    assert "sockets not taken within 0.05 s" in Receiver(mcp.directory, preamble(PROTOCOL)).said[0]


def test_a_child_that_never_takes_its_sockets_counts_as_failed(mcp, port):
    """It ends before it listens: mcp tries again and again, then starts it anew."""
    section = f"start_action = pass; pass_fd_socket = smtps/fd; {listen(port)}"
    mcp.start(child("smtps", "--exit 1", section), ready=False)
    mcp.wait("start smtps", 2)


def test_a_child_that_does_not_take_its_sockets_is_told_and_started_anew(mcp, port):
    """It serves its socket, and closes each connection without a word."""
    mcp.start(passing(mcp, "smtps", port, options="--refuse-sockets"), ready=False)
    mcp.wait("start smtps", 2)
    assert re.search("sevr=ERROR, func=mcp.not_passed, component=smtps", mcp.log())


def test_accept_starts_a_process_for_each_connection(mcp, port):
    section = f'smtps {{ path = "/bin/cat"; arguments = "cat -u"; start_action = accept; {listen(port)} }}\n'
    mcp.start(section)
    conns = [socket.create_connection(("127.0.0.1", port), WAIT_S) for _ in range(3)]
    for number, conn in enumerate(conns):
        conn.sendall(b"%d\n" % number)
        assert conn.recv(10) == b"%d\n" % number
    assert len(mcp.status()["smtps"]["pids"]) == 3
    for conn in conns:
        conn.close()
    assert mcp.stop() == 0
    assert mcp.log().count("func=mcp.start, component=smtps, stat=accepts") == 1


def test_accept_waits_while_its_program_cannot_be_started(mcp, port):
    program = mcp.directory / "server"
    program.write_text("#!/bin/cat\n")
    program.chmod(0o755)
    mcp.start(f'smtps {{ path = "{program}"; arguments = "server"; start_action = accept; {listen(port)} }}\n')
    program.rename(mcp.directory / "away")
    with socket.create_connection(("127.0.0.1", port), WAIT_S) as conn:
        deadline = time.monotonic() + WAIT_S
        while "sevr=ERROR, func=mcp.accept, component=smtps" not in mcp.log():
            assert time.monotonic() < deadline, mcp.log()
            time.sleep(0.02)
        conn.close()
    assert mcp.stop() == 0


def test_nostartaccept_gives_the_listening_socket_as_standard_input(mcp, port):
    mcp.start(child("smtps", "--stdin", f"start_action = nostartaccept; {listen(port)}"))
    assert ask(port) == ["smtps", str(mcp.pid("smtps"))]


def test_sockets_of_systemd_are_used(mcp, port):
    """LISTEN_FDS: the socket is bound already; binding it again would fail."""
    mcp.configure(passing(mcp, "smtps", port))
    with socket.create_server(("127.0.0.1", port)) as bound:
        mcp.start(systemd_fd=bound.fileno())
    assert ask(port) == ["smtps", str(mcp.pid("smtps"))]
