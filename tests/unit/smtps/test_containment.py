"""What a failure costs (docs/failures.md): the session, the message at hand, or the process; never anybody else's mail."""

import contextlib
import resource
import signal
import time
from pathlib import Path

import pytest

from meta1g.base.reply import Reply
from meta1g.base.sysexits import EX_SOFTWARE
from meta1g.rcb.smtps_qmgr import CloseSession, SmtpsContained, Throttle
from tests.fakes.smtps_process import WAIT_S, NewSmtpsProcess

CONTENT = b"Subject: x\r\n\r\nhello\r\n"


@pytest.fixture
def hurt(tmp_path, monkeypatch):
    """Gives a process with a fault in it."""
    with contextlib.ExitStack() as stack:

        def start(fault, options=""):
            monkeypatch.setenv("W_SMTPS", f"-m tests.fakes.hurt_smtps {fault}")
            return stack.enter_context(NewSmtpsProcess(tmp_path, options))

        yield start


@pytest.fixture
def smtps(tmp_path):
    with NewSmtpsProcess(tmp_path) as process:
        yield process


def serves(smtps):
    with smtps.client() as client:
        client.message(CONTENT)


# a session


def test_an_exception_in_a_command_ends_its_session_with_421_and_qmgr_hears_of_it(hurt):
    smtps = hurt("in_a_command")
    with smtps.client() as other:
        for number in (1, 2):
            with smtps.client() as client:
                client.command("VRFY x", "421 4.3.0 Internal error")
                client.expect("")
            told = smtps.qmgr.wait_for(SmtpsContained, number)[-1]
            assert told.count == number
            assert told.last.startswith("smtps.session: ZeroDivisionError")
        other.message(CONTENT)
    assert sum("Traceback" in line for line in smtps.log) == 1


def test_qmgr_hears_of_what_was_contained_after_its_restart(hurt):
    smtps = hurt("in_a_command")
    with smtps.client() as client:
        client.command("VRFY x", "421")
    smtps.qmgr.wait_for(SmtpsContained)
    smtps.qmgr.drop()
    assert smtps.qmgr.wait_for(SmtpsContained, 2)[-1].count == 1


def test_an_exception_in_the_content_is_answered_and_leaves_no_file(hurt):
    smtps = hurt("in_the_content")
    with smtps.client() as client:
        client.message(CONTENT, "421 4.3.0 Internal error")
    with smtps.client() as client:
        client.message(b"Subject: big\r\n\r\n" + b"0123456\r\n" * 100_000, "421 4.3.0 Internal error")
    assert smtps.content_files() == []


def test_an_exception_in_the_end_of_a_session_keeps_no_step_behind_it_from_being_taken(hurt):
    smtps = hurt("in_the_end_of_a_session")
    with smtps.client(hello=False) as client:
        client.expect("220")
        client.command("QUIT", "221")
        client.expect("")
    smtps.qmgr.wait_for(CloseSession)
    assert smtps.end() == 0


def test_an_error_of_the_system_in_a_connection_ends_its_session_with_421(hurt):
    smtps = hurt("in_reading")
    with smtps.client(hello=False) as client:
        client.expect("220")
        client.expect("421 4.3.0 Internal error")
    smtps.wait_log("sevr=ERROR, func=smtps.broken, .*client=127.0.0.1")


def test_a_content_file_that_cannot_be_removed_is_told_and_left_to_qmgr(hurt):
    smtps = hurt("in_unlinking")
    smtps.qmgr.commit = lambda msg: Reply(452, "4.3.1", "Queue is full")
    with smtps.client() as client:
        client.message(CONTENT, "452 4.3.1 Queue is full")
        client.command("NOOP", "250")
    smtps.wait_log("sevr=WARN, func=smtps.cdb_left, cdb_id=S")
    assert len(smtps.content_files()) == 1


# the frame


def ended(smtps):
    assert smtps.process.wait(WAIT_S) == EX_SOFTWARE
    smtps.reader.join(WAIT_S)
    assert any("the process ends: ZeroDivisionError" in line for line in smtps.log)


def test_an_exception_over_a_message_of_qmgr_ends_the_process(hurt):
    smtps = hurt("in_a_message_of_qmgr")
    smtps.qmgr.send(Throttle(max_threads=1, text=""))
    ended(smtps)


def test_an_exception_when_a_link_breaks_ends_the_process(hurt):
    smtps = hurt("in_the_end_of_a_connection_to_qmgr")
    smtps.qmgr.drop()
    ended(smtps)


