"""Loads: everything that was accepted arrives once, also if mcp is stopped and started again in the middle."""

import os
import re
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from contrib.lib.gateway import Gateway, free_port, wait_until
from tests.system.conftest import FAST_RETRY, KeepingSink, processes_of, running
from tests.system.crash import Source, arrived_numbers

pytestmark = pytest.mark.system

MESSAGES = 1500
STOP_GRACE_S = 15  # what mcp gives its children, and some time for itself


class SmtpSink:
    """Postfix's smtp-sink with one file for each message."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir()
        directory.chmod(0o777)
        self.port = free_port()
        user = ["-u", "nobody"] if os.geteuid() == 0 else []
        self.process = subprocess.Popen(["smtp-sink", *user, "-d", f"{directory}/m", f"127.0.0.1:{self.port}", "1024"])

    def rcpts(self) -> Counter[str]:
        """How often each recipient got the message."""
        texts = (path.read_bytes()[:4096].decode() for path in self.directory.iterdir())
        return Counter(rcpt for text in texts for rcpt in re.findall(r"^X-Rcpt-Args: <([^>]*)>", text, re.MULTILINE))

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture
def smtp_sink(open_directory) -> Iterator[SmtpSink]:
    made = SmtpSink(open_directory / "dump")
    yield made
    made.stop()


def test_a_load_from_postfix_to_postfix_arrives_complete_and_once(tmp_path, smtp_sink):
    with running(Gateway(tmp_path / "gateway", f". {smtp_sink.port}^[127.0.0.1]")) as gateway:
        start = time.monotonic()
        subprocess.run(
            ["smtp-source", "-s", "20", "-m", str(MESSAGES), "-l", "5000", "-N", "-f", "s@test.example", "-t", "r@sink.example",
             f"127.0.0.1:{gateway.port}"], check=True, timeout=120, capture_output=True,
        )  # fmt: skip
        accepted = time.monotonic()
        gateway.wait_empty(120)
        ended = time.monotonic()
    print(f"{MESSAGES / (accepted - start):.0f} messages/s accepted, {MESSAGES / (ended - start):.0f} messages/s relayed")
    rcpts = smtp_sink.rcpts()
    assert len(rcpts) == MESSAGES
    assert set(rcpts.values()) == {1}


def test_what_was_accepted_before_a_stop_in_the_middle_of_a_load_arrives_after_the_next_start(tmp_path):
    with KeepingSink(tmp_path / "maildir") as sink:
        gateway = Gateway(tmp_path / "gateway", f". {sink.port}^[127.0.0.1]", {"qmgr": FAST_RETRY})
        source, threads = None, []
        try:
            gateway.setup()
            gateway.start()
            source = Source(gateway.port, 1500)
            threads = source.start(8)
            for share in (400, 900):
                wait_until(lambda share=share: len(source.acknowledged) >= share, 60, f"{share} messages")
                start = time.monotonic()
                assert gateway.stop() == 0, gateway.last_words()
                assert time.monotonic() - start < STOP_GRACE_S
                assert processes_of(gateway.directory) == {}
                assert len(source.acknowledged) < 1500
                gateway.start()
            wait_until(lambda: len(source.acknowledged) == 1500, 60, "all acknowledged")
            gateway.wait_empty()
            assert gateway.stop() == 0, gateway.last_words()
        finally:
            if source is not None:
                source.stop.set()
            for thread in threads:
                thread.join(30)
            gateway.stop()
    numbers = Counter(arrived_numbers(sink))
    assert source.acknowledged - set(numbers) == set()
    assert set(numbers.values()) == {1}
