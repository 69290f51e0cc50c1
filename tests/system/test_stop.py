"""SIGTERM of mcp: sessions finish what is at hand within the grace, the others are sent away, nothing is lost."""

import signal
import socket
import threading
import time

import pytest

from contrib.lib.gateway import Gateway, wait_until
from tests.fakes.smtp_server import ScriptedServer
from tests.system.conftest import HEADER, processes_of, running, send

pytestmark = pytest.mark.system

GRACE_S = 10


class Client:
    """One SMTP session, by hand."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), 30)
        self.lines = self.socket.makefile("rb")
        assert self.reply() == b"220"

    def reply(self) -> bytes:
        """Gives the code of the next reply, nothing at the end of the connection."""
        while (line := self.lines.readline())[3:4] == b"-":
            pass
        return line[:3]

    def say(self, line: bytes) -> bytes:
        self.socket.sendall(line + b"\r\n")
        return self.reply()

    def begin(self) -> None:
        """Goes on to the middle of the content."""
        assert self.say(b"EHLO test.example") == b"250"
        assert self.say(b"MAIL FROM:<s@test.example>") == b"250"
        assert self.say(b"RCPT TO:<r@sink.example>") == b"250"
        assert self.say(b"DATA") == b"354"
        self.socket.sendall(HEADER + b"first half\r\n")

    def close(self) -> None:
        self.lines.close()
        self.socket.close()


@pytest.fixture
def clients():
    """Makes clients and closes them."""
    made = []

    def make(port: int) -> Client:
        made.append(Client(port))
        return made[-1]

    yield make
    for client in made:
        client.close()


def wait_for_log(gateway: Gateway, text: str) -> None:
    wait_until(lambda: text in gateway.log.read_text(), 20, f"{text}; {gateway.last_words()}")


def test_a_message_at_hand_is_taken_and_an_idle_session_is_sent_away(gateway, sink, clients):
    busy, idle = clients(gateway.port), clients(gateway.port)
    busy.begin()
    assert idle.say(b"EHLO test.example") == b"250"
    gateway.process.send_signal(signal.SIGTERM)
    assert idle.reply() == b"421"
    assert busy.say(b"second half\r\n.") == b"250"
    assert busy.reply() in (b"421", b"")
    assert gateway.process.wait(GRACE_S + 5) == 0
    assert processes_of(gateway.directory) == {}
    gateway.start()
    assert sink.content(sink.wait_for(1)[0]).endswith(b"first half\r\nsecond half\r\n")
    gateway.wait_empty()
    assert len(sink.envelopes()) == 1


def test_a_client_that_does_not_finish_is_left_after_the_grace(gateway, sink, clients):
    client = clients(gateway.port)
    client.begin()
    start = time.monotonic()
    assert gateway.stop() == 0, gateway.last_words()
    assert time.monotonic() - start < GRACE_S + 8
    assert client.reply() in (b"421", b"")
    assert processes_of(gateway.directory) == {}
    gateway.start()
    send(gateway, ["r@sink.example"])
    sink.wait_for(1)
    wait_until(lambda: not [*gateway.content_files()], 60, "the half message removed")


def test_a_delivery_at_hand_is_finished(tmp_path):
    """The server takes its time for the final dot; nobody gets the message twice."""
    answer = threading.Event()

    class SlowServer(ScriptedServer):
        def _answer(self, conn, verb, seen):
            if verb == "dot":
                reached.set()
                assert answer.wait(30)
            return super()._answer(conn, verb, seen)

    reached = threading.Event()
    with SlowServer() as server:
        gateway = Gateway(tmp_path / "gateway", f". {server.port}^[127.0.0.1]")
        with running(gateway):
            try:
                send(gateway, ["r@sink.example"])
                assert reached.wait(30)
                gateway.process.send_signal(signal.SIGTERM)
                wait_for_log(gateway, "func=mcp.stopping, component=smtpc")
                answer.set()
                assert gateway.process.wait(GRACE_S + 5) == 0
                gateway.start()
                gateway.wait_empty()
            finally:
                answer.set()
        assert len(server.contents) == 1


@pytest.mark.xdist_group("stop")
@pytest.mark.parametrize("component", ["smtps", "smtpc", "smar", "qmgr"])
def test_a_component_that_is_told_to_stop_by_mistake_comes_back_and_mail_flows(shared, component):
    """An exit code of 0 means that a component was meant to stop; the operator starts it again by SIGHUP."""
    gateway = shared.gateway
    (old,) = gateway.kill(component, signal.SIGTERM)
    wait_for_log(gateway, f"component={component}, stat=ended on its own")
    gateway.process.send_signal(signal.SIGHUP)
    wait_until(lambda: gateway.pids().get(component, [old]) != [old], 60, f"{component}; {gateway.last_words()}")
    gateway.wait_ready()
    shared.send(f"{component}@sink.example")
    shared.arrive(f"{component}@sink.example")
    gateway.wait_empty()
