"""What nobody expects costs the delivery at hand, which gets its one result; the frame fails as a whole (I12)."""

import resource
import signal
import socket
import threading
from contextlib import ExitStack, contextmanager

import pytest

from contrib.lib.gateway import wait_until
from meta1g.base.sysexits import EX_SOFTWARE
from meta1g.rcb.smtpc_qmgr import PROTOCOL, CloseDelivery, DeliveryResult, QmgrHelloC, SessionClosed, SmtpcContained, SmtpcHello
from tests.fakes.rcb_peer import accept
from tests.fakes.smtp_server import ScriptedServer
from tests.unit.smtpc.conftest import running

pytestmark = [pytest.mark.system, pytest.mark.xdist_group("smtpc-containment")]

CONTENT = b"Received: here\r\nSubject: x\r\n\r\nhello\r\n"
GOOD = "S00000000000000BB00"
WAIT_S = 20

#: What fails, and for which text in its arguments: all of them in one process, each for a delivery of its own.
PLACES = {
    "meta1g.smtpc.client:Client._take": "{rcpt}",
    "meta1g.smtpc.client:Client._deliver": "{rcpt}",
    "meta1g.smtpc.session:Session.__init__": "{session}",
    "meta1g.smtpc.session:Session.open": "{session}",
    "meta1g.smtpc.session:Session.deliver": "{rcpt}",
    "meta1g.smtpc.session:refusal": "{rcpt}",
    "meta1g.smtpc.talk:mail_command": "{rcpt}",
    "meta1g.smtpc.talk:rcpt_command": "{rcpt}",
    "meta1g.smtpc.session:Session._send_content": "{rcpt}",
    "meta1g.smtpc.talk:Stuffer.feed": "{content}",
    "meta1g.smtpc.content:Content.check": "{rcpt}",
    "meta1g.smtpc.content:Content.is_7bit": "{rcpt}",
    "meta1g.smtpc.content:Content._pieces": "{rcpt}",
    "meta1g.db.cdb:Cdb.open": "{cdb}",
    "meta1g.smtpc.connection:ServerConnection.ask": "{rcpt}",
}


class Bad:
    """A delivery whose address, ids and content nothing else has."""

    def __init__(self, number: int) -> None:
        self.rcpt = f"bug{number}@x.example"
        self.session = f"C{number:010X}BAD00000"
        self.cdb = f"S{number:010X}BAD00000"
        self.content = f"marker_{number}_"

    def fault(self, place: str, text: str) -> str:
        return f"{place}={text.format(**vars(self))}"

    def job(self, smtpc, port):
        smtpc.store(CONTENT + f"{self.content}\r\n".encode() * 100_000, self.cdb)
        ids = {"session_id": self.session, "cdb_id": self.cdb}
        return smtpc.job(port, [self.rcpt, "b@x.example"], body="8BITMIME", keep_open=True, **ids)


@contextmanager
def faulty(directory, faults, **facts):
    with running(directory, faults=faults, step_s=30, **facts) as made:
        made.store(CONTENT, GOOD)
        yield made


@pytest.fixture(scope="module")
def all_faults(tmp_path_factory):
    faults = [Bad(number).fault(place, text) for number, (place, text) in enumerate(PLACES.items())]
    with faulty(tmp_path_factory.mktemp("faulty"), " ".join(faults)) as made:
        yield made


def expect_contained(smtpc):
    """Deliveries go on; a second result for the delivery that failed would show here."""
    with ScriptedServer() as server:
        for _ in range(2):
            number = next(smtpc.numbers)
            smtpc.qmgr.send(smtpc.job(server.port, cdb_id=GOOD), number)
            answered, result = smtpc.qmgr.expect(DeliveryResult)
            assert (answered, [one.reply.code for one in result.rcpts]) == (number, [250])