def test_an_exception_in_the_function_of_a_signal_ends_the_process(hurt):
    smtps = hurt("in_the_signal_to_stop")
    smtps.process.send_signal(signal.SIGTERM)
    ended(smtps)


def test_an_exception_in_a_listener_ends_the_process(hurt):
    smtps = hurt("in_the_listener")
    with smtps.client(hello=False):
        ended(smtps)


def test_a_step_of_stopping_that_fails_does_not_keep_the_process_alive(hurt):
    smtps = hurt("in_stopping_the_server")
    smtps.process.send_signal(signal.SIGTERM)
    assert smtps.process.wait(WAIT_S) == 0


def test_a_log_that_cannot_be_opened_at_sigusr1_costs_nothing(tmp_path):
    smtps = NewSmtpsProcess(tmp_path)
    log = tmp_path / "smtps.log"
    smtps.config.write_text(smtps.config.read_text().replace("smtps {", f'smtps {{ log {{ file = "{log.name}"; }}', 1))
    smtps.wait_log = lambda pattern: [None, _wait_port(log)]
    with smtps:
        log.rename(tmp_path / "old.log")
        log.mkdir()
        smtps.process.send_signal(signal.SIGUSR1)
        _wait(lambda: "log.reopen" in (tmp_path / "old.log").read_text())
        serves(smtps)
        assert smtps.end() == 0
    assert "smtps.stop" in (tmp_path / "old.log").read_text()


def _wait(condition):
    end = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < end, "nothing happened in time"
        time.sleep(0.005)


def _wait_port(log):
    _wait(lambda: "listen=127.0.0.1:" in log.read_text())
    return log.read_text().partition("listen=127.0.0.1:")[2].split()[0].strip(",")


# shortages


@contextlib.contextmanager
def without_descriptors(process, left=0):
    """Takes all descriptors that are free from a running process, but for some."""
    pid = process.process.pid
    old = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    used = {int(path.name) for path in Path(f"/proc/{pid}/fd").iterdir()}
    free = [fd for fd in range(max(used) + left + 2) if fd not in used]
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (free[left], old[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, old)


def test_the_first_message_without_descriptors_is_451_and_the_next_one_is_taken(smtps):
    with smtps.client() as client:
        for left in (0, 1, 2):
            with without_descriptors(smtps, left):
                client.message(CONTENT, "451 4.3.0 Cannot write the message")
        client.message(CONTENT)
    assert len(smtps.content_files()) == 1


def test_clients_that_come_while_there_is_no_descriptor_wait_in_the_queue_of_the_kernel(smtps):
    with smtps.client() as other:
        with without_descriptors(smtps):
            client = smtps.client(hello=False)
            smtps.wait_log("func=st.accept, where=smtps.accept, .*Too many open files")
            other.command("NOOP", "250")
        client.expect("220")
        client.close()
    assert sum("Too many open files" in line for line in smtps.log) == 1


def test_a_server_takes_no_more_sessions_than_it_has_descriptors_for(hurt):
    smtps = hurt("descriptors=80")
    number = int(smtps.wait_log(r"smtps\.limit.*limit=(\d+)")[1])
    assert 10 < number < 30
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(smtps.client()) for _ in range(number)]
        for _ in range(100):
            with smtps.client(hello=False) as client:
                client.expect("421 4.3.2 Too many connections")
        for client in clients:
            client.message(b"Subject: big\r\n\r\n" + b"0123456\r\n" * 50_000)
    _wait(lambda: len(smtps.qmgr.of(CloseSession)) >= number)
    serves(smtps)
    assert not any("Too many open files" in line for line in smtps.log)


def test_descriptors_are_enough_when_all_sessions_write_their_content_at_once(hurt):
    smtps = hurt("descriptors=80")
    number = int(smtps.wait_log(r"smtps\.limit.*limit=(\d+)")[1])
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(smtps.client()) for _ in range(number)]
        for client in clients:
            client.command("MAIL FROM:<s@example.org>", "250")
            client.command("RCPT TO:<r@example.org>", "250")
            client.command("DATA", "354")
            client.send(b"Subject: big\r\n\r\n" + b"0123456\r\n" * 50_000)
        _wait(lambda: len(smtps.content_files()) == number)
        for client in clients:
            client.send(b".\r\n")
            client.expect("250 2.0.0")
