"""Clients that are denied at connect: they hear 554 and may say QUIT (RFC 5321 3.1)."""

import threading

import pytest

from meta1g.base.reply import Reply
from meta1g.rcb.smtps_smar import Checks, ClientVerdict
from tests.fakes.smtps_process import WAIT_S, Client, SmtpsProcess


@pytest.fixture
def smtps(tmp_path):
    with SmtpsProcess(tmp_path, checks=Checks.RCPT | Checks.CLIENT) as process:
        yield process


def test_a_client_that_talks_before_the_greeting_is_denied_and_answered_to_its_end(smtps):
    sent = threading.Event()

    def client(msg):
        assert sent.wait(WAIT_S)
        return ClientVerdict(reply=Reply(220))

    smtps.smar.client = client
    with Client(smtps.port) as blind:
        blind.send(b"EHLO x\r\nMAIL FROM:<s@example.org>\r\nRCPT TO:<r@example.org>\r\nDATA\r\nQUIT\r\n")
        sent.set()
        blind.expect("554 5.5.1 You talked")
        for _ in range(4):
            blind.expect("503")
        blind.expect("221")
        blind.expect("")


def test_a_denied_client_does_not_keep_the_server_from_stopping(smtps):
    smtps.smar.client = lambda msg: ClientVerdict(reply=Reply(550, "5.7.1", "Go away"))
    with Client(smtps.port) as denied:
        denied.expect("554 5.7.1 Go away")
        assert smtps.end() == 0
        denied.expect("421 4.3.2")
    smtps.wait_log("func=smtps.closed, .*reply=421")


def test_delayed_checks_greet_it_all_the_same(tmp_path):
    with SmtpsProcess(tmp_path, "flags = { delay_checks };", checks=Checks.RCPT | Checks.CLIENT) as process:
        process.smar.client = lambda msg: ClientVerdict(reply=Reply(550, "5.7.1", "Go away"))
        with process.client() as client:
            client.command("MAIL FROM:<s@example.org>", "250")
            client.command("RCPT TO:<r@example.org>", "550 5.7.1 Go away")


def test_it_is_sent_away_at_once_when_half_of_the_sessions_are_taken(tmp_path):
    with (
        SmtpsProcess(tmp_path, "max_threads = 4;", checks=Checks.RCPT | Checks.CLIENT) as process,
        process.client(),
        process.client(),
    ):
        process.smar.client = lambda msg: ClientVerdict(reply=Reply(550, "5.7.1", "Go away"))
        with Client(process.port) as denied:
            denied.expect("554 5.7.1 Go away")
            denied.expect("")