@pytest.mark.parametrize("number", range(len(PLACES)), ids=PLACES)
def test_a_failure_that_nobody_expects_costs_one_delivery_and_is_answered_once(number, all_faults):
    smtpc = all_faults
    with ScriptedServer({"EHLO": "250 fake\r\n"}) as server:
        smtpc.qmgr.send(Bad(number).job(smtpc, server.port), 1_000_009)
        assert smtpc.qmgr.expect(SmtpcContained)[1].last == "smtpc.deliver: RuntimeError: made by the test"
        answered, result = smtpc.qmgr.expect(DeliveryResult)
        assert answered == 1_000_009
        assert [(one.rcpt_idx, one.reply.code, one.reply.ecode) for one in result.rcpts] == [
            (0, 451, "4.3.0"),
            (1, 451, "4.3.0"),
        ]
        assert (result.session.code, result.session_open, result.damage, server.contents) == (0, False, "", [])
    expect_contained(smtpc)


def test_a_failure_after_the_result_is_known_does_not_change_it(tmp_path):
    with faulty(tmp_path, "meta1g.smtpc.client:Client._log_result=bug1@x") as smtpc:
        with ScriptedServer() as server:
            smtpc.qmgr.send(Bad(1).job(smtpc, server.port), 1_000_009)
            answered, result = smtpc.qmgr.expect(DeliveryResult)
            assert (answered, [one.reply.code for one in result.rcpts]) == (1_000_009, [250, 250])
        expect_contained(smtpc)


def test_a_result_that_qmgr_cannot_be_told_costs_nobody_else(tmp_path):
    """The link breaks this moment; QMGR tries again what it has not heard of."""
    fault = f"meta1g.st.rcbsend:RcbOut.reply~{Bad(1).session}"
    log = (tmp_path / "log").open("wb")
    with log, faulty(tmp_path, fault, options="log_level = 20;", errors=log.fileno()) as smtpc:
        with ScriptedServer() as server:
            smtpc.qmgr.send(Bad(1).job(smtpc, server.port), 1_000_009)
            wait_until(lambda: "func=smtpc.not_told" in (tmp_path / "log").read_text(), 30, "a line")
            assert len(server.contents) == 1
        expect_contained(smtpc)


@pytest.mark.parametrize("place", ["Session.quit", "Session.close"])
def test_a_failure_in_the_clean_up_of_a_session_costs_nothing_else(tmp_path, place):
    with faulty(tmp_path, Bad(1).fault(f"meta1g.smtpc.session:{place}", "{session}")) as smtpc:
        with ScriptedServer() as server:
            smtpc.qmgr.send(Bad(1).job(smtpc, server.port), 1_000_009)
            assert smtpc.qmgr.expect(DeliveryResult)[0] == 1_000_009
            smtpc.qmgr.send(CloseDelivery(session_id=Bad(1).session))
        expect_contained(smtpc)


def test_a_failure_while_a_session_is_idle_ends_the_session(tmp_path):
    with faulty(tmp_path, Bad(1).fault("meta1g.smtpc.client:_poll", "{session}")) as smtpc:
        with ScriptedServer() as server:
            assert smtpc.deliver(Bad(1).job(smtpc, server.port)).session_open
            assert smtpc.qmgr.expect(SessionClosed)[1] == SessionClosed(session_id=Bad(1).session)
        expect_contained(smtpc)


@pytest.mark.parametrize(
    "fault",
    [
        "meta1g.smtpc.session:Session.deliver!bug1@x",
        "meta1g.base.log:Log.reopen=",
        "meta1g.smtpc.client:SessionWorker.__init__!bug1@x",
    ],
)
def test_a_broken_invariant_or_a_failure_of_the_frame_ends_the_process_with_a_code_that_is_restarted(tmp_path, fault):
    with faulty(tmp_path, fault, ends_with=EX_SOFTWARE) as smtpc, ScriptedServer() as server:
        smtpc.qmgr.send(Bad(1).job(smtpc, server.port), 1_000_009)
        smtpc.process.send_signal(signal.SIGUSR1)
        assert smtpc.process.wait(WAIT_S) == EX_SOFTWARE


def test_what_was_contained_is_told_to_the_next_qmgr_too(tmp_path):
    with faulty(tmp_path, "meta1g.smtpc.session:Session.deliver=bug1@x") as smtpc, ScriptedServer() as server:
        smtpc.deliver(Bad(1).job(smtpc, server.port))
        smtpc.qmgr.close()
        reconnect(smtpc)
        assert smtpc.qmgr.expect(SmtpcContained)[1].count == 1


