"""The smtpc process as a whole: idle and busy sessions when QMGR goes away, stopping, limits."""

import signal
import socket
import threading

import pytest

from meta1g.rcb import codec
from meta1g.rcb.smtpc_qmgr import PROTOCOL, CloseDelivery, DeliveryResult, QmgrHelloC, SmtpcHello
from tests.fakes.rcb_peer import accept
from tests.fakes.smtp_server import ScriptedServer

CONTENT = b"Subject: x\r\n\r\nhello\r\n"
WAIT_S = 15


class Gate:
    """Lets a server answer the final dot when the test says so."""

    def __init__(self):
        self.reached = threading.Event()
        self.open = threading.Event()

    def serve(self, conn: socket.socket) -> None:
        file = conn.makefile("rb")
        conn.sendall(b"220 fake\r\n")
        for line in file:
            verb = line[:4].upper()
            if verb == b"DATA":
                conn.sendall(b"354 go\r\n")
                while file.readline() != b".\r\n":
                    pass
                self.reached.set()
                assert self.open.wait(WAIT_S)
            conn.sendall(b"250 ok\r\n")
            if verb == b"QUIT":
                break
        file.close()


def said(server, number, last):
    """Waits until a connection has brought a command."""
    with server.changed:
        assert server.changed.wait_for(
            lambda: len(server.connections) > number and server.connections[number].commands[-1:] == [last], WAIT_S
        )


def test_idle_sessions_say_quit_when_the_process_stops(smtpc):
    smtpc.store(CONTENT)
    with ScriptedServer() as server:
        assert smtpc.deliver(smtpc.job(server.port, keep_open=True)).session_open
        smtpc.process.send_signal(signal.SIGTERM)
        said(server, 0, "QUIT")
    assert smtpc.process.wait(WAIT_S) == 0


@pytest.mark.parametrize("smtpc", ['log { file = "smtpc.log"; } log_level = 20;'], indirect=True)
def test_a_delivery_at_hand_is_finished_and_reported_before_the_process_stops(smtpc):
    smtpc.store(CONTENT)
    gate = Gate()
    with ScriptedServer() as other, ScriptedServer(on_connection=gate.serve) as server:
        assert smtpc.deliver(smtpc.job(other.port, keep_open=True)).session_open
        smtpc.qmgr.send(smtpc.job(server.port, keep_open=True), 9)
        assert gate.reached.wait(WAIT_S)
        smtpc.process.send_signal(signal.SIGTERM)
        said(other, 0, "QUIT")  # the signal has arrived
        smtpc.qmgr.send(smtpc.job(server.port), 10)  # not taken, and not answered either
        gate.open.set()
        request_id, result = smtpc.qmgr.expect(DeliveryResult)
        assert (request_id, result.rcpts[0].reply.code, result.session_open) == (9, 250, False)
        assert smtpc.process.wait(WAIT_S) == 0
    assert "func=smtpc.not_taken, " in (smtpc.queue / "smtpc.log").read_text()


def test_sessions_close_and_the_link_comes_back_when_qmgr_goes_away(smtpc, tmp_path):
    smtpc.store(CONTENT)
    with ScriptedServer() as server:
        assert smtpc.deliver(smtpc.job(server.port, keep_open=True)).session_open
        smtpc.qmgr.close()
        said(server, 0, "QUIT")
        smtpc.qmgr = accept(smtpc.listener, PROTOCOL)
        request_id, _ = smtpc.qmgr.expect(SmtpcHello)
        smtpc.qmgr.send(QmgrHelloC(), request_id)
        assert smtpc.deliver(smtpc.job(server.port)).rcpts[0].reply.code == 250


@pytest.mark.parametrize("smtpc", ["max_threads = 1;"], indirect=True)
def test_more_sessions_than_allowed_are_refused_for_now(smtpc):
    smtpc.store(CONTENT)
    with ScriptedServer() as server:
        first = smtpc.job(server.port, keep_open=True)
        assert smtpc.deliver(first).session_open
        result = smtpc.deliver(smtpc.job(server.port))
        assert (result.session.code, result.session.text) == (451, "delivery agent has no free session")
        smtpc.qmgr.send(CloseDelivery(session_id=first.session_id))
        said(server, 0, "QUIT")
        while (result := smtpc.deliver(smtpc.job(server.port))).session.code:  # the session ends after its QUIT is answered
            pass
        assert result.rcpts[0].reply.code == 250


def test_closing_a_session_that_is_not_there_does_nothing(smtpc):
    smtpc.store(CONTENT)
    smtpc.qmgr.send(CloseDelivery(session_id="C000000000000000900"))
    with ScriptedServer() as server:
        assert smtpc.deliver(smtpc.job(server.port)).rcpts[0].reply.code == 250


def test_many_sessions_deliver_at_the_same_time(smtpc):
    smtpc.store(CONTENT)
    gate = Gate()
    gate.open.set()
    with ScriptedServer(on_connection=gate.serve) as server:
        for number in range(1, 51):
            smtpc.qmgr.send(smtpc.job(server.port), 1000 + number)
        results = dict(smtpc.qmgr.expect(DeliveryResult) for _ in range(50))
    assert sorted(results) == list(range(1001, 1051))
    assert all(result.rcpts[0].reply.code == 250 for result in results.values())


@pytest.mark.parametrize("smtpc", ["max_threads = 1;"], indirect=True)
def test_a_session_that_was_told_to_close_makes_room_at_once(smtpc):
    """QMGR closes an idle session and opens another one in the same breath."""
    smtpc.store(CONTENT)
    with ScriptedServer() as server:
        idle = smtpc.deliver(smtpc.job(server.port, keep_open=True))
        both = codec.encode(CloseDelivery(session_id=idle.session_id)) + codec.encode(smtpc.job(server.port), 999)
        smtpc.qmgr.sock.sendall(both)
        answered, result = smtpc.qmgr.expect(DeliveryResult)
        assert (answered, result.session.code, result.session.text) == (999, 0, "")
