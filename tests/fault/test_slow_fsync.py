"""The disk takes its time: sessions whose messages are being flushed wait, all others are served meanwhile."""

import contextlib
import os
import select

import pytest

from contrib.lib.gateway import wait_until
from meta1g.rcb.smtps_qmgr import CloseTransaction
from meta1g.st.offload import OFFLOAD_THREADS
from tests.fakes.smtps_process import WAIT_S, SmtpsProcess

pytestmark = pytest.mark.system

OTHERS = 200
MESSAGES = OFFLOAD_THREADS + 4  # more than can be flushed at a time
CONTENT = b"Subject: x\r\n\r\nhello\r\n"


class Gate:
    """What the flushes of smtps wait for (tests/fakes/held_smtps.py)."""

    def __init__(self, path):
        self.path = path
        self.begun = path.with_name(path.name + ".begun")
        self.fd = -1
        os.mkfifo(path)

    def pending(self):
        """Gives how many flushes have begun; none ends before open()."""
        return self.begun.stat().st_size if self.begun.exists() else 0

    def open(self):
        if self.fd < 0:
            self.fd = os.open(self.path, os.O_RDWR)

    def close(self):
        if self.fd >= 0:
            os.close(self.fd)


@pytest.fixture
def gate(tmp_path):
    gate = Gate(tmp_path / "gate")
    yield gate
    gate.close()


@pytest.fixture
def smtps(tmp_path, gate, monkeypatch):
    monkeypatch.setenv("W_SMTPS", f"-m tests.fakes.held_smtps {gate.path}")
    queue = tmp_path / "q"
    queue.mkdir()
    with SmtpsProcess(queue) as process:
        yield process
        gate.open()


def silent(clients):
    """Tells whether none of the clients has got anything."""
    return select.select([client.sock for client in clients], [], [], 0)[0] == []


def send_content(client):
    client.command("MAIL FROM:<s@example.org>", "250")
    client.command("RCPT TO:<r@example.org>", "250")
    client.command("DATA", "354")
    client.send(CONTENT + b".\r\n")


def test_other_sessions_are_answered_and_greeted_while_flushes_are_pending(smtps, gate):
    with contextlib.ExitStack() as stack:
        others = [stack.enter_context(smtps.client()) for _ in range(OTHERS)]
        senders = [stack.enter_context(smtps.client()) for _ in range(MESSAGES)]
        for sender in senders:
            send_content(sender)
        wait_until(lambda: gate.pending() == OFFLOAD_THREADS, WAIT_S, f"{gate.pending()} flushes have begun")
        for client in others:
            client.send(b"NOOP\r\n")
        for client in others:
            client.expect("250")
        fresh = stack.enter_context(smtps.client())
        fresh.command("MAIL FROM:<s@example.org>", "250")
        fresh.command("RCPT TO:<r@example.org>", "250")
        assert silent(senders), "250 before the content is on the disk"
        assert smtps.qmgr.of(CloseTransaction) == [], "QMGR hears of content that is not on the disk"
        assert gate.pending() == OFFLOAD_THREADS
        gate.open()
        for sender in senders:
            sender.expect("250 2.0.0")
    assert gate.pending() == len(smtps.qmgr.of(CloseTransaction)) == MESSAGES


def test_a_client_that_leaves_during_the_flush_takes_nobody_with_it(smtps, gate):
    with smtps.client() as stays:
        leaves = smtps.client()
        send_content(leaves)
        wait_until(lambda: gate.pending() == 1, WAIT_S, "the flush has begun")
        leaves.close()
        stays.command("NOOP", "250")
        gate.open()
        stays.message(CONTENT)
    wait_until(lambda: len(smtps.qmgr.of(CloseTransaction)) == 2, WAIT_S, "both are handed over")