def reconnect(smtpc):
    smtpc.qmgr = accept(smtpc.listener, PROTOCOL)
    request_id, _ = smtpc.qmgr.expect(SmtpcHello)
    smtpc.qmgr.send(QmgrHelloC(), request_id)


def test_a_log_that_cannot_be_opened_anew_stays_as_it_is(tmp_path):
    log = tmp_path / "log" / "smtpc.log"
    log.parent.mkdir()
    with running(tmp_path, f'log {{ file = "{log}"; }}') as smtpc, ScriptedServer() as server:
        smtpc.store(CONTENT, GOOD)
        log.parent.rename(tmp_path / "moved")
        smtpc.process.send_signal(signal.SIGUSR1)
        moved = tmp_path / "moved" / log.name
        wait_until(lambda: "cannot be opened anew" in moved.read_text(), WAIT_S, "the failure in the old log")
        assert [one.reply.code for one in smtpc.deliver(smtpc.job(server.port, cdb_id=GOOD)).rcpts] == [250]
        wait_until(lambda: "func=smtpc.deliver" in moved.read_text(), WAIT_S, "the delivery in the old log")
        log.parent.mkdir()
        smtpc.process.send_signal(signal.SIGUSR1)
        wait_until(log.exists, WAIT_S, "the log opened anew")


def test_a_shortage_of_descriptors_costs_the_deliveries_at_hand(patient):
    patient.store(CONTENT)
    with ScriptedServer() as server:
        patient.deliver(patient.job(server.port))
        pid = patient.process.pid
        soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        idle = patient.wait_idle()
        for spare in (0, 1):  # no descriptor for the connection, none for the content
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (idle + spare, hard))
            result = patient.deliver(patient.job(server.port, ["a@x", "b@x"]))
            assert [(one.reply.code, one.reply.ecode) for one in result.rcpts] == [(451, "4.3.0")] * 2
            assert "Too many open files" in result.rcpts[0].reply.text
            assert (result.session.code, result.session_open, result.damage) == (0, False, "")
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))
            assert [one.reply.code for one in patient.deliver(patient.job(server.port)).rcpts] == [250]
            assert patient.wait_idle() == idle


class Held:
    """A server that answers the final dot of one connection after the other when the test says so."""

    def __init__(self):
        self.reached = threading.Semaphore(0)
        self.go_on = threading.Semaphore(0)

    def serve(self, conn: socket.socket) -> None:
        conn.sendall(b"220 held\r\n")
        with conn.makefile("rb") as lines:
            for line in lines:
                if line.startswith(b"DATA"):
                    conn.sendall(b"354 go\r\n")
                    while lines.readline() != b".\r\n":
                        pass
                    self.reached.release()
                    assert self.go_on.acquire(timeout=WAIT_S)
                conn.sendall(b"250 ok\r\n")


def test_nothing_of_a_former_connection_reaches_the_next_one_even_with_the_same_ids(patient):
    """QMGR goes away in the middle of a delivery, comes back, and uses the same ids again: each has its own session."""
    patient.store(CONTENT)
    held = Held()
    with ExitStack() as stack:
        server = stack.enter_context(ScriptedServer(on_connection=held.serve))
        other = stack.enter_context(ScriptedServer())
        ids = {"session_id": "C00000000AAA000000", "da_ta_id": "C00000000AAA000001", "keep_open": True}
        patient.qmgr.send(patient.job(server.port, **ids), 7)
        assert held.reached.acquire(timeout=WAIT_S)
        patient.qmgr.close()
        reconnect(patient)
        patient.qmgr.send(patient.job(other.port, ["a@x", "b@x"], **ids), 7)
        answered, result = patient.qmgr.expect(DeliveryResult)
        assert (answered, [one.reply.code for one in result.rcpts], result.session_open) == (7, [250, 250], True)
        held.go_on.release()  # the former delivery ends now; its session too, and nobody hears of either
        again = patient.job(other.port, **{**ids, "new_session": False, "da_ta_id": "C00000000AAA000002"})
        patient.qmgr.send(again, 8)
        assert patient.qmgr.receive()[0] == 8
        assert len(other.connections) == 1
        patient.qmgr.send(CloseDelivery(session_id=ids["session_id"]))
        with other.changed:
            assert other.changed.wait_for(lambda: other.connections[0].commands[-1] == "QUIT", WAIT_S)
